"""Claiming: how jobs come from the table into a worker's hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import psycopg

from tidemill.queue.complete import Settlement, Settlements

# Python knows no year before 1, and a job may be due since -infinity.
_CLAIM = (
    "select id, identifier, queue_id, queue_name, payload, priority, greatest(run_at, '0001-01-02Z'), "
    "attempts, max_attempts, created_at, key, revision, flags, claim_token "
    "from tidemill._claim_jobs(%s, %s, %s, %s, %s, %s, %s)"
)


@dataclass(frozen=True, slots=True)
class ClaimedJob:
    """A job in this worker's hand, named by its claim token."""

    id: int
    identifier: str
    queue_id: int | None
    queue_name: str | None
    payload: str
    priority: int
    run_at: datetime
    attempt: int
    max_attempts: int
    created_at: datetime
    key: str | None
    revision: int
    flags: list[str]
    token: int


Unit = list[ClaimedJob]
"""Jobs that run one after the other: those of one named queue, or a single one."""


class Lane(Protocol):
    """A way to claim and settle jobs. All calls come from the engine's thread."""

    def claim(self, limit: int, per_queue: int, forbidden_flags: Sequence[str]) -> list[Unit]:
        """Claims about `limit` due jobs, most urgent first."""

    def settle(self, settlements: Sequence[Settlement]) -> Settlements:
        """Writes how jobs ended; says which must be tried again or are no longer ours."""

    def recover(self, tokens: Sequence[int]) -> list[int]:
        """After a lost connection: frees claims whose answer never arrived."""


class LeaseLane:
    """Claims by writing a lease into each job's row, and completes by deleting the row."""

    def __init__(self, worker_id: str, identifiers: Sequence[str], connection: psycopg.Connection) -> None:
        self._worker_id = worker_id
        self._identifiers = list(identifiers)
        self._connection = connection
        self._queues_first = False
        self._after_queue = 0

    def claim(self, limit: int, per_queue: int, forbidden_flags: Sequence[str]) -> list[Unit]:
        """See `Lane.claim`. Named queues and other jobs take turns at being first."""
        self._queues_first = not self._queues_first
        looked_after = self._after_queue
        rows = self._connection.execute(
            _CLAIM,
            [
                self._worker_id,
                self._identifiers,
                limit,
                list(forbidden_flags) or None,
                self._queues_first,
                looked_after,
                per_queue,
            ],
        ).fetchall()
        rows.sort(key=lambda row: (row[5], row[6], row[0]))
        units: dict[int, Unit] = {}
        for row in rows:
            *fields, flags, token = row
            job = ClaimedJob(*[*fields, flags or [], token])
            # Single jobs stand under their own number, apart from the queues' ones.
            units.setdefault(-job.id if job.queue_id is None else job.queue_id, []).append(job)
        last_queue = max((job.queue_id or 0 for unit in units.values() for job in unit), default=0)
        # Unless other jobs had filled the room before a queue was looked at, the rotation ends
        # where no queue is found behind the last one.
        if last_queue or self._queues_first or len(rows) < limit:
            self._after_queue = last_queue
        if not units and looked_after:
            return self.claim(limit, per_queue, forbidden_flags)
        return list(units.values())

    def settle(self, settlements: Sequence[Settlement]) -> Settlements:
        """See `Lane.settle`."""
        return Settlements.write(self._connection, self._worker_id, settlements)

    def recover(self, tokens: Sequence[int]) -> list[int]:
        """See `Lane.recover`."""
        rows = self._connection.execute(
            "select tidemill._return_unknown_jobs(%s, %s::bigint[])", [self._worker_id, list(tokens)]
        ).fetchall()
        return [row[0] for row in rows]
