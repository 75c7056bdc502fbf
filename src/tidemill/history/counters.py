"""Counters: what a worker's tasks did, by minute, on its way to the database."""

from __future__ import annotations

import json
import logging
import time

import psycopg

from tidemill.database.words import in_short
from tidemill.tallies import Counts, Tallies, plus
from tidemill.texts import shown

logger = logging.getLogger("tidemill")

# While the database is away, what was counted within a minute is kept together, and that of an hour at most.
_APART_SECONDS = 60.0
_MOST_KEPT = 60
# How often old minutes are added up to hours: any worker may do it.
_TIDY_SECONDS = 3600.0


class Counters:
    """Takes from the tallies what is new, and writes it. Belongs to one thread.

    What the database has not taken is kept, and written the next time. Where nobody knows whether it was
    taken, since the answer was lost, it is given up: counts are never written twice.
    """

    def __init__(self, tallies: Tallies) -> None:
        self._tallies = tallies
        self._taken: dict[str, Counts] = {}
        self._kept: list[tuple[float, dict[str, Counts]]] = []
        self._tidy_at = 0.0

    def take(self) -> None:
        """Takes what is new: it counts for the present minute, whenever it is written."""
        now = time.monotonic()
        new: dict[str, Counts] = {}
        for tally in self._tallies.all():
            counts = tally.counts()
            before = self._taken.get(tally.identifier)
            more = counts if before is None else plus(counts, before, -1)
            if more["done"] or more["failed"] or more["cancelled"] or any(more["runs"]):
                self._taken[tally.identifier] = counts
                new[tally.identifier] = more | {"longest": tally.take_longest()}
        if not new:
            return
        if self._kept and (now < self._kept[-1][0] + _APART_SECONDS or len(self._kept) >= _MOST_KEPT):
            kept = self._kept[-1][1]
            for identifier, counts in new.items():
                if identifier in kept:
                    longest = max(kept[identifier]["longest"], counts["longest"])
                    counts = plus(kept[identifier], counts) | {"longest": longest}
                kept[identifier] = counts
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
            _row(identifier, counts, now - at)
            for at, of_tasks in self._kept
            for identifier, counts in of_tasks.items()
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
        self, connection: psycopg.Connection, kept: list[tuple[float, dict[str, Counts]]]
    ) -> None:
        """One by one: what the server refuses for what it is, it would refuse for good, with all else."""
        now = time.monotonic()
        self._kept = kept
        for at, of_tasks in kept:
            for identifier in list(of_tasks):
                counts = of_tasks.pop(identifier)
                try:
                    _send(connection, [_row(identifier, counts, now - at)])
                except psycopg.DataError as error:
                    logger.warning("what task %s did is not counted: %s", shown(identifier), in_short(error))
                except psycopg.Error as error:
                    if error.sqlstate is not None:
                        of_tasks[identifier] = counts
                    raise
        self._kept = []


def _row(identifier: str, counts: Counts, age: float) -> dict[str, object]:
    return {
        **counts,
        "identifier": identifier,
        "age": age,
        "runs": _shortened(counts["runs"]),
        "waits": _shortened(counts["waits"]),
    }


def _send(connection: psycopg.Connection, rows: list[dict[str, object]]) -> None:
    connection.execute("select tidemill._count_attempts(%s::pg_catalog.json)", [json.dumps(rows)])


def _shortened(counts: list[int]) -> list[int]:
    """Without the zeros at the end."""
    buckets = counts.copy()
    while buckets and not buckets[-1]:
        buckets.pop()
    return buckets
