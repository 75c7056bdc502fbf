"""What limits refuse, and what a producer or an operator can do about it."""

from __future__ import annotations

from typing import LiteralString

import psycopg
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


def test_the_limit_of_a_tasks_code_is_not_mistaken_for_one_with_a_name(queue: Queue) -> None:
    limit(queue, "shared", concurrency=1)
    declare(queue, own={"concurrency": 1}, named={"name": "shared"}, shared={"name": "shared"})
    with refused("22023", 'task "own" has a limit of its own, in its code', "@app.task(limit=...)"):
        limit(queue, "own", concurrency=9)
    with refused("22023", 'task "named" has the limit "shared" by its code', "another name"):
        limit(queue, "named", concurrency=9)
    with refused("22023", 'no limit "own"; task "own" has a limit of its own, in its code', "@app.task"):
        queue.rows("select tidemill.remove_limit('own')")
    limit(queue, "shared", concurrency=2)
    limit(queue, "later", concurrency=1)
    declare(queue, later={"concurrency": 1})
    told: list[str | None] = []
    queue.connection.add_notice_handler(lambda notice: told.append(notice.message_primary))
    limit(queue, "later", concurrency=3)
    assert told == ['task "later" has a limit of its own, in its code, which stays as it is']
    rows = queue.rows("select name, task, concurrency from tidemill.limits order by name, task nulls first")
    assert [tuple(row.values()) for row in rows] == [
        ("later", None, 3),
        ("later", "later", 1),
        ("own", "own", 1),
        ("shared", None, 2),
    ]
    queue.rows("select tidemill.remove_limit('later')")
    assert len(told) == 2


LONG = "x" * 100_000


@pytest.mark.parametrize(
    "call",
    [
        "select tidemill.remove_limit(%s)",
        "select tidemill.set_limit(%s, 1)",
        "select tidemill.set_limit('l', 1, per => '.' || %s)",
        "select tidemill.add_job('t', limit_name => %s)",
        "select tidemill.add_job('t', job_key => 'k', job_key_mode => %s)",
        "select tidemill.add_job(%s)",
        "select tidemill.add_job('t', queue_name => %s)",
        "select tidemill.add_job('t', keep => %s)",
        "select tidemill.pause(%s)",
        "select tidemill.pause('task', %s)",
        "select tidemill.pause('all', %s)",
        "select tidemill.resume('queue', %s)",
        "select tidemill.stop_worker(%s)",
        "select tidemill.grant_role(%s, current_user::regrole)",
        'select tidemill.begin_bulk_act(%s, \'{"state": "failed"}\')',
        "select tidemill.begin_bulk_act('retry', jsonb_build_object(%s::text, 1))",
        "select tidemill.begin_bulk_act('retry', jsonb_build_object('state', %s::text))",
        "select tidemill.begin_bulk_act('retry', jsonb_build_object('since', %s::text))",
        "select tidemill.begin_bulk_act('retry', '{\"state\": \"failed\"}', jsonb_build_object(%s::text, 1))",
        "select tidemill.begin_bulk_act('retry', jsonb_build_object('retrying', %s::text))",
        "select tidemill.check_cleanup(jsonb_build_object(%s::text, 1))",
        "select tidemill.check_cleanup(jsonb_build_object('queues', %s::text))",
        "select tidemill.set_on_failure(%s)",
    ],
)
def test_refusals_tell_no_long_text_again(queue: Queue, call: LiteralString) -> None:
    with pytest.raises(psycopg.Error) as caught:
        queue.connection.execute(call.encode(), [LONG])
    assert caught.value.sqlstate != "42883"
    diag = caught.value.diag
    assert len(" ".join(filter(None, (diag.message_primary, diag.message_detail, diag.message_hint)))) < 700
