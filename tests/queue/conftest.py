"""Fixtures of the queue's own tests."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import psycopg
import pytest

from tests.queue.lanes import CONCURRENCY, WORKER, Bench, Make, refuse
from tests.support.servers import Server
from tidemill import App
from tidemill.database.migrate import migrate
from tidemill.middleware import Hooks
from tidemill.queue.done_log import DoneLog
from tidemill.queue.durations import Durations
from tidemill.queue.execute import Executor
from tidemill.queue.express import ExpressLane
from tidemill.queue.lanes import Lanes
from tidemill.queue.lease import LeaseLane
from tidemill.queue.record import Keeper
from tidemill.queue.starts import Starts
from tidemill.tallies import Tallies
from tidemill.worker_options import LaneChoice


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    app, gate, begun = App(), asyncio.Event(), asyncio.Event()
    running: list[Any] = []
    made: list[Executor] = []

    @app.task("t")
    async def waits(payload: Any) -> None:
        running.append(payload)
        if len(running) == CONCURRENCY:
            begun.set()
        await gate.wait()

    app.task("plain")(lambda payload: None)
    app.task("limited plain", timeout=1)(lambda payload: None)

    @app.task("limited", timeout=1)
    async def limited(payload: Any) -> None: ...

    def build(choice: LaneChoice = "express", connect: Callable[[], psycopg.Connection] = refuse) -> Bench:
        durations, wake = Durations(), threading.Event()
        names = list(app.tasks)
        leases = LeaseLane(WORKER, names, concurrency=CONCURRENCY, durations=durations, wake=wake.set)
        express = ExpressLane(
            WORKER, names, concurrency=CONCURRENCY, connect=connect, leases=leases, lease=30.0, wake=wake.set
        )
        executor = Executor(
            app.tasks,
            app,
            WORKER,
            concurrency=CONCURRENCY,
            hooks=Hooks([]),
            settle=leases.settle,
            starts=Starts(WORKER, refuse, 30),
            durations=durations,
            done_log=DoneLog(each=True),
            keeper=Keeper(app.tasks),
            tallies=Tallies(),
        )
        made.append(executor)
        lanes = Lanes(app.tasks, choice, leases=leases, express=express, executor=executor)
        return Bench(lanes, executor, wake, begun)

    yield build
    gate.set()
    for executor in made:
        executor.stop()
        await executor.wait_idle()
        executor.close()


@pytest.fixture(params=["LATIN1", "EUC_JP"])
def narrow(request: pytest.FixtureRequest, server: Server) -> Iterator[psycopg.Connection]:
    """A database whose encoding lacks most characters."""
    with server.superuser() as superuser:
        superuser.execute(
            f"create database narrow template template0 encoding '{request.param}' locale 'C'"
            " owner tidemill_owner".encode()
        )
    try:
        migrate(server.conninfo("narrow"))
        with psycopg.connect(
            server.conninfo("narrow"), autocommit=True, client_encoding="UTF8"
        ) as connection:
            yield connection
    finally:
        server.drop("narrow")
