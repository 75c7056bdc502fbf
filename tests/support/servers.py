"""Real PostgreSQL servers for the tests: the embedded ones, and a system's where there is one."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import LiteralString

import psycopg
from psycopg import sql

from tidemill.database import embedded, server_binaries
from tidemill.database.embedded import EmbeddedServer
from tidemill.database.migrate import migrate

OWNER = "tidemill_owner"
TEMPLATE = "tidemill_template"
EMPTY = "tidemill_empty"
# Fast and unsafe: what a test loses in a crash of the machine does not matter.
_SETTINGS = {
    "timezone": "UTC",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    # Thousands of decoys are laid in one transaction.
    "max_locks_per_transaction": "128",
    "shared_buffers": "64MB",
    "max_wal_size": "1GB",
}
# A database is three hundred files: in memory a copy of them takes 15 ms, on a disk some hundred.
_MEMORY = Path("/dev/shm")
_ROOM = 8 << 30


@cache
def available() -> dict[int, Path]:
    """Directories of binaries by major version, 15 to 18."""
    found = {version: server_binaries.binaries(version) for version in (18, 17, 16, 15)}
    return {version: place for version, place in found.items() if place is not None}


@contextmanager
def reachable_directory(name: str) -> Iterator[Path]:
    """A directory that the server's account can reach; pytest's own is private to us."""
    has_room = os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _ROOM
    with TemporaryDirectory(
        prefix=f"tidemill-{name}-", dir=_MEMORY if has_room else None, ignore_cleanup_errors=True
    ) as place:
        Path(place).chmod(0o711)
        yield Path(place)


@dataclass
class Server:
    """A running server with databases ready to be cloned."""

    embedded: EmbeddedServer
    _numbers: itertools.count[int] = field(default_factory=itertools.count)
    _dropper: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))
    _drops: list[Future[None]] = field(default_factory=list)

    @classmethod
    def start(cls, version: int, bin_dir: Path, directory: Path) -> Server:
        """Starts a server and lays its template databases."""
        server = cls(embedded.start(directory, version=version, bin_dir=bin_dir, settings=_SETTINGS))
        try:
            with server.superuser() as connection:
                connection.execute(f"create role {OWNER} login".encode())
            server._make_template(EMPTY)
            server._make_template(TEMPLATE)
            migrate(server.conninfo(TEMPLATE))
        except BaseException:
            server.embedded.release()
            raise
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

    def release(self) -> None:
        """Ends the server, once all databases are dropped."""
        self._wait_for_drops()
        self._dropper.shutdown()
        self.embedded.release()

    def stop(self, mode: str = "immediate") -> None:
        self._forget_cloner()
        assert self.embedded.pg_ctl("stop", "-m", mode, "-w") == 0

    def start_again(self) -> None:
        """Starts it where it was, after `stop`."""
        # pg_ctl alone would not know the options that it was started with.
        stopped = self.embedded
        self.embedded = embedded.start(
            stopped.directory, version=stopped.version, bin_dir=stopped.bin_dir, settings=_SETTINGS
        )
        stopped.release()

    def restart(self, mode: str = "immediate") -> None:
        self._forget_cloner()
        # pg_ctl restart keeps the options that the server was started with.
        assert self.embedded.pg_ctl("restart", "-m", mode, "-w") == 0

    def program(self, name: str, *arguments: str | Path, stdin: str | None = None) -> str:
        """Runs one of the server's own client programs; returns what it prints."""
        ended = subprocess.run(
            [self.bin_dir / name, *arguments], input=stdin, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    @cached_property
    def _cloner(self) -> psycopg.Connection:
        """Kept for `clone` and `drop`: connecting takes as long as dropping a database does."""
        return self.superuser()

    def _forget_cloner(self) -> None:
        vars(self).pop("_cloner", None)

    def clone(self, template: str) -> str:
        """Makes a database from a template; returns its name."""
        name = f"test_{os.getpid()}_{next(self._numbers)}"
        # The other strategy writes each page to the WAL as well, which takes twice as long.
        self._cloner.execute(
            sql.SQL("create database {} template {} owner {} strategy file_copy").format(
                sql.Identifier(name), sql.Identifier(template), sql.Identifier(OWNER)
            )
        )
        self._settle_search_path(self._cloner, name)
        return name

    def drop_soon(self, name: str) -> None:
        """Drops a database while the next test runs: it takes longer than most of them."""
        self._drops = [one for one in self._drops if not one.done()]
        self._drops.append(self._dropper.submit(self._drop, name))

    def _drop(self, name: str) -> None:
        with self.superuser() as connection:
            connection.execute(
                sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name))
            )

    def _wait_for_drops(self) -> None:
        for one in self._drops:
            one.result()

    def drop(self, name: str) -> None:
        self._cloner.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))

    @contextmanager
    def role(self, attributes: LiteralString = "login") -> Iterator[str]:
        """A new role, which owns nothing and may do nothing; gone at the end with all that it owns."""
        name = f"role_{os.getpid()}_{next(self._numbers)}"
        with self.superuser() as connection:
            connection.execute(sql.SQL("create role {} " + attributes).format(sql.Identifier(name)))
            yield name
            self._wait_for_drops()
            databases = connection.execute("select datname from pg_database where datallowconn").fetchall()
            for (database,) in databases:
                with self.superuser(database) as inside:
                    inside.execute(sql.SQL("drop owned by {} cascade").format(sql.Identifier(name)))
            connection.execute(sql.SQL("drop role {}").format(sql.Identifier(name)))

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
