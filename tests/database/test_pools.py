"""The pools of an app: when connections are shared, and when they are closed."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool

from tests.support.waiting import wait_until
from tidemill import App

pytestmark = pytest.mark.versions(18)


async def backend(app: App) -> int:
    async with app.connection() as connection:
        return connection.info.backend_pid


def sync_backend(app: App) -> int:
    with app.sync.connection() as connection:
        return connection.info.backend_pid


async def sync_backend_in_thread(app: App) -> int:
    return await asyncio.to_thread(sync_backend, app)


def connected(connection: psycopg.Connection) -> set[int]:
    """The backends of apps."""
    rows = connection.execute(
        "select pid from pg_stat_activity"
        " where datname = current_database() and application_name = 'tidemill'"
    ).fetchall()
    return {pid for (pid,) in rows}


async def test_outside_each_call_has_a_connection_of_its_own(database: str) -> None:
    app = App(database)
    assert not app.is_open
    assert await backend(app) != await backend(app)
    assert await sync_backend_in_thread(app) != await sync_backend_in_thread(app)


async def test_an_open_app_connects_when_it_is_used(database: str, connection: psycopg.Connection) -> None:
    async with App(database) as app:
        assert app.is_open
        assert not connected(connection)
        shared = await backend(app)
        assert await backend(app) == shared
        assert connected(connection) == {shared}


async def test_the_last_of_several_users_closes(database: str) -> None:
    app = App(database)
    async with app:
        async with app:
            shared, sync_shared = await backend(app), await sync_backend_in_thread(app)
        assert app.is_open
        assert await backend(app) == shared
        assert await sync_backend_in_thread(app) == sync_shared
    assert not app.is_open
    assert await backend(app) != shared
    assert await sync_backend_in_thread(app) != sync_shared


def test_blocking_code_shares_connections_on_its_own(database: str) -> None:
    app = App(database)
    with app.sync:
        assert not app.is_open
        shared = sync_backend(app)
        assert sync_backend(app) == shared
    assert sync_backend(app) != shared


async def test_what_blocking_code_has_opened_outlives_the_async_face(database: str) -> None:
    app = App(database)
    with app.sync:
        async with app:
            shared = await sync_backend_in_thread(app)
        assert await sync_backend_in_thread(app) == shared
    assert await sync_backend_in_thread(app) != shared


async def test_a_shared_pool_that_blocking_code_opens_becomes_its_own(database: str) -> None:
    app = App(database)
    async with app:
        shared = await sync_backend_in_thread(app)
        app.sync.open()
    assert await sync_backend_in_thread(app) == shared
    app.sync.close()
    assert await sync_backend_in_thread(app) != shared


async def test_blocking_code_that_closes_inside_of_the_async_face_may_go_on(database: str) -> None:
    app = App(database)
    async with app:
        with app.sync:
            closed = await sync_backend_in_thread(app)
        shared = await sync_backend_in_thread(app)
        assert shared != closed
        assert await sync_backend_in_thread(app) == shared
    assert await sync_backend_in_thread(app) != shared


async def test_a_pool_that_many_threads_ask_for_at_once_is_closed(
    database: str, connection: psycopg.Connection
) -> None:
    app = App(database)
    together = threading.Barrier(8)

    def ask() -> int:
        together.wait(60)
        return sync_backend(app)

    with ThreadPoolExecutor(8) as threads:
        async with app:
            loop = asyncio.get_running_loop()
            seen = set(await asyncio.gather(*(loop.run_in_executor(threads, ask) for _ in range(8))))
            assert seen & connected(connection)
    await asyncio.to_thread(wait_until, lambda: not connected(connection), "the connections to close")


async def test_blocking_calls_go_on_while_the_async_face_closes(database: str) -> None:
    app = App(database)
    over = threading.Event()

    def call() -> int:
        calls = 0
        while not over.is_set():
            sync_backend(app)
            calls += 1
        return calls

    with ThreadPoolExecutor(4) as threads:
        callers = [threads.submit(call) for _ in range(4)]
        try:
            for _ in range(30):
                async with app:
                    await sync_backend_in_thread(app)
        finally:
            over.set()
        assert all(caller.result() for caller in callers)


async def test_a_close_that_is_cancelled_closes_all_the_same(
    database: str, connection: psycopg.Connection
) -> None:
    app = App(database)
    await app.open()
    kept = {await backend(app), await sync_backend_in_thread(app)}
    closing = asyncio.ensure_future(app.close())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.gather(closing, return_exceptions=True)
    assert not app.is_open
    await asyncio.to_thread(wait_until, lambda: not kept & connected(connection), "the connections to close")


@pytest.mark.parametrize("face", ["async", "blocking"])
async def test_connections_that_ended_while_they_were_idle_are_replaced(
    database: str, connection: psycopg.Connection, face: str
) -> None:
    async def add() -> None:
        if face == "async":
            await app.add_job("noop")
        else:
            await asyncio.to_thread(app.sync.add_job, "noop")

    def all_ended() -> bool:
        connection.execute(
            "select pg_terminate_backend(pid, 30000) from unnest(%s::integer[]) pid",
            [list(connected(connection))],
        )
        return not connected(connection)

    async with App(database) as app:
        for _ in range(3):
            await add()
            assert connected(connection)
            # One that the pool was opening may come later.
            await asyncio.to_thread(wait_until, all_ended, "the connections to end")
            # The server has said goodbye, so the socket has news.
        await add()
    assert connection.execute("select count(*) from tidemill.jobs").fetchone() == (4,)


async def test_a_living_connection_is_not_asked(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr(AsyncConnectionPool, "check_connection", asked.append)
    async with App(database) as app:
        assert await backend(app) == await backend(app)
    assert not asked
