"""Which jobs go by the express lane, and which by lease."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest

from tests.support.processes import leased, settled
from tests.support.running import eventually, running, until_leased
from tests.worker.express import lane_of, locked, rows
from tidemill import App, JobContext, JobSpec, Retry
from tidemill.queue import durations

pytestmark = pytest.mark.lane("express")


@pytest.mark.slow
async def test_slow_jobs_are_leased_one_per_free_slot_and_quick_ones_pass_them(
    app: App, connection: psycopg.Connection, watcher: psycopg.Connection
) -> None:
    go_on = asyncio.Event()
    lanes: list[str] = []

    @app.task
    async def slow(payload: Any) -> None:
        await go_on.wait()

    @app.task
    async def quick(payload: Any, job: JobContext) -> None:
        lanes.append(lane_of(watcher, job.id))

    async with running(app, concurrency=3):
        # That it is slow is seen.
        await app.add_job("slow")
        await until_leased(connection)
        go_on.set()
        await eventually(lambda: settled(connection), "the first job")
        go_on.clear()
        await app.add_jobs([JobSpec("slow")] * 5)
        await until_leased(connection, 3)
        assert locked(connection) == set()
        assert [row[1] for row in rows(connection)] == [1, 1, 1, 0, 0]
        go_on.set()
        await eventually(lambda: settled(connection), "the slow jobs")
        go_on.clear()
        await app.add_jobs([JobSpec("slow")] * 2)
        await until_leased(connection, 2)
        for _ in range(5):
            await app.add_job("quick")
            await eventually(lambda: leased(connection) == 2 and len(rows(connection)) == 2, "the quick job")
        assert leased(connection) == 2
        go_on.set()
    assert lanes == ["express"] * 5


@pytest.mark.parametrize("lane_choice", ["auto", "express"])
@pytest.mark.one_worker("each learns for itself how long a task takes")
async def test_a_task_turns_slow_and_quick_again(
    app: App,
    connection: psycopg.Connection,
    watcher: psycopg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    lane_choice: str,
) -> None:
    pace = 1.0
    lanes: list[str] = []
    add = durations.Durations.add

    def timed(self: durations.Durations, identifier: str, seconds: float, *, leased: bool) -> None:
        add(self, identifier, pace, leased=leased)

    monkeypatch.setattr(durations.Durations, "add", timed)
    monkeypatch.setattr(durations, "_NEWEST", 0.9)

    @app.task
    async def changes(payload: Any, job: JobContext) -> None:
        lanes.append(lane_of(watcher, job.id))
        await asyncio.sleep(0)

    async def run() -> str:
        await app.add_job("changes")
        await eventually(lambda: settled(connection), "the job to end")
        return lanes[-1]

    async with running(app, lane=lane_choice):
        assert await run() == ("lease" if lane_choice == "auto" else "express")
        assert await run() == "lease"
        assert await run() == "lease"
        pace = 0.0
        while await run() == "lease":
            pass
        assert await run() == "express"
        pace = 1.0
        while await run() == "express":
            pass
        assert await run() == "lease"


async def test_only_new_jobs_without_a_key_are_for_express(
    app: App, connection: psycopg.Connection, watcher: psycopg.Connection
) -> None:
    lanes: dict[str, str] = {}

    @app.task
    async def looks(payload: str, job: JobContext) -> None:
        lanes[payload] = lane_of(watcher, job.id)
        if payload == "fails" and job.attempt == 1:
            lanes["new"] = lanes[payload]
            raise Retry(0)

    async with running(app, poll_interval=0.05):
        await app.add_job("looks", "keyed", job_key="k")
        await app.add_job("looks", "queued", queue_name="letters")
        await app.add_job("looks", "fails")
        await eventually(lambda: settled(connection), "all jobs to end")
    assert lanes == {"keyed": "lease", "queued": "express", "new": "express", "fails": "lease"}
