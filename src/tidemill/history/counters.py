"""Counters: what a worker's tasks did, by minute, on its way to the database."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import dataclass

import psycopg

from tidemill.database.words import in_short
from tidemill.tallies import Tallies, Tally
from tidemill.texts import shown

logger = logging.getLogger("tidemill")

# While the database is away, what was counted within a minute is kept together, and that of an hour at most.
_APART_SECONDS = 60.0
_MOST_KEPT = 60
# How often old minutes are added up to hours: any worker may do it.
_TIDY_SECONDS = 3600.0


@dataclass(slots=True)
class _Count:
    """What one task did in some time, or since the worker began."""

    done: int
    failed: int
    retried: int
    cancelled: int
    run_seconds: float
    wait_seconds: float
    runs: list[int]
    waits: list[int]
    longest: float = 0.0

    @classmethod
    def of(cls, tally: Tally) -> _Count:
        """All that a tally has."""
        return cls(
            tally.done,
            tally.failed,
            tally.retried,
            tally.cancelled,
            tally.run_seconds,
            tally.wait_seconds,
            tally.runs.copy(),
            tally.waits.copy(),
        )

    def plus(self, other: _Count, sign: int = 1) -> _Count:
        """The sum of both, or what this one has more."""
        return _Count(
            self.done + sign * other.done,
            self.failed + sign * other.failed,
            self.retried + sign * other.retried,
            self.cancelled + sign * other.cancelled,
            self.run_seconds + sign * other.run_seconds,
            self.wait_seconds + sign * other.wait_seconds,
            [a + sign * b for a, b in zip(self.runs, other.runs, strict=True)],
            [a + sign * b for a, b in zip(self.waits, other.waits, strict=True)],
            max(self.longest, other.longest),
        )

    @property
    def has_any(self) -> bool:
        return bool(self.done or self.failed or self.cancelled or any(self.runs))

    def row(self, identifier: str, age: float) -> dict[str, object]:
        return {
            "age": age,
            "identifier": identifier,
            "done": self.done,
            "failed": self.failed,
            "retried": self.retried,
            "cancelled": self.cancelled,
            "run_seconds": self.run_seconds,
            "longest": self.longest,
            "wait_seconds": self.wait_seconds,
            "runs": _shortened(self.runs),
            "waits": _shortened(self.waits),
        }


class Counters:
    """Takes from the tallies what is new, and writes it. Belongs to one thread.

    What the database has not taken is kept, and written the next time. Where nobody knows whether it was
    taken, since the answer was lost, it is given up: counts are never written twice.
    """

    def __init__(self, tallies: Tallies) -> None:
        self._tallies = tallies
        self._taken: dict[str, _Count] = {}
        self._kept: list[tuple[float, dict[str, _Count]]] = []
        self._tidy_at = 0.0

    def take(self) -> None:
        """Takes what is new: it counts for the present minute, whenever it is written."""
        now = time.monotonic()
        new: dict[str, _Count] = {}
        for tally in self._tallies.all():
            count = _Count.of(tally)
            before = self._taken.get(tally.identifier)
            more = count if before is None else count.plus(before, -1)
            if more.has_any:
                self._taken[tally.identifier] = count
                more.longest = tally.take_longest()
                new[tally.identifier] = more
        if not new:
            return
        if self._kept and (now < self._kept[-1][0] + _APART_SECONDS or len(self._kept) >= _MOST_KEPT):
            kept = self._kept[-1][1]
            for identifier, count in new.items():
                kept[identifier] = kept[identifier].plus(count) if identifier in kept else count
        else:
            self._kept.append((now, new))

    def write(self, connection: psycopg.Connection) -> None:
        """Writes what is new, and what was kept. Raises psycopg.Error."""
        self.take()
        if self._kept:
            self._write_kept(connection)
        if time.monotonic() >= self._tidy_at:
            self._tidy_at = time.monotonic() + _TIDY_SECONDS
            [(has_more, *_)] = connection.execute(
                "select tidemill._roll_up_counts(), tidemill._note_seen_tasks(), tidemill._forget_progress()"
            ).fetchall()
            if has_more:
                self._tidy_at = 0.0

    def _write_kept(self, connection: psycopg.Connection) -> None:
        now = time.monotonic()
        rows = [
            count.row(identifier, now - at)
            for at, counts in self._kept
            for identifier, count in counts.items()
        ]
        kept, self._kept = self._kept, []
        try:
            _send(connection, rows)
        except psycopg.DataError:
            self._write_each(connection, kept)
        except psycopg.Error as error:
            if error.sqlstate is not None:
                # The server has refused it, so it has added nothing.
                self._kept = kept
            raise

    def _write_each(
        self, connection: psycopg.Connection, kept: list[tuple[float, dict[str, _Count]]]
    ) -> None:
        """One by one: what the server refuses for what it is, it would refuse for good, with all else."""
        now = time.monotonic()
        self._kept = kept
        for at, counts in kept:
            for identifier in list(counts):
                count = counts.pop(identifier)
                try:
                    _send(connection, [count.row(identifier, now - at)])
                except psycopg.DataError as error:
                    logger.warning("what task %s did is not counted: %s", shown(identifier), in_short(error))
                except psycopg.Error as error:
                    if error.sqlstate is not None:
                        counts[identifier] = count
                    raise
        self._kept = []


def _send(connection: psycopg.Connection, rows: list[dict[str, object]]) -> None:
    connection.execute("select tidemill._count_attempts(%s::pg_catalog.json)", [json.dumps(rows)])


def _shortened(counts: list[int]) -> list[int]:
    """Without the zeros at the end."""
    buckets = counts.copy()
    while buckets and not buckets[-1]:
        buckets.pop()
    return buckets
