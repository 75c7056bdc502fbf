"""Settling: how jobs that ended are written back, many in one statement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

import psycopg

Kind = Literal["done", "failed", "returned", "queue"]


@dataclass(frozen=True, slots=True)
class Settlement:
    """How one leased job ended; with kind `queue`, that a named queue is free again."""

    kind: Kind
    id: int
    token: int
    identifier: str = ""
    message: str | None = None
    delay: float | None = None
    """Seconds to the next attempt; None for the default backoff."""
    permanent: bool = False
    payload: str | None = None
    """What is left of a batch job's payload."""


@dataclass(slots=True)
class Settlements:
    """What became of a batch of settlements."""

    busy: list[Settlement] = field(default_factory=list)
    """A producer holds the row: to be tried again."""
    lost: list[Settlement] = field(default_factory=list)
    """The lease was taken away: nothing was written."""
    retried: list[tuple[Settlement, datetime]] = field(default_factory=list)
    """Failed, with the time of the next attempt."""
    failed: list[Settlement] = field(default_factory=list)
    """Failed for good."""

    @classmethod
    def write(
        cls, connection: psycopg.Connection, worker_id: str, settlements: Sequence[Settlement]
    ) -> Settlements:
        """Writes them, in at most one statement for each kind."""
        result = cls()
        kinds: dict[str, list[Settlement]] = {}
        for settlement in settlements:
            kinds.setdefault(settlement.kind, []).append(settlement)
        if done := kinds.get("done"):
            result._read(
                done,
                connection.execute(
                    "select id, outcome, null from tidemill._complete_jobs(%s, %s::bigint[], %s::bigint[])",
                    [worker_id, *_names(done)],
                ),
            )
        if failed := kinds.get("failed"):
            result._read(
                failed,
                connection.execute(
                    "select id, outcome, run_at from tidemill._fail_jobs(%s, %s::bigint[], %s::bigint[], "
                    "%s::text[], %s::interval[], %s::boolean[], %s::text[])",
                    [
                        worker_id,
                        *_names(failed),
                        [s.message for s in failed],
                        [None if s.delay is None else timedelta(seconds=s.delay) for s in failed],
                        [s.permanent for s in failed],
                        [s.payload for s in failed],
                    ],
                ),
            )
        if returned := kinds.get("returned"):
            result._read(
                returned,
                connection.execute(
                    "select id, outcome, null from tidemill._return_jobs(%s, %s::bigint[], %s::bigint[])",
                    [worker_id, *_names(returned)],
                ),
            )
        # Last: the next job of a queue may start as soon as its lease is gone.
        if queues := kinds.get("queue"):
            connection.execute(
                "select tidemill._release_queues(%s, %s::bigint[], %s::bigint[])",
                [worker_id, *_names(queues)],
            )
        return result

    def _read(self, settlements: list[Settlement], rows: psycopg.Cursor[tuple[int, str, datetime]]) -> None:
        by_id = {settlement.id: settlement for settlement in settlements}
        for job_id, outcome, run_at in rows:
            settlement = by_id[job_id]
            match outcome:
                case "busy":
                    self.busy.append(settlement)
                case "lost":
                    self.lost.append(settlement)
                case "retry":
                    self.retried.append((settlement, run_at))
                case "failed":
                    self.failed.append(settlement)


def _names(settlements: list[Settlement]) -> tuple[list[int], list[int]]:
    return [s.id for s in settlements], [s.token for s in settlements]
