"""Finds the database and opens connections to it."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tidemill.database import embedded
from tidemill.database.embedded import EmbeddedServer
from tidemill.errors import (
    DatabaseUnavailableError,
    InvalidJobError,
    MissingRightsError,
    SchemaError,
    TidemillError,
    UnsupportedServerError,
)

logger = logging.getLogger("tidemill")

OLDEST_SERVER = 150000
# Without these a connection whose peer vanished stays "open" for hours.
_DEFAULTS = {
    "connect_timeout": "10",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "20000",
}
_JOB_REFUSALS = {"GWBKM", "22003", "22023", "22P02", "22P05", "23502", "23514", "22007", "22008"}


@dataclass(frozen=True)
class Database:
    """Where Tidemill works: a conninfo, and the embedded server if that is what runs it."""

    conninfo: str
    server: EmbeddedServer | None = None

    def for_application(self, name: str) -> str:
        """The conninfo with an `application_name`, unless the user set one."""
        return make_conninfo(self.conninfo, **_missing(self.conninfo, {"application_name": name}))

    def close(self) -> None:
        """Lets go of the embedded server, which stops when its last user has."""
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
        try:
            return Database(make_conninfo(conninfo, **_missing(conninfo, _DEFAULTS)))
        except psycopg.ProgrammingError as error:
            origin = "--database" if database else "DATABASE_URL"
            raise DatabaseUnavailableError(
                f"{origin} is not a PostgreSQL connection string: {str(error).strip()}. "
                "Use postgresql://USER:PASSWORD@HOST:PORT/DBNAME or host=... dbname=..."
            ) from error
    folder = directory or Path(".tidemill")
    server = embedded.start(folder)
    print(
        f"Using the embedded PostgreSQL {server.version} in {folder}/ "
        "(set DATABASE_URL or --database to use your own).",
        file=sys.stderr,
    )
    return Database(server.conninfo(), server)


def connect(conninfo: str, *, autocommit: bool = True) -> psycopg.Connection:
    """Opens a connection; autocommit unless asked otherwise.

    Raises DatabaseUnavailableError, UnsupportedServerError.
    """
    with explained():
        connection = psycopg.connect(conninfo, autocommit=autocommit)
    check_server(connection)
    return connection


def check_server(connection: psycopg.Connection | psycopg.AsyncConnection) -> None:
    """Raises UnsupportedServerError if the server is too old."""
    version = connection.info.server_version
    if version < OLDEST_SERVER:
        raise UnsupportedServerError(
            f"The server is PostgreSQL {version // 10000}, and Tidemill needs 15 or newer. "
            "Upgrade the server, or let Tidemill run its own: leave out --database and DATABASE_URL."
        )


@contextmanager
def explained() -> Iterator[None]:
    """Turns errors of the driver that a user can do something about into Tidemill's."""
    try:
        yield
    except psycopg.Error as error:
        ours = explain(error)
        if ours is None:
            raise
        raise ours from error


def explain(error: psycopg.Error) -> TidemillError | None:
    """Tidemill's error for one of the driver's, or None where that has none."""
    state = error.sqlstate
    message = error.diag.message_primary or str(error).strip()
    hint = f" {error.diag.message_hint}" if error.diag.message_hint else ""
    if state in _JOB_REFUSALS:
        return InvalidJobError(f"{message}.{hint}", state)
    if state in ("3F000", "42P01", "42883", "42704") and "tidemill" in message:
        return SchemaError(
            f"The database has no Tidemill schema, or an older one ({message}). Run `tidemill migrate` on it."
        )
    if state == "42501":
        return MissingRightsError(
            f"The database role lacks a right: {message}. Connect as the role that ran "
            "`tidemill migrate`, or have it grant the right."
        )
    if isinstance(error, psycopg.OperationalError) and state in (None, "28P01", "28000", "3D000"):
        return DatabaseUnavailableError(
            f"Cannot reach the database: {' '.join(str(error).split())}. Check that the server runs "
            "and that --database or DATABASE_URL is right; leave both out to use the embedded one."
        )
    return None
