"""Claimed jobs: jobs in a worker's hand."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec


class ClaimedJob(msgspec.Struct, gc=False):
    """A job in this worker's hand; its fields are those of a claim: see `_claimed_job`, and `claim_jobs.sql`.

    Times are microseconds since 2000, as in PostgreSQL: few tasks need them converted.
    """

    id: int
    identifier: str
    payload: str
    priority: int
    run_at: int
    attempt: int
    max_attempts: int
    created_at: int
    key: str | None
    revision: int
    flags: list[str] | None
    keep: int | None = None
    """How long its history is kept, if the job says so itself: see `keeps.py`."""
    trace: str | None = None
    """The trace context of whoever added it."""
    queue_id: int | None = None
    queue_name: str | None = None
    token: int = 0
    slot: int | None = None
    """The run_at of the first attempt; None if it is still that."""
    waits: bool = False
    """Of the first job of a chain: claimed ahead, so the database has to be told before it starts."""
    next: ClaimedJob | None = None
    """The job of the same named queue that runs after this one."""
    result: str | None = None
    """What its task returned, as JSON, if that is kept."""
    told: tuple[float | None, str | None] | None = None
    """The last progress that its task has told of."""
    record: Record | None = None
    """Once it has ended well: what history is to have of it."""


class Record(msgspec.Struct, frozen=True, gc=False):
    """A job that ended well, for history. No dataclass, which would take ten times as long to make."""

    keep: int
    with_payload: bool
    duration: float
    """Seconds that the attempt took."""
    ended: float
    """By `time.perf_counter`."""
    result: str | None
    """What the task returned, as JSON."""
    told: tuple[float | None, str | None] | None
    """Its last progress."""


class Report(msgspec.Struct, frozen=True, gc=False):
    """An attempt that did not end well, for history."""

    keep: int
    attempt: int
    run_at: int
    duration: float
    ended: float
    error_type: str
    error_frame: str | None
    traceback: str | None
    told: tuple[float | None, str | None] | None
    """Its last progress."""


def chain(job: ClaimedJob | None) -> Iterator[ClaimedJob]:
    """A job and those of its named queue that run after it."""
    while job is not None:
        yield job
        job = job.next


def chain_length(job: ClaimedJob) -> int:
    """How many jobs a chain has."""
    return 1 if job.next is None else sum(1 for _ in chain(job))
