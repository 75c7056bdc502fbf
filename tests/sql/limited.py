"""Short calls for tests of limits."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tests.sql.calls import Queue, Row


def limit(queue: Queue, name: str = "l", **values: Any) -> None:
    """Sets a limit."""
    given = ", ".join(f"{key} => {value!r}" for key, value in values.items())
    queue.rows(f"select tidemill.set_limit('{name}', {given})".encode())


def declare(queue: Queue, **limits: dict[str, Any] | None) -> list[Row]:
    """Gives tasks limits, as their code would."""
    return queue.rows("select * from tidemill._declare_limits(%s)", [json.dumps(limits)])


def claim(
    queue: Queue,
    worker: str = "w",
    *,
    tasks: Sequence[str] = ("t",),
    count: int = 10,
    forbidden: Sequence[str] | None = None,
    most_visits: int = 200,
) -> list[Row]:
    """Claims limited jobs."""
    rows = queue.rows(
        "select * from tidemill._claim_limited_jobs(%s, %s, %s, %s, most_visits => %s)",
        [worker, list(tasks), count, forbidden and list(forbidden), most_visits],
    )
    return [row for row in rows if row["id"] is not None]


def walk(queue: Queue, tasks: Sequence[str] = ("t",)) -> None:
    """Looks at all gates."""
    queue.rows("select * from tidemill._walk_gates(%s, -1, 0, -1, 1000)", [list(tasks)])


def visits(queue: Queue) -> int:
    """How many visits are due."""
    return int(queue.value("select count(*) from tidemill._visits where at <= now()"))


def age(queue: Queue, seconds: float) -> None:
    """Lets so much time pass for the buckets, and for the visits."""
    for change in (
        "update tidemill._gates set filled_at = filled_at - make_interval(secs => %s)",
        "update tidemill._visits set at = at - make_interval(secs => %s)",
    ):
        queue.connection.execute(change.encode(), [seconds])
