"""The crontab's clock: adds the jobs of crontab items, once for each minute among all workers."""

from __future__ import annotations

import json
import logging
import random
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import psycopg

from tidemill.actions.crontab import CrontabItem
from tidemill.complaints import Complaints
from tidemill.database.patient import KeptConnection
from tidemill.database.sql import query, with_nulls
from tidemill.database.words import in_short

logger = logging.getLogger("tidemill")

MINUTE = timedelta(minutes=1)
# A long backfill is done in steps, each within both of these.
_MOST_AT_ONCE, _LONGEST_LOOK = 500, timedelta(days=7)
# Timers sometimes end a little early.
_MARGIN = 0.001
_FIRST_BACKOFF, _LONGEST_BACKOFF = 0.2, 60.0
# Look at the clock this often: it may have been set.
_LONGEST_WAIT = 60.0


class Known(NamedTuple):
    """What the database knows about an identifier."""

    known_since: datetime
    last_execution: datetime | None


@dataclass(frozen=True)
class Due:
    """An item and a minute for which its job is to be added."""

    item: CrontabItem
    minute: datetime
    backfilled: bool

    def payload(self) -> str:
        """The job's payload as JSON."""
        minute = f"{self.minute:%Y-%m-%dT%H:%M}:00.000Z"
        return json.dumps({**self.item.payload, "_cron": {"ts": minute, "backfilled": self.backfilled}})


class CrontabPlan:
    """Which minutes of which items come next. Uses no clock and no database.

    start  when the worker began: minutes before it count as missed
    known  by identifier; one that is missing is new, and has missed no minute

    All times are in UTC, where no hour is skipped or repeated.

    Each minute is looked at once, in order. So a clock that steps back repeats no minute,
    and a clock that is late or leaps ahead skips none.
    """

    def __init__(self, items: Sequence[CrontabItem], start: datetime, known: Mapping[str, Known]) -> None:
        self._items = items
        self._start = start
        self._known = known
        self.next = min([_ceil(start), *(_ceil(since) for item in items if (since := self._since(item)))])
        """The minute to look at next."""

    def due(self, now: datetime, most: int = _MOST_AT_ONCE) -> tuple[list[Due], datetime]:
        """The jobs to add by now, oldest first, and the minute after them, for `advance`.

        Stops after the minute in which it has found `most` jobs, or after a week.
        """
        found: list[Due] = []
        minute = self.next
        last = min(now, minute + _LONGEST_LOOK)
        while minute <= last and len(found) < most:
            missed = minute < self._start
            found += [
                Due(item, minute, missed)
                for item in self._items
                if item.matches(minute) and (not missed or self._is_filled(item, minute))
            ]
            minute += MINUTE
        return found, minute

    def advance(self, minute: datetime) -> None:
        """Continues at this minute: those before it are done."""
        self.next = minute

    def _since(self, item: CrontabItem) -> datetime | None:
        """The time from which an item is backfilled; None if it is not."""
        known = self._known.get(item.identifier)
        if known is None or not item.backfill:
            return None
        earliest = known.last_execution or known.known_since
        return self._start - item.backfill if self._start - earliest > item.backfill else earliest

    def _is_filled(self, item: CrontabItem, minute: datetime) -> bool:
        since = self._since(item)
        known = self._known.get(item.identifier)
        return since is not None and since <= minute and known is not None and minute != known.last_execution


def _ceil(time: datetime) -> datetime:
    floor = time.replace(second=0, microsecond=0)
    return floor if floor == time else floor + MINUTE


def database_time(connection: psycopg.Connection) -> datetime:
    """The time of the database's clock, which all its workers share."""
    [(now,)] = connection.execute("select pg_catalog.clock_timestamp()").fetchall()
    assert isinstance(now, datetime)
    return now.astimezone(UTC)


class CrontabClock:
    """Ticks each minute, in a thread of its own, over a connection of its own.

    items    as `read_crontab` returns them
    connect  opens the connection, in autocommit mode
    tasks    names of the tasks that this worker runs; a warning names other tasks
    time     reads the clock: by default the database's, so that all workers use the same
    longest_wait
             the most seconds between two looks at that clock

    After an error it connects again, and continues with the minute that it had reached.
    """

    def __init__(
        self,
        items: Sequence[CrontabItem],
        *,
        connect: Callable[[], psycopg.Connection],
        tasks: Collection[str],
        time: Callable[[psycopg.Connection], datetime] = database_time,
        longest_wait: float = _LONGEST_WAIT,
    ) -> None:
        self._items = items
        self._connection = KeptConnection(connect)
        self._tasks = tasks
        self._time = time
        self._longest_wait = longest_wait
        self._plan: CrontabPlan | None = None
        self._failures = 0
        self._complaints = Complaints(logger)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tidemill-crontab", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        logger.info("the crontab has %s item(s): %s", len(self._items), ", ".join(self._identifiers()))
        foreign = sorted({item.task for item in self._items} - set(self._tasks))
        if foreign:
            logger.warning(
                "the crontab adds jobs of tasks that this worker does not know: %s", ", ".join(foreign)
            )
        self._thread.start()

    def stop(self, patience: float) -> None:
        """Ends the thread; waits for it up to `patience` seconds."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(patience)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                wait = self._tick(self._connection.open())
                self._failures = 0
            except Exception as error:
                # Catch everything: without this thread no job would be added again.
                wait = self._failed(error)
            self._stop.wait(wait)
        self._connection.close()

    def _tick(self, connection: psycopg.Connection) -> float:
        """Adds the jobs that are due; returns in how many seconds to look again."""
        now = self._time(connection)
        if self._plan is None:
            self._plan = self._begin(connection, now)
        elif now - self._plan.next > MINUTE:
            logger.warning("the crontab is late: the minutes since %s are caught up", self._plan.next)
        while self._plan.next <= now and not self._stop.is_set():
            due, following = self._plan.due(now)
            if due:
                self._add(connection, due)
            self._plan.advance(following)
        left = max(0.0, (self._plan.next - now).total_seconds())
        return min(self._longest_wait, left + _MARGIN)

    def _begin(self, connection: psycopg.Connection, now: datetime) -> CrontabPlan:
        rows = connection.execute(
            "select identifier, known_since, last_execution"
            " from tidemill._register_crontab(%s::pg_catalog.text[], %s)",
            [self._identifiers(), now],
        ).fetchall()
        known = {
            identifier: Known(since.astimezone(UTC), last and last.astimezone(UTC))
            for identifier, since, last in rows
        }
        return CrontabPlan(self._items, now, known)

    def _add(self, connection: psycopg.Connection, due: Sequence[Due]) -> None:
        rows = connection.execute(query("run_crontab"), _parameters(due)).fetchall()
        for identifier, minute, job_id in rows:
            logger.info("crontab: %s of %s is job %s", identifier, minute, job_id)

    def _identifiers(self) -> list[str]:
        return [item.identifier for item in self._items]

    def _failed(self, error: Exception) -> float:
        self._connection.close()
        wait = min(_LONGEST_BACKOFF, _FIRST_BACKOFF * 1.5 ** min(self._failures, 100))
        wait *= random.uniform(0.5, 1.0)
        self._failures += 1
        self._complaints.warn("database", "the crontab has to wait %.1f s: %s", wait, in_short(error))
        return wait


def _parameters(due: Sequence[Due]) -> dict[str, list[Any] | None]:
    return {
        "identifiers": [one.item.identifier for one in due],
        "minutes": [one.minute for one in due],
        "tasks": [one.item.task for one in due],
        "payloads": [one.payload() for one in due],
        "queue_names": with_nulls([one.item.queue_name for one in due]),
        "max_attempts": with_nulls([one.item.max_attempts for one in due]),
        "job_keys": with_nulls([one.item.job_key for one in due]),
        "job_key_modes": with_nulls([one.item.job_key_mode for one in due]),
        "priorities": with_nulls([one.item.priority for one in due]),
    }
