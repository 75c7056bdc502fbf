"""Producers in stricter isolation: refused with 40001 when overtaken, never ignored."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest
from psycopg import IsolationLevel

from tests.sql.calls import Queue, spec


@pytest.mark.parametrize(
    "stale",
    [
        lambda producer: producer.add(job_key="k"),
        lambda producer: producer.add_many([spec(job_key="k")]),
        lambda producer: producer.remove("k"),
        # What was not there when the transaction began: a key, a task, a queue.
        lambda producer: producer.add(job_key="new"),
        lambda producer: producer.add("new"),
        lambda producer: producer.add(queue_name="new"),
    ],
    ids=["change", "change in bulk", "remove", "key", "task", "queue"],
)
def test_a_repeatable_read_producer_is_refused_not_ignored(
    queue: Queue, another: Callable[[], Queue], stale: Callable[[Queue], object]
) -> None:
    queue.add(job_key="k")
    producer = another()
    producer.connection.isolation_level = IsolationLevel.REPEATABLE_READ

    def overtaken() -> None:
        with producer.connection.transaction():
            producer.value("select 1")
            queue.add(job_key="k")
            queue.add("new", job_key="new", queue_name="new")
            stale(producer)

    with pytest.raises(psycopg.errors.SerializationFailure):
        overtaken()
    # The same again, in a transaction that sees it all.
    with producer.connection.transaction():
        stale(producer)


def test_a_repeatable_read_producer_adds_and_changes(another: Callable[[], Queue]) -> None:
    producer = another()
    producer.connection.isolation_level = IsolationLevel.REPEATABLE_READ
    with producer.connection.transaction():
        producer.add("a", job_key="k", queue_name="q", payload=[1])
        producer.add_many([spec("b", job_key="k", queue_name="r", payload=[2]), spec("c")])
        assert producer.remove("k")["payload"] == [1, 2]
    assert producer.value("select array_agg(identifier) from tidemill.jobs") == ["c"]
