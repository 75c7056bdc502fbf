"""The slot of a job: the run_at of its first attempt, which retries do not move."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from tests.support.running import run_all
from tidemill import App, JobContext, Retry

pytestmark = pytest.mark.versions(18, 16)

DUE = datetime(2021, 3, 4, 5, 6, 7, 890_123, tzinfo=UTC)


@pytest.mark.parametrize("queue", [None, "letters"])
async def test_a_task_sees_it_in_each_attempt(app: App, queue: str | None) -> None:
    seen: list[tuple[int, datetime, bool]] = []

    @app.task
    async def look(payload: Any, job: JobContext) -> None:
        seen.append((job.attempt, job.slot, job.run_at == job.slot))
        if job.attempt < 3:
            raise Retry(timedelta(0))

    # Another one beside it, which is not mixed up with it.
    @app.task
    async def other(payload: Any, job: JobContext) -> None:
        assert job.slot == job.run_at

    await app.add_job("look", run_at=DUE, queue_name=queue)
    await app.add_job("other", queue_name=queue)
    await run_all(app)
    assert seen == [(1, DUE, True), (2, DUE, False), (3, DUE, False)]


async def test_the_job_of_a_task_action_keeps_the_actions_slot(
    app: App, connection: psycopg.Connection
) -> None:
    seen: list[datetime] = []

    @app.task
    async def report(payload: Any, job: JobContext) -> None:
        seen.append(job.slot)
        if job.attempt == 1:
            raise Retry(timedelta(0))

    connection.execute("select tidemill.add_action(task => 'report', schedule_interval => '1 day')")
    await run_all(app)
    [(slot,)] = connection.execute(
        "select slot from tidemill.action_history where task = 'report'"
    ).fetchall()
    assert seen == [slot, slot]


async def test_in_the_view(app: App, connection: psycopg.Connection) -> None:
    @app.task
    async def fail(payload: Any) -> None:
        raise ValueError

    job = await app.add_job("fail", run_at=DUE, job_key="k")
    shown = "select run_at, slot from tidemill.jobs"
    assert connection.execute(shown).fetchall() == [(DUE, DUE)]
    await run_all(app)
    [(run_at, slot)] = connection.execute(shown).fetchall()
    assert run_at > slot == DUE
    # One who only moves it leaves the slot; one who gives all attempts again makes it a job of that time.
    later = datetime(2100, 1, 1, tzinfo=UTC)
    await app.reschedule_jobs([job.id], run_at=later)
    assert connection.execute(shown).fetchall() == [(later, DUE)]
    await app.reschedule_jobs([job.id], attempts=0)
    assert connection.execute(shown).fetchall() == [(later, later)]
    await app.reschedule_jobs([job.id], run_at=DUE)
    await run_all(app)
    # An add with its key is a new request.
    await app.add_job("fail", run_at=later, job_key="k")
    assert connection.execute(shown).fetchall() == [(later, later)]


def test_a_lost_worker_leaves_it(connection: psycopg.Connection) -> None:
    connection.execute("select tidemill.add_job('look', run_at => %s)", [DUE])
    connection.execute(
        "update tidemill._jobs set locked_at = now() - interval '1 hour', locked_by = 'gone',"
        " claim_token = 1, attempts = 1"
    )
    connection.execute("select * from tidemill._sweep_leases()")
    [(slot, attempts)] = connection.execute("select slot, attempts from tidemill.jobs").fetchall()
    assert (slot, attempts) == (DUE, 1)
