"""The engine: order, named queues, priorities, flags, once; and a blocked event loop."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import psycopg
import pytest

from tests.support.processes import settled
from tests.support.running import eventually, run_all, running
from tests.support.waiting import wait_until
from tidemill import App, JobContext, JobSpec

pytestmark = pytest.mark.versions(18, 17, 16, 15)


@pytest.mark.slow
async def test_named_queues_are_serial_and_in_order(app: App, connection: psycopg.Connection) -> None:
    connection.execute(
        "create table spans (job_id bigint, queue_name text, priority int, worker text, "
        "began timestamptz, ended timestamptz)"
    )

    @app.task
    async def span(payload: Any, job: JobContext) -> None:
        async with job.connection() as own:
            await own.execute(
                "insert into spans values (%s, %s, %s, %s, now(), clock_timestamp())",
                [job.id, job.queue_name, job.priority, job.worker_id],
            )

    @app.task
    def plain_span(payload: Any, job: JobContext) -> None:
        with job.sync.connection() as own:
            own.execute(
                "insert into spans values (%s, %s, %s, %s, now(), clock_timestamp())",
                [job.id, job.queue_name, job.priority, job.worker_id],
            )

    await app.add_jobs(
        [
            JobSpec(
                "span" if number % 3 else "plain_span",
                queue_name=f"queue {number % 5}",
                priority=number % 2,
            )
            for number in range(300)
        ]
    )
    async with AsyncExitStack() as stack:
        for _ in range(3):
            await stack.enter_async_context(running(app, concurrency=20, poll_interval=0.1))
        await eventually(lambda: settled(connection), "all jobs to end")
    overlaps = connection.execute(
        "select count(*) from spans a join spans b using (queue_name) "
        "where a.job_id <> b.job_id and a.began < b.ended and b.began < a.ended"
    ).fetchone()
    assert overlaps == (0,)
    disorder = connection.execute(
        "select count(*) from (select *, lag(priority) over w p, lag(job_id) over w i from spans "
        "window w as (partition by queue_name order by ended)) s where (p, i) > (priority, job_id)"
    ).fetchone()
    assert disorder == (0,)
    assert connection.execute("select count(*) from spans").fetchone() == (300,)


@pytest.mark.one_worker("two run jobs side by side")
async def test_the_most_urgent_first_then_the_longest_due_then_the_oldest(app: App) -> None:
    order: list[str] = []

    @app.task
    async def note(payload: str) -> None:
        order.append(payload)

    async with app.connection() as connection:
        await connection.execute(
            "select tidemill.add_job('note', to_json(name), run_at => due, priority => rank) from (values "
            "('late', 0, now()), ('urgent', -5, now()), ('last', 9, now() - interval '1 day'), "
            "('early', 0, now() - interval '1 hour'), ('late too', 0, now())) v(name, rank, due)"
        )
    await run_all(app, concurrency=1)
    assert order == ["urgent", "early", "late", "late too", "last"]


async def test_forbidden_flags(app: App, caplog: pytest.LogCaptureFixture) -> None:
    done: list[str] = []
    forbidden = ["big"]
    broken: list[str] = []

    @app.task
    async def note(payload: str) -> None:
        done.append(payload)

    def ask() -> list[str]:
        if broken:
            raise LookupError(broken.pop())
        return forbidden

    specs = [
        JobSpec("note", "none"),
        JobSpec("note", "big", flags=["big"]),
        JobSpec("note", "both", flags=["small", "big"], queue_name="letters"),
        JobSpec("note", "small", flags=["small"], queue_name="letters"),
    ]
    await app.add_jobs(specs)
    await run_all(app, forbidden_flags=["big", "huge"])
    assert sorted(done) == ["none", "small"]
    await run_all(app, forbidden_flags=ask)
    assert sorted(done) == ["none", "small"]
    broken.append("no flags today")
    forbidden.clear()
    async with running(app, forbidden_flags=ask, poll_interval=0.1):
        await eventually(lambda: len(done) == 4, "the rest")
    assert "forbidden_flags failed: no job is claimed until it works again" in caplog.text
    assert sorted(done[2:]) == ["big", "both"]


@pytest.mark.timeout(30)
async def test_once_ends_when_nothing_is_ready(app: App, connection: psycopg.Connection) -> None:
    done: list[int] = []

    @app.task
    async def chain(payload: int, job: JobContext) -> None:
        done.append(payload)
        if payload:
            await job.add_job("chain", payload - 1, queue_name="letters" if payload % 2 else None)

    await app.add_job("chain", 9)
    await app.add_job("chain", 0, run_at=connection_time(connection, "1 hour"))
    await app.add_job("unknown_task")
    # No poll helps: it must look again after each job.
    await run_all(app, poll_interval=600)
    assert done == list(range(9, -1, -1))
    rows = connection.execute("select identifier, state from tidemill.jobs order by id").fetchall()
    assert rows == [("chain", "scheduled"), ("unknown_task", "ready")]


def connection_time(connection: psycopg.Connection, wait: str) -> Any:
    row = connection.execute("select now() + %s::interval", [wait]).fetchone()
    assert row is not None
    return row[0]


async def test_sync_run_until_empty(app: App, connection: psycopg.Connection) -> None:
    app.task("note")(lambda payload: None)
    await app.add_jobs([JobSpec("note")] * 10)
    await asyncio.to_thread(app.sync.run_until_empty)
    assert settled(connection)


async def test_jobs_are_settled_and_leases_kept_while_the_event_loop_is_blocked(
    app: App, connection: psycopg.Connection, database: str
) -> None:
    ended: set[int] = set()
    one_ended = asyncio.Event()

    @app.task
    async def quick(payload: Any, job: JobContext) -> None:
        ended.add(job.id)
        one_ended.set()

    @app.task
    async def blocks(payload: Any) -> None:
        # As user code does that calls a blocking library: nothing else runs on the loop meanwhile.
        def left() -> set[int]:
            return {id for (id,) in connection.execute("select id from tidemill.jobs")}

        await one_ended.wait()
        wait_until(lambda: not left() & ended, "the finished jobs to be settled")

        def beats() -> Any:
            return connection.execute("select heartbeat_at from tidemill._workers").fetchone()

        first = beats()
        wait_until(lambda: beats() > first, "a heartbeat")

    await app.add_jobs([JobSpec("quick")] * 50)
    await app.add_job("blocks")
    await run_all(app, heartbeat_interval=0.1, concurrency=60)
    assert settled(connection)


async def test_broken_sql_of_a_job_does_not_reach_the_next_one(
    app: App, connection: psycopg.Connection
) -> None:
    @app.task
    async def breaks(payload: Any, job: JobContext) -> None:
        async with job.connection() as own:
            await own.execute("select 1/0")

    @app.task
    async def works(payload: Any, job: JobContext) -> None:
        async with job.connection() as own:
            await own.execute("select 1")

    await app.add_jobs([JobSpec("breaks"), JobSpec("works")] * 10)
    await run_all(app, concurrency=2)
    rows = connection.execute("select distinct identifier, last_error from tidemill.jobs").fetchall()
    assert rows == [("breaks", "DivisionByZero: division by zero")]


@pytest.mark.one_worker("it counts calls")
async def test_once_settles_what_runs_when_forbidden_flags_fail(
    app: App, connection: psycopg.Connection
) -> None:
    begun, gate = asyncio.Event(), asyncio.Event()
    calls = 0

    def ask() -> list[str]:
        nonlocal calls
        calls += 1
        if calls > 1:
            raise LookupError("no flags today")
        return []

    @app.task
    async def waits(payload: Any) -> None:
        begun.set()
        await gate.wait()

    await app.add_job("waits", queue_name="letters")
    run = asyncio.ensure_future(run_all(app, forbidden_flags=ask, poll_interval=0.05))
    await asyncio.wait_for(begun.wait(), 30)
    await eventually(lambda: calls == 2, "the flags to fail")
    gate.set()
    with pytest.raises(LookupError, match="no flags today"):
        await run
    assert connection.execute("select from tidemill._jobs").rowcount == 0
    assert connection.execute("select from tidemill._queues where locked_by is not null").rowcount == 0
