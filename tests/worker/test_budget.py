"""The connections of a worker: its pools fit its slots, and a limit holds for all of them together."""

from __future__ import annotations

import asyncio
import threading
from contextvars import Context
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.support.running import eventually, run_all, running
from tests.support.waiting import wait_until
from tidemill import App, JobContext, TidemillError, WorkerOptions
from tidemill.budget import pool_sizes
from tidemill.errors import PoolExhaustedError
from tidemill.tasks import Task, task

pytestmark = pytest.mark.lane("express")


def jobs_left(connection: psycopg.Connection) -> list[tuple[str, int, str | None]]:
    return connection.execute(
        "select identifier, attempts, last_error from tidemill.jobs order by id"
    ).fetchall()


async def test_jobs_that_add_jobs_inside_of_their_own_sql(app: App, connection: psycopg.Connection) -> None:
    """At the defaults: as many as run at once, each with a connection of its own, each in need of another."""
    together = asyncio.Barrier(WorkerOptions().concurrency)

    @app.task
    async def order(payload: int, job: JobContext) -> None:
        async with job.connection() as own:
            await own.execute("select")
            await together.wait()
            await job.add_job("mail", payload)

    @app.task
    async def mail(payload: int, job: JobContext) -> None:
        """Is added."""

    for number in range(WorkerOptions().concurrency):
        await app.add_job("order", number)
    await run_all(app)
    assert jobs_left(connection) == []


async def test_plain_functions_that_do_so(app: App, connection: psycopg.Connection) -> None:
    together = threading.Barrier(WorkerOptions().concurrency)

    @app.task
    def order(payload: int, job: JobContext) -> None:
        with job.sync.connection() as own:
            own.execute("select")
            together.wait(60)
            job.sync.add_job("mail", payload)

    @app.task
    def mail(payload: int, job: JobContext) -> None:
        """Is added."""

    for number in range(WorkerOptions().concurrency):
        await app.add_job("order", number)
    await run_all(app)
    assert jobs_left(connection) == []


async def test_jobs_of_which_each_waits_for_the_others_are_told(database: str) -> None:
    async with App(database, pool_size=2) as app:
        together = asyncio.Barrier(2)

        async def hold_one_and_ask_for_another() -> None:
            async with app.connection():
                await together.wait()
                await app.add_job("mail")

        ends = await asyncio.gather(
            hold_one_and_ask_for_another(), hold_one_and_ask_for_another(), return_exceptions=True
        )
        first, second = sorted(ends, key=lambda end: end is not None)
        # The one that asks last frees its connection, and so the other can go on.
        assert first is None
        assert isinstance(second, PoolExhaustedError)
        assert "All 2 connections of the pool are held by code that waits for one more" in str(second)
        assert "2 by test_budget.py:" in str(second)
        assert "(hold_one_and_ask_for_another)" in str(second)


async def test_who_waits_is_told_who_holds(
    database: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidemill.connections._LONG_WAIT", 0.01)
    async with App(database, pool_size=1) as app:
        released = asyncio.Event()

        async def hold() -> None:
            async with app.connection():
                held.set()
                await released.wait()

        held = asyncio.Event()
        holding = asyncio.create_task(hold())
        await held.wait()
        waiting = asyncio.create_task(app.add_job("mail"))
        await eventually(lambda: "has waited" in caplog.text, "a word about the wait")
        assert "all 1 of the pool are in use: 1 by test_budget.py:" in caplog.text
        assert not waiting.done()
        released.set()
        await holding
        assert (await waiting).identifier == "mail"


async def test_a_wait_that_is_cancelled_leaves_the_slots_as_they_were(database: str) -> None:
    async with App(database, pool_size=1) as app:
        async with app.connection() as held:
            # In an empty context it holds nothing, so that it may wait.
            waiting = asyncio.create_task(app.get_job(1), context=Context())
            await eventually(lambda: app._connections._slots._waiting, "the task to wait")
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            await held.execute("select")
        assert await app.get_job(1) is None


def test_blocking_code_waits_for_its_turn(database: str) -> None:
    app = App(database, pool_size=1)
    asked, answers = threading.Event(), []

    def ask() -> None:
        asked.set()
        answers.append(app.sync.get_job(1))

    with app.sync:
        with app.sync.connection():
            thread = threading.Thread(target=ask)
            thread.start()
            asked.wait(60)
            wait_until(lambda: app._connections._sync_slots._waiting, "the thread to wait")
            assert not answers
        thread.join(60)
    assert answers == [None]


async def test_a_pool_that_cannot_connect_tells_why(database: str) -> None:
    app = App(make_conninfo(database, port=1))
    async with app:
        pool = await app._connections._kept_pool()
        assert pool is not None
        pool.timeout = 0.1
        with pytest.raises(TidemillError, match=r"Cannot reach the database: .*PGSQL\.1"):
            await app.get_job(1)


@task
async def coroutine(payload: object) -> None:
    """Does nothing."""


@task
def function(payload: object) -> None:
    """Does nothing."""


@pytest.mark.parametrize(
    ("options", "tasks", "sizes"),
    [
        ({}, [coroutine], (20, 20)),
        ({"concurrency": 2}, [coroutine], (10, 10)),
        # Two for the express lane; one for leases, starts, heartbeats, notifications each; five for actions.
        ({"max_connections": 30}, [coroutine], (18, 1)),
        ({"max_connections": 30}, [function], (1, 18)),
        ({"max_connections": 30}, [coroutine, function], (10, 9)),
        ({"max_connections": 13}, [coroutine, function], (1, 1)),
        ({"max_connections": 6, "action_concurrency": 0, "lane": "lease"}, [function], (1, 1)),
        ({"max_connections": 6, "action_concurrency": 0, "once": True, "crontab": "x"}, [coroutine], None),
    ],
    ids=str,
)
def test_sizes_of_pools(
    options: dict[str, Any], tasks: list[Task[object]], sizes: tuple[int, int] | None
) -> None:
    if sizes is None:
        with pytest.raises(TidemillError, match="needs at least 7: 2 for the express lane, 1 for leases"):
            pool_sizes(WorkerOptions(**options), tasks)
    else:
        assert pool_sizes(WorkerOptions(**options), tasks) == sizes


@pytest.mark.one_worker("it counts all connections")
async def test_a_worker_keeps_within_its_limit(app: App, connection: psycopg.Connection) -> None:
    connection.execute("create procedure wait_a_little(id int, config jsonb) language sql as 'select 1'")
    most = 16
    done = asyncio.Event()
    seen: list[int] = []

    @app.task
    async def order(payload: int, job: JobContext) -> None:
        async with job.connection() as own:
            [(count,)] = await (
                await own.execute(
                    "select count(*) from pg_stat_activity where datname = current_database()"
                    " and backend_type = 'client backend' and pid <> %s",
                    [connection.info.backend_pid],
                )
            ).fetchall()
            seen.append(count)
            if payload == 199:
                done.set()

    @app.task
    def plain(payload: int) -> None:
        """Never runs."""

    for number in range(6):
        connection.execute(
            "select tidemill.add_action('wait_a_little', '1 second', name => %s)", [f"action {number}"]
        )
    await app.add_jobs([order.spec(number) for number in range(200)])
    async with running(app, max_connections=most, concurrency=50):
        await asyncio.wait_for(done.wait(), 60)
    assert max(seen) <= most
    # The pool was used to its end.
    assert max(seen) >= most - 6


async def test_a_limit_that_is_too_small_is_refused_before_anything_starts(app: App) -> None:
    app.register(coroutine)
    with pytest.raises(TidemillError, match="max_connections is 4; this worker needs at least 12"):
        await run_all(app, max_connections=4)
