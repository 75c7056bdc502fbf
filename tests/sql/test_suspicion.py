"""When a worker counts as lost: not because a clock stepped, or because the database was away."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.sql.calls import Queue, ids
from tests.support.servers import Server
from tests.support.waiting import wait_until

LEASE = 30
SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)


def sweep(queue: Queue, *, at_start: bool = False, most: int = 500) -> list[int]:
    """Sweeps; the ids of the jobs that are free."""
    rows = queue.rows("select id from tidemill._sweep_leases(%s, %s) order by id", [at_start, most])
    return [row["id"] for row in rows]


def beats(queue: Queue, worker: str = "w") -> bool:
    """Whether a heartbeat of the worker finds it alive."""
    row = queue.row(
        "select alive from tidemill._heartbeat(%s, make_interval(secs => %s), 0, false)", [worker, LEASE]
    )
    return bool(row["alive"])


def elapse(queue: Queue, seconds: float) -> None:
    """As if so much time had gone by; less than none: as if the server's clock had been put back."""
    queue.connection.execute(
        "update tidemill._workers set heartbeat_at = heartbeat_at - %(by)s, expires_at = expires_at - %(by)s,"
        " suspected_at = suspected_at - %(by)s, lost_at = lost_at - %(by)s",
        {"by": timedelta(seconds=seconds)},
    )


def is_suspected(queue: Queue, worker: str = "w") -> bool:
    return bool(queue.value("select suspected_at is not null from tidemill._workers where id = %s", [worker]))


@pytest.fixture
def held(queue: Queue) -> list[int]:
    """The ids of a worker's jobs: one of a named queue, and a single one."""
    queue.register(lease=f"{LEASE} seconds")
    queue.add(queue_name="q")
    queue.add()
    return ids(queue.claim())


def test_a_silent_worker_is_suspected_and_then_lost(queue: Queue, held: list[int]) -> None:
    elapse(queue, LEASE / 3 - 1)
    assert sweep(queue) == []
    assert not is_suspected(queue)
    elapse(queue, 2)
    assert sweep(queue) == []
    assert is_suspected(queue)
    assert queue.value("select tidemill._express_is_safe()")
    # A sweep that comes with every heartbeat, up to a third of the lease apart, sees it in time.
    elapse(queue, LEASE * 2 / 3 - 3)
    assert sweep(queue) == []
    elapse(queue, 3)
    assert sweep(queue) == held
    assert not queue.value("select tidemill._express_is_safe()")
    assert not beats(queue)


def test_a_heartbeat_clears_a_suspicion(queue: Queue, held: list[int]) -> None:
    elapse(queue, LEASE - 1)
    assert sweep(queue) == []
    assert is_suspected(queue)
    assert beats(queue)
    assert not is_suspected(queue)
    elapse(queue, LEASE / 3 - 1)
    assert sweep(queue) == []
    assert queue.value("select count(*) from tidemill._jobs where locked_by = 'w'") == len(held)


@pytest.mark.parametrize("hours", [1, -1], ids=["forward", "back"])
def test_a_step_of_the_clock_frees_what_the_dead_hold_alone(
    queue: Queue, held: list[int], hours: int
) -> None:
    queue.register("x", lease=f"{LEASE} seconds")
    queue.add()
    others = ids(queue.claim("x"))
    elapse(queue, hours * HOUR.total_seconds())
    assert sweep(queue) == []
    assert is_suspected(queue)
    # The one that lives beats a moment later, the other one never.
    assert beats(queue, "x")
    assert sweep(queue) == []
    # Nobody can say how long it has really been silent: only from now on the time counts.
    elapse(queue, LEASE - 1)
    assert beats(queue, "x")
    assert sweep(queue) == []
    elapse(queue, 2)
    assert sweep(queue) == held
    assert queue.value("select array_agg(id) from tidemill._jobs where locked_by = 'x'") == others


def test_a_suspicion_of_before_the_clock_was_put_back_begins_again(queue: Queue, held: list[int]) -> None:
    elapse(queue, LEASE / 2)
    assert sweep(queue) == []
    elapse(queue, -HOUR.total_seconds())
    assert sweep(queue) == []
    elapse(queue, LEASE + 1)
    assert sweep(queue) == held


def test_a_worker_that_was_swept_stays_lost_when_the_clock_is_put_back(queue: Queue, held: list[int]) -> None:
    queue.expire()
    assert sweep(queue) == held
    elapse(queue, -HOUR.total_seconds())
    assert not beats(queue)
    assert sweep(queue) == []
    # The time of caution begins again, or the express lane would stay off for an hour.
    elapse(queue, 61)
    assert queue.value("select tidemill._express_is_safe()")


class TestConnectionGone:
    """The worker's last heartbeat came over a connection that is gone."""

    @pytest.fixture
    def held(self, queue: Queue, another: Callable[[], Queue]) -> list[int]:
        gone = another()
        gone.register(lease=f"{LEASE} seconds")
        gone.add()
        claimed = ids(gone.claim())
        pid = gone.connection.info.backend_pid
        gone.connection.close()
        wait_until(
            lambda: not queue.value("select count(*) from pg_stat_activity where pid = %s", [pid]), "its end"
        )
        return claimed

    def test_it_is_suspected_at_once(self, queue: Queue, held: list[int]) -> None:
        assert sweep(queue) == []
        assert is_suspected(queue)
        assert not queue.value("select tidemill._express_is_safe()")
        elapse(queue, LEASE - 1)
        assert sweep(queue) == []
        elapse(queue, 2)
        assert sweep(queue) == held

    def test_after_an_outage_workers_do_not_sweep_each_other(self, queue: Queue, held: list[int]) -> None:
        elapse(queue, 10 * LEASE)
        assert sweep(queue) == []
        assert beats(queue)
        assert sweep(queue) == []

    def test_one_that_starts_frees_what_was_long_over(self, queue: Queue, held: list[int]) -> None:
        elapse(queue, LEASE - 1)
        assert sweep(queue, at_start=True) == []
        elapse(queue, 2)
        assert sweep(queue, at_start=True) == held
        assert not beats(queue)


def test_one_that_starts_believes_no_clock_alone(queue: Queue, held: list[int]) -> None:
    elapse(queue, HOUR.total_seconds())
    assert sweep(queue, at_start=True) == []
    assert beats(queue)


def test_admin_functions_agree_with_the_sweep(queue: Queue) -> None:
    queue.register(lease=f"{LEASE} seconds")
    queue.add(job_key="k")
    queue.claim()
    elapse(queue, HOUR.total_seconds())
    assert sweep(queue) == []
    # Its worker lives: the job is running.
    assert queue.remove("k")["id"] is not None
    assert queue.value("select withdrawn from tidemill._jobs") == "removed"
    assert queue.rows("select tidemill.complete_jobs(array(select id from tidemill._jobs))") == []
    elapse(queue, LEASE + 1)
    assert len(queue.rows("select tidemill.complete_jobs(array(select id from tidemill._jobs))")) == 1


def test_a_sweep_is_bounded_and_frees_a_queue_after_its_jobs(queue: Queue) -> None:
    queue.register()
    for _ in range(5):
        queue.add(queue_name="q")
    claimed = ids(queue.claim())
    queue.expire()
    assert len(sweep(queue, most=3)) == 3
    # The jobs that are free must not start while those before them still wait for the next sweep.
    assert queue.claim("x") == []
    assert len(sweep(queue, most=3)) == 2
    assert ids(queue.claim("x")) == claimed


def test_a_queue_keeps_its_order(queue: Queue) -> None:
    queue.register()
    first = queue.add(queue_name="q")["id"]
    assert ids(queue.claim()) == [first]
    later = [queue.add(queue_name="q")["id"] for _ in range(2)]
    queue.expire()
    assert sweep(queue) == [first]
    assert ids(queue.claim("x")) == [first, *later]


def test_a_sweep_waits_for_no_lock(queue: Queue, another: Callable[[], Queue], held: list[int]) -> None:
    queue.expire()
    other = another()
    queue.connection.execute("set statement_timeout = '10s'")
    with other.connection.transaction(force_rollback=True):
        other.connection.execute("select from tidemill._workers for update")
        assert sweep(queue) == []
    with other.connection.transaction(force_rollback=True):
        other.connection.execute("select from tidemill._queues for no key update")
        assert sweep(queue) == held
        assert queue.value("select locked_by from tidemill._queues") == "w"
    with other.connection.transaction(force_rollback=True):
        other.connection.execute("lock tidemill._jobs")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            sweep(queue)
    assert sweep(queue) == []
    assert queue.value("select locked_by from tidemill._queues") is None


def test_heartbeats_do_not_touch_the_jobs(
    queue: Queue, another: Callable[[], Queue], held: list[int]
) -> None:
    other = another()
    queue.connection.execute("set statement_timeout = '10s'")
    beat = "select alive from tidemill._heartbeat('w', '30 s', 0, false, false)"
    with other.connection.transaction(force_rollback=True):
        other.connection.execute("lock tidemill._jobs")
        assert queue.value(beat)
        with pytest.raises(psycopg.errors.LockNotAvailable):
            queue.rows("select * from tidemill._cancelled_jobs('w')")
    queue.rows("select tidemill.cancel_jobs(%s, 'why')", [held[:1]])
    assert queue.rows("select * from tidemill._cancelled_jobs('w')") == [
        {"id": held[0], "reason": "Cancelled: why"}
    ]


def test_the_sessions_of_a_lost_worker_are_ended(queue: Queue, server: Server, database: str) -> None:
    name, another = "worker-0123456789abcdef", "worker-0123456789abcde0"
    queue.register(name, lease=f"{LEASE} seconds")
    queue.add(queue_name="q")
    held = ids(queue.claim(name))

    def session(conninfo: str, called: str) -> psycopg.Connection:
        return psycopg.connect(conninfo, application_name=called, autocommit=True)

    def is_alive(connection: psycopg.Connection) -> bool:
        try:
            connection.execute("select 1")
        except psycopg.OperationalError:
            return False
        return True

    with (
        server.role() as stranger,
        session(database, name) as own,
        session(database, another) as other,
        session(make_conninfo(database, user=stranger), name) as foreign,
    ):
        own.execute("begin")
        own.execute("select from tidemill._queues for update")
        elapse(queue, LEASE - 1)
        assert sweep(queue) == []
        assert is_suspected(queue, name)
        assert is_alive(own)
        elapse(queue, LEASE)
        assert sweep(queue) == held
        wait_until(lambda: not is_alive(own), "the end of its session")
        assert is_alive(other)
        assert is_alive(foreign)
        # One that comes back is left alone.
        with session(database, name) as again:
            assert sweep(queue) == []
            assert is_alive(again)


def test_jobs_that_are_lost_together_again_and_again_go_apart(queue: Queue, held: list[int]) -> None:
    queue.connection.execute("update tidemill._jobs set attempts = 3")
    queue.connection.execute("insert into tidemill._jobs (task_id) select 1 from generate_series(1, 50)")
    queue.connection.execute(
        "update tidemill._jobs set locked_at = now(), locked_by = 'w', claim_token = 1, attempts = 3"
        " where locked_by is null"
    )
    elapse(queue, 3600)
    sweep(queue)
    elapse(queue, 3600)
    sweep(queue)
    times = queue.rows("select run_at - now() as wait from tidemill._jobs where locked_by is null")
    assert len({row["wait"] for row in times}) > 10
    assert max(row["wait"] for row in times) <= timedelta(seconds=3)
