"""A worker that is past its own lease: others may run its jobs, so it starts none."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import psycopg
import pytest

from tests.support.processes import runs, settled, worker_process
from tests.support.proxy import proxy
from tests.support.running import eventually, running, within
from tests.support.servers import TEMPLATE, Server
from tests.support.waiting import wait_until
from tidemill import App, JobContext, JobSpec

# Long enough for a busy machine to keep it, and short enough to wait for.
LEASE = 3.0
ENDED = "no heartbeat of this worker arrived"
QUEUE = "one at a time"


class Log:
    """What begins and ends in which worker; `gate` lets the jobs end."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, int]] = []
        self.begun = asyncio.Event()
        self.gate = asyncio.Event()

    def app(self, conninfo: str) -> App:
        app = App(conninfo)

        @app.task
        async def step(payload: Any, job: JobContext) -> None:
            self.events.append(("begin", job.worker_id, job.id))
            self.begun.set()
            try:
                await self.gate.wait()
            finally:
                self.events.append(("end", job.worker_id, job.id))

        return app

    def begun_by(self, worker: str) -> list[int]:
        return [job for event, by, job in self.events if (event, by) == ("begin", worker)]


def add(connection: psycopg.Connection, task: str, count: int) -> None:
    connection.execute(
        "select count(*) from tidemill.add_jobs(array(select row(%s, '0'::json, null, null, null, null, "
        "null, null)::tidemill.job_spec from generate_series(1, %s)))",
        [task, count],
    )


@pytest.mark.one_worker("it has the second one already")
async def test_one_whose_heartbeat_is_cut_off_starts_nothing(
    database: str, connection: psycopg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "tidemill")
    log = Log()
    with proxy(database) as between:
        async with (
            log.app(between.conninfo) as cut_off,
            log.app(database) as other,
            running(cut_off, lease=LEASE, heartbeat_interval=0.2, poll_interval=0.05) as stale,
        ):
            queued = await cut_off.add_jobs([JobSpec("step", queue_name=QUEUE)] * 3)
            await within(log.begun)
            # All its other connections work on.
            between.refuses = lambda data: b"tidemill._heartbeat(" in data
            for link in between.links:
                if b"tidemill._heartbeat(" in link.sent:
                    link.cut()
            async with running(other, heartbeat_interval=0.2, poll_interval=0.05) as heir:
                await eventually(lambda: log.begun_by(heir.id) == [queued[0].id], "the other to take over")
                # The sweep may just be ending the sessions of the first one.
                more = await other.add_jobs([JobSpec("step")] * 3)
                log.gate.set()
                await eventually(lambda: settled(connection), "all jobs to end")
                # The looks of the first one found them, too, and it did not claim.
                assert sorted(log.begun_by(heir.id)) == [job.id for job in [*queued, *more]]
                assert log.begun_by(stale.id) == [queued[0].id]
            assert caplog.text.count(ENDED) == 1
            between.refuses = lambda data: False
            await eventually(lambda: "was taken for dead" in caplog.text, "its return")
            last = await cut_off.add_job("step")
            await eventually(lambda: settled(connection), "it to work again")
            assert log.begun_by(stale.id) == [queued[0].id, last.id]
    # One at a time, in both workers together.
    events = [event for event, _, job in log.events if job in {one.id for one in queued}]
    assert events == ["begin", "end"] * (len(queued) + 1)
    assert caplog.text.count(ENDED) == 1


@pytest.mark.slow
def test_one_that_stood_still_starts_nothing_that_others_took(
    database: str, table: psycopg.Connection
) -> None:
    def told() -> list[tuple[int, str]]:
        return table.execute("select job_id, worker from runs order by 1, 2").fetchall()

    add(table, "tell", 1000)
    with worker_process(database, lease=LEASE) as stale:
        wait_until(lambda: len(runs(table)) > 100, "some jobs to run")
        stale.signal(signal.SIGSTOP)
        with worker_process(database) as heir:
            wait_until(lambda: settled(table), "the other to run the rest")
            before = told()
            [(stopped, _), (working, _)] = table.execute(
                "select worker, count(*) from runs group by 1 order by min(ctid)"
            ).fetchall()
            # The one that goes on has them in hand, and its engine claims none before a heartbeat.
            stale.signal(signal.SIGCONT)
            stale.wait_log("was taken for dead")
            heir.signal(signal.SIGTERM)
            assert heir.wait() == 0
            table.execute("select tidemill.add_job('tell')")
            wait_until(lambda: settled(table), "it to work again")
            # The one that it was in the middle of, at most: it does not wait, so nothing can stop it.
            after = [run for run in told() if run[0] <= 1000 and run not in before]
            assert [run[1] for run in after] in ([], [stopped])
            assert told()[-1][1] == stopped
            assert stale.log.count(ENDED) == 1
            assert heir.log.count(f"worker {stopped} was lost") <= 1
            # One line for each fault and kind, not for each job.
            assert stale.log.count("the lease was taken away") <= 2
    assert stopped != working
    # Everything ran.
    assert {job for job, _ in before} == set(range(1, 1001))


@pytest.mark.one_worker("it has the second one already")
async def test_after_an_outage_workers_sweep_nobody(
    own_server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "tidemill")
    database = own_server.conninfo(own_server.clone(TEMPLATE))
    log = Log()
    options = {"lease": LEASE, "heartbeat_interval": 0.2, "poll_interval": 0.05, "concurrency": 2}
    async with (
        log.app(database) as app,
        log.app(database) as another,
        running(app, **options),
        running(another, **options),
    ):
        await app.add_jobs([JobSpec("step")] * 4)
        await eventually(lambda: len(log.events) == 4, "all jobs to run")
        await asyncio.to_thread(own_server.stop, "fast")
        await eventually(lambda: caplog.text.count(ENDED) == 2, "the end of both leases")
        # Both have stopped what ran.
        await eventually(lambda: len(log.events) == 8, "the jobs to stop")
        log.gate.set()
        await asyncio.to_thread(own_server.start_again)

        def is_settled() -> bool:
            with psycopg.connect(database) as connection:
                return settled(connection)

        await eventually(is_settled, "all jobs to end")
        assert "was lost" not in caplog.text
        assert caplog.text.count("nobody has freed this worker's jobs") == 2
    assert caplog.text.count(ENDED) == 2
    # Once before the outage, and once after it.
    assert len(log.events) == 16


def test_what_a_lost_worker_held_is_one_line(database: str, table: psycopg.Connection) -> None:
    add(table, "elsewhere", 10_000)
    table.execute("select tidemill._register_worker('dead', 'host', 1, '0', 1, '{elsewhere}', '1 s')")
    table.execute(
        "update tidemill._jobs set locked_by = 'dead', locked_at = now(), claim_token = 1,"
        " attempts = id % 2 * 24 + 1"
    )
    table.execute("update tidemill._workers set heartbeat_at = now() - interval '1 hour', backend_pid = null")
    table.execute("update tidemill._workers set expires_at = heartbeat_at + interval '1 s'")
    with worker_process(database, once=True) as worker:
        assert worker.wait() == 0
        log = worker.log
    assert "worker dead was lost, and left 10000 jobs: 5000 failed for good, 5000 free again (" in log
    assert log.count("dead") == 1
    assert max(map(len, log.splitlines())) < 500
    assert table.execute("select from tidemill._jobs where locked_by is not null").rowcount == 0


@pytest.mark.slow
def test_what_a_stopped_worker_had_begun_cannot_commit(database: str, table: psycopg.Connection) -> None:
    def sessions() -> set[str]:
        rows = table.execute(
            "select distinct application_name from pg_stat_activity where datname = current_database()"
            " and application_name like 'worker-%'"
        ).fetchall()
        return {name for (name,) in rows}

    table.execute("select pg_advisory_lock(1, 1)")
    table.execute("select tidemill.add_job('hold', '1')")
    with worker_process(database, lease=LEASE) as stale:
        wait_until(lambda: len(runs(table)) == 1, "the job to run")
        # The engine's, the heartbeat's, ... and the one on which the task waits for the lock.
        [stopped] = sessions()
        stale.signal(signal.SIGSTOP)
        with worker_process(database):
            wait_until(lambda: stopped not in sessions(), "all sessions of the stopped one to end")
