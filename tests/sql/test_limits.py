"""Limits in SQL: how they are set, which jobs have one, and what a claim takes."""

from __future__ import annotations

from tests.sql.calls import Queue, Row, ids, refused, spec


def claim(queue: Queue, worker: str = "w", *, tasks: tuple[str, ...] = ("t",), count: int = 10) -> list[Row]:
    rows = queue.rows(
        "select * from tidemill._claim_limited_jobs(%s, %s, %s, null)", [worker, list(tasks), count]
    )
    return [row for row in rows if row["id"] is not None]


def test_no_more_are_claimed_than_the_limit_allows(queue: Queue) -> None:
    queue.rows("select tidemill.set_limit('mailer', concurrency => 2)")
    jobs = [queue.add(limit_name="mailer") for _ in range(5)]
    assert queue.claim() == []
    first = claim(queue)
    assert ids(first) == ids(jobs[:2])
    assert claim(queue) == []
    queue.complete(first[:1])
    assert ids(claim(queue)) == [jobs[2]["id"]]
