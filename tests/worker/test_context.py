"""What a task is handed: attributes, logger, connection, add_job."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from tests.support.running import run_all, run_one
from tidemill import App, JobContext


async def test_attributes(app: App) -> None:
    seen: list[JobContext] = []

    @app.task
    async def look(payload: Any, job: JobContext) -> None:
        seen.append(job)

    due = datetime(2020, 1, 1, tzinfo=UTC)
    added = await app.add_job(
        "look",
        {"a": 1},
        queue_name="letters",
        run_at=due,
        max_attempts=7,
        job_key="k",
        priority=-3,
        flags=["big"],
    )
    await run_all(app)
    [job] = seen
    assert (job.id, job.identifier, job.attempt, job.max_attempts) == (added.id, "look", 1, 7)
    assert (job.queue_name, job.key, job.priority, job.run_at) == ("letters", "k", -3, due)
    assert (job.revision, job.flags, job.raw_payload) == (0, ["big"], '{"a":1}')
    assert job.created_at == added.created_at
    assert job.worker_id.startswith("worker-")
    assert not job.is_last_attempt
    assert not job.cancelled


async def test_plain_calls_of_a_task_need_no_database() -> None:
    app = App("dbname=unused")

    @app.task
    def add(payload: int) -> int:
        return payload + 1

    assert add(1) == 2


async def test_the_logger_names_the_job_beside_the_callers_extras(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    @app.task
    async def look(payload: Any, job: JobContext) -> None:
        job.logger.info("halfway", extra={"share": 0.5})

    await run_one(app, "look")
    [record] = [r for r in caplog.records if r.getMessage() == "halfway"]
    assert vars(record).items() >= {"job_id": 1, "task": "look", "attempt": 1, "share": 0.5}.items()
    [done] = [r for r in caplog.records if "(look) done in" in r.getMessage()]
    assert vars(done)["duration_ms"] >= 0
    assert vars(done)["job_id"] == 1
    assert done.levelno == logging.INFO


@pytest.fixture
def table(connection: psycopg.Connection) -> psycopg.Connection:
    connection.execute("create table notes (note text)")
    return connection


async def test_a_connection_commits_or_rolls_back(app: App, table: psycopg.Connection) -> None:
    @app.task
    async def write(payload: str, job: JobContext) -> None:
        async with job.connection() as connection:
            await connection.execute("insert into notes values (%s)", [payload])
            if payload == "bad":
                raise ValueError("not this one")

    @app.task
    def write_plainly(payload: str, job: JobContext) -> None:
        with job.sync.connection() as connection:
            connection.execute("insert into notes values (%s)", [f"plain {payload}"])
            if payload == "bad":
                raise ValueError("not this one")

    for name in ("write", "write_plainly"):
        assert await run_one(app, name, "good") is None
        job = await run_one(app, name, "bad")
        assert job is not None
        assert job.last_error == "ValueError: not this one"
    assert table.execute("select note from notes").fetchall() == [("good",), ("plain good",)]


async def test_jobs_add_jobs(app: App) -> None:
    done: list[str] = []

    @app.task
    async def first(payload: Any, job: JobContext) -> None:
        added = await job.add_job("last", "from async", priority=2)
        assert added.priority == 2

    @app.task
    def second(payload: Any, job: JobContext) -> None:
        added = job.sync.add_job("last", "from plain", priority=3)
        assert added.priority == 3

    @app.task
    async def last(payload: str) -> None:
        done.append(payload)

    await app.add_job("first")
    await app.add_job("second")
    await run_all(app)
    assert sorted(done) == ["from async", "from plain"]


async def test_a_job_is_added_in_the_tasks_own_transaction(app: App, table: psycopg.Connection) -> None:
    @app.task
    async def write(payload: Any, job: JobContext) -> None:
        async with job.connection() as connection:
            await connection.execute("insert into notes values ('never')")
            await job.add_job("write", {"again": True}, connection=connection)
            raise ValueError("rolled back")

    job = await run_one(app, "write")
    assert job is not None
    assert table.execute("select note from notes").fetchall() == []
    assert table.execute("select count(*) from tidemill.jobs").fetchone() == (1,)


async def test_plain_tasks_share_connections_while_a_worker_runs(database: str) -> None:
    app = App(database)
    backends: list[int] = []

    @app.task
    def look(payload: Any, job: JobContext) -> None:
        with job.sync.connection() as connection:
            backends.append(connection.info.backend_pid)

    for _ in range(3):
        await app.add_job("look", queue_name="one after the other")
    await run_all(app)
    assert len(backends) == 3
    assert len(set(backends)) == 1
    # The worker has closed what it opened: outside of it, each call has a connection of its own.
    with app.sync.connection() as connection:
        assert connection.info.backend_pid not in backends
