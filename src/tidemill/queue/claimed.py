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
    queue_id: int | None = None
    queue_name: str | None = None
    token: int = 0
    slot: int | None = None
    """The run_at of the first attempt; None if it is still that."""
    waits: bool = False
    """Of the first job of a chain: claimed ahead, so the database has to be told before it starts."""
    next: ClaimedJob | None = None
    """The job of the same named queue that runs after this one."""


def chain(job: ClaimedJob | None) -> Iterator[ClaimedJob]:
    """A job and those of its named queue that run after it."""
    while job is not None:
        yield job
        job = job.next


def chain_length(job: ClaimedJob) -> int:
    """How many jobs a chain has."""
    return 1 if job.next is None else sum(1 for _ in chain(job))
