"""One transaction that installs or drops things, and keeps the SQL that it ran."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version as package_version
from typing import Any, LiteralString, TypeVar

import psycopg
from psycopg import ClientCursor, sql
from psycopg.errors import DeadlockDetected, InsufficientPrivilege, LockNotAvailable

from tidemill.database import sql as files
from tidemill.database.connect import connect, explained
from tidemill.database.ownership import refuse_foreign
from tidemill.errors import MissingRightsError, SchemaError

Result = TypeVar("Result")

# How long it is tried, and the pause between two tries. How long each waits for a lock: install/begin.sql.
_PATIENCE_SECONDS = 60.0
_PAUSE_SECONDS = (0.05, 0.25)


@dataclass(frozen=True)
class Part:
    """The state of one installed part: the functions, or a dialect."""

    known: bool
    laid: bool
    """False also if it was dropped on request."""
    due: bool
    """This version has to lay it: it is missing, or its text differs and no newer build has laid it."""


class Installer:
    """Runs statements in one transaction; no other installer works at the same time."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self.connection = connection
        self.statements: list[str] = []
        """The statements of `run`, as a script for psql."""

    def run(self, statement: str | sql.Composed, /, **params: object) -> None:
        """Runs statements that change the database, and keeps them in `statements`."""
        cursor = ClientCursor(self.connection)
        text = cursor.mogrify(
            statement.encode() if isinstance(statement, str) else statement, params or None
        ).strip()
        # Without parameters psycopg sends one simple query, which may hold many statements.
        cursor.execute(text.encode())
        self.statements.append(text)

    def lay(self, text: LiteralString, schemas: Sequence[str] = ("tidemill",)) -> None:
        """Runs the text that makes objects in these schemas; they get no other rights than it grants.

        Default privileges of this role could open private tables to others.
        """
        before = self.objects(schemas)
        self.run(text)
        self.close_new(before, text, schemas)

    def objects(self, schemas: Sequence[str]) -> list[int]:
        """The objects of these schemas, and the schemas themselves."""
        return [number for (number,) in self.rows("objects", schemas=list(schemas))]

    def close_new(self, before: list[int], text: str, schemas: Sequence[str]) -> None:
        """Takes back what default privileges gave of objects that were not there before."""
        revoked = self.rows("default_grants", schemas=list(schemas), before=before)
        for (statement,) in revoked:
            self.run(statement)
        if revoked:
            for statement in re.findall(r"^grant [^;]+;", text, re.MULTILINE):
                self.run(statement)

    def rows(self, name: str, /, **params: object) -> list[tuple[Any, ...]]:
        """Returns what the statement in `sql/queries/install/<name>.sql` finds."""
        return rows(self.connection, name, **params)

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """A savepoint: if the block fails, only its own changes are undone."""
        kept = len(self.statements)
        try:
            with self.connection.transaction():
                yield
        except BaseException:
            del self.statements[kept:]
            raise

    def part(self, name: str, text: str) -> Part:
        """Returns the state of a part, whose text in this version is given."""
        known = files.migrations()[-1].number
        found = self.rows("part", part=name, hash=files.digest(text), version=current_version(), known=known)
        return Part(True, *found[0]) if found else Part(False, False, True)

    def record_part(self, name: str, text: str | None) -> None:
        """Records that this version laid a part; with None, that it was dropped on request."""
        self.run(
            files.query("install/record_part"),
            part=name,
            version=current_version(),
            hash=None if text is None else files.digest(text),
        )

    def drop(self, schemas: list[str], routines: dict[int, str]) -> None:
        """Drops schemas with everything in them, and routines, which are given by oid.

        Raises:
            SchemaError: Objects elsewhere depend on them.
        """
        found = self.rows("dependents", schemas=schemas, routines=list(routines))
        others = [description for (description,) in found]
        if others:
            shown = ", ".join(others[:10]) + (f" and {len(others) - 10} more" if len(others) > 10 else "")
            parts = [f"the schema {' or '.join(schemas)}"] if schemas else []
            parts += [f"the routine {' or '.join(routines.values())}"] if routines else []
            raise SchemaError(
                f"Nothing was dropped, since other objects are built on {' or '.join(parts)} "
                f"and would go with it: {shown}. Drop or change them first."
            )
        for signature in routines.values():
            self.run(f"drop routine {signature} cascade;")
        for name in schemas:
            self.run(sql.SQL("drop schema {} cascade;").format(sql.Identifier(name)))


def install(conninfo: str, work: Callable[[Installer], Result], *, dry_run: bool = False) -> Result:
    """Calls `work` with an installer, in one transaction; with `dry_run` it is undone.

    While it waits for a lock, all who add and claim jobs wait behind it. So it waits only for a moment; then
    it undoes everything, makes way, and calls `work` again.

    Raises:
        MissingRightsError: The role may not do this.
        SchemaError: Others held locks for too long; or objects of another role are in the schema.
        TidemillError: See `explained`.
    """
    with explained(), connect(conninfo) as connection:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                return _attempt(connection, work, dry_run)
            except InsufficientPrivilege as error:
                connection.execute("rollback")
                raise _missing_rights(connection, error) from error
            except (LockNotAvailable, DeadlockDetected) as error:
                connection.execute("rollback")
                if time.monotonic() >= deadline:
                    raise _locked(connection) from error
            # By chance another time each try: what it waits for may come at regular ones.
            time.sleep(random.uniform(*_PAUSE_SECONDS))


def _attempt(connection: psycopg.Connection, work: Callable[[Installer], Result], dry_run: bool) -> Result:
    # It begins a transaction that is read committed, whatever the role's default is: after
    # the wait for another installer, it must see what that one did.
    connection.execute(files.query("install/begin"))
    refuse_foreign(connection)
    result = work(Installer(connection))
    # A role with rights there may have come in between.
    refuse_foreign(connection)
    connection.execute("rollback" if dry_run else "commit")
    return result


def _locked(connection: psycopg.Connection) -> SchemaError:
    with connection.transaction():
        connection.execute("set local search_path = pg_catalog, pg_temp")
        holders = "; ".join(holder for (holder,) in rows(connection, "holders"))
    named = f"It may be {holders}. " if holders else ""
    return SchemaError(
        "Another session held a lock on the schema for too long, such as a dump or a long "
        f"transaction that reads it, and nothing was changed. {named}"
        "Run this again when it has ended."
    )


def _missing_rights(connection: psycopg.Connection, error: psycopg.Error) -> MissingRightsError:
    role, database = connection.info.user, connection.info.dbname
    what = f'The role "{role}" may not do this ({error.diag.message_primary}), and nothing was changed. '
    owner = next((owner for (owner,) in rows(connection, "schema_owner")), None)
    if owner not in (None, role):
        return MissingRightsError(
            f'{what}The schema "tidemill" belongs to the role "{owner}": connect as that one.'
        )
    return MissingRightsError(
        f"{what}Connect as the owner of the database, or let an administrator run once: "
        f'grant create on database "{database}" to "{role}"; '
        f'or: create schema tidemill authorization "{role}";'
    )


def rows(connection: psycopg.Connection, name: str, /, **params: object) -> list[tuple[Any, ...]]:
    """Returns what the statement in `sql/queries/install/<name>.sql` finds."""
    return connection.execute(files.query(f"install/{name}"), params or None).fetchall()


def current_version() -> list[int]:
    """The version of this package as numbers, for comparison in the database."""
    return [int(part) for part in package_version("tidemill").split(".") if part.isdigit()]
