"""History in SQL: what administrators and sweeps write, partitions, and the plans of its pages."""

from __future__ import annotations

from collections.abc import Callable
from typing import LiteralString

import pytest
from psycopg import errors

from tests.sql.calls import Queue
from tests.support.waiting import wait_until
from tidemill.keeps import keep_text, read_keep


@pytest.fixture
def kept(queue: Queue) -> Queue:
    """A queue whose task `t` keeps its history for a week."""
    queue.connection.execute("select tidemill._declare_keeps('{t}', '{2}', '{true}')")
    return queue


def ends(queue: Queue) -> list[tuple[object, ...]]:
    return queue.connection.execute(
        "select id, outcome, attempt, payload, error from tidemill.job_history order by finished_at, id"
    ).fetchall()


def test_removed_jobs_move(kept: Queue) -> None:
    first, second = kept.add(payload={"a": 1}), kept.add(payload={"b": 2}, job_key="k")
    kept.connection.execute("select tidemill.complete_jobs(%s)", [[first["id"]]])
    kept.connection.execute("select tidemill.remove_job('k')")
    assert ends(kept) == [
        (first["id"], "removed", 0, {"a": 1}, None),
        (second["id"], "removed", 0, {"b": 2}, None),
    ]


def test_what_is_rolled_back_leaves_nothing(kept: Queue) -> None:
    job = kept.add()
    with kept.connection.transaction(force_rollback=True):
        kept.connection.execute("select tidemill.complete_jobs(%s)", [[job["id"]]])
        assert len(ends(kept)) == 1
    assert ends(kept) == []


def test_what_administrators_end(kept: Queue) -> None:
    failed, cancelled, other = kept.add(), kept.add(), kept.add("other")
    ids = [job["id"] for job in (failed, cancelled, other)]
    with kept.connection.transaction():
        kept.connection.execute("savepoint s")
        kept.connection.execute("select tidemill.permanently_fail_jobs(%s, 'no more')", [ids[:1]])
    kept.connection.execute("select tidemill.cancel_jobs(%s, 'not wanted')", [ids[1:]])
    assert ends(kept) == [
        (ids[0], "failed", 0, None, "no more"),
        (ids[1], "cancelled", 0, None, "Cancelled: not wanted"),
    ]


def test_one_that_ended_well_although_it_was_asked_to_stop(kept: Queue) -> None:
    job = kept.add()
    kept.register("w", ["t"])
    kept.claim()
    kept.connection.execute("select tidemill.cancel_jobs(%s)", [[job["id"]]])
    kept.connection.execute(
        "select tidemill._complete_kept_jobs('w', array_agg(id), array_agg(claim_token),"
        " '{2}', '{f}', '{1}', '{0}', '{1}') from tidemill._jobs"
    )
    assert ends(kept) == [(job["id"], "done", 1, None, None)]
    for since in ("'-infinity'", "null"):
        assert kept.connection.execute(
            f"select outcome, result from tidemill.job_result(%s, {since})".encode(), [job["id"]]
        ).fetchone() == ("done", 1)


def test_an_attempt_that_was_lost_with_its_worker(kept: Queue) -> None:
    twice, once = kept.add(), kept.add(max_attempts=1)
    kept.register()
    claimed = kept.claim(count=2)
    assert {job["id"] for job in claimed} == {twice["id"], once["id"]}
    kept.expire()
    kept.connection.execute("select tidemill._sweep_leases()")
    lost = "its worker stopped without a word: killed, crashed, or cut off from the database"
    first, second = sorted(ends(kept), key=lambda end: str(end[1]), reverse=True)
    assert first == (twice["id"], "retried", 1, None, f"The attempt did not end: {lost}")
    assert second[:3] == (once["id"], "failed", 1)
    assert lost in str(second[4])


def test_an_attempt_whose_lease_was_taken_away(kept: Queue) -> None:
    started, ahead = kept.add(), kept.add()
    kept.register()
    [job] = kept.claim(count=1)
    assert job["id"] == started["id"]
    [later] = kept.claim(count=1)
    # As if it were claimed ahead, and waited in the worker's hand.
    kept.connection.execute(
        "insert into tidemill._unstarted (claim_token, worker_id) values (%s, 'w')", [later["claim_token"]]
    )
    kept.connection.execute("select tidemill.force_unlock_workers('{w}')")
    taken = "The attempt did not end: its lease was taken away by force_unlock_workers"
    assert ends(kept) == [(started["id"], "retried", 1, None, taken)]
    assert kept.kept(ahead["id"])["attempts"] == 0


def test_a_lost_lease_writes_no_history(kept: Queue) -> None:
    kept.add()
    [job] = kept.claim()
    done = "select * from tidemill._complete_kept_jobs(%s, %s, %s, '{2}', '{true}', '{0.1}', '{0}', null)"
    wrong = kept.connection.execute(done, ["w", [job["id"]], [job["claim_token"] + 1]]).fetchall()
    assert wrong == [(job["id"], "lost")]
    assert ends(kept) == []
    assert kept.connection.execute(done, ["w", [job["id"]], [job["claim_token"]]]).fetchall() == []
    assert [end[:3] for end in ends(kept)] == [(job["id"], "done", 1)]


def test_a_row_that_a_producer_holds_is_left_for_the_next_time(
    kept: Queue, another: Callable[[], Queue]
) -> None:
    kept.add(job_key="k")
    [job] = kept.claim()
    done = "select * from tidemill._complete_kept_jobs(%s, %s, %s, '{2}', '{true}', '{0.1}', '{0}', null)"
    arguments = ["w", [job["id"]], [job["claim_token"]]]
    producer = another().connection
    with producer.transaction():
        producer.execute("select tidemill.add_job('t', job_key => 'k')")
        assert kept.connection.execute(done, arguments).fetchall() == [(job["id"], "busy")]
        assert ends(kept) == []
    assert kept.connection.execute(done, arguments).fetchall() == []
    assert [end[1] for end in ends(kept)] == ["done"]


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("1 day", "1 day"),
        ("25 hours", "1 week"),
        ("1 week", "1 week"),
        ("30 days", "1 month"),
        ("1 month", "1 month"),
        ("1 year", "1 year"),
        ("12 months", "1 year"),
        ("2 years", "forever"),
        ("Forever", "forever"),
        ("none", "none"),
    ],
)
def test_keeps(queue: Queue, given: str, text: str) -> None:
    job_id = queue.connection.execute("select id from tidemill.add_job('t', keep => %s)", [given]).fetchone()
    assert job_id is not None
    row = queue.connection.execute("select keep from tidemill.jobs where id = %s", [job_id[0]]).fetchone()
    assert row == (text,)
    # What Python makes of it.
    assert keep_text(read_keep(given)) == text


@pytest.mark.parametrize("wrong", ["", "soon", "0", "-1 day", "1 fortnight"])
def test_what_is_no_keep(queue: Queue, wrong: str) -> None:
    with pytest.raises(errors.InvalidParameterValue) as caught:
        queue.connection.execute("select tidemill.add_job('t', keep => %s)", [wrong])
    assert f"keep '{wrong}' is not how long" in str(caught.value)
    assert caught.value.diag.message_hint is not None


def test_a_keep_needs_a_unit(queue: Queue) -> None:
    with pytest.raises(errors.InvalidParameterValue, match="keep '7' has no unit") as caught:
        queue.connection.execute("select tidemill.add_job('t', keep => '7')")
    assert caught.value.diag.message_hint == "Write '7 days' or '7 seconds'."
    with pytest.raises(errors.CheckViolation, match="trace has 513 characters"):
        queue.connection.execute("select tidemill.add_job('t', trace => %s)", ["x" * 513])


def test_keep_and_trace_come_with_the_claim(queue: Queue) -> None:
    add = "select tidemill.add_job('t', keep => '1 week', trace => '00-ab-cd-01', job_key => 'k')"
    queue.connection.execute(add)
    spec = "array[row('t', null, null, null, null, null, null, null)]::tidemill.job_spec[]"
    queue.connection.execute(f"select tidemill.add_jobs({spec}, keep => 'none', trace => 'x')".encode())
    assert [(job["keep"], job["trace"]) for job in queue.claim(count=2)] == [(2, "00-ab-cd-01"), (0, "x")]


def test_old_history_goes_by_partitions(kept: Queue, another: Callable[[], Queue]) -> None:
    connection = kept.connection

    def chunks(name: str) -> int:
        row = connection.execute(
            "select count(*) from pg_inherits where inhparent = %s::regclass", [f"tidemill.{name}"]
        ).fetchone()
        assert row is not None
        return int(row[0])

    def done(job_id: int, age: str) -> None:
        connection.execute(
            "insert into tidemill._done_jobs (id, created_at, run_at, started_at, finished_at, keep, attempt,"
            " max_attempts, priority, identifier) select %s, t, t, t, t, 2, 1, 25, 0, 't'"
            " from (select now() - %s::interval) a(t)",
            [job_id, age],
        )

    assert chunks("_done_jobs_week") == chunks("_ended_attempts_week") == 3
    done(1, "9 days")
    done(2, "6 days")
    connection.execute("call tidemill.prune_job_history(4, '{}')")
    assert [end[0] for end in ends(kept)] == [2]
    # The default partition, the one with a row, and from now on those of today and the next days.
    assert chunks("_done_jobs_week") == 5
    done(3, "9 days")
    reader, other = another().connection, another().connection
    with reader.transaction():
        reader.execute("select from tidemill.job_history")
        # It gives up again and again, since nobody who settles jobs may wait behind it.
        prune = "select tidemill._prune_history_table('tidemill._done_jobs_week', '7 days')"
        assert other.execute(prune).fetchone() == (False,)
        assert other.execute("select count(*) from tidemill._done_jobs").fetchone() == (2,)


def test_workers_are_named_while_history_may_have_their_jobs(kept: Queue) -> None:
    def named() -> list[tuple[str, bool]]:
        kept.connection.execute("call tidemill.prune_job_history(4, '{}')")
        return kept.connection.execute(
            "select worker_id, last_seen > now() - interval '1 minute'"
            " from tidemill._history_workers order by 1"
        ).fetchall()

    kept.register("alive")
    kept.connection.execute(
        "insert into tidemill._history_workers (worker_id, last_seen) values"
        " ('alive', now() - interval '500 days'), ('gone', now() - interval '390 days'),"
        " ('long gone', now() - interval '401 days')"
    )
    assert named() == [("alive", True), ("gone", False)]
    # The row of a worker that lives is not written each time.
    kept.connection.execute("update tidemill._history_workers set last_seen = now() - interval '5 minutes'")
    assert named() == [("alive", False), ("gone", False)]
    kept.connection.execute("update tidemill._history_workers set last_seen = '-infinity'")
    kept.connection.execute("select tidemill._open_history(5::smallint)")
    assert named() == [("alive", True), ("gone", False)], "some history is kept for ever"


def test_the_action_that_prunes_comes_with_the_first_keep(queue: Queue) -> None:
    actions: LiteralString = "select id, name, routine from tidemill.actions where id = 4"
    assert queue.connection.execute(actions).fetchall() == []
    for _ in range(2):
        queue.connection.execute("select tidemill._open_history(1::smallint)")
    assert queue.connection.execute(actions).fetchall() == [
        (4, "Job History Retention", "tidemill.prune_job_history")
    ]


def test_two_open_the_same_keep(queue: Queue, another: Callable[[], Queue]) -> None:
    other = another().connection
    with other.transaction():
        other.execute("select tidemill._open_history(1::smallint)")
        # The engine must not wait for it.
        with pytest.raises(errors.LockNotAvailable):
            queue.connection.execute("select tidemill._open_history(1::smallint)")
    queue.connection.execute("select tidemill._open_history(1::smallint)")
    assert queue.connection.execute("select keep from tidemill._history_keeps").fetchall() == [(1,)]


def test_results_from_sql(kept: Queue) -> None:
    kept.add()
    [job] = kept.claim()
    ask: LiteralString = "select outcome, result, error from tidemill.job_result(%s)"
    assert kept.connection.execute(ask, [job["id"]]).fetchone() == (None, None, None)
    kept.connection.execute(
        "select tidemill._complete_kept_jobs(%s, %s, %s, '{2}', '{true}', '{0.1}', '{0}', array['[1]'])",
        ["w", [job["id"]], [job["claim_token"]]],
    )
    assert kept.connection.execute(ask, [job["id"]]).fetchone() == ("done", [1], None)
    gone = kept.connection.execute(
        "select outcome from tidemill.job_result(%s, now() + interval '1 hour')", [job["id"]]
    ).fetchone()
    assert gone == (None,)


def test_who_waits_is_told(kept: Queue, another: Callable[[], Queue]) -> None:
    job = kept.add()
    waiter = another().connection
    waiter.execute('listen "tidemill:ended:a"')
    waiter.execute("select tidemill._wait_for(%s, 'tidemill:ended:a')", [[job["id"]]])
    kept.connection.execute("select tidemill.complete_jobs(%s)", [[job["id"]]])
    told = wait_until(lambda: list(waiter.notifies(timeout=0.1, stop_after=1)), "a notification of the end")
    assert told[0].payload == str(job["id"])
    waiter.execute("select tidemill._wait_no_more(%s, 'tidemill:ended:a')", [[job["id"]]])
    assert waiter.execute("select count(*) from tidemill._waiters").fetchone() == (0,)


PAGES: dict[str, LiteralString] = {
    "all": "true",
    "a task": "identifier = 't7'",
    "a rare task": "identifier = 'nobody'",
    "an outcome": "outcome = 'failed'",
    "an absent outcome": "outcome = 'cancelled'",
    "the next page": "(finished_at, id) < (now() - interval '3 days', 0)",
    "one job": "id = 5000",
}


@pytest.mark.each_version("planners differ")
@pytest.mark.parametrize("page", PAGES)
def test_a_page_reads_few_rows(kept: Queue, page: str) -> None:
    """With the statistics that autovacuum makes, and whatever the filter."""
    connection = kept.connection
    for n in range(8):
        connection.execute(
            "select tidemill._ensure_chunk(h, tidemill._now_units('timestamptz') - %s * h.chunk_width)"
            " from tidemill._hypertables h where h.rows_table = 'tidemill._done_jobs_week'::regclass",
            [n],
        )
    connection.execute(
        "insert into tidemill._done_jobs (id, created_at, run_at, started_at, finished_at, keep, attempt,"
        " max_attempts, priority, identifier) select n, t, t, t, t, 2, 1, 25, 0, 't' || n % 10"
        " from (select n, now() - n * interval '1 minute' from generate_series(1, 10000) n) a(n, t)"
    )
    connection.execute(
        "insert into tidemill._ended_attempts (id, created_at, run_at, finished_at, keep, attempt,"
        " max_attempts, priority, identifier, outcome, error) select n, t, t, t, 2, 1, 25, 0, 't' || n % 10,"
        ""
        " case when n % 3 = 0 then 'failed' else 'retried' end, 'e'"
        " from (select n, now() - n * interval '1 minute' from generate_series(1, 10000) n) a(n, t)"
    )
    connection.execute("analyze")
    plan = connection.execute(
        b"explain (analyze, costs off, timing off, format json) select id from tidemill.job_history where "
        + PAGES[page].encode()
        + b" order by finished_at desc, id desc limit 50"
    ).fetchone()
    assert plan is not None
    read = 0

    def walk(node: dict[str, object]) -> None:
        nonlocal read
        if "Relation Name" in node and str(node["Relation Name"]).startswith("_hyper"):
            read += int(node["Actual Rows"]) * int(node["Actual Loops"])  # type: ignore[call-overload]
            read += int(node.get("Rows Removed by Filter", 0))  # type: ignore[call-overload]
        for child in node.get("Plans", []):  # type: ignore[attr-defined]
            walk(child)

    walk(plan[0][0]["Plan"])
    assert read < 1500, plan[0]
