"""Claiming: how jobs come from the table into a worker's hand."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, LiteralString

import psycopg
from psycopg.types.numeric import Int8BinaryLoader

from tidemill.database.sql import query
from tidemill.database.times import moment
from tidemill.queue.claimed import ClaimedJob, chain_length
from tidemill.queue.marks import Marks, Ration

MOST_OF_ONE_QUEUE = 20
"""The most jobs of one named queue that are claimed at once."""


@dataclass(frozen=True)
class Look:
    """What one look asks both lanes to search for."""

    quick: Sequence[str]
    """Tasks whose jobs go by the express lane, if they have no key and spent no attempt yet."""
    forbidden_flags: Sequence[str]
    thorough: bool
    """Search everywhere, whatever it costs."""
    told: bool
    """Notifications named the places of the new jobs: this look searches only there."""


@dataclass(frozen=True)
class Search:
    """One lane's part in a look, and how many jobs to claim."""

    look: Look
    limit: int
    """The most jobs, approximately."""
    most_queues: int
    per_queue: int
    """The most jobs of one named queue."""


class Finder:
    """Finds jobs: from marks on, and in rotation among named queues.

    In the lane `express` it locks the jobs that it finds; in `lease` it leases them to the worker.
    """

    def __init__(self, lane: Literal["express", "lease"], worker_id: str, identifiers: Sequence[str]) -> None:
        verb = "lock" if lane == "express" else "claim"
        self._singles = query(f"{verb}_jobs")
        self._queued = query(f"{verb}_queued_jobs")
        self._worker_id = worker_id
        self._identifiers = list(identifiers)
        self._queues_first = False
        self._after_queue = 0
        self._queue_searches = Ration()
        self.marks = Marks()

    @property
    def next_search(self) -> float | None:
        """When a search that was asked for may be made; None if none was."""
        asked = (self.marks.full_searches.next, self._queue_searches.next)
        return min((at for at in asked if at is not None), default=None)

    def ask(self) -> None:
        """Asks for a search of everything: jobs may be anywhere."""
        self.marks.full_searches.ask()
        self._queue_searches.ask()

    def ask_queues(self) -> None:
        """Asks for a search of the named queues: one may have a job."""
        self._queue_searches.ask()

    def forget(self) -> None:
        """Forgets what was seen, and asks for a search of everything at once."""
        self.marks.forget()
        self._queue_searches.ask(at_once=True)

    def find(self, connection: psycopg.Connection, search: Search) -> tuple[list[ClaimedJob], bool]:
        """Finds jobs, those of one named queue as a chain; also returns whether there may be more.

        Named queues and other jobs take turns at being first.
        """
        self._queues_first = not self._queues_first
        found: list[ClaimedJob] = []
        more = False
        for queued in (self._queues_first, not self._queues_first):
            if queued and search.look.told:
                continue
            room = search.limit - sum(map(chain_length, found))
            if room <= 0:
                return found, True
            jobs, filled = (self._find_queued if queued else self._find_singles)(connection, search, room)
            found += jobs
            more = more or filled
        return found, more

    def _find_singles(
        self, connection: psycopg.Connection, search: Search, room: int
    ) -> tuple[list[ClaimedJob], bool]:
        places = self.marks.places(thorough=search.look.thorough, told=search.look.told)
        started = time.perf_counter()
        priorities, run_ats, ids = places or (None, None, None)
        rows = self._rows(
            connection, self._singles, search, most=room, priorities=priorities, run_ats=run_ats, ids=ids
        )
        # The last row is no job: its run_at is the time up to which the scan went.
        *rows, last = rows
        jobs = [ClaimedJob(*row) for row in rows]
        filled = len(jobs) >= room
        self.marks.scanned(
            jobs,
            full=places is None,
            filled=filled,
            until=moment(last[4]),
            seconds=time.perf_counter() - started,
        )
        return jobs, filled

    def _find_queued(
        self, connection: psycopg.Connection, search: Search, room: int
    ) -> tuple[list[ClaimedJob], bool]:
        if not search.look.thorough and not self._queue_searches.allows:
            return [], False
        started = time.perf_counter()
        most = min(room, search.most_queues)
        heads: dict[int, ClaimedJob] = {}
        tails: dict[int, ClaimedJob] = {}
        # If no queue is found behind the last one, the rotation starts again at 0 (in a dict, 0 comes once).
        for after in {self._after_queue: None, 0: None}:
            for row in self._rows(
                connection, self._queued, search, most=most, after=after, per_queue=search.per_queue
            ):
                job, queue = ClaimedJob(*row), row[11]
                if queue in tails:
                    tails[queue].next = job
                else:
                    heads[queue] = job
                tails[queue] = job
            if heads:
                break
        self._after_queue = max(heads, default=0)
        filled = len(heads) >= most
        if not filled:
            self._queue_searches.spend(time.perf_counter() - started)
            if heads:
                # Queues up to the start of this rotation were not searched.
                self._queue_searches.ask()
        return list(heads.values()), filled

    def _rows(
        self, connection: psycopg.Connection, statement: LiteralString, search: Search, **params: object
    ) -> list[tuple[Any, ...]]:
        with connection.cursor(binary=True) as cursor:
            # Reading times as PostgreSQL's integers is many times cheaper.
            cursor.adapters.register_loader("timestamptz", Int8BinaryLoader)
            params |= {
                "worker_id": self._worker_id,
                "identifiers": self._identifiers,
                "quick": list(search.look.quick),
                "forbidden": list(search.look.forbidden_flags) or None,
            }
            return cursor.execute(statement, params).fetchall()
