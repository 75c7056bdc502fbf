"""Bad connections: half open, behind a pooler, cut at the worst moment, gone for good."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import psycopg
import pytest

from tests.support.processes import settled
from tests.support.proxy import NOTIFICATION, Link, Message, Proxy, proxy
from tests.support.running import eventually, running, until_leased, within
from tidemill import App, JobContext, JobSpec

BEATS = {"heartbeat_interval": 0.1, "poll_interval": 0.1}


@pytest.fixture
def way(database: str) -> Iterator[Proxy]:
    with proxy(database) as opened:
        yield opened


@pytest.fixture
async def far_app(way: Proxy, app: App) -> AsyncIterator[App]:
    """An app that reaches the database through the proxy; `app` goes straight."""
    async with App(way.conninfo) as opened:

        @opened.task
        async def quick(payload: Any) -> None: ...

        yield opened


@pytest.mark.slow
async def test_a_half_open_listener_is_opened_anew(
    way: Proxy, far_app: App, app: App, connection: psycopg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    deaf: list[Link] = []

    def stall_first_listener(link: Link, message: Message) -> bool:
        if message[0] == NOTIFICATION and not deaf:
            deaf.append(link)
        # From now on nothing comes through, without an error.
        return link not in deaf

    way.on_answer = stall_first_listener
    async with running(far_app, **BEATS):
        await eventually(lambda: deaf, "the connection to be cut off")
        await app.add_job("quick")
        await eventually(lambda: settled(connection), "a job found by polling")
        await eventually(lambda: "notifications do not come through" in caplog.text, "the check")
        await eventually(
            lambda: any(b'listen "tidemill:ping"' in link.sent for link in way.links if link not in deaf),
            "a new listener",
        )


@pytest.mark.slow
@pytest.mark.one_worker("each says so once")
async def test_behind_a_pooler_that_swallows_listen_polling_goes_on(
    way: Proxy, far_app: App, app: App, connection: psycopg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    way.on_answer = lambda link, message: message[0] != NOTIFICATION
    async with running(far_app, **BEATS):
        await eventually(
            lambda: sum(b'listen "tidemill:ping"' in link.sent for link in way.links) > 1,
            "a second listener",
        )
        await app.add_job("quick")
        await eventually(lambda: settled(connection), "a job found by polling")
    # Told once a minute, however often it tries.
    assert caplog.text.count("notifications do not come through; a connection pooler") == 1


@pytest.mark.lane("lease")
async def test_a_claim_whose_answer_is_lost_is_freed_and_run(
    way: Proxy, far_app: App, app: App, connection: psycopg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    attempts: list[int] = []
    cut: list[Link] = []

    @far_app.task
    async def counted(payload: Any, job: JobContext) -> None:
        attempts.append(job.attempt)

    def cut_claim(link: Link, message: Message) -> bool:
        # The server has committed by the time that it says how many rows there were: five jobs, and the last.
        if not cut and message == (b"C", b"SELECT 6\0") and b"_claim_jobs" in link.sent:
            cut.append(link)
            link.cut()
        return link not in cut

    way.on_answer = cut_claim
    await app.add_jobs([JobSpec("counted")] * 5)
    async with running(far_app, **BEATS):
        await eventually(lambda: settled(connection), "all jobs to end")
    assert cut
    assert attempts == [1] * 5
    assert "5 jobs whose claim was cut off are free again" in caplog.text


@pytest.mark.slow
async def test_a_claim_that_is_carried_out_when_nobody_waits_for_it_any_longer(
    app: App, connection: psycopg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    attempts: list[int] = []

    @app.task
    async def counted(payload: Any, job: JobContext) -> None:
        attempts.append(job.attempt)

    async with running(app, **BEATS, lease=1) as worker:
        # One transaction, so that no claim of the worker's own comes in between.
        with connection.transaction():
            connection.execute("select tidemill.add_job('counted')")
            late = connection.execute(
                "select id from tidemill._claim_jobs(%s, array['counted'], '{}', 5, null, null, null, null)"
                " where id is not null",
                [worker.id],
            ).fetchall()
        assert len(late) == 1
        await eventually(lambda: settled(connection), "the job to end")
    assert attempts == [1]
    assert "1 jobs whose claim was cut off are free again" in caplog.text


@pytest.mark.lane("lease")
async def test_a_completion_whose_answer_is_lost_is_not_repeated(
    way: Proxy, far_app: App, app: App, connection: psycopg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    cut: list[Link] = []

    def cut_completion(link: Link, message: Message) -> bool:
        if not cut and b"_complete_jobs" in link.sent and message[0] == b"C":
            cut.append(link)
            link.cut()
        return link not in cut

    way.on_answer = cut_completion
    await app.add_job("quick")
    async with running(far_app, **BEATS) as worker:
        await eventually(lambda: settled(connection), "the job to end")
        await eventually(lambda: "settled before the connection broke" in caplog.text, "the second try")
        worker.stop()
    assert cut
    assert "the lease was taken away, so nothing was written" not in caplog.text


@pytest.mark.slow
async def test_a_hanging_connection_does_not_keep_the_worker(
    way: Proxy, far_app: App, connection: psycopg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    begun, release = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    @far_app.task
    def hangs(payload: Any) -> None:
        loop.call_soon_threadsafe(begun.set)
        release.wait(60)

    job = await far_app.add_job("hangs")
    async with running(far_app, **BEATS, lease=1, grace_period=0):
        await within(begun)
        await until_leased(connection)
        way.stall()
    release.set()
    assert (
        f"1 jobs could not be settled; they are free again when their lease ends, in 1 s at most: {job.id}"
        in (caplog.text)
    )
    assert "could not sign off" in caplog.text
    way.close()
    # Leased until its lease ends, or given back by a statement that the proxy held: never lost.
    assert connection.execute("select id from tidemill._jobs").fetchall() == [(job.id,)]


@pytest.mark.slow
async def test_an_answer_that_never_comes_is_given_up(
    way: Proxy, far_app: App, app: App, connection: psycopg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(far_app, **BEATS, lease=1):
        way.stall()
        await app.add_job("quick")
        await eventually(lambda: "no answer from the server in 1 s" in caplog.text, "the end of patience")
        way.flow()
        await eventually(lambda: settled(connection), "the job to end")


@pytest.mark.one_worker("the pool has the name of the first")
async def test_a_pool_that_was_there_before_its_worker_has_its_name_too(database: str) -> None:
    """By that name the sessions of a lost worker are found and ended."""

    def name_of_blocking() -> Any:
        with app.sync.connection() as connection:
            return connection.execute("show application_name").fetchone()

    async def names() -> tuple[Any, Any]:
        async with app.connection() as connection:
            name = await (await connection.execute("show application_name")).fetchone()
        return name, await asyncio.to_thread(name_of_blocking)

    async with App(database) as app:

        @app.task
        async def quick(payload: Any) -> None: ...

        assert await names() == (("tidemill",), ("tidemill",))
        async with running(app) as worker:
            assert await names() == ((worker.id,), (worker.id,))
