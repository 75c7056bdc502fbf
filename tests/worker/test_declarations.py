"""A worker starts while other transactions keep it from writing down the limits and keeps of its tasks."""

from __future__ import annotations

import asyncio
from typing import Any, LiteralString

import psycopg
import pytest

from tests.support.running import eventually, run_all, running, within
from tidemill import App, Limit

ADD: LiteralString = "select tidemill.add_job('fresh', '{}'::json)"
OPTIONS: dict[str, Any] = {"heartbeat_interval": 0.2, "concurrency": 8}


async def test_a_first_job_that_is_not_committed_holds_up_its_task_alone(
    app: App, database: str, connection: psycopg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    other_ran = asyncio.Event()
    at_once: list[int] = []
    running_now = 0

    @app.task(limit=Limit(1), keep="1 week")
    async def fresh(payload: dict[str, Any]) -> None:
        nonlocal running_now
        running_now += 1
        at_once.append(running_now)
        for _ in range(5):
            await asyncio.sleep(0)
        running_now -= 1

    @app.task
    async def other(payload: Any) -> None:
        other_ran.set()

    with psycopg.connect(database, application_name="lingering") as producer:
        for _ in range(5):
            producer.execute(ADD)
        async with running(app, **OPTIONS):
            await app.add_job("other")
            await within(other_ran)
            assert "task fresh: its limit cannot be written down" in caplog.text
            assert 'application "lingering"' in caplog.text
            assert not at_once
            producer.commit()
            await eventually(
                lambda: connection.execute("select from tidemill.jobs").rowcount == 0, "all jobs to end"
            )
            assert "task fresh is limited now: 1 at once" in caplog.text
            assert at_once == [1] * 5
            await eventually(
                lambda: (
                    connection.execute(
                        "select from tidemill.job_history where identifier = 'fresh' and outcome = 'done'"
                    ).rowcount
                    == 5
                ),
                "history of all",
            )


async def test_a_limit_that_is_written_down_already_waits_for_nobody(
    app: App, database: str, connection: psycopg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    ran: list[str] = []

    @app.task(limit=Limit(1))
    async def known(payload: Any) -> None:
        ran.append("known")

    await run_all(app)

    @app.task(limit=Limit(2))
    async def new(payload: Any) -> None:
        ran.append("new")

    await app.add_job("known")
    await app.add_job("new")
    with psycopg.connect(database) as operator:
        operator.execute("select tidemill.set_limit('any', 1)")
        await run_all(app)
        assert ran == ["known"]
        assert "task new: its limit cannot be written down" in caplog.text
    await run_all(app)
    assert ran == ["known", "new"]
