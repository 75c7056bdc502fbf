"""What ends brings the next look: no poll helps here, and no look that follows a declaration."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest

from tests.support.processes import settled
from tests.support.running import eventually, running, until_leased, within
from tests.worker.express import nothing
from tidemill import App, JobSpec
from tidemill.queue import looks
from tidemill.queue.engine import Engine

NO_POLLS = {"poll_interval": 600}


@pytest.fixture(autouse=True)
def engines(monkeypatch: pytest.MonkeyPatch) -> list[Engine]:
    """The engines that were started."""
    started: list[Engine] = []
    start = Engine.start

    def noted(self: Engine) -> None:
        started.append(self)
        start(self)

    monkeypatch.setattr(Engine, "start", noted)
    monkeypatch.setattr(looks, "_FIRST_LOOK", 600)
    return started


class Gates:
    """A task `waits` whose jobs say that they began, and end one by one."""

    def __init__(self, app: App) -> None:
        self.begun: list[str] = []
        self.opened = {name: asyncio.Event() for name in ("first", "second", "third")}

        @app.task
        async def waits(payload: str) -> None:
            self.begun.append(payload)
            await self.opened[payload].wait()

    async def until(self, *names: str) -> None:
        await eventually(lambda: self.begun == [*names], f"{names} to begin")

    def open_all(self) -> None:
        for gate in self.opened.values():
            gate.set()


async def test_the_next_job_of_a_queue_follows(
    app: App, connection: psycopg.Connection, engines: list[Engine]
) -> None:
    gates = Gates(app)
    async with running(app, **NO_POLLS, concurrency=2):
        await eventually(lambda: declared(connection), "the declaration")
        await app.add_jobs([JobSpec("waits", name, queue_name="letters") for name in gates.opened])
        await gates.until("first")
        await until_leased(connection)
        await eventually(lambda: engines[0]._lanes.next_search is None, "the last search")
        gates.opened["first"].set()
        await gates.until("first", "second")
        gates.open_all()
        await eventually(lambda: settled(connection), "all jobs to end")


async def test_a_job_follows_where_all_slots_were_taken(app: App, connection: psycopg.Connection) -> None:
    gates = Gates(app)
    async with running(app, **NO_POLLS, concurrency=1):
        await eventually(lambda: declared(connection), "the declaration")
        await app.add_job("waits", "first")
        await gates.until("first")
        await until_leased(connection)
        await app.add_job("waits", "second")
        await eventually(lambda: not declared(connection), "the worker to be full")
        gates.opened["first"].set()
        await gates.until("first", "second")
        gates.open_all()
        await eventually(lambda: settled(connection), "all jobs to end")


@pytest.mark.lane("express")
@pytest.mark.usefixtures("no_hurry")
@pytest.mark.one_worker("the other one has free slots")
async def test_a_job_follows_where_both_batches_were_open(app: App, connection: psycopg.Connection) -> None:
    gates = Gates(app)
    async with running(app, **NO_POLLS, concurrency=10):
        await eventually(lambda: declared(connection), "the declaration")
        await app.add_job("waits", "first")
        await gates.until("first")
        await app.add_job("waits", "second")
        await gates.until("first", "second")
        await app.add_job("waits", "third")
        await eventually(lambda: not declared(connection), "the worker to be full")
        gates.opened["first"].set()
        await gates.until("first", "second", "third")
        gates.open_all()
        await eventually(lambda: settled(connection), "all jobs to end")


@pytest.mark.usefixtures("all_is_quick")
@pytest.mark.parametrize("kind", ["keyed", "plain", "queued"])
async def test_a_backlog_is_run_to_its_end(app: App, connection: psycopg.Connection, kind: str) -> None:
    app.task("quick")(nothing)
    specs = [
        JobSpec(
            "quick",
            job_key=f"key {number}" if kind == "keyed" else None,
            queue_name=f"queue {number % 30}" if kind == "queued" else None,
        )
        for number in range(1500)
    ]
    await app.add_jobs(specs)
    async with running(app, **NO_POLLS, concurrency=2):
        await eventually(lambda: settled(connection), "all jobs to end")


async def test_a_claim_that_was_cut_off_is_run_as_soon_as_it_is_free(
    app: App, connection: psycopg.Connection
) -> None:
    ended = asyncio.Event()

    @app.task
    async def tells(payload: Any) -> None:
        ended.set()

    # What is freed notifies nobody who has not declared.
    async with running(app, **NO_POLLS, lease=1, heartbeat_interval=0.1, listen=False) as worker:
        with connection.transaction():
            connection.execute("select tidemill.add_job('tells')")
            connection.execute(
                "select tidemill._claim_jobs(%s, array['tells'], '{}', 5, null, null, null, null)",
                [worker.id],
            )
        await within(ended)


async def test_after_a_lost_connection_it_declares_itself_anew(
    app: App, connection: psycopg.Connection
) -> None:
    app.task("quick")(nothing)
    async with running(app, **NO_POLLS, heartbeat_interval=0.1) as worker:
        await eventually(lambda: declared(connection), "the declaration")
        # The table of declarations survives no crash of the server.
        connection.execute("delete from tidemill._listeners")
        connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where application_name = %s", [worker.id]
        )

        def declared_anew() -> bool:
            # That its connection is gone shows when it is used.
            connection.execute("select pg_notify('tidemill:jobs', '')")
            return declared(connection)

        await eventually(declared_anew, "a new declaration")


async def test_a_job_that_is_added_while_the_listener_is_away(
    app: App, connection: psycopg.Connection
) -> None:
    ended = asyncio.Event()

    @app.task
    async def tells(payload: Any) -> None:
        ended.set()

    # A name that is new would have to be committed first.
    connection.execute("insert into tidemill._tasks (identifier) values ('tells') on conflict do nothing")
    async with running(app, **NO_POLLS, heartbeat_interval=0.1):
        await eventually(lambda: declared(connection), "the declaration")
        with connection.transaction():
            connection.execute("select tidemill.add_job('tells')")
            connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where query = 'listen \"tidemill:ping\"'"
            )
        await within(ended)


def declared(connection: psycopg.Connection) -> bool:
    return connection.execute("select from tidemill._listeners").rowcount == 1
