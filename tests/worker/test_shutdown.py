"""Stopping: by signal, by cancellation, again and again."""

from __future__ import annotations

import asyncio
import signal
import threading
from typing import Any

import psycopg
import pytest

from tests.support.processes import make_runs, runs, settled, worker_process
from tests.support.running import eventually, running, within
from tests.support.waiting import wait_until
from tidemill import App, JobSpec, TidemillError, Worker, WorkerOptions, parts
from tidemill.database.patient import connect_patiently

GATE = 1


@pytest.fixture
def table(connection: psycopg.Connection) -> psycopg.Connection:
    make_runs(connection)
    connection.execute("select pg_advisory_lock(%s, 1)", [GATE])
    connection.execute(
        "select tidemill.add_job('hold', '1'), tidemill.add_job('hold', '1') from generate_series(1, 2)"
    )
    return connection


def worker_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("tidemill-")]


def attempts(connection: psycopg.Connection) -> list[tuple[int, str | None]]:
    return connection.execute("select attempts, locked_by from tidemill._jobs order by id").fetchall()


@pytest.mark.slow
def test_sigterm_lets_running_jobs_finish(database: str, table: psycopg.Connection) -> None:
    with worker_process(database, concurrency=2) as worker:
        wait_until(lambda: len(runs(table)) == 2, "two jobs to run")
        worker.signal(signal.SIGTERM)
        worker.wait_log("SIGTERM: no new jobs")
        table.execute("select pg_advisory_unlock(%s, 1)", [GATE])
        assert worker.wait() == 0
        assert "has stopped" in worker.log
    # Neither of the other two was begun.
    assert attempts(table) == [(0, None), (0, None)]
    assert table.execute("select from tidemill._workers").rowcount == 0


@pytest.mark.slow
def test_what_does_not_finish_in_time_goes_back_unspent(database: str, table: psycopg.Connection) -> None:
    with worker_process(database, concurrency=2, grace_period=0.1) as worker:
        wait_until(lambda: len(runs(table)) == 2, "two jobs to run")
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
        assert worker.log.count("is given back unfinished") == 2
    assert attempts(table) == [(0, None)] * 4


@pytest.mark.slow
@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_hurries(database: str, table: psycopg.Connection, first: signal.Signals) -> None:
    with worker_process(database, concurrency=2, grace_period=600) as worker:
        wait_until(lambda: len(runs(table)) == 2, "two jobs to run")
        worker.signal(first)
        worker.wait_log("no new jobs")

        def hurries() -> bool:
            if "SIGTERM again" in worker.log:
                return True
            worker.signal(signal.SIGTERM)
            return False

        # The same signal counts as a second one when a second has passed.
        wait_until(hurries, "the worker to hurry")
        assert worker.wait() == 0
    assert attempts(table) == [(0, None)] * 4


@pytest.mark.slow
def test_the_same_signal_twice_at_once_counts_as_one(database: str, table: psycopg.Connection) -> None:
    with worker_process(database, concurrency=2, grace_period=600) as worker:
        wait_until(lambda: len(runs(table)) == 2, "two jobs to run")
        worker.signal(signal.SIGTERM)
        worker.wait_log("SIGTERM: no new jobs")
        worker.signal(signal.SIGTERM)
        table.execute("select pg_advisory_unlock(%s, 1)", [GATE])
        assert worker.wait() == 0
        assert "again:" not in worker.log
        assert "unfinished" not in worker.log
    assert attempts(table) == [(0, None)] * 2


async def test_a_cancelled_run_gives_everything_back(app: App, connection: psycopg.Connection) -> None:
    begun, told = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    @app.task
    async def hangs(payload: Any) -> None:
        await asyncio.Event().wait()

    @app.task
    def hangs_thread(payload: Any, job: Any) -> None:
        loop.call_soon_threadsafe(begun.set)
        assert job.wait_cancelled(30)
        told.set()

    await app.add_jobs([JobSpec("hangs", queue_name="letters"), JobSpec("hangs_thread"), JobSpec("hangs")])
    run = asyncio.ensure_future(app.run_worker())
    await within(begun)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert attempts(connection) == [(0, None)] * 3
    await eventually(told.is_set, "the plain function to be told")
    assert connection.execute("select from tidemill._workers").rowcount == 0
    assert connection.execute("select from tidemill._queues where locked_by is not null").rowcount == 0
    await eventually(lambda: not worker_threads(), "the threads to end")


async def test_a_cancelled_run_does_not_wait_for_the_grace_period(
    app: App, connection: psycopg.Connection
) -> None:
    begun = asyncio.Event()

    @app.task
    async def hangs(payload: Any) -> None:
        begun.set()
        await asyncio.Event().wait()

    await app.add_job("hangs")
    run = asyncio.ensure_future(app.run_worker(WorkerOptions(grace_period=600)))
    await within(begun)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(run, 60)
    assert attempts(connection) == [(0, None)]


@pytest.mark.one_worker("each says so")
async def test_one_that_stops_says_so_while_jobs_run(app: App, connection: psycopg.Connection) -> None:
    begun, gate = asyncio.Event(), asyncio.Event()

    @app.task
    async def waits(payload: Any) -> None:
        begun.set()
        await gate.wait()

    await app.add_job("waits")

    def state() -> Any:
        return connection.execute("select state from tidemill.workers").fetchall()

    async with running(app, heartbeat_interval=0.05) as worker:
        await within(begun)
        assert state() == [("running",)]
        worker.stop()
        await eventually(lambda: state() == [("stopping",)], "the worker to say so")
        gate.set()


async def test_cancelled_again_and_again_it_still_settles(app: App, connection: psycopg.Connection) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    @app.task
    async def slow_to_stop(payload: Any) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await go_on.wait()

    await app.add_job("slow_to_stop")
    run = asyncio.ensure_future(app.run_worker())
    await within(begun)
    for _ in range(5):
        run.cancel()
        # One turn of the loop, in which the cancellation arrives.
        await asyncio.wait([run], timeout=0)
    assert not run.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert attempts(connection) == [(0, None)]


async def test_a_stop_before_the_start(app: App) -> None:
    app.task("quick")(lambda payload: None)
    worker = Worker(app)
    worker.stop()
    await worker.run()


@pytest.mark.slow
@pytest.mark.lane("express")
async def test_starts_and_stops(app: App, connection: psycopg.Connection) -> None:
    done: list[int] = []

    @app.task
    async def quick(payload: Any, job: Any) -> None:
        done.append(job.id)

    async def start_and_stop(number: int) -> None:
        for turn in range(8):
            async with running(app, concurrency=2):
                await app.add_jobs([JobSpec("quick", queue_name=f"queue {turn % 3}")] * 2)

    await asyncio.gather(*(start_and_stop(number) for number in range(10)))
    await app.run_until_empty()
    assert len(done) == len(set(done)) == 160
    assert settled(connection)
    for table in (b"_workers", b"_listeners"):
        assert connection.execute(b"select from tidemill." + table).rowcount == 0
    assert connection.execute("select from tidemill._queues where locked_by is not null").rowcount == 0
    await eventually(lambda: not worker_threads(), "the threads to end")


async def test_a_worker_that_has_stopped_leaves_no_connection_open(
    app: App, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[psycopg.Connection] = []

    def connect(conninfo: str, patience: float) -> psycopg.Connection:
        opened.append(connect_patiently(conninfo, patience))
        return opened[-1]

    def connect_for_run(*args: Any, **options: Any) -> psycopg.Connection:
        opened.append(psycopg.Connection.connect(*args, **options))
        return opened[-1]

    monkeypatch.setattr(parts, "connect_patiently", connect)
    monkeypatch.setattr(psycopg, "connect", connect_for_run)

    @app.task
    async def quick(payload: Any) -> None: ...

    connection.execute("create procedure note(job_id int, config jsonb) language sql as 'select 1'")
    [(action,)] = connection.execute("select tidemill.add_action('note', '1 hour')").fetchall()
    await app.add_jobs([JobSpec("quick")] * 10)
    async with running(app, crontab="0 4 * * * quick"):
        await eventually(lambda: settled(connection), "all jobs to end")
        await eventually(
            lambda: (
                connection.execute(
                    "select from tidemill.action_history where action_id = %s and succeeded", [action]
                ).rowcount
            ),
            "the action's run",
        )
        # Of the engine, the heartbeat, the listener, the scheduler, the crontab and the run.
        await eventually(lambda: len(opened) >= 6, "all connections")
    await eventually(lambda: not worker_threads(), "the threads to end")
    assert [one for one in opened if not one.closed] == []


@pytest.mark.slow
async def test_three_workers_on_one_app_share_it(app: App, connection: psycopg.Connection) -> None:
    @app.task
    async def quick(payload: Any, job: Any) -> None:
        async with job.connection() as own:
            await own.execute("select 1")

    async with running(app), running(app), running(app):
        await app.add_jobs([JobSpec("quick")] * 300)
        await eventually(lambda: settled(connection), "all jobs to end")
    assert (await app.add_job("quick")).state == "ready"


async def test_without_tasks_and_actions_there_is_nothing_to_run(app: App) -> None:
    with pytest.raises(TidemillError, match="There is nothing to run"):
        await Worker(app, WorkerOptions(once=True, action_concurrency=0)).run()


async def test_a_database_that_is_not_there_is_named_at_the_start() -> None:
    app = App("host=/nonexistent dbname=nowhere")
    app.task("quick")(lambda payload: None)
    with pytest.raises(Exception, match="Cannot reach the database"):
        await app.run_worker(WorkerOptions(migrate=False))
