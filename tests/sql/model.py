"""The queue in memory, as the documents tell it: what random histories are compared with."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from tests.sql.calls import Row


@dataclass
class Job:
    id: int
    identifier: str
    payload: Any
    queue_name: str | None
    run_at: datetime
    max_attempts: int
    key: str | None
    priority: int
    flags: list[str] | None
    attempts: int = 0
    last_error: str | None = None
    revision: int = 0
    locked_by: str | None = None
    token: int | None = None
    cancelled: bool = False
    cancelled_after: int | None = None
    withdrawn: bool = False


@dataclass
class Model:
    """The queue as the documents tell it. Times are the server's own, of each call."""

    jobs: dict[int, Job] = field(default_factory=dict)
    queues: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Leased queues, with their worker and token."""

    def keyed(self, key: str | None) -> Job | None:
        return next((job for job in self.jobs.values() if key is not None and job.key == key), None)

    def add(self, given: Row, mode: str, job_id: int, now: datetime) -> Job:
        old = self.keyed(given["job_key"])
        if old and mode == "unsafe_dedupe":
            old.revision += 1
            return old
        new = Job(
            id=job_id,
            identifier=given["identifier"],
            payload={} if given["payload"] is None else given["payload"],
            queue_name=given["queue_name"],
            run_at=datetime.fromisoformat(given["run_at"]) if given["run_at"] else now,
            max_attempts=given["max_attempts"] or 25,
            key=given["job_key"],
            priority=given["priority"] or 0,
            flags=sorted(set(given["flags"])) if given["flags"] else None,
        )
        if old and old.locked_by is None and old.attempts < old.max_attempts:
            new.id, new.revision = old.id, old.revision + 1
            if isinstance(old.payload, list) and isinstance(new.payload, list):
                new.payload = old.payload + new.payload
            if mode == "preserve_run_at" and old.attempts == 0:
                new.run_at = old.run_at
        elif old:
            old.key, old.attempts = None, old.max_attempts
            old.withdrawn = old.locked_by is not None
        self.jobs[new.id] = new
        return new

    def order(self) -> list[Job]:
        return sorted(self.jobs.values(), key=lambda job: (job.priority, job.run_at, job.id))

    def claimable(self, tasks: set[str], flags: set[str], now: datetime) -> list[Job]:
        return [
            job
            for job in self.order()
            if job.locked_by is None
            and job.attempts < job.max_attempts
            and job.run_at <= now
            and job.identifier in tasks
            and not flags & set(job.flags or ())
        ]

    def free(self, job: Job) -> None:
        job.locked_by = job.token = None
        job.cancelled = job.withdrawn = False


def same(job: Job) -> Row:
    names = (
        "id, identifier, payload, queue_name, run_at, max_attempts, key, priority, flags, attempts,"
        " last_error, revision, locked_by"
    )
    row = {name: getattr(job, name) for name in names.split(", ")}
    return row if job.cancelled_after is None else row | {"attempts": job.cancelled_after}


def told(job: Job, mode: str) -> Job:
    """What an add returns: nothing that may be of others."""
    if job.revision and mode == "unsafe_dedupe":
        return replace(job, payload=None, flags=None, last_error=None)
    if job.revision and isinstance(job.payload, list):
        return replace(job, payload=None)
    return job
