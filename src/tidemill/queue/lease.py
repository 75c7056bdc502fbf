"""The lease lane: a claim writes a lease into each job's row, and completion deletes the row."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg

from tidemill.queue.claim import Finder, Search
from tidemill.queue.claimed import ClaimedJob
from tidemill.queue.complete import Settlement, Settlements


class LeaseLane:
    """Claims, settles and frees leased jobs. All calls come from the engine's thread."""

    def __init__(self, worker_id: str, identifiers: Sequence[str]) -> None:
        self._worker_id = worker_id
        self.finder = Finder("lease", worker_id, identifiers)

    def claim(self, connection: psycopg.Connection, search: Search) -> tuple[list[ClaimedJob], bool]:
        """Claims due jobs that are not for the express lane; see `Finder.find`."""
        return self.finder.find(connection, search)

    def settle(self, connection: psycopg.Connection, settlements: Sequence[Settlement]) -> Settlements:
        """Writes how jobs ended; says which must be tried again or are no longer ours."""
        return Settlements.write(connection, self._worker_id, settlements)

    def recover(self, connection: psycopg.Connection, tokens: Sequence[int]) -> list[int]:
        """Frees claims whose answer never arrived: all but those with these tokens."""
        rows = connection.execute(
            "select tidemill._return_unknown_jobs(%s, %s::bigint[])", [self._worker_id, list(tokens)]
        ).fetchall()
        return [row[0] for row in rows]
