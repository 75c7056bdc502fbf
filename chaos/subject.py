"""Tidemill in one lane, as a subject of the scenarios; the peers have the same face."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import psycopg

from tidemill.database.migrate import migrate

_HERE = Path(__file__).parent


class Subject(Protocol):
    """A job system under test."""

    @property
    def name(self) -> str:
        """What its line is called."""

    @property
    def add(self) -> str:
        """A statement that adds a job of `chaos.load`."""

    @property
    def left(self) -> str:
        """A query for the jobs that are not done: number, and whether they have failed for good."""

    def prepare(self, conninfo: str) -> None: ...

    def worker(self, conninfo: str, concurrency: int) -> list[str]: ...

    def environment(self, conninfo: str, journal: Path) -> dict[str, str]: ...


class Lane:
    """Tidemill with workers in one lane."""

    add = (
        "select id from tidemill.add_job(%(task)s, %(payload)s::json, queue_name => %(queue)s, "
        "max_attempts => %(attempts)s, job_key => %(key)s)"
    )
    left = (
        "select (payload ->> 'number')::bigint, state in ('failed', 'cancelled') from tidemill.jobs"
        " where payload ->> 'number' is not null"
    )

    def __init__(self, lane: str, options: Sequence[str] = ()) -> None:
        self.name, self._options = lane, options

    def prepare(self, conninfo: str) -> None:
        """Migrates, and lays what the harness looks at."""
        migrate(conninfo)
        with psycopg.connect(conninfo, autocommit=True) as connection:
            connection.execute((_HERE / "schema.sql").read_bytes())

    def worker(self, conninfo: str, concurrency: int) -> list[str]:
        """A worker, as users start it."""
        return [
            str(Path(sys.executable).with_name("tidemill")),
            *("worker", "--app", "chaos.tasks:app", "--database", conninfo, "--lane", self.name),
            *("--concurrency", str(concurrency), "--log-format", "json", *self._options),
        ]

    def environment(self, conninfo: str, journal: Path) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(_HERE.parent), "CHAOS_JOURNAL": str(journal)}
