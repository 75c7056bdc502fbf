"""What workers count of the attempts that they run, in both lanes."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from tests.support.running import eventually, run_all, running
from tidemill import App, Cancel, Retry

COUNTS = "sum(done)::int, sum(failed)::int, sum(retried)::int, sum(cancelled)::int"


def counts(connection: psycopg.Connection) -> dict[str, tuple[int, ...]]:
    rows = connection.execute(
        f"select identifier, {COUNTS} from tidemill.task_stats group by identifier".encode()
    ).fetchall()
    return {identifier: tuple(rest) for identifier, *rest in rows}


async def test_each_outcome(app: App, connection: psycopg.Connection) -> None:
    @app.task
    async def works(payload: Any) -> None: ...

    @app.task
    async def waits(payload: Any) -> None:
        await asyncio.sleep(0)

    app.task("plain")(lambda payload: None)

    @app.task(max_attempts=1)
    async def breaks(payload: Any) -> None:
        raise KeyError

    @app.task
    async def tries_again(payload: Any) -> Retry:
        return Retry("1h")

    @app.task
    async def cancels(payload: Any) -> Cancel:
        return Cancel("gone")

    for name in app.tasks:
        for _ in range(3):
            await app.add_job(name)
    await run_all(app)
    assert counts(connection) == {
        "works": (3, 0, 0, 0),
        "waits": (3, 0, 0, 0),
        "plain": (3, 0, 0, 0),
        "breaks": (0, 3, 0, 0),
        "tries_again": (0, 3, 3, 0),
        "cancels": (0, 0, 0, 3),
    }
    rows = connection.execute(
        "select sum(r) = 18, sum(w) = 18 from tidemill.task_stats,"
        " lateral (select sum(x) as r from unnest(run_histogram) x) r,"
        " lateral (select sum(x) as w from unnest(wait_histogram) x) w"
    ).fetchall()
    assert rows == [(True, True)]


async def test_waiting_is_told_by_the_clock_of_the_database(app: App, connection: psycopg.Connection) -> None:
    @app.task
    async def late(payload: Any) -> None: ...

    await app.add_job("late", run_at=datetime.now(UTC) - timedelta(hours=3))
    await run_all(app)
    [(least, waits)] = connection.execute(
        "select min(wait_time) >= '3 h', tidemill.histogram_sum(wait_histogram) from tidemill.task_stats"
    ).fetchall()
    # From 2 ** 13 to 2 ** 14 seconds.
    assert (least, [(n, times) for n, times in enumerate(waits, 1) if times]) == (True, [(28, 1)])


@pytest.mark.lane("express")
async def test_they_are_written_behind_heartbeats(app: App, connection: psycopg.Connection) -> None:
    @app.task
    async def works(payload: Any) -> None: ...

    async with running(app, heartbeat_interval=0.05):
        await app.add_job("works")
        await eventually(lambda: counts(connection) == {"works": (1, 0, 0, 0)}, "the count")
        await app.add_job("works")
        await eventually(lambda: counts(connection) == {"works": (2, 0, 0, 0)}, "the next count")


@pytest.mark.lane("express")
async def test_what_cannot_be_written_does_not_disturb_heartbeats(
    app: App, connection: psycopg.Connection, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    @app.task
    async def works(payload: Any) -> None: ...

    def beats() -> list[Any]:
        return connection.execute("select heartbeat_at from tidemill.workers").fetchall()

    async with running(app, heartbeat_interval=0.05):
        with psycopg.connect(database) as other:
            other.execute("lock table tidemill._task_minutes in exclusive mode")
            await app.add_job("works")
            await eventually(lambda: "could not be counted" in caplog.text, "a complaint")
            for _ in range(2):
                before = beats()
                await eventually(lambda before=before: beats() != before, "a heartbeat")  # type: ignore[misc]
        await eventually(lambda: counts(connection) == {"works": (1, 0, 0, 0)}, "the count")
