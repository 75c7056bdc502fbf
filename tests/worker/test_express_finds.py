"""Jobs that no notification tells of are found by the express lane, too."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest

from tests.support.processes import settled
from tests.support.running import eventually, running, within
from tests.worker.express import nothing
from tidemill import App, JobContext, Retry
from tidemill.queue import express

pytestmark = pytest.mark.lane("express")


@pytest.mark.slow
@pytest.mark.usefixtures("all_is_quick")
@pytest.mark.parametrize("queue_name", [None, "letters"])
async def test_a_job_of_a_long_transaction_is_found(
    app: App, database: str, connection: psycopg.Connection, queue_name: str | None
) -> None:
    ran: list[str] = []

    @app.task
    async def named(payload: str) -> None:
        ran.append(payload)

    # Without notifications, to find it by looking.
    async with running(app, listen=False, poll_interval=0.05):
        # Adding a new name waits for other transactions that add it, so this one is added before.
        await app.add_job("named", "first", queue_name=queue_name)
        await eventually(lambda: settled(connection), "the first job")
        with psycopg.connect(database) as late:
            late.execute("select tidemill.add_job('named', '\"late\"', queue_name => %s)", [queue_name])
            # The marks move on by more than the delay that they allow for.
            [(then,)] = late.execute("select now()").fetchall()
            while True:
                await app.add_job("named", "in between")
                await eventually(lambda: settled(connection), "the job in between")
                [(passed,)] = connection.execute(
                    "select now() - %s > interval '0.3 seconds'", [then]
                ).fetchall()
                if passed:
                    break
            assert "late" not in ran
            late.commit()
        await eventually(lambda: "late" in ran, "the late job")
        await eventually(lambda: settled(connection), "its end")
    assert ran.count("late") == 1


@pytest.mark.slow
@pytest.mark.usefixtures("all_is_quick")
@pytest.mark.parametrize("priority", [-1, 0])
async def test_an_urgent_job_is_found_while_a_long_backlog_runs(
    app: App, connection: psycopg.Connection, watcher: psycopg.Connection, priority: int
) -> None:
    backlog, first = 80_000, 1000
    places: dict[str, int] = {}
    ran = 0

    @app.task
    async def counted(payload: Any) -> None:
        nonlocal ran
        ran += 1
        if ran == first:
            # Of a priority that is not seen elsewhere, or due before what has been claimed long since.
            watcher.execute(
                "select tidemill.add_job('urgent', priority => %s, run_at => '2020-01-01')", [priority]
            )

    @app.task
    async def urgent(payload: Any) -> None:
        places["urgent"] = ran

    connection.execute(
        "select count(*) from tidemill.add_jobs(array(select row('counted', null, null, null, null, null, "
        "null, null)::tidemill.job_spec from generate_series(1, %s)))",
        [backlog],
    )
    async with running(app):
        await eventually(lambda: settled(connection), "all jobs to end")
    assert ran == backlog
    in_hand = express._MOST_BATCHES * express._LARGEST_BATCH
    # Ten times as long as one search took: by far not at the end, also where one takes long.
    assert places["urgent"] - first <= in_hand + backlog // 2


@pytest.mark.usefixtures("all_is_quick")
@pytest.mark.parametrize("kind", ["retried", "late", "queued"])
async def test_a_trickle_of_quick_jobs_keeps_no_other_waiting(
    app: App, database: str, connection: psycopg.Connection, kind: str
) -> None:
    """Each look finds an announced job; jobs that no notification announces must be found, too."""
    ended = asyncio.Event()
    app.task("quick")(nothing)

    @app.task
    async def waits(payload: str, job: JobContext) -> None:
        if payload == "retried" and job.attempt == 1:
            raise Retry(0.1)
        ended.set()

    async with running(app, poll_interval=0.2):
        with psycopg.connect(database) as late:
            await app.add_job("waits", "first")
            await within(ended)
            ended.clear()
            if kind == "retried":
                await app.add_job("waits", kind)
            else:
                # Committed by a producer that saw no listening worker.
                late.execute("delete from tidemill._listeners")
                late.execute(
                    "select tidemill.add_job('waits', to_json(%s::text), queue_name => %s,"
                    " run_at => '2020-01-01')",
                    [kind, "letters" if kind == "queued" else None],
                )
                late.execute(
                    "insert into tidemill._listeners select id from tidemill._workers on conflict do nothing"
                )
                late.commit()
        for _ in range(200):
            await app.add_job("quick")
            await eventually(lambda: not quick_jobs(connection), "the quick job")
            if ended.is_set():
                break
        assert ended.is_set()


def quick_jobs(connection: psycopg.Connection) -> int:
    return connection.execute("select from tidemill.jobs where identifier = 'quick'").rowcount
