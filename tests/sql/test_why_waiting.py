"""why_waiting: one answer for each state that a job may be in."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.sql.calls import Queue, Row


def why(queue: Queue, job: int) -> Row:
    return queue.row("select * from tidemill.why_waiting(%s)", [job])


def gone(queue: Queue) -> int:
    return 999


def running(queue: Queue) -> int:
    queue.register("w", ["t"])
    [job] = [queue.add("t")]
    queue.claim()
    return int(job["id"])


def claimed(queue: Queue) -> int:
    job = running(queue)
    queue.connection.execute("insert into tidemill._unstarted select claim_token, 'w' from tidemill._jobs")
    return job


def lost(queue: Queue) -> int:
    job = running(queue)
    queue.expire()
    return job


def cancelled(queue: Queue) -> int:
    job = int(queue.add("t")["id"])
    queue.rows("select tidemill.cancel_jobs(%s::bigint[], 'not needed')", [[job]])
    return job


def failed(queue: Queue) -> int:
    job = int(queue.add("t")["id"])
    queue.rows("select tidemill.permanently_fail_jobs(%s::bigint[], %s)", [[job], "is bad\nat line 1"])
    return job


def failed_once(queue: Queue) -> int:
    job = int(queue.add("t")["id"])
    keep(queue)
    queue.register("w", ["t"])
    queue.claim()
    queue.rows(
        "select tidemill._fail_jobs('w', array_agg(id), array_agg(claim_token), '{does not fit}',"
        " '{null}', '{t}', '{null}', '{f}', '{f}', array_agg(row(id, null, null, 2, attempts, run_at, 1, 0,"
        " null, 'E', null, null)::tidemill._ended_attempt)) from tidemill._jobs"
    )
    return job


def cleaned_up(queue: Queue) -> int:
    job = failed_once(queue)
    queue.connection.execute("delete from tidemill._jobs")
    return job


def done(queue: Queue) -> int:
    job = int(queue.add("t")["id"])
    keep(queue)
    queue.register("w", ["t"])
    queue.claim()
    queue.rows(
        "select tidemill._complete_kept_jobs('w', array_agg(id), array_agg(claim_token),"
        " '{2}', '{f}', '{1}', '{0}', '{null}') from tidemill._jobs"
    )
    return job


def removed(queue: Queue) -> int:
    job = int(queue.add("t")["id"])
    keep(queue)
    queue.rows("select tidemill.complete_jobs(%s::bigint[])", [[job]])
    return job


def keep(queue: Queue) -> None:
    queue.connection.execute("select tidemill._declare_keeps('{t}', '{2}', '{true}')")


def paused(queue: Queue) -> int:
    job = int(queue.add("t", run_at="2100-01-01")["id"])
    queue.rows("select tidemill.pause('all'), tidemill.pause('task', 't', 'the provider is down')")
    return job


def paused_queue(queue: Queue) -> int:
    job = int(queue.add("t", queue_name="it's")["id"])
    queue.rows("select tidemill.pause('queue', 'it''s')")
    return job


def scheduled(queue: Queue) -> int:
    return int(queue.add("t", run_at="2100-01-01")["id"])


def retrying(queue: Queue) -> int:
    job = scheduled(queue)
    queue.connection.execute("update tidemill._jobs set attempts = 2, last_error = 'timed out'")
    return job


def queue_busy(queue: Queue) -> int:
    queue.register("w", ["t"])
    queue.add("t", queue_name="q")
    queue.claim(per_queue=1)
    return int(queue.add("t", queue_name="q")["id"])


def queue_order(queue: Queue) -> int:
    queue.add("u", queue_name="q")
    queue.add("t", queue_name="q", run_at="2100-01-01", priority=-9)
    queue.rows("select tidemill.pause('task', 'u')")
    queue.add("t", queue_name="q")
    return int(queue.add("t", queue_name="q")["id"])


def no_worker(queue: Queue) -> int:
    return int(queue.add("t")["id"])


def busy(queue: Queue) -> int:
    queue.register("w", ["t"])
    queue.connection.execute("update tidemill._workers set in_hand = 4")
    return no_worker(queue)


def ready(queue: Queue) -> int:
    queue.register("w", ["t"])
    return no_worker(queue)


@pytest.mark.parametrize(
    ("make", "reason", "words"),
    [
        (gone, "gone", ["There is no job 999"]),
        (
            running,
            "running",
            ["It runs in worker w since", "tidemill jobs cancel 1, or select tidemill.cancel_jobs(array[1])"],
        ),
        (claimed, "claimed", ["Worker w has it in hand"]),
        (lost, "lost", ["Its worker w is lost"]),
        (cancelled, "cancelled", [": not needed.", "tidemill jobs retry 1, or", "attempts => 0"]),
        (failed, "failed", ["+00: is bad", "tidemill jobs retry 1, or", "attempts => 0"]),
        (failed_once, "failed", [", after 1 of 25 attempts: does not fit", "attempts => 0"]),
        (done, "gone", ["It is done since ", ", in attempt 1 of 25.", "where id = 1."]),
        (removed, "gone", ["It was removed on ", ", before it was done."]),
        (cleaned_up, "gone", ["It was removed some time after ", ", when it had failed for good: does not"]),
        (
            paused,
            "paused",
            [
                'The task "t" is paused since',
                " by tidemill_owner: the provider is down",
                "tidemill resume task t, or select tidemill.resume('task', 't')",
            ],
        ),
        (
            paused_queue,
            "paused",
            [
                """The named queue "it's" is paused""",
                r"tidemill resume queue 'it'\''s', or",
                "resume('queue', 'it''s')",
            ],
        ),
        (scheduled, "scheduled", ["It is due on 2100-01-01", "tidemill jobs reschedule 1 --in 0s, or"]),
        (retrying, "scheduled", ["Attempt 2 of 25 failed (timed out)"]),
        (queue_busy, "queue_busy", ["worker w runs job 1 since"]),
        (queue_order, "queue_order", ["2 jobs come before it", "job 1 (u), whose task is paused since"]),
        (no_worker, "no_worker", ['No worker that runs knows the task "t"', "tidemill worker"]),
        (busy, "busy", ["1 worker of the task", "--concurrency"]),
        (ready, "ready", ["1 worker may take it"]),
    ],
)
def test_it_says_why(queue: Queue, make: Callable[[Queue], int], reason: str, words: list[str]) -> None:
    answer = why(queue, make(queue))
    assert answer["reason"] == reason
    for word in words:
        assert word in f"{answer['message']} {answer['remedy']}"
