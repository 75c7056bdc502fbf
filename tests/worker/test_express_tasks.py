"""Many jobs in one asyncio task: none sees that it is not alone."""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any

import psycopg
import pytest

from tests.support.processes import settled
from tests.support.running import eventually, running, within
from tidemill import App, JobSpec

pytestmark = [pytest.mark.lane("express"), pytest.mark.versions(18)]


here: contextvars.ContextVar[str] = contextvars.ContextVar("here", default="nobody")


async def test_context_variables_are_a_jobs_own(app: App, connection: psycopg.Connection) -> None:
    seen: list[tuple[str, str]] = []

    @app.task
    async def sets(payload: str) -> None:
        before = here.get()
        here.set(payload)
        if payload == "b":
            await asyncio.sleep(0)
        seen.append((before, here.get()))

    @app.task
    def sets_in_its_thread(payload: str) -> None:
        seen.append((here.get(), payload))
        here.set(payload)

    await app.add_jobs([JobSpec("sets", name) for name in "abc"])
    await app.add_jobs([JobSpec("sets_in_its_thread", name) for name in "de"])
    async with running(app, concurrency=1):
        await eventually(lambda: settled(connection), "all jobs to end")
    assert sorted(seen) == [("nobody", name) for name in "abcde"]


@pytest.mark.parametrize("waits", [False, True])
async def test_a_job_that_cancels_itself_cancels_no_other(
    app: App, connection: psycopg.Connection, waits: bool
) -> None:
    ran: list[str] = []

    @app.task(max_attempts=1)
    async def cancels(payload: Any) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        ran.append("cancels")
        if waits:
            await asyncio.sleep(0)
            ran.append("goes on")

    @app.task
    async def after(payload: Any) -> None:
        await asyncio.sleep(0)
        ran.append("after")

    await app.add_jobs([JobSpec("cancels"), JobSpec("after"), JobSpec("cancels"), JobSpec("after")])
    async with running(app, concurrency=1):
        await eventually(
            lambda: not connection.execute("select from tidemill.jobs where state <> 'failed'").rowcount,
            "all jobs to end",
        )
    assert ran == ["cancels", "after", "cancels", "after"]
    errors = connection.execute("select last_error from tidemill._jobs").fetchall()
    assert errors == ([("CancelledError",)] * 2 if waits else [])


async def test_what_asyncio_ties_to_the_current_task(app: App, connection: psycopg.Connection) -> None:
    told: list[str] = []
    spawned: list[asyncio.Task[None]] = []

    async def tell(what: str) -> None:
        told.append(what)

    async def wait_for_ever() -> None:
        await asyncio.Event().wait()

    @app.task
    async def limits(payload: Any) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await wait_for_ever()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(wait_for_ever(), 0.001)
        told.append("limited")

    @app.task
    async def groups(payload: Any) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(tell("in a group"))
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(wait_for_ever())
                group.create_task(fails())
        except* ValueError:
            told.append("group failed")

    async def fails() -> None:
        raise ValueError

    @app.task
    async def spawns(payload: Any) -> None:
        spawned.append(asyncio.create_task(tell("spawned")))

    await app.add_jobs([JobSpec(name) for name in ("limits", "groups", "spawns", "limits")])
    async with running(app, concurrency=1):
        await eventually(lambda: settled(connection), "all jobs to end")
        await spawned[0]
    assert sorted(told) == sorted(["limited", "in a group", "group failed", "spawned", "limited"])


@pytest.mark.slow
async def test_jobs_that_never_wait_let_the_event_loop_turn(app: App, connection: psycopg.Connection) -> None:
    """A thousand at a stretch must not starve the rest of the process."""
    ended = asyncio.Event()
    ran = 0

    @app.task
    async def spins(payload: Any) -> None:
        nonlocal ran
        ran += 1
        if ran == 1:
            asyncio.get_running_loop().call_soon(lambda: places.append(ran))
        # About a tenth of a turn.
        for _ in range(20_000):
            pass
        if ran == 2000:
            ended.set()

    places: list[int] = []
    await app.add_jobs([JobSpec("spins")] * 2000)
    async with running(app):
        await within(ended, 60)
    assert places
    assert places[0] < 1000
