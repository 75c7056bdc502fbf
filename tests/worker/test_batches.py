"""Batch jobs: an array as payload, and partial success."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest

from tests.support.running import run_all, run_one
from tidemill import App


async def _fails(message: str) -> None:
    raise ValueError(message)


async def _works() -> str:
    return "ok"


async def test_only_the_failed_entries_are_tried_again(app: App) -> None:
    @app.task
    async def send(payload: list[str]) -> list[Any]:
        return [_fails(f"no {entry}") if "bad" in entry else _works() for entry in payload]

    job = await run_one(app, "send", ["a", "bad 1", "b", "bad 2"])
    assert job is not None
    assert job.payload == ["bad 1", "bad 2"]
    assert job.attempts == 1
    assert job.last_error == "Batch failures:\nno bad 1\nno bad 2"


async def test_what_is_not_awaited_counts_by_its_kind(app: App) -> None:
    @app.task
    def send(payload: list[int]) -> list[Any]:
        # A result that is an exception is a failure; any other one is a success.
        return [None, False, "Error", ValueError("third"), _works()]

    job = await run_one(app, "send", [1, 2, 3, 4, 5])
    assert job is not None
    assert job.payload == [4]
    assert job.last_error == "Batch failures:\nthird"


async def test_all_entries_well_completes_the_job(app: App) -> None:
    @app.task
    async def send(payload: list[int]) -> list[Any]:
        future = asyncio.get_running_loop().create_future()
        future.set_result(None)
        return [_works(), future, None]

    assert await run_one(app, "send", [1, 2, 3]) is None


async def test_the_last_attempt_keeps_the_reduced_payload(app: App) -> None:
    @app.task
    async def send(payload: list[dict[str, int]]) -> list[Any]:
        return [_works(), _fails("still no")]

    job = await run_one(app, "send", [{"n": 1}, {"n": 2}], max_attempts=1)
    assert job is not None
    assert (job.state, job.payload) == ("failed", [{"n": 2}])


async def test_results_of_another_length_are_ignored_with_a_warning(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    @app.task
    async def send(payload: list[int]) -> list[Any]:
        return [_fails("ignored")]

    assert await run_one(app, "send", [1, 2]) is None
    assert "returned 1 results for a batch of 2" in caplog.text


async def test_an_exception_keeps_the_whole_payload(app: App) -> None:
    @app.task
    async def send(payload: list[int]) -> list[Any]:
        raise RuntimeError("all of it")

    job = await run_one(app, "send", [1, 2])
    assert job is not None
    assert (job.payload, job.last_error) == ([1, 2], "RuntimeError: all of it")


async def test_a_list_for_a_payload_that_is_none_is_no_batch(app: App) -> None:
    @app.task
    async def send(payload: dict[str, int]) -> list[Any]:
        return [ValueError("ignored")]

    assert await run_one(app, "send", {"n": 1}) is None


async def test_the_text_of_entries_survives_as_it_was(app: App, connection: psycopg.Connection) -> None:
    @app.task
    async def send(payload: list[Any]) -> list[Any]:
        return [_works(), _fails("no"), _fails("no")]

    connection.execute(
        """select tidemill.add_job('send', '[1, {"b":1.50, "a":12345678901234567890123}, "ü"]')"""
    )
    await run_all(app)
    row = connection.execute("select payload::text from tidemill.jobs").fetchone()
    assert row == ('[{"b":1.50, "a":12345678901234567890123},"ü"]',)


async def test_leaving_or_cancelling_inside_an_entry_stays_inside_it(app: App) -> None:
    async def leaves() -> None:
        raise SystemExit(2)

    async def cancelled() -> None:
        raise asyncio.CancelledError

    @app.task
    async def send(payload: list[int]) -> list[Any]:
        return [_works(), leaves(), cancelled()]

    job = await run_one(app, "send", [1, 2, 3])
    assert job is not None
    assert job.payload == [2, 3]
