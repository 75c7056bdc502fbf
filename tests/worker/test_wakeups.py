"""Wake-ups: notified when idle, found anyway when the notification is missed."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from tests.support.running import eventually, running, within
from tidemill import App
from tidemill.queue.engine import Engine
from tidemill.queue.looks import Looks

# A poll would come far too late for the test.
NO_POLLS = {"poll_interval": 600}


def declared(connection: psycopg.Connection) -> bool:
    return connection.execute("select from tidemill._listeners").rowcount == 1


@pytest.fixture
async def done(app: App) -> asyncio.Event:
    event = asyncio.Event()

    @app.task
    async def quick(payload: Any) -> None:
        event.set()

    return event


async def test_an_idle_worker_is_notified(
    app: App, connection: psycopg.Connection, done: asyncio.Event
) -> None:
    async with running(app, **NO_POLLS):
        await eventually(lambda: declared(connection), "the declaration")
        connection.execute("select tidemill.add_job('quick')")
        await within(done)
    assert not declared(connection)


async def test_a_job_of_the_near_future_is_run_when_it_is_due(
    app: App, connection: psycopg.Connection, done: asyncio.Event
) -> None:
    async with running(app, **NO_POLLS):
        await eventually(lambda: declared(connection), "the declaration")
        # Due by the database's clock, whatever ours says.
        connection.execute(
            "select tidemill.add_job('quick', run_at => clock_timestamp() + interval '300 ms')"
        )
        await within(done)
    assert connection.execute("select from tidemill.jobs").rowcount == 0


async def test_a_job_is_not_run_before_the_database_says_so(app: App, done: asyncio.Event) -> None:
    await app.add_job("quick", run_at=timedelta(hours=1))
    await app.run_until_empty()
    assert not done.is_set()


async def test_a_job_added_before_the_declaration_and_committed_after_it(
    app: App, connection: psycopg.Connection, database: str, done: asyncio.Event
) -> None:
    connection.execute("insert into tidemill._tasks (identifier) values ('quick')")
    with psycopg.connect(database) as producer:
        # No worker listens, so this notifies nobody.
        producer.execute("select tidemill.add_job('quick')")
        async with running(app, poll_interval=1.0):
            await eventually(lambda: declared(connection), "the declaration")
            producer.commit()
            await within(done)


async def test_without_listen_polling_finds_jobs(
    app: App, connection: psycopg.Connection, done: asyncio.Event
) -> None:
    async with running(app, listen=False, poll_interval=0.05):
        connection.execute("select tidemill.add_job('quick')")
        await within(done)
        assert not declared(connection)


@pytest.mark.one_worker("it counts workers")
async def test_a_worker_taken_for_dead_registers_and_listens_again(
    app: App, connection: psycopg.Connection, done: asyncio.Event, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(app, **NO_POLLS, heartbeat_interval=0.1):
        await eventually(lambda: declared(connection), "the declaration")
        connection.execute("delete from tidemill._listeners")
        connection.execute("delete from tidemill._workers")
        await eventually(lambda: "was taken for dead" in caplog.text, "the revival")
        await eventually(lambda: declared(connection), "the declaration")
        connection.execute("select tidemill.add_job('quick')")
        await within(done)
        assert connection.execute("select from tidemill._workers").rowcount == 1


@pytest.mark.slow
async def test_a_busy_worker_asks_for_no_notifications(app: App, connection: psycopg.Connection) -> None:
    stop = asyncio.Event()

    @app.task
    async def endless(payload: Any, job: Any) -> None:
        if not stop.is_set():
            await job.add_job("endless")

    async with running(app, concurrency=1):
        await eventually(lambda: declared(connection), "the declaration")
        await app.add_jobs([endless.spec(None)] * 500)
        await eventually(lambda: not declared(connection), "the declaration to be withdrawn")
        stop.set()
        await eventually(lambda: declared(connection), "a new declaration")


@pytest.mark.slow
async def test_an_idle_worker_looks_ever_more_seldom(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[Looks] = []
    look = Engine._look

    def counted(self: Engine, connection: psycopg.Connection, now: float) -> None:
        look(self, connection, now)
        looks.append(self._looks)

    monkeypatch.setattr(Engine, "_look", counted)

    @app.task
    async def never(payload: Any) -> None:
        """For a lane that has nothing to do."""

    async with running(app, poll_interval=0.5):
        await eventually(lambda: looks and looks[-1]._wait == 0.5, "the longest wait")
    # 5, 10, 20 ... 500 ms, and a search that somebody asks for now and then.
    assert len(looks) <= 20
