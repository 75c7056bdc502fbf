"""Express batches: what they become when the time is up or the worker stops, and their outcomes."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from tests.support.processes import leased, runs, settled, worker_process
from tests.support.running import eventually, running, until_leased
from tests.support.waiting import wait_until
from tests.worker.express import Gates, failures, free_queues, locked, nothing, rows
from tidemill import App, JobContext, JobSpec, Retry, Worker, WorkerOptions
from tidemill.retry import constant

pytestmark = pytest.mark.lane("express")


# The end of the budget


@pytest.mark.slow
@pytest.mark.usefixtures("all_is_quick")
@pytest.mark.one_worker("each has batches of its own")
async def test_what_goes_on_is_leased_when_the_budget_ends(app: App, connection: psycopg.Connection) -> None:
    gates = Gates(app)
    app.task("ends")(nothing)
    added = [
        await app.add_job("ends"),
        await app.add_job("waits", "queued", queue_name="letters", priority=1),
        await app.add_job("waits", "single", priority=1),
        await app.add_job("waits", "queued after", queue_name="letters", priority=2),
        await app.add_job("waits", "single after", priority=2),
    ]
    done, queued, single, queued_after, single_after = [job.id for job in added]
    async with running(app, concurrency=2) as first:
        await until_leased(connection, 2)
        assert gates.names() == ["queued", "single"]
        # Done, and leased with one attempt spent; the rest is free, as it was.
        assert rows(connection) == [
            (queued, 1, first.id),
            (single, 1, first.id),
            (queued_after, 0, None),
            (single_after, 0, None),
        ]
        assert done not in locked(connection)
        tokens = connection.execute(
            "select array_agg(distinct claim_token) from tidemill._jobs where locked_at is not null"
        ).fetchone()
        queue = connection.execute("select queue_name, locked_by, array[claim_token] from tidemill._queues")
        assert queue.fetchall() == [("letters", first.id, *(tokens or ()))]
        async with running(app, concurrency=10) as second:
            # Another worker runs what is free; its queue is not.
            await until_leased(connection, 3)
            assert rows(connection)[2:] == [(queued_after, 0, None), (single_after, 1, second.id)]
            gates.opened.set()
            await eventually(lambda: settled(connection), "all jobs to end")
    assert sorted(gates.begun) == [(name, 1) for name in ("queued", "queued after", "single", "single after")]


@pytest.mark.usefixtures("all_is_quick")
async def test_a_promoted_job_fails_and_is_retried_as_a_leased_one(
    app: App, connection: psycopg.Connection
) -> None:
    go_on = asyncio.Event()

    @app.task(retry=constant(3600))
    async def fails(payload: Any) -> None:
        await go_on.wait()
        raise ValueError("in the end")

    async with running(app):
        await app.add_job("fails", queue_name="letters")
        await until_leased(connection)
        go_on.set()
        await eventually(lambda: failures(connection) == [("ValueError: in the end", 1)], "the failure")
        await eventually(lambda: free_queues(connection) == ["letters"], "its queue to be free")


@contextmanager
def worker_in_a_thread(conninfo: str, add_tasks: Callable[[App], None], **options: Any) -> Iterator[Worker]:
    """A worker with an event loop of its own, which its tasks may block."""
    made: list[Worker] = []
    started = threading.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def work() -> None:
        async with App(conninfo) as app:
            add_tasks(app)
            worker = Worker(app, WorkerOptions(**{"migrate": False, **options}))
            made.append(worker)
            loops.append(asyncio.get_running_loop())
            started.set()
            await worker.run()

    thread = threading.Thread(target=asyncio.run, args=[work()])
    thread.start()
    assert started.wait(30)
    try:
        yield made[0]
    finally:
        loops[0].call_soon_threadsafe(made[0].stop)
        thread.join(60)
    assert not thread.is_alive()


@pytest.mark.slow
@pytest.mark.usefixtures("all_is_quick")
def test_a_blocked_event_loop_keeps_nothing_but_the_job_that_blocks_it(
    database: str, table: psycopg.Connection
) -> None:
    """The batch's transaction ends in time, and others run what this worker cannot."""
    release, began = threading.Event(), threading.Event()
    done: list[int] = []

    def add_tasks(app: App) -> None:
        @app.task
        async def blocks(payload: Any, job: JobContext) -> None:
            began.set()
            release.wait(60)
            done.append(job.id)

        @app.task
        async def tell(payload: Any, job: JobContext) -> None:
            done.append(job.id)

    table.execute("select tidemill.add_job('blocks')")
    table.execute("select tidemill.add_job('tell', priority => 1) from generate_series(1, 10)")
    with worker_in_a_thread(database, add_tasks) as blocked:
        try:
            assert began.wait(30)
            wait_until(lambda: leased(table) == 1, "the job to be leased")
            assert rows(table)[0] == (1, 1, blocked.id)
            with worker_process(database) as other:
                wait_until(lambda: len(runs(table)) == 10, "the other jobs to be run elsewhere")
                other.signal(signal.SIGTERM)
                assert other.wait() == 0
            assert leased(table) == 1
            assert done == []
        finally:
            release.set()
        wait_until(lambda: settled(table), "the end")
    assert done == [1]
    assert runs(table) == list(range(2, 12))


@pytest.mark.usefixtures("no_hurry")
async def test_a_stop_returns_what_has_not_started(app: App, connection: psycopg.Connection) -> None:
    gates = Gates(app)
    await app.add_jobs([JobSpec("waits", n) for n in ("a", "b", "c")])
    for name in ("d", "e"):
        await app.add_job("waits", name, queue_name="letters", priority=-1)
    async with running(app, concurrency=2) as worker:
        await eventually(lambda: len(gates.begun) == 2, "two jobs to run")
        assert len(locked(connection)) == 5
        assert leased(connection) == 0
        worker.stop()
        # The transaction is over, though two jobs are still running.
        await until_leased(connection, 2)
        assert locked(connection) == set()
        gates.opened.set()
    assert gates.names() == ["a", "d"]
    assert [row[1:] for row in rows(connection)] == [(0, None)] * 3
    assert free_queues(connection) == ["letters"]
    # In order, as before.
    await app.run_until_empty()
    assert gates.names() == ["a", "b", "c", "d", "e"]


@pytest.mark.usefixtures("no_hurry")
async def test_a_stop_in_a_hurry_spends_no_attempt(app: App, connection: psycopg.Connection) -> None:
    gates = Gates(app)
    await app.add_jobs([JobSpec("waits", n) for n in ("a", "b", "c")])
    async with running(app, concurrency=2) as worker:
        await eventually(lambda: len(gates.begun) == 2, "two jobs to run")
        worker.stop(hurry=True)
    assert [row[1:] for row in rows(connection)] == [(0, None)] * 3


# Outcomes


@pytest.mark.usefixtures("no_hurry")
async def test_failures_of_a_batch(app: App, connection: psycopg.Connection) -> None:
    hour = constant(3600)
    app.task("ends")(nothing)

    @app.task(retry=hour)
    async def fails_at_once(payload: Any) -> None:
        raise ValueError(payload)

    @app.task
    async def asks_for_more(payload: Any) -> Retry:
        await asyncio.sleep(0)
        return Retry(3600, payload)

    @app.task(retry=hour)
    def fails_in_its_thread(payload: Any) -> None:
        raise ValueError(payload)

    @app.task(max_attempts=1)
    async def fails_for_good(payload: Any) -> None:
        raise ValueError(payload)

    names = ("ends", "fails_at_once", "ends", "asks_for_more", "fails_in_its_thread", "fails_for_good")
    await app.add_jobs([JobSpec(name, name) for name in names])
    await app.add_job("fails_at_once", "queued", queue_name="letters")
    await app.add_job("ends", queue_name="letters")
    async with running(app):
        await eventually(lambda: len(failures(connection)) == 4, "four failures")
        await eventually(lambda: connection.execute("select from tidemill._jobs").rowcount == 5, "the rest")
        assert failures(connection) == [
            ("ValueError: fails_at_once", 1),
            ("asks_for_more", 1),
            ("ValueError: fails_in_its_thread", 1),
            ("ValueError: queued", 1),
        ]
        await eventually(lambda: free_queues(connection) == ["letters"], "the queue")
    gone = connection.execute("select state, last_error from tidemill.jobs where attempts = 25").fetchall()
    assert gone == [("failed", "ValueError: fails_for_good")]


@pytest.mark.usefixtures("no_hurry")
async def test_the_default_backoff_of_a_job_that_failed_in_a_batch(
    app: App, connection: psycopg.Connection
) -> None:
    @app.task
    async def fails(payload: Any) -> None:
        raise ValueError

    before = connection.execute("select clock_timestamp()").fetchone()
    await app.add_job("fails")
    async with running(app):
        await eventually(
            lambda: connection.execute("select last_error from tidemill._jobs").fetchone() != (None,), "it"
        )
    [(wait,)] = connection.execute(
        "select extract(epoch from run_at - %s) from tidemill._jobs", [*(before or ())]
    ).fetchall()
    assert wait >= 2.718
