"""A worker that others took for dead, and that comes back."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest

from tests.support.processes import settled
from tests.support.running import eventually, running, until_leased, within
from tidemill import App, JobContext, JobSpec
from tidemill.queue import lease

pytestmark = pytest.mark.lane("lease")


@pytest.mark.usefixtures("all_is_quick")
async def test_what_it_had_not_begun_is_not_run_twice(
    app: App,
    connection: psycopg.Connection,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lease, "_AHEAD_SECONDS", 1000)
    begun, gate = asyncio.Event(), asyncio.Event()
    ran: list[int] = []

    @app.task
    async def holds(payload: Any) -> None:
        begun.set()
        await gate.wait()

    @app.task
    async def counted(payload: Any, job: JobContext) -> None:
        ran.append(job.id)

    def beats() -> Any:
        return connection.execute("select heartbeat_at from tidemill._workers").fetchone()

    async with running(app, concurrency=1, heartbeat_interval=0.05, poll_interval=0.05) as worker:
        # One that was seen to be quick, so that more are claimed than can run.
        await app.add_job("counted")
        await eventually(lambda: settled(connection), "the first job")
        ran.clear()
        await app.add_jobs([JobSpec("holds"), *[JobSpec("counted")] * 5])
        await within(begun)
        await until_leased(connection, 6)
        with connection.transaction():
            connection.execute("select tidemill.force_unlock_workers(array[%s])", [worker.id])
            connection.execute("delete from tidemill._workers")
        await eventually(lambda: "was taken for dead" in caplog.text, "the revival")
        before = beats()
        await eventually(lambda: beats() > before, "a heartbeat after it")
        # It has them again, or for the first time: that is the same to it.
        await until_leased(connection, 6)
        gate.set()
        await eventually(lambda: settled(connection), "all jobs to end")
    assert sorted(ran) == sorted(set(ran))
    assert len(ran) == 5
