"""A worker that dies spends the attempts of jobs that it may have started, and of no others."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest

from tests.support.processes import runs, settled, worker_process
from tests.support.proxy import proxy
from tests.support.running import eventually, running, until_leased, within
from tests.support.waiting import wait_until
from tidemill import App, JobContext, JobSpec

# Each test says which lane its worker uses.
pytestmark = [pytest.mark.slow, pytest.mark.lane("auto")]

GROUP = 10


@pytest.mark.parametrize("key", [False, True], ids=["lease", "keys"])
def test_a_job_that_kills_its_worker_costs_those_behind_it_nothing(
    database: str, table: psycopg.Connection, key: bool
) -> None:
    # So the worker knows that its jobs are quick, and claims them ahead.
    add(table, "count", 300, 25, key=False)
    options: dict[str, Any] = {"lane": "auto" if key else "lease", "concurrency": GROUP}
    with worker_process(database, **options, lease=3) as doomed:
        wait_until(lambda: settled(table), "the quick jobs to end")
        with table.transaction():
            add(table, "die", 1, 1, key=key)
            add(table, "tell", 199, 1, key=key)
        assert doomed.wait() == 9
        held = [
            row[0]
            for row in table.execute("select attempts from tidemill.jobs where state = 'running'").fetchall()
        ]
        assert len(held) > GROUP
        # The group of the killer, perhaps with the one that was asked for when it began, and no other one.
        spent = sum(held)
        assert spent in (GROUP, 2 * GROUP)
        with worker_process(database, **options) as heir:
            wait_until(lambda: len(runs(table)) == 1 + 200 - spent, "all that had not started to run")
            heir.end()
    failed = table.execute("select count(*) from tidemill.jobs where state = 'failed'").fetchone()
    assert failed == (spent,)


def test_a_claim_that_is_cut_off_from_its_starts_goes_on(database: str, table: psycopg.Connection) -> None:
    add(table, "tell", 200, 25, key=False)
    with worker_process(database, lane="lease", concurrency=2) as worker:
        wait_until(lambda: len(runs(table)) > 20, "jobs to run")
        table.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where query like '%_start_jobs%'"
            " and pid <> pg_backend_pid()"
        )
        add(table, "tell", 200, 1, key=False)
        wait_until(lambda: len(runs(table)) == 400, "all jobs to run")
        assert sorted(set(runs(table))) == sorted(runs(table))
        worker.end()


async def test_one_that_cannot_ask_for_starts_goes_on(database: str, connection: psycopg.Connection) -> None:
    with proxy(database) as between:
        # As where no more connections are allowed; all its others work.
        between.refuses = lambda data: b"_start_jobs" in data
        async with App(between.conninfo) as app:

            @app.task
            async def t(payload: Any) -> None:
                pass

            await app.add_jobs([JobSpec("t")] * 8)
            async with running(app, lane="lease", concurrency=1, poll_interval=0.05):
                await eventually(lambda: settled(connection), "all jobs to end")


async def test_one_that_is_cancelled_does_not_start(app: App, connection: psycopg.Connection) -> None:
    ran: list[int] = []
    begun = asyncio.Event()

    @app.task
    async def quick(payload: Any, job: JobContext) -> None:
        ran.append(job.id)

    @app.task
    async def waits(payload: Any) -> None:
        begun.set()
        await asyncio.Event().wait()

    async with running(app, lane="lease", concurrency=1):
        # So the worker knows that its jobs are quick, and claims them ahead.
        await app.add_jobs([JobSpec("quick")] * 300)
        await eventually(lambda: settled(connection), "the quick jobs to end")
        first, *others = await app.add_jobs([JobSpec("waits"), *[JobSpec("quick")] * 4])
        await within(begun)
        await until_leased(connection, 5)
        cancelled = [job.id for job in others[2:]]
        # The first one is told of it in the same moment.
        await app.cancel_jobs([first.id, *cancelled])
        await eventually(
            lambda: connection.execute("select from tidemill.jobs where state <> 'cancelled'").rowcount == 0,
            "all to end",
        )
    assert ran[300:] == [job.id for job in others[:2]]
    found = connection.execute("select id, attempts from tidemill.jobs order by id").fetchall()
    assert found == [(first.id, 1), *((job, 0) for job in cancelled)]


def add(connection: psycopg.Connection, task: str, count: int, attempts: int, *, key: bool) -> None:
    connection.execute(
        "select count(*) from tidemill.add_jobs(array(select row(%s, '{}'::json, null, null, %s,"
        " case when %s then gen_random_uuid()::text end, null, null)::tidemill.job_spec"
        " from generate_series(1, %s)))",
        [task, attempts, key, count],
    )
