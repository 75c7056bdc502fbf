"""What the harness has to know about a peer to put it under faults."""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from pathlib import Path

import psycopg

from bench.systems.install import Peer as Installed

_FILES = Path(__file__).parent


class Peer(ABC):
    """A job system beside Tidemill, installed as `bench` installs it.

    Its workers know the tasks of `chaos.tasks`: `quick`, `plain`, `slow` and `flaky`. Each writes a row
    to `chaos.runs` in a transaction of its own, and lines to the file that $CHAOS_JOURNAL names.
    """

    settings: str
    """How it is run, in a line; published."""
    add: str
    """A statement that adds a job: %(task)s, %(payload)s (JSON with the number), %(queue)s, %(attempts)s
    and %(key)s; the last three may be null."""
    left: str
    """A query for the jobs that are not done: number, and whether they have failed for good."""

    def __init__(self, system: Installed) -> None:
        self._system = system

    @property
    def name(self) -> str:
        return self._system.name

    @property
    def version(self) -> str:
        """Its version; known after `install`."""
        return self._system.version

    @property
    def files(self) -> Path:
        """Where its tasks are: beside its packages."""
        return self._system.place / "chaos"

    def install(self) -> None:
        """Installs it from its registry. Raises `bench.systems.base.Unavailable` if that fails."""
        self._system.install()
        shutil.copytree(_FILES / self.name.replace("-", "_"), self.files, dirs_exist_ok=True)

    def prepare(self, conninfo: str) -> None:
        """Makes its schema, and the table of runs, in an empty database."""
        self._system.prepare(conninfo)
        with psycopg.connect(conninfo, autocommit=True) as connection:
            connection.execute("create schema chaos")
            connection.execute(
                "create table chaos.runs (number bigint not null, attempt integer not null,"
                " worker text not null, started timestamptz not null default clock_timestamp())"
            )

    @abstractmethod
    def worker(self, conninfo: str, concurrency: int) -> list[str]:
        """The command of a worker process."""

    def environment(self, conninfo: str, journal: Path) -> dict[str, str]:
        """The environment of its workers."""
        return {**self._system.environment(conninfo), "CHAOS_JOURNAL": str(journal)}
