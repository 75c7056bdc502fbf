"""Databases for measurements: each is new, and copied from one that was prepared once."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg

from bench.systems.base import System
from tidemill.database import embedded

SETTINGS = {"max_connections": "250"}
"""Some peers take a connection for each job: four workers of theirs need more than the default 100."""


class Databases:
    """The server of a run, and the databases in it."""

    def __init__(self, directory: Path) -> None:
        self._server = embedded.start(directory, settings=SETTINGS)
        self._prepared: set[str] = set()

    def __enter__(self) -> Databases:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.release()

    @property
    def pgbench(self) -> Path:
        return self._server.bin_dir / "pgbench"

    def maintenance(self) -> psycopg.Connection[Any]:
        """A connection to a database that is not measured."""
        return psycopg.connect(self._server.conninfo(), autocommit=True)

    @contextlib.contextmanager
    def of(
        self,
        system: System,
        label: str = "empty",
        fill: Callable[[str], object] | None = None,
        *,
        analyze: bool = True,
    ) -> Iterator[str]:
        """A database of this system, for one measurement; yields how to connect to it.

        `fill` runs once for each label, and its result is copied from then on. It is analyzed, as
        autovacuum would do after a minute: without statistics some systems' plans are slow.
        """
        template = self._template(system, label, fill, analyze)
        name = f"{template}_now"
        with self.maintenance() as connection:
            connection.execute(f"drop database if exists {name} with (force)".encode())
            connection.execute(f"create database {name} template {template} strategy file_copy".encode())
            # Otherwise one measurement would pay for the writes of another.
            connection.execute("checkpoint")
        try:
            yield self._server.conninfo(name)
        finally:
            with self.maintenance() as connection:
                connection.execute(f"drop database if exists {name} with (force)".encode())

    def forget_filled(self) -> None:
        """Drops the prepared databases except the empty ones; a million jobs fill much of a disk."""
        for name in [name for name in self._prepared if not name.endswith("_empty")]:
            self._prepared.discard(name)
            with self.maintenance() as connection:
                connection.execute(f"drop database if exists {name} with (force)".encode())

    def _template(
        self, system: System, label: str, fill: Callable[[str], object] | None, analyze: bool
    ) -> str:
        name = _name(system, label)
        if name in self._prepared:
            return name
        origin = "template0" if fill is None else self._template(system, "empty", None, False)
        with self.maintenance() as connection:
            connection.execute(f"create database {name} template {origin} strategy file_copy".encode())
        conninfo = self._server.conninfo(name)
        if fill is None:
            system.prepare(conninfo)
        else:
            fill(conninfo)
            if analyze:
                with psycopg.connect(conninfo, autocommit=True) as connection:
                    connection.execute("analyze")
        self._prepared.add(name)
        return name


def _name(system: System, label: str) -> str:
    return re.sub(r"\W", "_", f"bench_{system.name}_{label}").lower()
