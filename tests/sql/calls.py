"""Short calls of the queue's SQL functions, for tests that read like the story they tell."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg import sql
from psycopg.abc import Buffer
from psycopg.rows import dict_row
from psycopg.types.numeric import Int8BinaryLoader

from tidemill.times import moment

Row = dict[str, Any]
Query = LiteralString | bytes | sql.Composed

_CASTS = {"payload": "json", "run_at": "timestamptz", "flags": "text[]"}
SPEC_FIELDS = (
    "identifier",
    "payload",
    "queue_name",
    "run_at",
    "max_attempts",
    "job_key",
    "priority",
    "flags",
)


def spec(identifier: str | None = "t", **fields: Any) -> tuple[Any, ...]:
    """A job_spec; the payload is a Python value."""
    values = {"identifier": identifier, **fields}
    if "payload" in fields:
        values["payload"] = json.dumps(fields["payload"])
    return tuple(values.get(name) for name in SPEC_FIELDS)


def specs_of(items: Sequence[tuple[Any, ...] | None], schema: str = "tidemill") -> sql.Composed:
    """The array literal of these specs."""
    rows = [
        sql.Literal(None) if item is None else sql.SQL("row({})").format(_literals(item)) for item in items
    ]
    return sql.SQL("array[{}]::{}.job_spec[]").format(sql.SQL(", ").join(rows), sql.Identifier(schema))


def _literals(values: Iterable[Any]) -> sql.Composed:
    return sql.SQL(", ").join(
        sql.SQL("{}::text[]" if isinstance(value, list) else "{}").format(value) for value in values
    )


_FIND: LiteralString = """
    identifiers => %(tasks)s, quick => %(quick)s, max_jobs => %(count)s, forbidden_flags => %(forbidden)s"""
_MARKS: LiteralString = """,
    mark_priorities => %(priorities)s::smallint[], mark_run_ats => %(run_ats)s::timestamptz[],
    mark_ids => %(ids)s::bigint[]"""
_ROTATION: LiteralString = ", after_queue => %(after_queue)s, per_queue => %(per_queue)s"
_LEASE: LiteralString = "worker_id => %(worker)s,"
_LOCK: LiteralString = "express => true,"
LEASE_SINGLES: LiteralString = f"select * from tidemill._claim_jobs({_LEASE} {_FIND} {_MARKS})"
LEASE_QUEUES: LiteralString = f"select * from tidemill._claim_queued_jobs({_LEASE} {_FIND} {_ROTATION})"
LOCK_SINGLES: LiteralString = f"select * from tidemill._lock_jobs({_LOCK} {_FIND} {_MARKS})"
LOCK_QUEUES: LiteralString = f"select * from tidemill._lock_queued_jobs({_LOCK} {_FIND} {_ROTATION})"

# What a job that is merely locked does not have, and a single one not either.
_NOT_LEASED: Row = {"queue_id": None, "queue_name": None, "claim_token": None}

Mark = tuple[int, datetime | str, int]
"""A priority, and the run_at and id behind which to look."""


class _Times(Int8BinaryLoader):
    """Reads times as workers do: also those that Python has no words for."""

    def load(self, data: Buffer) -> Any:
        return moment(super().load(data))


class Queue:
    """The SQL functions over one connection."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self.connection = connection

    def rows(self, query: Query, params: Any = None) -> list[Row]:
        with self.connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(query, params).fetchall()

    def row(self, query: Query, params: Any = None) -> Row:
        (row,) = self.rows(query, params)
        return row

    def value(self, query: Query, params: Any = None) -> Any:
        (value,) = self.row(query, params).values()
        return value

    # What producers call

    def add(self, identifier: str | None = "t", *, schema: str = "tidemill", **named: Any) -> Row:
        if "payload" in named:
            named["payload"] = json.dumps(named["payload"])
        arguments = [
            sql.SQL("{} := {}::{}").format(
                sql.Identifier(name), sql.Literal(value), sql.SQL(_CASTS.get(name, type_of(value)))
            )
            for name, value in named.items()
        ]
        return self.row(
            sql.SQL("select * from {}.add_job({})").format(
                sql.Identifier(schema),
                sql.SQL(", ").join([sql.Literal(identifier) + sql.SQL("::text"), *arguments]),
            )
        )

    def add_many(
        self, items: Sequence[tuple[Any, ...] | None], *, schema: str = "tidemill", **named: Any
    ) -> list[Row]:
        arguments = [
            sql.SQL("{} := {}").format(sql.Identifier(name), sql.Literal(value))
            for name, value in named.items()
        ]
        return self.rows(
            sql.SQL("select * from {}.add_jobs({})").format(
                sql.Identifier(schema), sql.SQL(", ").join([specs_of(items, schema), *arguments])
            )
        )

    def remove(self, key: str | None) -> Row:
        return self.row("select * from tidemill.remove_job(%s)", [key])

    # What a worker calls

    def register(self, worker: str = "w", tasks: Sequence[str] = ("t",), lease: str = "1 hour") -> None:
        self.rows(
            "select * from tidemill._register_worker(%s, 'host', 1, '0', 4, %s, %s)",
            [worker, list(tasks), lease],
        )

    def expire(self, worker: str = "w") -> None:
        """As if it had been silent since a second longer ago than its lease, and suspected soon."""
        self.connection.execute(
            "update tidemill._workers set expires_at = clock_timestamp() - interval '1 second',"
            " heartbeat_at = clock_timestamp() - interval '1 second' - (expires_at - heartbeat_at),"
            " suspected_at = clock_timestamp() - (expires_at - heartbeat_at) / 2 where id = %s",
            [worker],
        )

    def claim(
        self,
        worker: str = "w",
        *,
        tasks: Sequence[str] = ("t",),
        quick: Sequence[str] = (),
        express: bool = False,
        count: int = 10,
        forbidden: Sequence[str] | None = None,
        queues_first: bool = True,
        after_queue: int = 0,
        per_queue: int = 10,
        marks: Sequence[Mark] | None = None,
    ) -> list[Row]:
        """Claims, and returns the jobs by urgency; `express`: by the locks of the open transaction."""
        queued = LOCK_QUEUES if express else LEASE_QUEUES
        single = LOCK_SINGLES if express else LEASE_SINGLES
        claimed: list[Row] = []
        for statement in (queued, single) if queues_first else (single, queued):
            if len(claimed) < count:
                params: Row = {"worker": worker, "tasks": list(tasks), "quick": list(quick)}
                params |= {"count": count - len(claimed), "forbidden": forbidden and list(forbidden)}
                params |= {"after_queue": after_queue, "per_queue": per_queue}
                for number, name in enumerate(("priorities", "run_ats", "ids")):
                    params[name] = None if marks is None else [mark[number] for mark in marks]
                with self.connection.cursor(row_factory=dict_row, binary=True) as cursor:
                    cursor.adapters.register_loader("timestamptz", _Times)
                    rows = cursor.execute(statement, params).fetchall()
                claimed += [_NOT_LEASED | row for row in rows if row["id"] is not None]
        return sorted(claimed, key=lambda job: (job["priority"], job["run_at"], job["id"]))

    def release(self, jobs: Sequence[Row], worker: str = "w") -> None:
        """Gives the named queues of leased jobs back."""
        held = {(job["queue_id"], job["claim_token"]) for job in jobs if job["queue_id"] is not None}
        self.rows(
            "select from tidemill._release_queues(%s, %s::bigint[], %s::bigint[])",
            [worker, [number for number, _ in held], [token for _, token in held]],
        )

    def close_batch(
        self, worker: str = "w", *, token: int = 0, done: Sequence[Row] = (), started: Sequence[Row] = ()
    ) -> None:
        """Ends the express batch of the open transaction, which is to be committed."""
        queues = [job["queue_id"] for job in started if job["queue_id"] is not None]
        self.rows(
            "select tidemill._settle_batch(%s, %s, %s::bigint[], %s::bigint[], %s::bigint[])",
            [worker, token, ids(done), ids(started), queues],
        )

    def complete(self, jobs: Sequence[Row], worker: str = "w") -> dict[int, str]:
        rows = self.rows(
            "select * from tidemill._complete_jobs(%s, %s::bigint[], %s::bigint[])", [worker, *leases(jobs)]
        )
        return {row["id"]: row["outcome"] for row in rows}

    def fail(
        self,
        jobs: Sequence[Row],
        worker: str = "w",
        *,
        message: str = "boom",
        delay: timedelta | None = None,
        permanent: bool = False,
        payload: str | None = None,
        cancelled: bool = False,
    ) -> dict[int, Row]:
        count = len(jobs)
        # Workers of older versions do not know the last argument.
        last, cancels = (", %s::boolean[]", [[True] * count]) if cancelled else ("", [])
        rows = self.rows(
            "select * from tidemill._fail_jobs(%s, %s::bigint[], %s::bigint[], %s::text[], %s::interval[],"
            f" %s::boolean[], %s::text[]{last})",
            [
                worker,
                *leases(jobs),
                [message] * count,
                [delay] * count,
                [permanent] * count,
                [payload] * count,
                *cancels,
            ],
        )
        return {row["id"]: row for row in rows}

    def give_back(self, jobs: Sequence[Row], worker: str = "w") -> dict[int, str]:
        rows = self.rows(
            "select * from tidemill._return_jobs(%s, %s::bigint[], %s::bigint[])", [worker, *leases(jobs)]
        )
        return {row["id"]: row["outcome"] for row in rows}

    # What can be seen

    def stored(self, job_id: int) -> Row | None:
        """The private row; None where there is none."""
        rows = self.rows("select * from tidemill._jobs where id = %s", [job_id])
        return rows[0] if rows else None

    def kept(self, job_id: int) -> Row:
        """The private row, which must be there."""
        row = self.stored(job_id)
        assert row is not None
        return row


def leases(jobs: Sequence[Row]) -> list[list[int]]:
    return [[job["id"] for job in jobs], [job["claim_token"] for job in jobs]]


def ids(jobs: Iterable[Row]) -> list[int]:
    return [job["id"] for job in jobs]


def type_of(value: Any) -> LiteralString:
    return "integer" if isinstance(value, int) and abs(value) < 2**31 else "text"


@contextmanager
def refused(sqlstate: str, *words: str, constraint: str | None = None) -> Iterator[None]:
    """Expects an error of this SQLSTATE, whose message has these words."""
    with pytest.raises(psycopg.Error) as caught:
        yield
    diagnosis = caught.value.diag
    assert diagnosis.sqlstate == sqlstate
    assert diagnosis.constraint_name == constraint
    told = f"{diagnosis.message_primary} {diagnosis.message_hint}"
    for word in words:
        assert word in told
