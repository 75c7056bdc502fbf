"""Claimed jobs for tests."""

from __future__ import annotations

from tidemill.queue.claimed import ClaimedJob
from tidemill.queue.own_lease import OwnLease, Term, now
from tidemill.queue.settlement import FreedQueue, Settlement

TERM = Term(now() + 3600)
"""A term that goes on."""


def kept_lease() -> OwnLease:
    """The lease of a worker whose heartbeat has arrived."""
    lease = OwnLease(3600)
    lease.renew(now(), kept=True)
    return lease


def job(number: int, queue_id: int | None = None, *, then: ClaimedJob | None = None) -> ClaimedJob:
    """A claimed job of this id, first of a named queue if it has one."""
    return ClaimedJob(
        id=number,
        identifier="t",
        payload="{}",
        priority=0,
        run_at=0,
        attempt=1,
        max_attempts=25,
        created_at=0,
        key=None,
        revision=0,
        flags=None,
        queue_id=queue_id,
        next=then,
    )


def kind(one: Settlement | FreedQueue) -> str:
    """What became of it, in a word."""
    return "queue" if isinstance(one, FreedQueue) else one.kind
