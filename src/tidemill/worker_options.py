"""The options of a worker."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from tidemill.errors import MissingRightsError, TidemillError
from tidemill.keeps import Keep, read_keep

if TYPE_CHECKING:
    from tidemill.tasks import Task

logger = logging.getLogger("tidemill")

LaneChoice = Literal["auto", "lease", "express"]

# About 115 days. Far longer waits overflow the timeouts of threads.
_MOST = 10_000_000
EXECUTABLE_TIMEOUT = 4 * 3600.0
"""Seconds that an executable may take, as in Graphile Worker."""
SAME_SIGNAL_SECONDS = 1.0
"""A wrapper passes on the signal that the whole process group has had as well: so long it counts once."""
FLAG_LENGTH = 128
"""Characters of a flag; the database holds jobs to the same."""
MOST_FORBIDDEN_FLAGS = 1000
"""Each look compares them with the flags of the jobs that it finds."""


@dataclass(frozen=True)
class WorkerOptions:
    """The options of a worker. Times are in seconds."""

    concurrency: int = 10
    """Jobs that run at once."""
    once: bool = False
    """End as soon as no job is ready."""
    poll_interval: float = 1.0
    """Longest time between two looks; jobs are also found by notification."""
    listen: bool = True
    """False: find jobs only by polling, for connection poolers without LISTEN."""
    forbidden_flags: Sequence[str] | Callable[[], Sequence[str]] = ()
    """Jobs with one of these flags are not claimed. A callable is called before every claim."""
    grace_period: float = 25.0
    """How long running jobs may keep running after a stop, before they are given back."""
    lease: float = 30.0
    """A worker without a heartbeat for this long loses its jobs to others, and stops those that it runs."""
    heartbeat_interval: float = 5.0
    lane: LaneChoice = "auto"
    """How jobs are claimed. `auto`: new jobs without a key, of tasks that were seen to be quick,
    by row locks (the express lane); all others by a lease in their row. `lease`: all by lease.
    `express`: tasks that have not been seen yet count as quick, too."""
    migrate: bool = True
    """Bring the schema to this version first. False: end with an error if it does not fit."""
    action_concurrency: int = 4
    """Routines of actions that run at once; 0: this worker runs no actions at all."""
    log_jobs: bool = False
    """A log line for each job that ends well. Otherwise a task that does more than ten a second has one line
    a second, which counts them, and a line for each job that takes a second or longer."""
    max_connections: int | None = None
    """Most connections of this worker to the database: its own, those of actions, and the tasks'."""
    keep: Keep | None = None
    """How long tidemill.job_history has jobs whose task does not say it; default: not at all."""
    crontab: Path | str | None = None
    """A file with a crontab, or the text of one. It is not used with `once`."""
    metrics: str | None = None
    """Where figures for Prometheus are read: HOST:PORT, or a port of this machine alone."""

    def __post_init__(self) -> None:
        for name in ("concurrency", "action_concurrency"):
            self._expect(name, int, "a whole number")
        for name in ("poll_interval", "grace_period", "lease", "heartbeat_interval"):
            self._expect(name, (int, float), "a number of seconds")
        for name in ("once", "listen", "migrate", "log_jobs"):
            self._expect(name, bool, "True or False")
        for name in ("concurrency", "poll_interval", "lease", "heartbeat_interval"):
            # NaN is refused, too: it compares as neither.
            if not 0 < getattr(self, name) <= _MOST:
                raise TidemillError(
                    f"{name} is {getattr(self, name)}; it must be more than 0, at most {_MOST:,}."
                )
        if self.lane not in get_args(LaneChoice):
            choices = ", ".join(get_args(LaneChoice))
            raise TidemillError(f"lane is {self.lane!r}; it must be one of {choices}.")
        if self.max_connections is not None:
            self._expect("max_connections", int, "a whole number, or None for no limit")
        if self.max_connections is not None and not 0 < self.max_connections <= _MOST:
            raise TidemillError(f"max_connections is {self.max_connections}; it must be 1 to {_MOST:,}.")
        for name in ("grace_period", "action_concurrency"):
            if not 0 <= getattr(self, name) <= _MOST:
                raise TidemillError(f"{name} is {getattr(self, name)}; it must be 0 to {_MOST:,}.")
        if self.heartbeat_interval * 2 > self.lease:
            raise TidemillError(
                f"heartbeat_interval is {self.heartbeat_interval} s and lease {self.lease} s: a lease must "
                "last at least two heartbeats, or one late beat would lose every job."
            )
        if self.keep is not None:
            try:
                read_keep(self.keep)
            except ValueError as error:
                raise TidemillError(f"keep: {error}.") from error
        if self.crontab is not None:
            self._expect("crontab", (str, Path), "a Path, or the text of a crontab")
        if self.metrics is not None:
            self._expect("metrics", str, "a text such as '127.0.0.1:9090'")
            metrics_address(self.metrics)
        if not callable(self.forbidden_flags):
            checked_flags(self.forbidden_flags)

    def _expect(self, name: str, kinds: type | tuple[type, ...], what: str) -> None:
        value = getattr(self, name)
        # True is an int to Python, but no number of anything.
        if not isinstance(value, kinds) or (isinstance(value, bool) and kinds is not bool):
            raise TidemillError(f"{name} is {value!r}; it must be {what}.")


def metrics_address(text: str) -> tuple[str, int]:
    """The host and port of `metrics`. Raises TidemillError."""
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
    if not port.isascii() or not port.isdecimal() or int(port) > 65535 or (":" in text and not host):
        raise TidemillError(
            f"metrics is {text!r}; it must be HOST:PORT, such as 127.0.0.1:9090, or a port alone for this "
            "machine (0.0.0.0:9090 and [::]:9090 are all addresses that the machine has)."
        )
    return host or "127.0.0.1", int(port)


def checked_options(options: Any) -> WorkerOptions | None:
    """Options as they were given. Raises TidemillError for anything but WorkerOptions."""
    if options is None or isinstance(options, WorkerOptions):
        return options
    raise TidemillError(
        f"options is {options!r}; it must be WorkerOptions, such as WorkerOptions(concurrency=5)."
    )


def without_actions(options: WorkerOptions, tasks: Mapping[str, Task[Any]]) -> WorkerOptions:
    """The options of a worker whose role has the role `worker` alone: it runs jobs. Says what it leaves out.

    Raises MissingRightsError for a crontab.
    """
    who = "this worker's role does not have the rights of the schema's owner"
    if options.crontab is not None:
        raise MissingRightsError(
            f"A crontab cannot be run here: {who}. Give it to a worker that connects as the owner."
        )
    if options.action_concurrency:
        logger.info("%s: it runs jobs, and no actions", who)
    scheduled = sorted(identifier for identifier, task in tasks.items() if task.schedule is not None)
    if scheduled:
        logger.warning(
            "%s: schedules in the code of %s are left to a worker that connects as the owner",
            who,
            ", ".join(scheduled),
        )
    return replace(options, action_concurrency=0)


def checked_flags(flags: Any) -> Sequence[str]:
    """A worker's forbidden flags as they were given. Raises TidemillError unless they are a few texts."""
    if isinstance(flags, str) or not isinstance(flags, Collection):
        raise TidemillError(f"forbidden_flags is {flags!r}; it must be a list of texts, such as ['slow'].")
    for flag in flags:
        if not isinstance(flag, str):
            raise TidemillError(f"forbidden_flags has {flag!r}; each flag must be a text.")
        if len(flag) > FLAG_LENGTH:
            raise TidemillError(
                f"forbidden_flags has one of {len(flag):,} characters, at most {FLAG_LENGTH} are allowed: "
                f"{flag[:40]!r}..."
            )
    if len(flags) > MOST_FORBIDDEN_FLAGS:
        raise TidemillError(
            f"forbidden_flags has {len(flags):,} entries; at most {MOST_FORBIDDEN_FLAGS:,} are allowed."
        )
    return list(flags)
