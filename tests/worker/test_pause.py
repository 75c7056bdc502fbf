"""Workers and pauses: what is paused does not start, and starts when it is resumed."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.support.running import eventually, run_all, running
from tidemill import App
from tidemill.errors import InvalidJobError


@pytest.mark.parametrize(("kind", "listen"), [("task", True), ("queue", True), ("all", True), ("all", False)])
async def test_a_pause_holds_and_a_resume_starts_what_waited(app: App, kind: Any, listen: bool) -> None:
    ran: list[Any] = []
    app.task("t")(lambda payload: ran.append(payload))
    app.task("other")(lambda payload: ran.append(payload))
    queue = "q" if kind == "queue" else None
    name = {"task": "t", "queue": "q", "all": None}[kind]
    async with running(app, listen=listen):
        await app.add_job("t", "before", queue_name=queue)
        await eventually(lambda: ran == ["before"], "the first job")
        assert await app.pause(kind, name, "a test")
        await app.add_job("t", "paused", queue_name=queue)
        if kind != "all":
            await app.add_job("other", "other")
            await eventually(lambda: "other" in ran, "the job that is not paused")
        assert "paused" not in ran
        assert app.sync.resume(kind, name)
        await eventually(lambda: "paused" in ran, "the job that was paused")


async def test_a_worker_that_runs_once_ends_and_says_what_is_paused(
    app: App, connection: psycopg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    ran: list[Any] = []
    app.task("t")(lambda payload: ran.append(payload))
    app.task("other")(lambda payload: ran.append(payload))
    for name in ("t", "other"):
        await app.add_job(name, name)
        await app.add_job(name, f"{name} queued", queue_name=f"of {name}")
    with pytest.raises(InvalidJobError, match=r'no task has the name "others"\. Is "other" meant\?'):
        await app.pause("task", "others")
    app.sync.pause("task", "t")
    await run_all(app)
    assert sorted(ran) == ["other", "other queued"]
    assert "paused jobs stay ready (see tidemill pauses): t" in caplog.messages
    app.sync.pause("all")
    await app.add_job("other", "u")
    await run_all(app)
    assert len(ran) == 2
    # Two workers that start later look at the same tables.
    app.sync.resume("all")
    app.sync.resume("task", "t")
    await run_all(app)
    assert sorted(ran[2:]) == ["t", "t queued", "u"]
