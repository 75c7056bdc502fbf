"""The sweep: frees what lost workers hold."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import psycopg

from tidemill.database.sql import query
from tidemill.queue.own_lease import OwnLease

logger = logging.getLogger("tidemill")

# As many as are freed in some milliseconds: the engine has other duties between them.
_MOST = 500
# While a worker is suspected, sweeps come this often: its jobs are to start soon after its lease.
_SOON_SECONDS = 1.0
# How often to look for leases of workers that are not listed: it costs the engine long where much is dead.
_UNKNOWN_SECONDS = 30.0
_MOST_NAMED = 20


@dataclass
class _Freed:
    """What a lost worker held."""

    counts: dict[str, int] = field(default_factory=dict)
    ids: list[int] = field(default_factory=list)


class Sweep:
    """Frees the jobs of lost workers, some at a time, and learns whether the express lane is safe.

    All methods belong to the engine's thread. `on_safety` is told whether no worker was lost lately,
    `on_limits` whether there are limits.
    """

    def __init__(
        self,
        own_lease: OwnLease,
        *,
        interval: float,
        on_safety: Callable[[bool], None],
        on_limits: Callable[[bool], None] = lambda found: None,
    ) -> None:
        self._own_lease = own_lease
        self._interval = interval
        self._on_safety = on_safety
        self._on_limits = on_limits
        self._at_start = True
        self._unknown_due = 0.0
        self._freed: dict[str, _Freed] = {}
        self.next_due = 0.0
        """When to sweep next."""
        self.has_more = True
        """Whether the last sweep may have left something."""

    def run(self, connection: psycopg.Connection) -> None:
        """Frees some jobs. Raises psycopg.Error."""
        self.next_due = time.monotonic() + self._interval
        if self._own_lease.term.is_over:
            # Perhaps it is the one that is cut off.
            return
        with_unknown = time.monotonic() >= self._unknown_due
        try:
            rows = connection.execute(
                query("sweep_leases"),
                {"at_start": self._at_start, "most": _MOST, "with_unknown": with_unknown},
            ).fetchall()
        except psycopg.errors.LockNotAvailable:
            self.next_due = time.monotonic() + min(self._interval, _SOON_SECONDS)
            return
        for worker_id, job_id, now in rows:
            freed = self._freed.setdefault(worker_id, _Freed())
            freed.counts[now] = freed.counts.get(now, 0) + 1
            if len(freed.ids) < _MOST_NAMED:
                freed.ids.append(job_id)
        [(safe, suspicious, limited)] = connection.execute(query("losses")).fetchall()
        self._on_safety(safe)
        self._on_limits(limited)
        self.has_more = len(rows) >= _MOST
        if self.has_more:
            self.next_due = 0.0
            return
        self._at_start = False
        if with_unknown:
            self._unknown_due = time.monotonic() + _UNKNOWN_SECONDS
        self._tell()
        if suspicious:
            self.next_due = time.monotonic() + min(self._interval, _SOON_SECONDS)

    def _tell(self) -> None:
        for worker_id, freed in self._freed.items():
            total = sum(freed.counts.values())
            logger.warning(
                "worker %s was lost, and left %s jobs: %s (%s%s)",
                worker_id,
                total,
                ", ".join(f"{count} {now}" for now, count in sorted(freed.counts.items())),
                ", ".join(map(str, freed.ids)),
                ", ..." if total > len(freed.ids) else "",
            )
        self._freed.clear()
