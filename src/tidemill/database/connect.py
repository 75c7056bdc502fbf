"""Opens connections to the database, and tells what went wrong there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from tidemill.database.dead_peers import OF_SERVER
from tidemill.database.grants import missing_grant
from tidemill.database.sql import query
from tidemill.errors import (
    DatabaseUnavailableError,
    InvalidJobError,
    MissingRightsError,
    SchemaError,
    TidemillError,
    UnsupportedServerError,
)

OLDEST_SERVER = 150000
_ISO_DATES = "set datestyle = 'ISO'"
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
_REFUSED = {"57P01", "57P02", "57P03", "53300", "28P01", "28000", "3D000"}
_ENDED = {"57P01", "57P02"}
# What to do when a server refuses a connection. libpq passes no SQLSTATE on, only words.
_REMEDIES = {
    r"password authentication failed|no password supplied|28P01": (
        "Check the user and the password in --database or DATABASE_URL, and ~/.pgpass."
    ),
    r"role \"[^\"]*\" does not exist": "Check the user in --database or DATABASE_URL, or create that role.",
    r"not permitted to log in": "Use a role with LOGIN, or let an administrator run: alter role NAME login;",
    r"pg_hba\.conf": (
        "The server's pg_hba.conf has no rule for this user, database and address, or demands encryption: "
        "try sslmode=require, or let an administrator add a rule."
    ),
    r"database \"[^\"]*\" does not exist|3D000": (
        "Check the name in --database or DATABASE_URL, or run: create database NAME;"
    ),
    r"too many (connections|clients)|connection slots are reserved|53300": (
        "Wait until others end, or use fewer connections: start fewer workers, lower App(pool_size=...), "
        "use a pooler, or raise the limit (max_connections, or that of the role or database)."
    ),
    r"shutting down|shutdown|starting up|recovery|not accepting|terminating|crash|57P0": (
        "Try again when the server has started."
    ),
}


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
    """Has the server notice a client that vanished, and sets the DateStyle that psycopg reads.

    Behind a pooler it switches prepared statements off: a name that this client has made may stand for
    another client's statement there.
    """
    # One round trip instead of three.
    autocommit, connection.autocommit = connection.autocommit, True
    if not connection.execute(query("watch_client"), _watch(connection)).rowcount:
        connection.prepare_threshold = None
    connection.autocommit = autocommit
    if not _has_iso_dates(connection):
        connection.execute(_ISO_DATES)
        connection.commit()


def settle_own_session(connection: psycopg.Connection[Any]) -> bool:
    """Gives a session that runs our statements alone the settings that they rely on.

    Behind a pooler it does nothing but return False, and the statements have to be safe by themselves.
    """
    settled = connection.execute(query("own_session"), {"pid": connection.info.backend_pid}).rowcount > 0
    if not connection.autocommit:
        # A rollback would undo it.
        connection.commit()
    return settled


async def prepare_async_session(connection: psycopg.AsyncConnection[Any]) -> None:
    """See `prepare_session`."""
    autocommit = connection.autocommit
    await connection.set_autocommit(True)
    if not (await connection.execute(query("watch_client"), _watch(connection))).rowcount:
        connection.prepare_threshold = None
    await connection.set_autocommit(autocommit)
    if not _has_iso_dates(connection):
        await connection.execute(_ISO_DATES)
        await connection.commit()


def _watch(connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> dict[str, object]:
    return {"settings": json.dumps(OF_SERVER), "pid": connection.info.backend_pid}


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
    if state == "42704" and re.match(r'(no (task|queue) has the name|there is no worker) "', message):
        return InvalidJobError(f"{message}.{hint}", state)
    if state in _MISSING_OBJECTS and "tidemill" in message:
        return SchemaError(
            f"The database has no Tidemill schema, or an older one ({message}). Run `tidemill migrate` on it."
        )
    if state == "42501":
        return MissingRightsError(f"The database role lacks a right: {message}. {missing_grant(message)}")
    # Of our unlogged table a standby has no rows: the planner refuses it, with a state of many meanings.
    if state == "25006" or (state == "0A000" and error.diag.source_function == "get_relation_info"):
        return DatabaseUnavailableError(
            f"The database is read-only: {message}. It may be a standby (connect to the primary), or "
            "have default_transaction_read_only set, as hosts do when a disk is full."
        )
    if state in _REFUSED or (state is None and isinstance(error, psycopg.OperationalError)):
        return DatabaseUnavailableError(_unavailable(" ".join(str(error).split()).rstrip("."), state))
    return None


def _unavailable(words: str, state: str | None) -> str:
    """Says whether a server refused the connection or could not be reached, and what to do."""
    end = "" if words.endswith("?") else "."
    said = f"{words} {state}"
    remedy = next((remedy for pattern, remedy in _REMEDIES.items() if re.search(pattern, said)), None)
    # Servers of all languages say FATAL.
    if state is None and remedy is None and "FATAL:" not in words:
        return (
            f"Cannot reach the database: {words}{end} Check that the server "
            "runs and that --database or DATABASE_URL is right; leave both out to use the embedded one."
        )
    return (
        f"The database server {'ended' if state in _ENDED else 'refuses'} the connection: {words}{end} "
        f"{remedy or 'Check the user, the password and the database in --database or DATABASE_URL.'}"
    )
