"""What the harness has to know about a job system to measure it."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from copy import copy
from enum import Enum
from pathlib import Path
from typing import Self
from urllib.parse import quote

from psycopg.conninfo import conninfo_to_dict

HERE = Path(__file__).parents[1]
OUT = HERE / "out"
AS_IT_COMES, TUNED = "as it comes", "tuned"


class Unavailable(Exception):
    """A peer that cannot be measured here; the message says why."""


class Can(Enum):
    """What a system can do, beyond running jobs that were added from its own language."""

    ADD_IN_SQL = "adding a job in SQL"
    ADD_MANY_IN_SQL = "adding many jobs by one SQL call"
    TELL_START = "a task that tells when it starts"
    NAMED_QUEUES = "named queues"
    KEYS = "job keys that replace a waiting job"
    BACKLOG = "scheduled, failed and foreign jobs"
    NAP = "tasks that wait without blocking"
    SCHEDULE = "actions defined in SQL, on a schedule of any interval"


class System(ABC):
    """A job system, driven through its own worker and its own ways to add jobs.

    Its workers know three tasks: `noop`; `nap`, which sleeps for the 5 ms (or, in its payload,
    `seconds`) without blocking; and `started`, which prints `started <id> <Unix time>` with the
    payload's id, and naps if the payload has `seconds`.
    """

    name: str
    version: str = ""
    done: str = "its row is gone"
    """What counts as a finished job."""
    pending: str
    """SQL for the ids of the noop and nap jobs that are not finished, without an order."""
    finished: str = ""
    """SQL that counts finished jobs, for a system whose finished jobs cannot be found by id."""
    add_one: str = ""
    """SQL that adds one job; {task} and {payload} (JSON) go inside its quotes."""
    add_many: str = ""
    """SQL that adds {jobs} jobs of {task} in one call, with {queue}, {run_at}, {priority}; n numbers them."""
    has_sql_call: bool = True
    """Whether `add_many` is a way that the system offers, so that its speed tells something."""
    add_keyed: str = ""
    """SQL that adds a noop job with the SQL expression {key} as its key."""
    fail_all: str = ""
    """SQL that fails all jobs permanently."""
    can: frozenset[Can] = frozenset()
    """What it can do, as far as this harness knows how to ask for it."""
    most_jobs: int = 10_000_000
    """The most jobs to add: it could not finish more within a measurement's time."""
    few_jobs: int = most_jobs
    """The most jobs to add if it runs as it comes."""
    concurrency: int = 24
    tuned: bool = True
    """Whether its workers run with its best documented settings, or as it comes."""

    @abstractmethod
    def install(self) -> None:
        """Installs it from its registry. Raises Unavailable if that fails."""

    @abstractmethod
    def prepare(self, conninfo: str) -> None:
        """Creates its schema in an empty database."""

    def as_it_comes(self) -> Self:
        """The same system, whose workers run without a setting that need not be given."""
        plain = copy(self)
        plain.tuned = False
        plain.most_jobs = min(self.most_jobs, self.few_jobs)
        return plain

    def command(self, conninfo: str, concurrency: int | None = None) -> list[str]:
        """The command of a worker process; as it comes, a system chooses its concurrency itself."""
        if not self.tuned:
            return self.plain_worker(conninfo)
        return self.worker(conninfo, concurrency or self.concurrency)

    @abstractmethod
    def plain_worker(self, conninfo: str) -> list[str]:
        """The shortest command of a worker process: its own one if it has one, else that of its README."""

    @abstractmethod
    def worker(self, conninfo: str, concurrency: int) -> list[str]:
        """The command of a worker process with its best documented settings."""

    def variables(self) -> dict[str, str]:
        """The environment variables of its workers that are settings."""
        return {}

    def notes(self) -> str:
        """What its command reads beyond its own words; published beside it."""
        return ""

    def environment(self, conninfo: str) -> dict[str, str]:
        """The environment of its processes."""
        return {**environment(conninfo), **self.variables()}

    @abstractmethod
    def add_from_language(self, conninfo: str, jobs: int) -> float:
        """Adds noop jobs by its own bulk call, and returns the seconds that this took."""


def url(conninfo: str) -> str:
    """The connection as a URL that drivers of all languages understand."""
    parts = conninfo_to_dict(conninfo)
    host = quote(str(parts["host"]), safe="")
    return f"postgres://{parts['user']}@localhost:{parts['port']}/{parts['dbname']}?host={host}"


def environment(conninfo: str) -> dict[str, str]:
    """The environment of a process that uses this database."""
    parts = conninfo_to_dict(conninfo)
    # Measure with Python's default, which is to keep compiled modules.
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {
        **inherited,
        "DATABASE_URL": url(conninfo),
        "PGHOST": str(parts["host"]),
        "PGPORT": str(parts["port"]),
        "PGUSER": str(parts["user"]),
        "PGDATABASE": str(parts["dbname"]),
    }
