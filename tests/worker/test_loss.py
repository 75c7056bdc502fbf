"""Nothing is lost and nothing is run twice: many workers, dead ones, stale ones."""

from __future__ import annotations

import signal
from contextlib import ExitStack

import psycopg
import pytest

from tests.support.processes import SHORT_LEASE, leased, runs, settled, worker_process
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.versions(18, 16)]

GATE = 1


def close_gate(connection: psycopg.Connection, attempt: int = 1) -> None:
    """Lets no job of task `hold` end this attempt until the gate is opened."""
    connection.execute("select pg_advisory_lock(%s, %s)", [GATE, attempt])


def open_gate(connection: psycopg.Connection, attempt: int = 1) -> None:
    connection.execute("select pg_advisory_unlock(%s, %s)", [GATE, attempt])


def add(connection: psycopg.Connection, task: str, count: int, **options: int) -> None:
    connection.execute(
        "select count(*) from tidemill.add_jobs(array(select row(%s, %s::text::json, null, null, %s, null, "
        "null, null)::tidemill.job_spec from generate_series(1, %s)))",
        [task, GATE, options.get("max_attempts"), count],
    )


@pytest.mark.parametrize(("workers", "jobs"), [(2, 20_000), (8, 10_000)])
def test_workers_at_once(database: str, table: psycopg.Connection, workers: int, jobs: int) -> None:
    add(table, "count", jobs)
    with ExitStack() as stack:
        started = [
            stack.enter_context(worker_process(database, once=True, concurrency=20, heartbeat_interval=1))
            for _ in range(workers)
        ]
        assert [worker.wait() for worker in started] == [0] * workers
    ran = table.execute("select count(*), count(distinct job_id), max(job_id) from runs").fetchone()
    assert ran == (jobs, jobs, jobs)
    assert settled(table)
    assert table.execute("select count(*) from tidemill._workers").fetchone() == (0,)


def test_a_killed_worker_loses_nothing(database: str, table: psycopg.Connection) -> None:
    close_gate(table)
    add(table, "hold", 20)
    with worker_process(database, concurrency=10, lease=SHORT_LEASE) as doomed:
        wait_until(lambda: leased(table) == len(runs(table)) == 10, "ten jobs to run")
        doomed.signal(signal.SIGKILL)
        doomed.wait()
        open_gate(table)
        with worker_process(database, concurrency=10) as heir:
            wait_until(lambda: settled(table), "all jobs to end")
            heir.signal(signal.SIGTERM)
            assert heir.wait() == 0
            assert heir.log.count("was lost, and left 10 jobs: 10 free again (") == 1
    began = runs(table)
    assert len(began) == 30
    assert set(began) == set(range(1, 21))


def test_a_last_attempt_that_died_with_its_worker_says_so(database: str, table: psycopg.Connection) -> None:
    close_gate(table)
    add(table, "hold", 1, max_attempts=1)
    with worker_process(database, lease=SHORT_LEASE) as doomed:
        wait_until(lambda: leased(table), "the job to run")
        doomed.signal(signal.SIGKILL)
        doomed.wait()
    with worker_process(database) as heir:
        heir.wait_log("failed for good")
    row = table.execute("select state, last_error from tidemill.jobs").fetchone()
    assert row is not None
    assert row[0] == "failed"
    assert row[1].startswith("Attempt 1 of 1 did not end: its worker stopped without a word")


def test_a_stale_worker_completes_nothing_that_is_not_its_own(
    database: str, table: psycopg.Connection
) -> None:
    close_gate(table, attempt=1)
    close_gate(table, attempt=2)
    add(table, "hold", 3)
    with worker_process(database, lease=SHORT_LEASE) as stale:
        wait_until(lambda: leased(table) == len(runs(table)) == 3, "the jobs to run")
        stale.signal(signal.SIGSTOP)
        with worker_process(database) as other:
            wait_until(lambda: leased(table) == 3 and len(runs(table)) == 6, "the jobs to run elsewhere")
            leases = table.execute(
                "select id, locked_by, claim_token, attempts from tidemill._jobs"
            ).fetchall()
            open_gate(table, attempt=1)
            stale.signal(signal.SIGCONT)
            wait_until(lambda: "the lease was taken away" in stale.log, "the refusal")
            stale.wait_log("was taken for dead")
            now = table.execute("select id, locked_by, claim_token, attempts from tidemill._jobs").fetchall()
            assert now == leases
            open_gate(table, attempt=2)
            wait_until(lambda: settled(table), "the jobs to end")
            assert "the lease was taken away" not in other.log
    assert len(runs(table)) == 6


def test_a_completion_does_not_wait_for_a_producer(database: str, table: psycopg.Connection) -> None:
    close_gate(table)
    add(table, "hold", 9)
    table.execute("select tidemill.add_job('hold', to_json(%s::int), job_key => 'held')", [GATE])
    with worker_process(database) as worker, psycopg.connect(database) as producer:
        wait_until(lambda: len(runs(table)) == 10, "the jobs to run")
        producer.execute("select tidemill.add_job('count', job_key => 'held')")
        open_gate(table)

        def others_are_done() -> bool:
            return table.execute("select id from tidemill._jobs").fetchall() == [(10,)]

        wait_until(others_are_done, "all but the held job to be settled")
        producer.commit()
        wait_until(lambda: settled(table), "the held job and its successor to end")
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
