"""Deleting old failed jobs, and queues without jobs: what stays, and that no add loses its queue."""

from __future__ import annotations

import threading
from collections.abc import Callable

import psycopg
import pytest

from tests.sql.calls import Queue
from tests.support.waiting import wait_until

pytestmark = pytest.mark.versions(18, 15)


@pytest.fixture
def other(another: Callable[[], Queue]) -> Queue:
    return another()


def names(queue: Queue) -> list[str]:
    return [row["queue_name"] for row in queue.rows("select queue_name from tidemill._queues order by 1")]


def test_it_deletes_what_is_old_and_unused(queue: Queue) -> None:
    for name in ("used", "unused", "leased", "failed"):
        queue.add(queue_name=name)
    queue.add()
    queue.rows("select tidemill.complete_jobs('{2}'), tidemill.cancel_jobs('{5}')")
    queue.rows("select tidemill.permanently_fail_jobs('{3,4}')")
    queue.connection.execute(
        "update tidemill._jobs set updated_at = now() - interval '31 days' where id in (1, 3, 5)"
    )
    queue.connection.execute(
        "update tidemill._queues set locked_by = 'w', locked_at = now() where queue_name = 'leased'"
    )
    queue.connection.execute("call tidemill.cleanup()")
    assert [row["id"] for row in queue.rows("select id from tidemill.jobs order by id")] == [1, 4]
    assert names(queue) == ["failed", "leased", "used"]


def test_what_is_kept(queue: Queue) -> None:
    queue.add(queue_name="q")
    queue.rows("select tidemill.permanently_fail_jobs('{1}')")
    queue.connection.execute("update tidemill._jobs set updated_at = '2001-01-01'")
    queue.connection.execute("""call tidemill.cleanup(config => '{"failed_after": null}')""")
    assert len(queue.rows("select from tidemill.jobs")) == 1
    queue.connection.execute("""call tidemill.cleanup(config => '{"queues": false}')""")
    assert (queue.rows("select from tidemill.jobs"), names(queue)) == ([], ["q"])
    queue.connection.execute("call tidemill.cleanup()")
    assert names(queue) == []


def test_it_goes_in_ranges(queue: Queue) -> None:
    for _ in range(5):
        queue.add()
    queue.rows("select tidemill.permanently_fail_jobs('{1,2,4,5}')")
    first = queue.row("select * from tidemill._delete_ended_jobs('infinity', 0, 3)")
    assert first == {"deleted": 3, "reached": 4}
    assert queue.row("select * from tidemill._delete_ended_jobs('infinity', 4, 3)") == {
        "deleted": 1,
        "reached": None,
    }


def test_it_waits_for_nobody_who_adds(queue: Queue, other: Queue) -> None:
    """The job of an open transaction is not seen yet, and needs its queue."""
    queue.add(queue_name="q")
    queue.rows("select tidemill.complete_jobs('{1}')")
    with other.connection.transaction():
        other.add(queue_name="q")
        left = queue.row("select * from tidemill._delete_unused_queues(tries => 2)")
        assert (left["deleted"], left["because"]) == (
            0,
            "an open transaction has added jobs to a named queue",
        )
    assert queue.value("select queue_name from tidemill.jobs") == "q"
    assert queue.row("select * from tidemill._delete_unused_queues()")["deleted"] == 0


def test_an_add_that_waits_for_it_makes_the_queue_anew(queue: Queue, other: Queue) -> None:
    queue.add(queue_name="q")
    queue.rows("select tidemill.complete_jobs('{1}')")
    adding = threading.Thread(target=lambda: other.add(queue_name="q"))
    with queue.connection.transaction():
        assert queue.row("select * from tidemill._delete_unused_queues()")["deleted"] == 1
        adding.start()
        wait_until(
            lambda: queue.value("select exists (select from pg_locks where not granted)"), "the add to wait"
        )
    adding.join()
    assert queue.value("select queue_name from tidemill.jobs") == "q"


def test_an_older_snapshot_does_not_use_a_queue_that_is_gone(queue: Queue, other: Queue) -> None:
    queue.add(queue_name="q")
    queue.add(queue_name="busy")
    queue.rows("select tidemill.complete_jobs('{1}')")
    other.connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    with other.connection.transaction():
        other.rows("select from tidemill._workers")
        queue.connection.execute("call tidemill.cleanup()")
        queue.connection.execute("update tidemill._queues set locked_at = now(), locked_by = 'w'")
        # One that is leased meanwhile is no hindrance.
        other.add(queue_name="busy")
        with pytest.raises(psycopg.errors.SerializationFailure), other.connection.transaction():
            other.add(queue_name="q")
    assert queue.rows("select id from tidemill.jobs where queue_name is null") == []


def test_a_large_table_is_not_looked_through(queue: Queue) -> None:
    queue.add(queue_name="q")
    queue.rows("select tidemill.complete_jobs('{1}')")
    left = queue.row("select * from tidemill._delete_unused_queues(most_bytes => 0)")
    assert (left["deleted"], names(queue)) == (0, ["q"])
    assert "more than 0 bytes" in left["because"]


def test_an_action_runs_it(queue: Queue) -> None:
    queue.rows(
        "select tidemill.add_action('tidemill.cleanup', '1 day', check_config => 'tidemill.check_cleanup',"
        ' config => \'{"failed_after": "1 week"}\')'
    )
    queue.add(queue_name="q")
    queue.rows("select tidemill.complete_jobs('{1}')")
    queue.connection.execute("call tidemill.run_action(1000)")
    assert names(queue) == []
    outcome = "select outcome from tidemill.action_history where action_id = 1000"
    assert queue.value(outcome) == "success"


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ('{"failed": "1 day"}', "unknown key: failed"),
        ('{"failed_after": "-1 day"}', "which lies ahead"),
        ('{"failed_after": "soon"}', "invalid input syntax"),
        ('{"failed_after": 30}', "failed_after is 30, which has no unit"),
        ('{"failed_after": " 1.5"}', "has no unit"),
        ('{"failed_after": "300000 years"}', "longer ago than any date"),
        ('{"queues": "no"}', 'queues is "no"'),
        ("[]", "config is no object"),
    ],
)
def test_what_cannot_be_meant_is_refused(queue: Queue, config: str, words: str) -> None:
    with pytest.raises(psycopg.Error, match=words):
        queue.connection.execute("call tidemill.cleanup(config => %s)", [config])


def test_workers_and_producers_go_on_beside_it(queue: Queue, database: str) -> None:
    """Jobs of queues are added, run and cleaned up at once, and none is left without its queue."""
    ended = threading.Event()

    def work() -> None:
        with psycopg.connect(database, autocommit=True) as connection:
            worker = Queue(connection)
            while not ended.is_set():
                claimed = worker.claim()
                worker.complete(claimed)
                worker.release(claimed)

    def clean() -> None:
        with psycopg.connect(database, autocommit=True) as connection:
            while not ended.is_set():
                connection.execute("call tidemill.cleanup()")

    threads = [threading.Thread(target=each) for each in (work, clean)]
    for thread in threads:
        thread.start()
    for number in range(300):
        queue.add(queue_name=f"q{number % 7}")
    wait_until(lambda: not queue.rows("select from tidemill._jobs limit 1"), "all jobs to be done")
    ended.set()
    for thread in threads:
        thread.join()
    queue.connection.execute("call tidemill.cleanup()")
    assert names(queue) == []
