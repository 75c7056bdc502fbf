"""Waiting for jobs: one that goes wrong costs the others nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest

from tests.support.running import running
from tidemill import App
from tidemill.errors import ResultError


async def test_a_result_that_cannot_be_read_is_told_to_its_own_alone(
    app: App, connection: psycopg.Connection
) -> None:
    @app.task(keep_result=True)
    async def t(payload: Any) -> int:
        return 1

    bad, good = await t.add({}), await t.add({})
    await app.run_until_empty()
    # As other versions may have written it.
    connection.execute(
        "update tidemill._done_jobs set result = %s::json where id = %s", ["[" * 5000 + "]" * 5000, bad.id]
    )
    async with running(app):
        later = await t.add({})
        ends = await asyncio.gather(
            *(app.wait(job, timeout=30) for job in (bad, good, later)), return_exceptions=True
        )
    assert ends[1:] == [1, 1]
    assert isinstance(ends[0], ResultError)
    said = f"Job {bad.id} is done, but its result cannot be read here (maximum recursion depth exceeded"
    assert str(ends[0]).startswith(said)
    assert await app.wait(later) == 1


async def test_a_result_that_no_reader_could_read_fails_its_job(app: App) -> None:
    @app.task(keep_result=True)
    async def t(payload: int) -> Any:
        value: Any = None
        for _ in range(payload):
            value = [value]
        return value

    async with running(app):
        deep, flat = await t.add(600), await t.add(1)
        assert await app.wait(flat, timeout=30) == [None]
        with pytest.raises(Exception, match=rf"Job {deep.id} has failed for good: .* is nested 600 deep"):
            await app.wait(deep, timeout=30)
