"""Lays the schema: numbered migrations forward, functions replaced, dialects beside them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version as package_version

import psycopg
from psycopg.errors import (
    DuplicateSchema,
    DuplicateTable,
    InsufficientPrivilege,
    InvalidSchemaName,
    LockNotAvailable,
    UndefinedTable,
    UniqueViolation,
)

from tidemill.database import dialects as dialect_schemas
from tidemill.database import sql as files
from tidemill.database.connect import check_encoding, connect, explained
from tidemill.database.dialects import DialectSkippedError
from tidemill.database.installer import Installer, install, rows
from tidemill.database.ownership import find_foreign
from tidemill.errors import SchemaError

logger = logging.getLogger("tidemill")


@dataclass
class MigrationReport:
    """What `migrate` did, or would do."""

    applied: list[str] = field(default_factory=list)
    functions_laid: bool = False
    dialects_laid: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    """Dialects that were left out, each with the reason and the remedy."""
    has_owners_rights: bool = True
    """Whether the role has the rights of the schema's owner; others may only find that nothing is due."""
    statements: list[str] = field(default_factory=list)
    """The SQL that was run, or with `dry_run` would be run: a script for psql, empty if nothing is due."""

    @property
    def changed(self) -> bool:
        """Whether anything was changed, or with `dry_run` would be."""
        return bool(self.applied or self.functions_laid or self.dialects_laid)


def migrate(
    conninfo: str, *, dialects: Sequence[str] | None = None, dry_run: bool = False
) -> MigrationReport:
    """Brings the schema `tidemill` to this version, in one transaction under a lock.

    It is safe to call this again, and from many processes at once. `dialects` names the
    dialects to lay; None means all except those that were dropped on request. With
    `dry_run` nothing changes, and the report has the SQL.

    Raises SchemaError if the schema is newer than this version and no longer fits it,
    MissingRightsError if the role may not create it, or if anything of it belongs to another
    role; UnsupportedServerError.
    """
    if dialects is None:
        with explained(), connect(conninfo) as connection:
            current = report_if_current(connection)
        if current is not None:
            return current
    for name in dialects or ():
        dialect_schemas.find(name)
    try:
        return _install(conninfo, dialects, dry_run)
    except (UniqueViolation, DuplicateSchema, DuplicateTable):
        # Another installer has made the schema in the meantime; now it can be locked.
        return _install(conninfo, dialects, dry_run)


def _install(conninfo: str, dialects: Sequence[str] | None, dry_run: bool) -> MigrationReport:
    return install(conninfo, lambda installer: _lay(installer, dialects), dry_run=dry_run)


def _lay(installer: Installer, dialects: Sequence[str] | None) -> MigrationReport:
    report = MigrationReport()
    check_encoding(installer.connection)
    _lay_tables(installer, report)
    _lay_functions(installer, report)
    for name in files.dialects() if dialects is None else dialects:
        try:
            if dialect_schemas.lay(installer, name, asked=dialects is not None):
                report.dialects_laid.append(name)
        except DialectSkippedError as skipped:
            report.skipped[name] = str(skipped)
    if report.changed:
        report.statements = [files.query("install/begin").strip(), *installer.statements, "commit;"]
    return report


def report_if_current(connection: psycopg.Connection) -> MigrationReport | None:
    """The report of `migrate` if it has nothing to do; else None.

    It takes few round trips, and one more for each dialect that could not be laid.

    Raises UnsupportedServerError.
    """
    check_encoding(connection)
    foreign = find_foreign(connection)
    if not all(found.trusted for found in foreign):
        # Reading what others have made could run their code.
        return None
    state = _state(connection)
    if state is None or not state.fits:
        return None
    report = MigrationReport(has_owners_rights=not foreign or may_run_actions(connection))
    for name in files.dialects():
        dialect = dialect_schemas.find(name)
        if dialect.part not in state.parts:
            reason = dialect_schemas.obstacle(connection, name)
            if reason is None:
                return None
            report.skipped[name] = reason
        elif state.parts[dialect.part] is None:
            report.skipped[name] = dialect_schemas.dropped_on_request(name)
        elif state.parts[dialect.part] != files.digest(dialect.fingerprint):
            return None
    return report


@dataclass
class _State:
    """The installed migrations, and the hashes of the installed parts."""

    migrations: list[int]
    parts: dict[str, str | None]

    @property
    def fits(self) -> bool:
        """Whether tables and functions are of exactly this version."""
        known = [migration.number for migration in files.migrations()]
        return self.migrations == known and self.parts.get("functions") == files.digest(files.functions())


def _state(connection: psycopg.Connection) -> _State | None:
    """Reads what is installed in one round trip; None if it cannot be read."""
    cursor = connection.cursor()
    try:
        cursor.execute(files.query("install/state"))
    except (InsufficientPrivilege, InvalidSchemaName, LockNotAvailable, UndefinedTable):
        # The caller finds out why, with more statements.
        return None
    # The last statement has the result.
    while cursor.nextset():
        pass
    row = cursor.fetchone()
    assert row is not None
    return _State(*row)


def _lay_tables(installer: Installer, report: MigrationReport) -> None:
    done: set[int] = set()
    if _has_schema(installer.connection):
        done = {number for (number,) in installer.rows("applied")}
        _warn_of_newer_schema(installer.connection)
    else:
        _make_schema(installer)
    for migration in files.migrations():
        if migration.number in done:
            continue
        installer.lay(migration.text)
        installer.run(
            files.query("install/record_migration"),
            number=migration.number,
            name=migration.name,
            breaking=migration.breaking,
        )
        report.applied.append(f"{migration.number:04} {migration.name}")


def _make_schema(installer: Installer) -> None:
    """Makes the schema, or checks that the one that an administrator made is empty."""
    if not installer.rows("schema_owner"):
        before = installer.objects(["tidemill"])
        installer.run("create schema tidemill;")
        installer.close_new(before, "", ["tidemill"])
    standing = [what for (what,) in installer.rows("standing")]
    if standing:
        if _has_schema(installer.connection):
            raise DuplicateSchema("another installer has made it in the meantime")
        raise SchemaError(
            f"Nothing was changed: the schema tidemill has no Tidemill, but {', '.join(standing[:10])}. "
            "Drop or move what stands there."
        )


def _lay_functions(installer: Installer, report: MigrationReport) -> None:
    text = files.functions()
    # In a rolling deploy, an old worker that restarts must not bring back old functions.
    if installer.part("functions", text).due:
        installer.lay(text)
        installer.run(files.query("install/close_to_public"))
        installer.record_part("functions", text)
        report.functions_laid = True


def installed_dialects(conninfo: str) -> dict[str, bool]:
    """All dialects by name, and whether each is laid."""
    with explained(), connect(conninfo) as connection:
        laid = dict(rows(connection, "parts"))
    return {name: bool(laid.get(f"dialect {name}")) for name in files.dialects()}


def dialect_holders(conninfo: str) -> dict[str, str]:
    """Whose the names of each dialect are: Tidemill, an extension, or an empty text."""
    with explained(), connect(conninfo) as connection:
        laid = dict(rows(connection, "parts"))
        return {
            name: "Tidemill"
            if laid.get(f"dialect {name}")
            else f"the extension {extension}"
            if (extension := dialect_schemas.extension(connection, name))
            else ""
            for name in files.dialects()
        }


def drop_dialect(conninfo: str, name: str) -> bool:
    """Drops a dialect, so that `migrate` does not lay it again; False if it was not there.

    Raises SchemaError if the user's own objects depend on it.
    """

    def drop(installer: Installer) -> bool:
        _require_any_schema(installer.connection)
        return dialect_schemas.drop(installer, name)

    return install(conninfo, drop)


def uninstall(conninfo: str) -> None:
    """Drops the schema `tidemill` with every job in it, and the dialects.

    Raises SchemaError if the user's own objects depend on them.
    """

    def drop(installer: Installer) -> None:
        _require_any_schema(installer.connection)
        schemas, routines = dialect_schemas.everything(installer)
        installer.drop([*schemas, "tidemill"], routines)

    install(conninfo, drop)


def refuse_newer_schema(connection: psycopg.Connection) -> int | None:
    """The newest installed migration if this version does not know it, else None.

    Raises SchemaError if a migration that this version does not know is breaking.
    """
    known = files.migrations()[-1].number
    [(newest, breaking)] = rows(connection, "newer_than", known=known)
    if breaking is not None:
        raise SchemaError(
            f"The database's schema is at migration {newest} and includes the breaking migration "
            f"{breaking}; Tidemill {package_version('tidemill')} knows migrations up to {known}. "
            "Upgrade this Tidemill."
        )
    return None if newest is None else int(newest)


def _warn_of_newer_schema(connection: psycopg.Connection) -> None:
    newest = refuse_newer_schema(connection)
    if newest is not None:
        logger.warning(
            "The database's schema is at migration %s, newer than the %s that Tidemill %s knows; "
            "it still fits. Upgrade this Tidemill soon.",
            newest,
            files.migrations()[-1].number,
            package_version("tidemill"),
        )


def require_schema(connection: psycopg.Connection) -> None:
    """Raises SchemaError unless the schema exists and fits this version; MissingRightsError."""
    with explained():
        state = _state(connection)
        if state is not None and state.fits:
            return
        _require_any_schema(connection)
        _warn_of_newer_schema(connection)
        missing = {migration.number for migration in files.migrations()}
        missing -= {number for (number,) in rows(connection, "applied")}
        outdated = Installer(connection).part("functions", files.functions()).due
    ours = package_version("tidemill")
    if missing:
        raise SchemaError(
            f"The database's schema lacks migration {min(missing)}, and Tidemill {ours} needs all up to "
            f"{files.migrations()[-1].number}. Run `tidemill migrate`."
        )
    if outdated:
        raise SchemaError(
            f"The database's functions are not those of this Tidemill, {ours}. Run `tidemill migrate`."
        )


def may_run_actions(connection: psycopg.Connection) -> bool:
    """Whether the role has the rights of the schema's owner. Without them a worker runs jobs alone."""
    row = connection.execute(files.query("may_run_actions")).fetchone()
    return row is not None and bool(row[0])


def _require_any_schema(connection: psycopg.Connection) -> None:
    if not _has_schema(connection):
        raise SchemaError(
            f'The database "{connection.info.dbname}" has no Tidemill schema yet. '
            "Run `tidemill migrate` on it."
        )


def _has_schema(connection: psycopg.Connection) -> bool:
    return bool(rows(connection, "has_schema")[0][0])
