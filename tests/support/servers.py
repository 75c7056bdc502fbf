"""Real PostgreSQL servers for the tests: the embedded ones, and a system's where there is one."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from psycopg import sql

from tidemill.database import embedded
from tidemill.database.embedded import EmbeddedServer
from tidemill.database.migrate import migrate

OWNER = "tidemill_owner"
TEMPLATE = "tidemill_template"
EMPTY = "tidemill_empty"
# Fast and unsafe: what a test loses in a crash of the machine does not matter.
_SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "max_wal_size": "4GB",
}


def available() -> dict[int, Path]:
    """Directories of binaries by major version, 15 to 18."""
    found: dict[int, Path] = {}
    for version in (18, 16):
        if (directory := embedded.binaries(version)) is not None:
            found[version] = directory
    places = [*Path("/usr/lib/postgresql").glob("*/bin")]
    places += [Path(entry) for entry in os.environ.get("PATH", "").split(os.pathsep) if entry]
    for place in places:
        # A link may point at a wrapper; initdb must be beside the server.
        if not (place / "initdb").exists() or not (place / "postgres").exists():
            continue
        told = subprocess.run([place / "postgres", "--version"], capture_output=True, text=True, check=False)
        match = re.search(r"(\d+)\.\d+", told.stdout)
        if match and 15 <= int(match[1]) <= 18:
            found.setdefault(int(match[1]), place.resolve())
    return found


@dataclass
class Server:
    """A running server with databases ready to be cloned."""

    embedded: EmbeddedServer
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    @classmethod
    def start(cls, version: int, bin_dir: Path, directory: Path) -> Server:
        """Starts a server and lays its template databases."""
        server = cls(embedded.start(directory, version=version, bin_dir=bin_dir, settings=_SETTINGS))
        with server.superuser() as connection:
            connection.execute(f"create role {OWNER} login".encode())
        server._make_template(EMPTY)
        server._make_template(TEMPLATE)
        migrate(server.conninfo(TEMPLATE))
        return server

    @property
    def version(self) -> int:
        return self.embedded.version

    @property
    def bin_dir(self) -> Path:
        return self.embedded.bin_dir

    def conninfo(self, dbname: str, user: str = OWNER) -> str:
        return self.embedded.conninfo(dbname, user)

    def superuser(self, dbname: str = "postgres") -> psycopg.Connection:
        return psycopg.connect(self.conninfo(dbname, "postgres"), autocommit=True)

    def stop(self, mode: str = "immediate") -> None:
        assert self.embedded.pg_ctl("stop", "-m", mode, "-w") == 0

    def restart(self, mode: str = "immediate") -> None:
        # pg_ctl restart keeps the options that the server was started with.
        assert self.embedded.pg_ctl("restart", "-m", mode, "-w") == 0

    def clone(self, template: str) -> str:
        """Makes a database from a template; returns its name."""
        name = f"test_{os.getpid()}_{next(self._numbers)}"
        with self.superuser() as connection:
            connection.execute(
                sql.SQL("create database {} template {} owner {}").format(
                    sql.Identifier(name), sql.Identifier(template), sql.Identifier(OWNER)
                )
            )
            self._settle_search_path(connection, name)
        return name

    def drop(self, name: str) -> None:
        with self.superuser() as connection:
            connection.execute(
                sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name))
            )

    def _make_template(self, name: str) -> None:
        """A database whose owner is an ordinary role that may not create in public."""
        with self.superuser() as connection:
            connection.execute(f"create database {name} owner {OWNER}".encode())
            self._settle_search_path(connection, name)
        with self.superuser(name) as connection:
            connection.execute("alter schema public owner to postgres")
            connection.execute("revoke all on schema public from public")
            connection.execute("grant usage on schema public to public")
            connection.execute(f"create schema app authorization {OWNER}".encode())

    @staticmethod
    def _settle_search_path(connection: psycopg.Connection, name: str) -> None:
        # Settings of a database are not cloned with it.
        connection.execute(
            sql.SQL("alter database {} set search_path = app, public").format(sql.Identifier(name))
        )
