"""What limits refuse, and what a producer or an operator can do about it."""

from __future__ import annotations

from typing import LiteralString

import pytest

from tests.sql.calls import Queue, refused
from tests.sql.limited import claim, declare, limit

ADD: LiteralString = "select tidemill.add_job('t', %s::json, limit_name => %s)"
# PostgreSQL's json keeps these as they are, and cannot read them.
UNREADABLE = [r'{"a": "\u0000", "c": 1}', r'{"c": "\ud800"}', r'{"\udc00": 1, "c": 1}']


@pytest.mark.parametrize("payload", UNREADABLE)
def test_a_payload_that_cannot_be_read_is_refused_by_the_field(queue: Queue, payload: str) -> None:
    limit(queue, concurrency=1, per="c")
    with refused("22023", '"c"', "u0000", 'task "t"'):
        queue.rows(ADD, [payload, "l"])
    with refused("22023", '"c"', "(spec 1)"):
        queue.rows(
            "select tidemill.add_jobs(array[row('t', %s, null, null, null, null, null, null)]"
            "::tidemill.job_spec[], limit_names => '{l}')",
            [payload],
        )
    # Without a field there is nothing to read.
    limit(queue, "m", concurrency=1)
    queue.rows(ADD, [payload, "m"])
    assert [job["payload"] for job in claim(queue)] == [payload]


@pytest.mark.parametrize("payload", UNREADABLE)
def test_one_that_was_there_before_comes_under_the_limit(queue: Queue, payload: str) -> None:
    queue.rows(ADD, [payload, None])
    queue.rows(ADD, ["{}", None])
    queue.rows(ADD, ['{"c": 1}', None])
    declare(queue, t={"concurrency": 1, "field": "c"})
    while queue.value("select tidemill._gate_waiting('{t}')"):
        pass
    # Those without a key that can be read share one gate.
    assert [job["payload"] for job in claim(queue)] == [payload, '{"c": 1}']


def test_a_limit_that_is_set_again_uses_up_no_number(queue: Queue) -> None:
    for n in (5, 6, 7):
        limit(queue, concurrency=n)
        declare(queue, t={"concurrency": n})
    queue.rows("select tidemill.remove_limit('l')")
    limit(queue, concurrency=8)
    limit(queue, "m", concurrency=1)
    rows = queue.rows(
        "select id, coalesce(name, 'own') as name, concurrency from tidemill._limits order by id"
    )
    assert [tuple(row.values()) for row in rows] == [(1, "l", 8), (2, "own", 7), (3, "m", 1)]


def test_no_limit_gets_a_number_that_gates_cannot_hold(queue: Queue) -> None:
    queue.rows("select setval('tidemill._limits_id_seq', 8388605)")
    limit(queue, "last", concurrency=1)
    for _ in range(2):
        queue.add(limit_name="last")
    assert len(claim(queue)) == 1
    with refused("54000", "8388606", "per"):
        limit(queue, "more", concurrency=1)
    limit(queue, "last", concurrency=2)
    assert len(claim(queue)) == 1
    assert queue.value("select in_use from tidemill.limits") == 2
