"""Claiming: how jobs come from the table into a worker's hand."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import starmap
from typing import Any, Literal, LiteralString

import psycopg
from psycopg.types.numeric import Int8BinaryLoader

from tidemill.database.sql import query
from tidemill.queue.claimed import ClaimedJob, chain_length
from tidemill.queue.laps import Lap
from tidemill.queue.marks import Marks, Place, Ration
from tidemill.tallies import Tallies
from tidemill.times import moment

MOST_OF_ONE_QUEUE = 20
"""The most jobs of one named queue that are claimed at once."""
# How many queues (or jobs that lead to queues, or priorities) a search looks at in vain: some milliseconds.
_MOST_LOOKS = 500
# A queue that has a job may come after many for which this worker has no task.
_SHARE_OF_PAUSE = 0.3
_BEGINNING = moment(-(2**63))


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
    start_now: int = 0
    """How many leased jobs will start at once; the others are claimed ahead."""
    group_size: int = 1
    """How many of those that are claimed ahead will start together."""


class Finder:
    """Finds jobs: from marks on, and in rotation among named queues.

    In the lane `express` it locks the jobs that it finds; in `lease` it leases them to the worker.
    """

    def __init__(self, lane: Literal["express", "lease"], worker_id: str, identifiers: Sequence[str]) -> None:
        verb = "lock" if lane == "express" else "claim"
        self._singles = query(f"{verb}_jobs")
        self._queued = query(f"{verb}_queued_jobs")
        self._lane = lane
        self._worker_id = worker_id
        self.identifiers: Sequence[str] = list(identifiers)
        """The tasks whose jobs it finds. Any thread may set it."""
        self._queues_first = False
        # Named queues are walked in two ways: from queue to queue, and from job to job that became due later.
        self._queues = Lap(0)
        self._times: Lap[Place] = Lap((_BEGINNING, 0))
        self._times_first = False
        self._queue_searches = Ration(_SHARE_OF_PAUSE)
        self.marks = Marks()
        self.tallies: Tallies | None = None
        """Told what the database's clock says."""
        self._began: float | None = None

    @property
    def next_search(self) -> float | None:
        """When a search that was asked for may be made; None if none was."""
        asked = (self.marks.full_searches.next, self._queue_searches.next)
        return min((at for at in asked if at is not None), default=None)

    def ask(self) -> None:
        """Asks for a search of everything: jobs may be anywhere."""
        self.marks.ask()
        self.ask_queues()

    def ask_queues(self) -> None:
        """Asks for a search of the named queues: one may have a job."""
        self._queues.ask()
        self._times.ask()
        self._queue_searches.ask()

    def forget(self) -> None:
        """Forgets what was seen, and asks for a search of everything at once."""
        self.marks.forget()
        self.ask_queues()
        self._queue_searches.ask(at_once=True)

    def find(
        self, connection: psycopg.Connection, search: Search, *, began: float | None = None
    ) -> tuple[list[ClaimedJob], bool]:
        """Finds jobs, those of one named queue as a chain; also returns whether there may be more.

        Named queues and other jobs take turns at being first. `began` says when the transaction began, by
        `time.perf_counter`; None: with each search.
        """
        self._began = began
        self._queues_first = not self._queues_first
        found: list[ClaimedJob] = []
        more = False
        for queued in (self._queues_first, not self._queues_first):
            if queued and search.look.told:
                continue
            taken = sum(map(chain_length, found))
            room = search.limit - taken
            if room <= 0:
                return found, True
            rest = replace(search, start_now=max(0, search.start_now - taken)) if taken else search
            jobs, filled = (self._find_queued if queued else self._find_singles)(connection, rest, room)
            found += jobs
            more = more or filled
        return found, more

    def _find_singles(
        self, connection: psycopg.Connection, search: Search, room: int
    ) -> tuple[list[ClaimedJob], bool]:
        thorough = search.look.thorough
        places = self.marks.places(thorough=thorough, told=search.look.told)
        after = self.marks.levels.place if places is None and not thorough else None
        started = time.perf_counter()
        priorities, run_ats, ids = (None, None, None) if thorough else places or self.marks.known
        rows = self._rows(
            connection,
            self._singles,
            search,
            most=room,
            priorities=priorities,
            run_ats=run_ats,
            ids=ids,
            after_priority=after,
            levels=None if thorough else _MOST_LOOKS,
        )
        # The last row is no job: its run_at is the time up to which the scan went.
        *rows, last = rows
        jobs = list(starmap(ClaimedJob, rows))
        self._note_waiting(jobs, search)
        filled = len(jobs) >= room or last[1] is not None
        self.marks.scanned(
            jobs,
            full=places is None,
            filled=filled,
            until=moment(last[4]),
            seconds=time.perf_counter() - started,
            last_level=last[3],
        )
        if self.tallies is not None and last[1] is None:
            # It went up to the time of its transaction.
            self.tallies.clock = last[4] * 1e-6 - (started if self._began is None else self._began)
        return jobs, filled

    def _find_queued(
        self, connection: psycopg.Connection, search: Search, room: int
    ) -> tuple[list[ClaimedJob], bool]:
        if not search.look.thorough and not self._queue_searches.allows:
            return [], False
        started = time.perf_counter()
        most = min(room, search.most_queues)
        if search.look.thorough:
            self._queues.ask()
            self._times.ask()
        heads, more = self._walk(connection, search, most)
        if not heads and (self._queues.begins_again or self._times.begins_again):
            # Nothing was found behind the places of the last search, so it goes on from the beginning.
            heads, more = self._walk(connection, search, most)
        filled = more or len(heads) >= most
        if heads or filled:
            # What these queues have next was not searched, and not what is before the places of this search.
            self._queues.ask()
            self._times.ask()
        if not filled:
            self._queue_searches.spend(time.perf_counter() - started)
            if not (self._queues.is_over and self._times.is_over):
                self._queue_searches.ask()
        return heads, filled

    def _walk(
        self, connection: psycopg.Connection, search: Search, most: int
    ) -> tuple[list[ClaimedJob], bool]:
        """Walks on; returns each queue's first job, and whether the size of payloads ended the walk."""
        self._times_first = not self._times_first
        run_at, job_id = self._times.place
        *rows, last = self._rows(
            connection,
            self._queued,
            search,
            most=most,
            after=self._queues.place,
            per_queue=search.per_queue,
            after_run_at=run_at,
            after_id=job_id,
            later_first=self._times_first,
            looks=None if search.look.thorough else _MOST_LOOKS,
        )
        heads: dict[int, ClaimedJob] = {}
        tails: dict[int, ClaimedJob] = {}
        for row in rows:
            job, queue = ClaimedJob(*row), row[13]
            if queue in tails:
                tails[queue].next = job
            else:
                heads[queue] = job
            tails[queue] = job
        self._queues.went(last[13])
        self._times.went((moment(last[4]), last[15]))
        found = list(heads.values())
        self._note_waiting(found, search)
        return found, last[1] is not None

    def _note_waiting(self, heads: list[ClaimedJob], search: Search) -> None:
        if self._lane == "lease" and heads:
            # The first token is that of the jobs that start at once, if any do.
            now = heads[0].token if search.start_now else None
            for head in heads:
                head.waits = head.token != now

    def _rows(
        self, connection: psycopg.Connection, statement: LiteralString, search: Search, **params: object
    ) -> list[tuple[Any, ...]]:
        with connection.cursor(binary=True) as cursor:
            # Reading times as PostgreSQL's integers is many times cheaper.
            cursor.adapters.register_loader("timestamptz", Int8BinaryLoader)
            params |= {
                "worker_id": self._worker_id,
                "identifiers": list(self.identifiers),
                "quick": list(search.look.quick),
                "forbidden": list(search.look.forbidden_flags) or None,
                "start_now": search.start_now,
                "group_size": search.group_size,
            }
            return cursor.execute(statement, params).fetchall()
