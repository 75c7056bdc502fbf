"""Other sessions that lock tables, beside a worker that runs jobs in both lanes."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from functools import partial
from typing import Any

import psycopg
import pytest

from tests.support.processes import SHORT_LEASE, runs, settled, worker_process
from tests.support.running import eventually, running
from tests.support.waiting import wait_until
from tests.worker.express import locked
from tidemill import App, JobContext

pytestmark = [pytest.mark.lane("express"), pytest.mark.versions(18, 16)]


async def add_forever(database: str, added: list[int]) -> None:
    """Adds jobs for both lanes until it is cancelled: those with a key are leased."""
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as producer:
        while True:
            rows = await producer.execute(
                "select id from tidemill.add_job('counts', job_key => %s)"
                " union all select (tidemill.add_job('counts')).id from generate_series(1, 20)",
                [f"key {len(added)}"],
            )
            added += [job for (job,) in await rows.fetchall()]


@pytest.mark.slow
@pytest.mark.parametrize(
    "statement",
    [
        "alter table tidemill._jobs add column mine integer",
        "vacuum full tidemill._jobs",
        "lock table tidemill._jobs",
        "lock table tidemill._queues",
    ],
)
async def test_one_gets_its_lock_and_all_go_on(
    app: App, database: str, connection: psycopg.Connection, caplog: pytest.LogCaptureFixture, statement: str
) -> None:
    ran: Counter[int] = Counter()

    @app.task
    async def counts(payload: Any, job: JobContext) -> None:
        ran[job.id] += 1

    added: list[int] = []

    def are_added(count: int) -> bool:
        return len(added) >= count

    async with running(app, concurrency=5):
        producer = asyncio.ensure_future(add_forever(database, added))
        for _ in range(5):
            await eventually(partial(are_added, len(added) + 50), "jobs to be added")
            if statement.startswith("lock"):
                with connection.transaction():
                    await asyncio.to_thread(connection.execute, statement.encode())
            else:
                await asyncio.to_thread(connection.execute, statement.encode())
            connection.execute("alter table tidemill._jobs drop column if exists mine")
        producer.cancel()
        await asyncio.wait([producer])
        await eventually(lambda: settled(connection), "all jobs to end")
    assert ran.keys() >= {*added}
    assert {*ran.values()} == {1}
    for trouble in ("lost its connection", "did not answer", "taken away", "taken for dead"):
        assert trouble not in caplog.text


def tries(connection: psycopg.Connection) -> int:
    """How many of an engine's statements wait for a lock."""
    return connection.execute(
        "select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
        " and query ~ '^begin|_claim|_unknown'"
    ).rowcount


@pytest.mark.one_worker("each says so once")
async def test_a_worker_tells_once_that_a_table_is_locked(
    app: App, connection: psycopg.Connection, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    ran: list[int] = []

    @app.task
    async def notes(payload: Any, job: JobContext) -> None:
        ran.append(job.id)

    async with running(app, poll_interval=0.05):
        with psycopg.connect(database) as other:
            other.execute("lock table tidemill._jobs")
            for _ in range(3):
                await eventually(lambda: tries(connection), "a try")
                await eventually(lambda: not tries(connection), "its end")
        await app.add_job("notes")
        await eventually(lambda: ran and settled(connection), "the job")
    assert caplog.text.count("another session holds a lock") == 1
    assert "did not answer" not in caplog.text


@pytest.mark.slow
def test_the_batch_of_a_stopped_worker_is_run_by_another(database: str, table: psycopg.Connection) -> None:
    with worker_process(database, lease=SHORT_LEASE) as stopped, worker_process(database) as heir:
        heir.signal(signal.SIGSTOP)
        in_hand: set[int] = set()
        while not in_hand:
            table.execute("select tidemill.add_job('tell') from generate_series(1, 500)")
            wait_until(lambda: locked(table) or settled(table), "a batch")
            stopped.signal(signal.SIGSTOP)
            # What it has sent may still be carried out.
            in_hand = open_batch(table)
            if not in_hand:
                stopped.signal(signal.SIGCONT)
        heir.signal(signal.SIGCONT)
        wait_until(lambda: settled(table), "all jobs to end")
        assert in_hand <= {*runs(table)}


def open_batch(connection: psycopg.Connection) -> set[int]:
    """The jobs of a stopped worker's batch: all its backends wait for it."""
    wait_until(
        lambda: (
            connection.execute(
                "select from pg_stat_activity where application_name like 'worker-%' and state = 'active'"
            ).rowcount
            == 0
        ),
        "what it has sent to be carried out",
    )
    return locked(connection)
