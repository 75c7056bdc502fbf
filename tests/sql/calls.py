"""Short calls of the queue's SQL functions, for tests that read like the story they tell."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import dict_row

Row = dict[str, Any]

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


class Queue:
    """The SQL functions over one connection."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self.connection = connection

    def rows(self, query: LiteralString | sql.Composed, params: Any = None) -> list[Row]:
        with self.connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(query, params).fetchall()

    def row(self, query: LiteralString | sql.Composed, params: Any = None) -> Row:
        (row,) = self.rows(query, params)
        return row

    def value(self, query: LiteralString | sql.Composed, params: Any = None) -> Any:
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
        """Lets the worker miss its deadline."""
        self.connection.execute(
            "update tidemill._workers set expires_at = clock_timestamp() - interval '1 second' where id = %s",
            [worker],
        )

    def claim(
        self,
        worker: str = "w",
        *,
        tasks: Sequence[str] = ("t",),
        count: int = 10,
        forbidden: Sequence[str] | None = None,
        queues_first: bool = True,
        after_queue: int = 0,
        per_queue: int = 10,
    ) -> list[Row]:
        """Claims, and returns the jobs by urgency."""
        claimed = self.rows(
            "select * from tidemill._claim_jobs(%s, %s, %s, %s, %s, %s, %s)",
            [
                worker,
                list(tasks),
                count,
                None if forbidden is None else list(forbidden),
                queues_first,
                after_queue,
                per_queue,
            ],
        )
        return sorted(claimed, key=lambda job: (job["priority"], job["run_at"], job["id"]))

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
    ) -> dict[int, Row]:
        count = len(jobs)
        rows = self.rows(
            "select * from tidemill._fail_jobs(%s, %s::bigint[], %s::bigint[], %s::text[], %s::interval[],"
            " %s::boolean[], %s::text[])",
            [
                worker,
                *leases(jobs),
                [message] * count,
                [delay] * count,
                [permanent] * count,
                [payload] * count,
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
