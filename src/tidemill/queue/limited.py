"""Limited jobs: when a worker looks at the gates that they have to pass, and what it claims there."""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Collection, Sequence
from typing import Any

import psycopg
from psycopg.types.numeric import Int8BinaryLoader

from tidemill.database.sql import query
from tidemill.queue.claimed import ClaimedJob
from tidemill.queue.marks import Ration

# Gates that a claim visits: more than there is room for, since some are full.
_FEWEST_VISITS = 20
_MOST_VISITS = 200
# Gates at which one step of the walk looks: some milliseconds.
_STRIDE = 200
# After a claim in vain the next one waits so long at least: another claim may hold the gate.
_PAUSE_SECONDS = 0.005
_BEGINNING = (-1, 0, -1)
_MOST_REMEMBERED = 1000


class Limited:
    """Claims limited jobs of one worker, as leases.

    A worker looks at a gate because of a visit, a row that says when: so it never walks over jobs that wait
    for a limit. From time to time it walks over all gates, and finds what no visit tells of.
    `notify` and `claim_only` are thread-safe; all else belongs to the engine's thread.
    """

    def __init__(self, worker_id: str, identifiers: Sequence[str], *, poll_interval: float = 1.0) -> None:
        self._worker_id = worker_id
        self._identifiers = list(identifiers)
        self._poll_interval = poll_interval
        self._lock = threading.Lock()
        self._due: list[float] = []
        self._is_used = False
        self._at = 0.0
        self._walk_at = 0.0
        self._walk = Ration()
        self._place = _BEGINNING
        self._gates_waiting = True
        self._is_changed = False
        self._in_hand: set[tuple[int, int]] = set()

    def notify(self, milliseconds: int, *, walk: bool = False) -> None:
        """A gate is to be visited in so many milliseconds; `walk`: any of them may have room."""
        with self._lock:
            self._is_used = True
            heapq.heappush(self._due, time.monotonic() + milliseconds / 1000)
            # In a flood of notifications forget some: a poll finds their jobs.
            del self._due[_MOST_REMEMBERED:]
            if walk:
                self._walk_at = 0.0

    def claim_only(self, identifiers: Sequence[str]) -> None:
        """Claims jobs of these tasks alone from now on: some of them may have got their limits just now."""
        with self._lock:
            self._identifiers = list(identifiers)
            self._is_changed = True
        self.notify(0, walk=True)

    def use(self, is_used: bool) -> None:
        """Whether there are limits at all, so that there may be limited jobs."""
        self._is_used = self._is_used or is_used

    def at_once(self) -> None:
        """Looks at once."""
        self._at = 0.0

    @property
    def next_due(self) -> float | None:
        """When to look next; None while there are no limits."""
        if not self._is_used:
            return None
        # A walk that is under way goes on; the next one begins with the next look.
        at = self._at if self._place == _BEGINNING else min(self._at, self._walk_at)
        with self._lock:
            return min((at, *self._due[:1]))

    def ended(self, jobs: Collection[tuple[int, int]]) -> None:
        """Jobs of this worker, by id and claim token, were settled: if one was limited, its gate has room."""
        if self._in_hand and not self._in_hand.isdisjoint(jobs):
            self._in_hand.difference_update(jobs)
            self._at = 0.0

    def find(
        self,
        connection: psycopg.Connection,
        room: int,
        *,
        start_now: int,
        group_size: int,
        forbidden_flags: Sequence[str],
        thorough: bool = False,
    ) -> list[ClaimedJob]:
        """Claims up to `room` jobs; `thorough`: looks at all gates before."""
        now = time.monotonic()
        with self._lock:
            while self._due and self._due[0] <= now:
                heapq.heappop(self._due)
            walks = thorough or now >= self._walk_at
            self._gates_waiting = self._gates_waiting or self._is_changed
            self._is_changed = False
        if self._gates_waiting:
            self._gates_waiting = gate_waiting(connection, self._identifiers)
        if walks:
            self._walk_on(connection, thorough=thorough)
        *rows, last = self._rows(
            connection,
            most=room,
            forbidden=list(forbidden_flags) or None,
            start_now=start_now,
            group_size=group_size,
            visits=min(_MOST_VISITS, max(_FEWEST_VISITS, 2 * room)),
        )
        jobs = [ClaimedJob(*row) for row in rows]
        self._in_hand.update((job.id, job.token) for job in jobs)
        if jobs:
            first = jobs[0].token if start_now else None
            for job in jobs:
                job.waits = job.token != first
        self._plan(jobs, None if last[4] is None else (last[4] - last[7]) / 1e6, room)
        return jobs

    def _rows(self, connection: psycopg.Connection, **params: object) -> list[tuple[Any, ...]]:
        """The rows of a claim: jobs, and a last one with the times when the next visit is due, and now."""
        params |= {"worker_id": self._worker_id, "identifiers": self._identifiers}
        with connection.cursor(binary=True) as cursor:
            # Reading times as PostgreSQL's integers is many times cheaper.
            cursor.adapters.register_loader("timestamptz", Int8BinaryLoader)
            if getattr(connection, "is_direct", False):
                return cursor.execute(query("claim_limited_jobs"), params).fetchall()
            # Behind a pooler the session may have another isolation level. All is sent at once, so that no
            # gate stays locked if we do not go on.
            try:
                with connection.pipeline():
                    connection.execute("begin isolation level read committed")
                    cursor.execute(query("claim_limited_jobs"), params)
                    connection.execute("commit")
                return cursor.fetchall()
            except psycopg.Error:
                if not connection.closed:
                    connection.rollback()
                raise

    def _plan(self, jobs: Sequence[ClaimedJob], wait: float | None, room: int) -> None:
        """Decides when to look next; `wait`: seconds to the next visit that is known."""
        now = time.monotonic()
        if len(jobs) >= room:
            self._at = now
            return
        least = 0.0 if jobs else _PAUSE_SECONDS
        self._at = now + min(self._poll_interval, self._poll_interval if wait is None else max(wait, least))
        if self._gates_waiting:
            self._at = now + least

    def _walk_on(self, connection: psycopg.Connection, *, thorough: bool) -> None:
        """Walks on among the gates; if thorough, over all of them."""
        if thorough:
            self._place = _BEGINNING
        started = time.perf_counter()
        while True:
            [place] = connection.execute(
                "select last_gate, last_task, last_idle from tidemill._walk_gates(%s, %s, %s, %s, %s)",
                [self._identifiers, *self._place, _STRIDE],
            ).fetchall()
            self._place = place
            if place[0] == -1 or not thorough:
                break
        # As other searches of everything: a tenth of the time at most.
        self._walk.spend(time.perf_counter() - started)
        next_step = self._walk.paused_until
        self._walk_at = (
            next_step if place[0] != -1 else max(next_step, time.monotonic() + self._poll_interval)
        )


def gate_waiting(connection: psycopg.Connection, identifiers: Sequence[str], seconds: float = 0.0) -> bool:
    """Brings jobs that were added before their task had its limit under it; returns whether more may be left.

    It goes on for so many seconds at most. Raises psycopg.Error.
    """
    deadline = time.monotonic() + seconds
    while True:
        [(more,)] = connection.execute("select tidemill._gate_waiting(%s)", [list(identifiers)]).fetchall()
        if not more or time.monotonic() >= deadline:
            return bool(more)
