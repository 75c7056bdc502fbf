"""Tasks whose connections break: what was of no use spends no last attempt, and nothing waits for ever."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import psycopg
import pytest

from tests.support.proxy import Link, Message, Proxy, proxy
from tests.support.running import eventually, run_all, running, until_leased
from tests.support.servers import TEMPLATE, Server
from tidemill import App, JobSpec
from tidemill.queue import cutter

faces = pytest.mark.parametrize("face", ["async", "plain"])


@pytest.fixture
def way(database: str) -> Iterator[Proxy]:
    with proxy(database) as opened:
        yield opened


@pytest.fixture
async def far(way: Proxy) -> AsyncIterator[App]:
    """An app that tasks use, which reaches the database through the proxy; their workers go straight."""
    async with App(way.conninfo) as opened:
        yield opened


def define(app: App, face: str, statements: list[str], through: App, **options: Any) -> None:
    """A task `works` that carries out statements on one connection."""

    async def works(payload: Any) -> None:
        async with through.connection() as connection:
            for statement in statements:
                await connection.execute(statement.encode())

    def works_plainly(payload: Any) -> None:
        with through.sync.connection() as connection:
            for statement in statements:
                connection.execute(statement.encode())

    app.task("works", **options)(works if face == "async" else works_plainly)


def cut_at(way: Proxy, words: bytes) -> list[Link]:
    """Cuts the first connection on which these words were said, before their answer comes through."""
    cut: list[Link] = []

    def answer(link: Link, message: Message) -> bool:
        if not cut and words in link.sent:
            cut.append(link)
            link.cut()
        return link not in cut

    way.on_answer = answer
    return cut


def attempts(connection: psycopg.Connection) -> list[tuple[Any, ...]]:
    return connection.execute("select state, attempts, max_attempts from tidemill.jobs").fetchall()


def run_now(connection: psycopg.Connection) -> None:
    """Takes away the waits before the next attempts."""
    connection.execute(
        "select tidemill.reschedule_jobs(array(select id from tidemill.jobs), run_at => now())"
    )


@pytest.mark.slow
@pytest.mark.lane("express")
@pytest.mark.parametrize("mode", ["immediate", "fast"])
@faces
async def test_no_attempt_is_lost_to_a_restart_while_idle(own_server: Server, mode: str, face: str) -> None:
    database = own_server.conninfo(own_server.clone(TEMPLATE))
    async with App(database) as app:
        define(app, face, ["select 1"], app)
        await app.add_jobs([JobSpec("works", max_attempts=1)] * 20)
        await run_all(app, concurrency=20)
        await asyncio.to_thread(own_server.restart, mode)
        await app.add_jobs([JobSpec("works", max_attempts=1)] * 20)
        await run_all(app, concurrency=20)
        with psycopg.connect(database) as connection:
            assert attempts(connection) == []


@faces
async def test_a_connection_that_dies_at_its_first_statement_spends_no_last_attempt(
    app: App,
    far: App,
    way: Proxy,
    connection: psycopg.Connection,
    face: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    define(app, face, ["select 'first'", "select 'second'"], far)
    await app.add_job("works", max_attempts=1)
    cut = cut_at(way, b"'first'")
    await run_all(app)
    assert cut
    assert attempts(connection) == [("scheduled", 1, 2)]
    assert "its connection broke before it was of use, which spends no last attempt" in caplog.text
    cut_at(way, b"'first'")
    run_now(connection)
    await run_all(app)
    assert attempts(connection) == [("scheduled", 2, 3)]
    way.on_answer = lambda link, message: True
    run_now(connection)
    await run_all(app)
    assert attempts(connection) == []


@faces
async def test_one_that_dies_after_a_statement_fails_its_job(
    app: App, far: App, way: Proxy, connection: psycopg.Connection, face: str
) -> None:
    define(app, face, ["select 'first'", "select 'second'"], far)
    await app.add_job("works", max_attempts=1)
    assert cut_at(way, b"'second'") == []
    await run_all(app)
    assert attempts(connection) == [("failed", 1, 1)]


@faces
async def test_a_failure_of_the_task_on_a_good_connection_is_its_own(
    app: App, far: App, connection: psycopg.Connection, face: str
) -> None:
    define(app, face, ["select 1/0"], far)
    await app.add_job("works", max_attempts=1)
    await run_all(app)
    assert attempts(connection) == [("failed", 1, 1)]


@faces
async def test_a_cut_while_a_job_is_added_spends_no_last_attempt(
    app: App, far: App, way: Proxy, connection: psycopg.Connection, face: str
) -> None:
    async def adds(payload: Any) -> None:
        await far.add_job("other")

    def adds_plainly(payload: Any) -> None:
        far.sync.add_job("other")

    app.task("adds")(adds if face == "async" else adds_plainly)
    await app.add_job("adds", max_attempts=1)
    assert cut_at(way, b"tidemill.add_job") == []
    await run_all(app)
    assert attempts(connection) == [("scheduled", 1, 2)]


@faces
async def test_a_database_that_is_out_of_reach_spends_no_last_attempt(
    app: App, connection: psycopg.Connection, face: str
) -> None:
    define(app, face, ["select 1"], App("postgresql://localhost:1/nowhere"))
    await app.add_job("works", max_attempts=1)
    await run_all(app)
    assert attempts(connection) == [("scheduled", 1, 2)]


async def test_a_task_with_fewer_attempts_than_its_job_is_spared_too(
    app: App, connection: psycopg.Connection
) -> None:
    define(app, "async", ["select 1"], App("postgresql://localhost:1/nowhere"), max_attempts=1)
    await app.add_job("works")
    await run_all(app)
    assert attempts(connection) == [("scheduled", 1, 25)]


async def test_a_statement_that_ends_its_connection_each_time_comes_to_an_end(
    app: App, connection: psycopg.Connection
) -> None:
    define(app, "async", ["select pg_terminate_backend(pg_backend_pid())"], app)
    job = await app.add_job("works", max_attempts=1)
    await run_all(app)
    assert attempts(connection) == [("scheduled", 1, 2)]
    connection.execute(
        "select tidemill.reschedule_jobs(%s, run_at => now(), attempts => 99, max_attempts => 100)",
        [[job.id]],
    )
    await run_all(app)
    assert attempts(connection) == [("failed", 100, 100)]


async def test_a_job_that_was_removed_meanwhile_does_not_come_back(
    app: App, connection: psycopg.Connection
) -> None:
    nowhere = App("postgresql://localhost:1/nowhere")
    begun, go_on = asyncio.Event(), asyncio.Event()

    @app.task
    async def works(payload: Any) -> None:
        begun.set()
        await go_on.wait()
        async with nowhere.connection():
            pass

    async with running(app):
        await app.add_job("works", job_key="k", max_attempts=1)
        await begun.wait()
        await until_leased(connection)
        await app.remove_job("k")
        go_on.set()
    assert attempts(connection) == [("failed", 1, 1)]


@pytest.fixture
def soon_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cutter gives a server little time to answer."""
    monkeypatch.setattr(cutter, "_GRACE_SECONDS", 0.2)
    monkeypatch.setattr(cutter, "_PAUSE_SECONDS", 0.1)


@pytest.mark.slow
@pytest.mark.lane("express")
@pytest.mark.usefixtures("soon_cut")
@pytest.mark.parametrize(("how", "face"), [("timeout", "plain"), ("cancel", "async")])
async def test_a_task_that_must_stop_is_cut_off_a_silent_server(
    app: App, far: App, way: Proxy, connection: psycopg.Connection, face: str, how: str
) -> None:
    said, next_ran = b"'silent'", threading.Event()
    limit = {"timeout": 1} if how == "timeout" else {}
    define(app, face, ["select 'loud'", "select 'silent'"], far, **limit)

    def fall_silent(link: Link, message: Message) -> bool:
        if said in link.sent:
            way.stall()
        return True

    @app.task
    async def next_one(payload: Any) -> None:
        next_ran.set()

    way.on_answer = fall_silent
    async with running(app, concurrency=1, heartbeat_interval=0.1, poll_interval=0.1):
        job = await app.add_job("works", max_attempts=1)
        await eventually(lambda: any(said in link.sent for link in way.links), "the statement")
        if how == "cancel":
            await until_leased(connection)
            await app.cancel_jobs([job.id])
        await app.add_job("next_one")
        await eventually(next_ran.is_set, "the slot to be free again")
    [left] = attempts(connection)
    assert left == (("failed" if how == "timeout" else "cancelled"), 1, 1)


@pytest.mark.slow
@pytest.mark.lane("express")
@pytest.mark.usefixtures("soon_cut")
@faces
async def test_a_worker_that_stops_does_not_wait_for_a_silent_server(
    app: App, way: Proxy, connection: psycopg.Connection, face: str
) -> None:
    ended = threading.Event()

    async with App(way.conninfo) as distant:

        async def works(payload: Any) -> None:
            try:
                async with distant.connection() as used:
                    await used.execute("select 'loud'")
                    way.stall()
                    await used.execute("select 'silent'")
            finally:
                ended.set()

        def works_plainly(payload: Any) -> None:
            try:
                with distant.sync.connection() as used:
                    used.execute("select 'loud'")
                    way.stall()
                    used.execute("select 'silent'")
            finally:
                ended.set()

        app.task("works")(works if face == "async" else works_plainly)
        async with asyncio.timeout(60), running(app, grace_period=0.1) as worker:
            await app.add_job("works", max_attempts=1)
            await eventually(lambda: not way._flowing.is_set(), "the silence")
            await until_leased(connection)
            worker.stop()
        await eventually(ended.is_set, "the task's end")
    assert attempts(connection) == [("ready", 0, 1)]


@pytest.mark.slow
async def test_a_plain_function_over_its_timeout_has_its_statement_cancelled(
    app: App, connection: psycopg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    define(app, "plain", ["select pg_sleep(600)"], app, timeout=0.1)
    async with running(app):
        await app.add_job("works", max_attempts=1)
        await eventually(lambda: "has stopped at last" in caplog.text, "the function's end")
        assert (
            connection.execute(
                "select from pg_stat_activity where state = 'active' and query like '%pg_sleep%'"
                " and pid <> pg_backend_pid()"
            ).rowcount
            == 0
        )
