"""A worker whose every step is a call of the test's."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta

import psycopg

_CLAIM = """
    select id, claim_token
    from tidemill._claim_jobs(
      worker_id => %(worker)s, identifiers => %(tasks)s, quick => '{}', max_jobs => %(most)s,
      forbidden_flags => null, mark_priorities => null, mark_run_ats => null, mark_ids => null)
    where id is not null
    union all
    select id, claim_token
    from tidemill._claim_queued_jobs(
      worker_id => %(worker)s, identifiers => %(tasks)s, quick => '{}', max_jobs => %(most)s,
      forbidden_flags => null, after_queue => 0, per_queue => 10)
"""


@dataclass(frozen=True)
class HandWorker:
    """Claims and completes over one connection, through the functions that workers use."""

    connection: psycopg.Connection
    id: str
    identifiers: list[str]

    @classmethod
    def register(
        cls,
        connection: psycopg.Connection,
        identifiers: list[str],
        *,
        worker_id: str = "by hand",
        lease: timedelta = timedelta(hours=1),
    ) -> HandWorker:
        """Makes it known to the database."""
        connection.execute(
            "select tidemill._register_worker(%s, 'here', %s, '0', 1, %s, %s)",
            [worker_id, os.getpid(), identifiers, lease],
        )
        return cls(connection, worker_id, identifiers)

    def claim(self, most: int = 100) -> dict[int, int]:
        """Claims due jobs; returns their claim tokens by id."""
        rows = self.connection.execute(_CLAIM, {"worker": self.id, "tasks": self.identifiers, "most": most})
        return dict(rows.fetchall())

    def complete(self, tokens: dict[int, int]) -> dict[int, str]:
        """Completes claimed jobs; returns the outcome of each that was not, by id."""
        rows = self.connection.execute(
            "select id, outcome from tidemill._complete_jobs(%s, %s::bigint[], %s::bigint[])",
            [self.id, list(tokens), list(tokens.values())],
        ).fetchall()
        return dict(rows)
