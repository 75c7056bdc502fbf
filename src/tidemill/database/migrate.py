"""Lays the schema: numbered migrations forward, functions replaced, dialects beside them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version as package_version

import psycopg
from psycopg import sql
from psycopg.rows import scalar_row

from tidemill.database import sql as files
from tidemill.database.connect import connect
from tidemill.errors import MissingRightsError, SchemaError

logger = logging.getLogger("tidemill")

# One lock for all installers of a database: "tidemill" in hexadecimal.
_LOCK = 0x746964656D696C6C
# A schema of this name that we did not lay belongs to somebody else.
_DIALECT_SCHEMA = {"graphile_worker": "graphile_worker"}


@dataclass
class MigrationReport:
    """What `migrate` did, or would do."""

    applied: list[str] = field(default_factory=list)
    functions_laid: bool = False
    dialects_laid: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    """Dialects that were left out, with the reason and the remedy."""
    statements: list[str] = field(default_factory=list)
    """The SQL that was run, or with `dry_run` would be."""

    @property
    def changed(self) -> bool:
        """Whether anything was, or would be, done."""
        return bool(self.applied or self.functions_laid or self.dialects_laid)


def current_version() -> list[int]:
    """The version of this package as numbers, for comparison in the database."""
    return [int(part) for part in package_version("tidemill").split(".") if part.isdigit()]


def migrate(
    conninfo: str, *, dialects: Sequence[str] | None = None, dry_run: bool = False
) -> MigrationReport:
    """Brings the schema `tidemill` to this version, in one transaction under a lock.

    Safe to call from many processes at once, and again. `dialects` names those to
    lay; None means all but those that were dropped on request. With `dry_run`
    nothing changes and the report carries the SQL.

    Raises SchemaError when the schema is newer than this version and no longer
    fits it, MissingRightsError when the role may not create it.
    """
    report = MigrationReport()
    with connect(conninfo, autocommit=False) as connection:
        connection.execute("select pg_advisory_xact_lock(%s)", [_LOCK])
        connection.execute("set local check_function_bodies = off")
        connection.execute("set local client_min_messages = warning")
        try:
            _lay_tables(connection, report)
            _lay_functions(connection, report)
            _lay_dialects(connection, report, dialects)
        except psycopg.errors.InsufficientPrivilege as error:
            raise _missing_rights(error, connection.info.user, connection.info.dbname) from error
        if dry_run:
            connection.rollback()
    return report


def _run(connection: psycopg.Connection, report: MigrationReport, text: str) -> None:
    # One simple query: psycopg runs many statements when there are no parameters.
    connection.execute(text.encode())
    report.statements.append(text.strip())


def _missing_rights(error: psycopg.Error, role: str, database: str) -> MissingRightsError:
    return MissingRightsError(
        f'The role "{role}" may not lay the schema ({error.diag.message_primary}). Run `tidemill migrate` '
        "as the owner of the database, or let an administrator run once: "
        f'grant create on database "{database}" to "{role}"; '
        f'or: create schema tidemill authorization "{role}";'
    )


def _lay_tables(connection: psycopg.Connection, report: MigrationReport) -> None:
    if _value(connection, "select to_regnamespace('tidemill') is null"):
        _run(connection, report, "create schema tidemill;")
    done: set[int] = set()
    if _value(connection, "select to_regclass('tidemill._migrations') is not null"):
        with connection.cursor(row_factory=scalar_row) as cursor:
            done = set(cursor.execute("select number from tidemill._migrations").fetchall())
        refuse_newer_schema(connection)
    for migration in files.migrations():
        if migration.number in done:
            continue
        _run(connection, report, migration.text)
        connection.execute(
            "insert into tidemill._migrations (number, name, breaking) values (%s, %s, %s)",
            [migration.number, migration.name, migration.breaking],
        )
        report.applied.append(f"{migration.number:04} {migration.name}")


def _is_due(connection: psycopg.Connection, part: str, text: str) -> bool:
    row = connection.execute(
        "select hash is distinct from %s and version <= %s::int[] from tidemill._installed where part = %s",
        [files.digest(text), current_version(), part],
    ).fetchone()
    return row is None or bool(row[0])


def _record(connection: psycopg.Connection, part: str, text: str | None) -> None:
    connection.execute(
        "insert into tidemill._installed (part, version, hash) "
        "values (%(part)s, %(version)s::int[], %(hash)s) "
        "on conflict (part) do update set version = excluded.version, hash = excluded.hash, "
        "installed_at = clock_timestamp()",
        {"part": part, "version": current_version(), "hash": text and files.digest(text)},
    )


def _lay_functions(connection: psycopg.Connection, report: MigrationReport) -> None:
    text = files.functions()
    # An old worker that restarts in a rolling deploy must not put back old functions.
    if not _is_due(connection, "functions", text):
        return
    _run(connection, report, text)
    # SECURITY DEFINER functions are for those who were granted them, not for PUBLIC.
    _run(connection, report, "revoke all on all routines in schema tidemill from public;")
    _record(connection, "functions", text)
    report.functions_laid = True


def _lay_dialects(
    connection: psycopg.Connection, report: MigrationReport, names: Sequence[str] | None
) -> None:
    known = files.dialects()
    for name in known if names is None else names:
        if name not in known:
            raise SchemaError(f'There is no dialect "{name}". Known are: {", ".join(known)}.')
        part, text = f"dialect {name}", known[name]
        row = connection.execute(
            "select hash is null from tidemill._installed where part = %s", [part]
        ).fetchone()
        dropped = row is not None and bool(row[0])
        if dropped and names is None:
            report.skipped[name] = f"dropped on request; `tidemill dialect add {name}` lays it again"
            continue
        if not dropped and not _is_due(connection, part, text):
            continue
        problem = _lay_dialect(connection, report, name, text, ours=row is not None and not dropped)
        if problem:
            report.skipped[name] = problem
        else:
            _record(connection, part, text)
            report.dialects_laid.append(name)


def _lay_dialect(
    connection: psycopg.Connection, report: MigrationReport, name: str, text: str, *, ours: bool
) -> str | None:
    """Lays a dialect; returns the reason where it cannot be laid."""
    schema = _DIALECT_SCHEMA[name]
    exists = _value(connection, "select to_regnamespace(%s) is not null", [schema])
    used = exists and _value(
        connection,
        "select exists (select from pg_class where relnamespace = to_regnamespace(%(s)s)) "
        "or exists (select from pg_proc where pronamespace = to_regnamespace(%(s)s))",
        {"s": schema},
    )
    if used and not ours:
        return (
            f'the schema "{schema}" already exists and is not Tidemill\'s. Rename or drop it, '
            f"then run `tidemill dialect add {name}`"
        )
    try:
        with connection.transaction():
            if not exists:
                _run(connection, report, f"create schema {schema};")
            _run(connection, report, text)
    except psycopg.errors.InsufficientPrivilege as error:
        return (
            f"the role may not lay it ({error.diag.message_primary}). Have an administrator create the "
            f'schema "{schema}" with this role as its owner, then run `tidemill dialect add {name}`'
        )
    return None


def installed_dialects(conninfo: str) -> dict[str, bool]:
    """All dialects by name, and whether each is laid."""
    with connect(conninfo) as connection:
        rows = connection.execute("select part, hash is not null from tidemill._installed").fetchall()
    laid: dict[str, bool] = dict(rows)
    return {name: bool(laid.get(f"dialect {name}")) for name in files.dialects()}


def drop_dialect(conninfo: str, name: str) -> bool:
    """Drops a dialect's schema, and remembers that; False if it was not there."""
    if name not in files.dialects():
        raise SchemaError(f'There is no dialect "{name}". Known are: {", ".join(files.dialects())}.')
    with connect(conninfo, autocommit=False) as connection:
        connection.execute("select pg_advisory_xact_lock(%s)", [_LOCK])
        installed = bool(
            _value(
                connection,
                "select exists (select from tidemill._installed where part = %s and hash is not null)",
                [f"dialect {name}"],
            )
        )
        if installed:
            connection.execute("set local client_min_messages = warning")
            connection.execute(
                sql.SQL("drop schema {} cascade").format(sql.Identifier(_DIALECT_SCHEMA[name]))
            )
        _record(connection, f"dialect {name}", None)
    return installed


def uninstall(conninfo: str) -> None:
    """Drops the schema `tidemill` with every job in it, and the dialects."""
    with connect(conninfo, autocommit=False) as connection:
        connection.execute("select pg_advisory_xact_lock(%s)", [_LOCK])
        connection.execute("set local client_min_messages = warning")
        with connection.cursor(row_factory=scalar_row) as cursor:
            parts = cursor.execute(
                "select part from tidemill._installed where part like 'dialect %' and hash is not null"
            ).fetchall()
        for part in parts:
            schema = _DIALECT_SCHEMA[part.removeprefix("dialect ")]
            connection.execute(sql.SQL("drop schema if exists {} cascade").format(sql.Identifier(schema)))
        connection.execute("drop schema tidemill cascade")


def refuse_newer_schema(connection: psycopg.Connection) -> None:
    """Raises SchemaError if the schema has a breaking migration that this version lacks."""
    known = files.migrations()[-1].number
    row = connection.execute(
        "select max(number), max(number) filter (where breaking) from tidemill._migrations where number > %s",
        [known],
    ).fetchone()
    assert row is not None
    newest, breaking = row
    ours = package_version("tidemill")
    if breaking is not None:
        raise SchemaError(
            f"The database's schema is at migration {newest} and includes the breaking migration "
            f"{breaking}; Tidemill {ours} knows migrations up to {known}. Upgrade this Tidemill."
        )
    if newest is not None:
        logger.warning(
            "The database's schema is at migration %s, newer than the %s that Tidemill %s knows; "
            "it still fits. Upgrade this Tidemill soon.",
            newest,
            known,
            ours,
        )


def require_schema(connection: psycopg.Connection) -> None:
    """Raises SchemaError unless the schema is there and fits this version."""
    if _value(connection, "select to_regclass('tidemill._migrations') is null"):
        raise SchemaError(
            f'The database "{connection.info.dbname}" has no Tidemill schema yet. '
            "Run `tidemill migrate` on it."
        )
    refuse_newer_schema(connection)
    newest = files.migrations()[-1].number
    found = _value(connection, "select max(number) from tidemill._migrations")
    if not isinstance(found, int) or found < newest:
        raise SchemaError(
            f"The database's schema is at migration {found}, and Tidemill "
            f"{package_version('tidemill')} needs {newest}. Run `tidemill migrate`."
        )


def _value(
    connection: psycopg.Connection,
    query: str,
    params: Sequence[object] | dict[str, object] | None = None,
) -> object:
    row = connection.execute(query.encode(), params).fetchone()
    return None if row is None else row[0]
