"""The server restarts or vanishes under a running worker."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.support.running import eventually, running, until_leased, within
from tests.support.servers import TEMPLATE, Server
from tidemill import App, JobContext, JobSpec

pytestmark = pytest.mark.slow


def durable(server: Server) -> str:
    """A database whose commits survive a crash of the server; those of other tests need not."""
    return make_conninfo(server.conninfo(server.clone(TEMPLATE)), options="-c synchronous_commit=on")


@pytest.mark.parametrize("mode", ["immediate", "fast"])
async def test_the_worker_reconnects_and_loses_nothing(
    own_server: Server, mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "tidemill")
    database = durable(own_server)
    begun, go_on = asyncio.Event(), asyncio.Event()
    ended: list[tuple[int, int]] = []

    async with App(database) as app:

        @app.task
        async def waits(payload: Any, job: JobContext) -> None:
            begun.set()
            await go_on.wait()
            ended.append((job.id, job.attempt))

        watcher = psycopg.connect(database, autocommit=True)
        async with running(app, concurrency=5, poll_interval=0.1, heartbeat_interval=0.1):
            added = await app.add_jobs([JobSpec("waits")] * 20)
            await within(begun)
            await until_leased(watcher, 5)
            watcher.close()
            # Between stop and start the worker meets refused connections.
            await asyncio.to_thread(own_server.stop, mode)
            await eventually(lambda: "a heartbeat failed" in caplog.text, "the worker to notice")
            go_on.set()
            await eventually(lambda: "did not answer a claim or completion" in caplog.text, "a failed try")
            await asyncio.to_thread(own_server.start_again)
            await eventually(lambda: "the database is back" in caplog.text, "the worker to reconnect")
            await eventually(lambda: len(ended) == 20, "all jobs to run")

            def settled() -> bool:
                with psycopg.connect(database) as connection:
                    return connection.execute("select from tidemill._jobs").rowcount == 0

            await eventually(settled, "all jobs to be settled")
    assert sorted(ended) == [(job.id, 1) for job in added]
    assert "the lease was taken away, so nothing was written" not in caplog.text


async def test_the_database_is_gone_at_shutdown(own_server: Server, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "tidemill")
    database = durable(own_server)
    begun, go_on = asyncio.Event(), asyncio.Event()

    async with App(database) as app:

        @app.task
        async def waits(payload: Any) -> None:
            begun.set()
            await go_on.wait()

        async with running(app, lease=1, heartbeat_interval=0.2):
            job = await app.add_job("waits")
            await within(begun)
            with psycopg.connect(database, autocommit=True) as watcher:
                await until_leased(watcher)
            await asyncio.to_thread(own_server.stop, "immediate")
            go_on.set()
    assert (
        f"1 jobs could not be settled; they are free again when their lease ends, in 1 s at most: {job.id}"
        in (caplog.text)
    )
    assert "the worker could not sign off" in caplog.text
    await asyncio.to_thread(own_server.start_again)
    async with App(database) as heir:
        again = asyncio.Event()

        @heir.task("waits")
        async def waits_again(payload: Any) -> None:
            again.set()

        async with running(heir, poll_interval=0.2, heartbeat_interval=0.2):
            await within(again)
