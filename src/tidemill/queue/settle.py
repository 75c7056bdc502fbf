"""Settling: writes back how jobs ended, many in one statement."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import psycopg

from tidemill.database.sql import with_nulls
from tidemill.database.words import words
from tidemill.queue.arrays import (
    NO_REPORTS,
    RECORD_ARRAYS,
    REPORT_ARRAYS,
    array,
    record_arrays,
    report_arrays,
)
from tidemill.queue.refused import REFUSALS
from tidemill.queue.settlement import FreedQueue, Settlement, storable_failure, storable_success

logger = logging.getLogger("tidemill")

_MOST_NAMED = 20


@dataclass(frozen=True)
class Settled:
    """What settling means for the next look."""

    freed_queues: bool
    """Named queues can be claimed again."""
    look_again: bool
    """Jobs can be claimed now that could not be claimed before."""


@dataclass(slots=True)
class Settlements:
    """The results of writing settlements."""

    busy: list[Settlement] = field(default_factory=list)
    """A producer holds the row: try again later."""
    lost: list[Settlement] = field(default_factory=list)
    """The lease was taken away: nothing was written."""
    retried: list[tuple[Settlement, datetime]] = field(default_factory=list)
    """Failed, with the time of the next attempt."""
    failed: list[Settlement] = field(default_factory=list)
    """Failed for good."""
    cancelled: list[Settlement] = field(default_factory=list)

    @classmethod
    def write(
        cls,
        connection: psycopg.Connection,
        worker_id: str,
        settlements: Sequence[Settlement],
        queues: Sequence[FreedQueue],
    ) -> Settlements:
        """Writes settlements, in at most one statement for each kind, and then frees the queues."""
        result = cls()
        kinds: dict[str, list[Settlement]] = {}
        for settlement in settlements:
            kinds.setdefault(settlement.kind, []).append(settlement)
        if kept := [s for s in kinds.get("done", ()) if s.record is not None]:
            result._complete_kept(connection, worker_id, kept)
        if done := [s for s in kinds.get("done", ()) if s.record is None]:
            result._complete(connection, worker_id, done)
        if failed := kinds.get("failed"):
            result._fail(connection, worker_id, failed)
        if returned := kinds.get("returned"):
            result._read(
                returned,
                connection.execute(
                    "select id, outcome, null from tidemill._return_jobs(%s, %s::bigint[], %s::bigint[])",
                    [worker_id, *_ids_and_tokens(returned)],
                ),
            )
        # Last, because the next job of a queue may start as soon as the queue's lease is gone.
        if queues:
            connection.execute(
                "select tidemill._release_queues(%s, %s::bigint[], %s::bigint[])",
                [worker_id, *_ids_and_tokens(queues)],
            )
        return result

    def log(self, uncertain: Collection[tuple[int, int]]) -> None:
        """Logs all but plain successes; `uncertain` ones had been sent before, over a lost connection."""
        sent = [s for s in self.lost if (s.id, s.token) in uncertain]
        taken = [s for s in self.lost if (s.id, s.token) not in uncertain]
        if sent:
            logger.info(
                "settled before the connection broke, or the lease was taken away since: %s", _named(sent)
            )
        if taken:
            logger.warning(
                "the lease was taken away, so nothing was written; "
                "the jobs are free, run elsewhere, or have ended there: %s",
                _named(taken),
            )
        for settlement, run_at in self.retried:
            logger.info(
                "job %s (%s) will run again at %s%s",
                settlement.id,
                settlement.identifier,
                run_at,
                "; its connection broke before it was of use, which spends no last attempt"
                if settlement.spared
                else "",
                extra=_fields(settlement),
            )
        for settlement in self.failed:
            logger.error(
                "job %s (%s) failed for good: %s",
                settlement.id,
                settlement.identifier,
                settlement.message,
                extra=_fields(settlement),
            )
        for settlement in self.cancelled:
            logger.info(
                "job %s (%s) is cancelled",
                settlement.id,
                settlement.identifier,
                extra=_fields(settlement),
            )

    def _complete(self, connection: psycopg.Connection, worker_id: str, done: list[Settlement]) -> None:
        rows = connection.execute(
            "select id, outcome, null from tidemill._complete_jobs(%s, %s::bigint[], %s::bigint[])",
            [worker_id, *_ids_and_tokens(done)],
        )
        self._read(done, rows)

    def _complete_kept(self, connection: psycopg.Connection, worker_id: str, kept: list[Settlement]) -> None:
        records = [settlement.record for settlement in kept if settlement.record is not None]
        try:
            rows = connection.execute(
                "select id, outcome, null from tidemill._complete_kept_jobs(%s, %s::bigint[], %s::bigint[], "
                f"{RECORD_ARRAYS})",
                [worker_id, *_ids_and_tokens(kept), *record_arrays(records)],
            )
        except psycopg.errors.LockNotAvailable:
            # A partition is being dropped, say. Other jobs need not wait for it.
            self.busy.extend(kept)
        except psycopg.IntegrityError as error:
            keeps = {record.keep for record in records}
            if len(keeps) > 1:
                # The partition of one has no room for them, say.
                for keep in keeps:
                    part = [s for s in kept if s.record is not None and s.record.keep == keep]
                    self._complete_kept(connection, worker_id, part)
            else:
                self._complete_unkept(connection, worker_id, kept, error)
        except REFUSALS as error:
            middle = len(kept) // 2
            if middle:
                for part in (kept[:middle], kept[middle:]):
                    self._complete_kept(connection, worker_id, part)
            elif (storable := storable_success(kept[0], error)) is not None:
                self._complete_kept(connection, worker_id, [storable])
            else:
                self._complete_unkept(connection, worker_id, kept, error)
        else:
            self._read(kept, rows)

    def _complete_unkept(
        self, connection: psycopg.Connection, worker_id: str, kept: list[Settlement], error: Exception
    ) -> None:
        # To try it again and again would hold up all other jobs.
        logger.error("no history is kept of jobs that are done: %s: %s", _named(kept), words(error))
        self._complete(connection, worker_id, kept)

    def _fail(self, connection: psycopg.Connection, worker_id: str, failed: list[Settlement]) -> None:
        try:
            self._write_failures(connection, worker_id, failed)
        except REFUSALS as error:
            # One that the database cannot hold must not hold up the others: halve them until it is alone.
            middle = len(failed) // 2
            parts = [failed[:middle], failed[middle:]] if middle else [storable_failure(failed[0], error)]
            for part in filter(None, parts):
                self._fail(connection, worker_id, part)

    def _write_failures(
        self, connection: psycopg.Connection, worker_id: str, failed: list[Settlement]
    ) -> None:
        reported = [(s.id, s.report) for s in failed if s.report is not None]
        cursor = connection.execute(
            # Cut to the years that Python knows: an error here would come after the writing.
            "select id, outcome, least(run_at, '9999-12-30Z') from tidemill._fail_jobs("
            "%s, %s::bigint[], %s::bigint[], "
            "%b::pg_catalog.text[], %b::interval[], %s::boolean[], %b::pg_catalog.text[], %s::boolean[], "
            f"%s::boolean[], {REPORT_ARRAYS if reported else NO_REPORTS})",
            [
                worker_id,
                *_ids_and_tokens(failed),
                with_nulls([s.message for s in failed]),
                with_nulls([None if s.delay is None else timedelta(seconds=s.delay) for s in failed]),
                [s.permanent for s in failed],
                with_nulls([s.payload for s in failed]),
                [s.cancelled for s in failed],
                [s.spared for s in failed],
                *report_arrays(reported),
            ],
        )
        self._read(failed, cursor)

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
                case "cancelled":
                    self.cancelled.append(settlement)


def _fields(settlement: Settlement) -> dict[str, object]:
    """What a collector of JSON lines looks for, as in the lines of a job's own logger."""
    return {"job_id": settlement.id, "task": settlement.identifier}


def _named(settlements: Sequence[Settlement]) -> str:
    """Which jobs, in a bounded text."""
    more = len(settlements) - _MOST_NAMED
    named = ", ".join(f"job {s.id} ({s.identifier})" for s in settlements[:_MOST_NAMED])
    return f"{named} and {more} more" if more > 0 else named


def _ids_and_tokens(settlements: Sequence[Settlement | FreedQueue]) -> tuple[str, str]:
    return array(s.id for s in settlements), array(s.token for s in settlements)
