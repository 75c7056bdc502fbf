"""Finds the database and opens connections to it."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tidemill.database.sql import query
from tidemill.errors import (
    DatabaseUnavailableError,
    InvalidJobError,
    MissingRightsError,
    SchemaError,
    TidemillError,
    UnsupportedServerError,
)

if TYPE_CHECKING:
    from tidemill.database.embedded import EmbeddedServer

OLDEST_SERVER = 150000
# Without these, a connection to a server that vanished stays "open" for hours.
_DEFAULTS = {
    "connect_timeout": "10",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "20000",
    "client_encoding": "UTF8",
}
_ISO_DATES = "set datestyle = 'ISO'"
# libpq cuts a URL with a bare @ or / in its password at the wrong place: a part becomes the host.
_URL = r"(?s)postgres(ql)?://([^@/]*@)?[^@?]*(\?.*)?"
# libpq's messages end with a quotation of the conninfo.
_QUOTATION = r'(?s)( after|:) ".*'

_JOB_REFUSALS = {
    "GWBKM",
    "22003",
    "22023",
    "22P02",
    "22P05",
    "23502",
    "23514",
    "22007",
    "22008",
    "22015",
    "22021",
}
_MISSING_OBJECTS = {"3F000", "42P01", "42883", "42704"}
# The server shuts down, has crashed or is starting, too many connections, login refused, no such database.
_UNREACHABLE = {"57P01", "57P02", "57P03", "53300", "28P01", "28000", "3D000"}


@dataclass(frozen=True)
class Database:
    """Where Tidemill works: a conninfo, and the embedded server if that is what runs it."""

    conninfo: str = field(repr=False)
    server: EmbeddedServer | None = None

    def for_application(self, name: str) -> str:
        """The conninfo with an `application_name`, unless the user set one."""
        return make_conninfo(self.conninfo, **_missing(self.conninfo, {"application_name": name}))

    def close(self) -> None:
        """Releases the embedded server, which stops after its last user."""
        if self.server is not None:
            self.server.release()


def _missing(conninfo: str, values: dict[str, str]) -> dict[str, str]:
    given = conninfo_to_dict(conninfo)
    return {name: value for name, value in values.items() if name not in given}


def find_database(database: str | None = None, *, directory: Path | None = None) -> Database:
    """The database that a user means.

    In this order: `database` (a `postgresql://` URL or a libpq conninfo), the
    environment's `DATABASE_URL`, an embedded server under `.tidemill/` of the
    working directory, which is started and named in one line on stderr.

    Raises DatabaseUnavailableError for a malformed conninfo, EmbeddedServerError.
    """
    conninfo = database or os.environ.get("DATABASE_URL")
    if conninfo:
        problem = malformed(conninfo)
        if problem is not None:
            origin = "--database" if database else "DATABASE_URL"
            raise DatabaseUnavailableError(
                f"{origin} is not a PostgreSQL connection string: {problem}. "
                "Use postgresql://USER:PASSWORD@HOST:PORT/DBNAME or host=... dbname=..."
            )
        return Database(make_conninfo(conninfo, **_missing(conninfo, _DEFAULTS)))
    from tidemill.database import embedded

    folder = directory or Path(".tidemill")
    is_new = not folder.exists()
    server = embedded.start(folder)
    print(
        f"{'Made a new' if is_new else 'Using the'} embedded PostgreSQL {server.version} "
        f"in {folder.absolute()}/ "
        "(set DATABASE_URL or --database to use your own).",
        file=sys.stderr,
    )
    return Database(make_conninfo(server.conninfo(), **_missing(server.conninfo(), _DEFAULTS)), server)


def malformed(conninfo: str) -> str | None:
    """Describes the mistake in a connection string, without any part of a password; None if it is right."""
    try:
        conninfo_to_dict(conninfo)
    except psycopg.ProgrammingError as error:
        words = str(error).strip()
        if not words.startswith(("invalid connection option", "invalid URI query parameter")):
            return re.sub(_QUOTATION, "", words)
        if "password" in conninfo:
            return "an unknown option, or a password with spaces or & that is not quoted"
        return words
    if conninfo.startswith(("postgresql://", "postgres://")) and not re.fullmatch(_URL, conninfo):
        return "an @ or / in a user name or password must be written as %40 or %2F"
    return None


def connect(conninfo: str, *, autocommit: bool = True, runs_users_code: bool = False) -> psycopg.Connection:
    """Opens a connection, in autocommit by default.

    With `runs_users_code` the session keeps the settings of its role and database, as users' code expects.

    Raises DatabaseUnavailableError, UnsupportedServerError.
    """
    with explained():
        connection = psycopg.connect(conninfo, autocommit=autocommit)
    try:
        check_server(connection)
        prepare_session(connection)
        if not runs_users_code:
            settle_own_session(connection)
    except (UnsupportedServerError, psycopg.Error):
        connection.close()
        raise
    return connection


def prepare_session(connection: psycopg.Connection[Any]) -> None:
    """Sets the DateStyle that psycopg reads, if the role or the database has another."""
    if not _has_iso_dates(connection):
        connection.execute(_ISO_DATES)
        connection.commit()


def settle_own_session(connection: psycopg.Connection[Any]) -> None:
    """Gives a session that runs our statements alone the settings that they rely on.

    Behind a pooler it does nothing, and the statements have to be safe by themselves.
    """
    connection.execute(query("own_session"), {"pid": connection.info.backend_pid})
    if not connection.autocommit:
        # A rollback would undo it.
        connection.commit()


async def prepare_async_session(connection: psycopg.AsyncConnection[Any]) -> None:
    """See `prepare_session`."""
    if not _has_iso_dates(connection):
        await connection.execute(_ISO_DATES)
        await connection.commit()


def _has_iso_dates(connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> bool:
    return (connection.info.parameter_status("DateStyle") or "ISO").startswith("ISO")


def check_server(connection: psycopg.Connection | psycopg.AsyncConnection) -> None:
    """Raises UnsupportedServerError if the server is too old."""
    problem = unsupported(connection.info.server_version)
    if problem is not None:
        raise UnsupportedServerError(problem)


def check_encoding(connection: psycopg.Connection) -> None:
    """Raises UnsupportedServerError if the database's texts may hold bytes that are no text."""
    if connection.info.parameter_status("server_encoding") == "SQL_ASCII":
        raise UnsupportedServerError(
            f'The database "{connection.info.dbname}" has the encoding SQL_ASCII, in which any bytes pass '
            "for text. Tidemill needs one whose text can be read as UTF-8: one job with other bytes would "
            "stop every claim. Use another database: create database NAME encoding 'UTF8' template template0;"
        )


def unsupported(server_version: int) -> str | None:
    """The error message for a server of this version; None if Tidemill works on it."""
    if server_version >= OLDEST_SERVER:
        return None
    major, minor = divmod(server_version, 10000)
    named = major if major >= 10 else f"{major}.{minor // 100}"
    return (
        f"The server is PostgreSQL {named}, and Tidemill needs {OLDEST_SERVER // 10000} or newer. "
        "Upgrade the server, or let Tidemill run its own: leave out --database and DATABASE_URL."
    )


@contextmanager
def explained() -> Iterator[None]:
    """Turns those errors of the driver that a user can act on into Tidemill's."""
    try:
        yield
    except psycopg.Error as error:
        ours = explain(error)
        if ours is None:
            raise
        raise ours from error


def explain(error: psycopg.Error) -> TidemillError | None:
    """Tidemill's error for an error of the driver; None if there is none for it."""
    state = error.sqlstate
    message = error.diag.message_primary or str(error).strip()
    hint = f" {error.diag.message_hint}" if error.diag.message_hint else ""
    if state in _JOB_REFUSALS:
        return InvalidJobError(f"{message}.{hint}", state)
    if state in _MISSING_OBJECTS and "tidemill" in message:
        return SchemaError(
            f"The database has no Tidemill schema, or an older one ({message}). Run `tidemill migrate` on it."
        )
    if state == "42501":
        return MissingRightsError(
            f"The database role lacks a right: {message}. Connect as the role that ran "
            "`tidemill migrate`, or have it grant the right."
        )
    if state == "25006":
        return DatabaseUnavailableError(
            f"The database is read-only: {message}. It may be a standby (connect to the primary), or "
            "have default_transaction_read_only set, as hosts do when a disk is full."
        )
    if state in _UNREACHABLE or (state is None and isinstance(error, psycopg.OperationalError)):
        words = " ".join(str(error).split()).rstrip(".")
        return DatabaseUnavailableError(
            f"Cannot reach the database: {words}{'' if words.endswith('?') else '.'} Check that the server "
            "runs and that --database or DATABASE_URL is right; leave both out to use the embedded one."
        )
    return None
