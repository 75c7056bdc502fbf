"""Progress of running jobs: seen while they run, gone when they end, and never in their way."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import psycopg
import pytest

from tests.support.running import eventually, running, within
from tidemill import App, JobContext
from tidemill.cli.jobs_find import job_rows
from tidemill.context import SyncJobContext
from tidemill.history import progress

pytestmark = pytest.mark.one_worker("they count rows of one")


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_PACE_SECONDS", 0.2)


def shown(connection: psycopg.Connection) -> list[tuple[Any, ...]]:
    return connection.execute(
        "select progress, progress_message from tidemill.jobs where progress_message is not null"
    ).fetchall()


def rows(connection: psycopg.Connection) -> int:
    return connection.execute("select from tidemill._progress").rowcount


async def test_it_is_shown_while_the_job_runs(
    app: App, connection: psycopg.Connection, database: str
) -> None:
    gate, release = asyncio.Event(), threading.Event()

    @app.task
    async def works(payload: Any, job: JobContext) -> None:
        job.progress(0.1, "begun")
        job.progress(0.5, "half way")
        await gate.wait()
        job.progress(None, "at the end\0")
        await gate.wait()

    @app.task
    def plain(payload: Any, job: SyncJobContext) -> None:
        job.progress(7, "plain")
        release.wait(30)

    async with running(app):
        await app.add_job("works")
        await eventually(lambda: shown(connection) == [(0.5, "half way")], "the progress")
        gate.set()
        await eventually(lambda: shown(connection) == [], "its end")
        await app.add_job("plain")
        await eventually(lambda: shown(connection) == [(1.0, "plain")], "that of a thread")
        [row] = await asyncio.to_thread(job_rows, database, payloads=False)
        assert (row["progress"], row["progress_message"]) == (1.0, "plain")
        assert rows(connection) == 1
        release.set()
        await eventually(lambda: rows(connection) == 0, "the rows to be gone")


@pytest.mark.lane("lease")
async def test_of_a_lost_worker_nothing_is_shown(app: App, connection: psycopg.Connection) -> None:
    told, gate = asyncio.Event(), asyncio.Event()

    @app.task(keep="1d")
    async def works(payload: Any, job: JobContext) -> None:
        job.progress(0.5, "told")
        told.set()
        await gate.wait()

    async with running(app):
        job = await app.add_job("works")
        await within(told)
        await eventually(lambda: shown(connection) == [(0.5, "told")], "the progress")
        # As a sweep does. What was told of the job's last run is not told of the next one.
        connection.execute(
            "select tidemill.force_unlock_workers((select array_agg(id) from tidemill.workers))"
        )
        assert shown(connection) == []
        [kept] = connection.execute(
            "select error_type, progress, progress_message from tidemill.job_history"
        ).fetchall()
        assert kept == ("WorkerLost", 0.5, "told")
        gate.set()
    connection.execute(
        "insert into tidemill._progress values (%s, 7, 1, 'left', now() - interval '1 h')", [job.id]
    )
    connection.execute("select tidemill._forget_progress()")
    assert rows(connection) == 0


@pytest.mark.lane("lease")
async def test_a_database_that_does_not_take_it(
    app: App, connection: psycopg.Connection, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    gate = asyncio.Event()

    @app.task
    async def works(payload: Any, job: JobContext) -> None:
        for step in range(1000):
            job.progress(step / 1000, "told")
        await gate.wait()

    async with running(app):
        connection.execute("alter table tidemill._progress rename to _other")
        await app.add_job("works")
        await eventually(lambda: "is not shown" in caplog.text, "a complaint")
        connection.execute("alter table tidemill._other rename to _progress")
        await eventually(lambda: shown(connection) != [], "the last word")
        gate.set()


async def test_bad_values() -> None:
    job = JobContext.__new__(JobContext)
    job._board = None
    with pytest.raises(ValueError, match="is NaN; it must be a number from 0 to 1"):
        job.progress(float("nan"))
    for bad in ("0.5", True, [1]):
        with pytest.raises(TypeError, match="must be a number from 0 to 1"):
            job.progress(bad)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="must be a text"):
        job.progress(0.5, 7)  # type: ignore[arg-type]
    told: list[Any] = []

    class Board:
        def tell(self, *what: Any) -> None:
            told.append(what[2:])

    job._board = Board()
    job._job = type("Job", (), {"id": 1, "token": 2})()
    job.progress(1.5, "x" * 1_000_000)
    job.progress(10**400)
    job.progress(-(10**400))
    job.progress(-float("inf"), "half \ud800, nothing \0")
    job.progress(None)
    assert told[1:3] == [(1.0, None), (0.0, None)]
    del told[1:3]
    assert told == [(1.0, "x" * 500), (0.0, "half ?, nothing \N{REPLACEMENT CHARACTER}"), (None, None)]
