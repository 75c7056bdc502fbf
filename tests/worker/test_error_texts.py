"""last_error holds whatever an exception says, and no exception holds up a worker."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from tests.support.running import run_all, run_one
from tests.support.servers import Server
from tidemill import App, Cancel, JobSpec
from tidemill.database.migrate import migrate

# What it is about does not depend on the lane.
pytestmark = pytest.mark.lane("express")


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")

    def __reduce__(self) -> str:
        raise TypeError("cannot be pickled")


class WithLambda(Exception):
    def __init__(self) -> None:
        super().__init__(lambda: None)
        self.keep = iter([1])


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: ValueError("a\0b"), "ValueError: a\N{REPLACEMENT CHARACTER}b"),
        (lambda: ValueError("a\ud800b"), "ValueError: a?b"),
        (lambda: ValueError(), "ValueError"),
        (lambda: ValueError("äöü 🎈"), "ValueError: äöü 🎈"),
        (lambda: Cancel(""), "Cancel"),
        (lambda: Unspeakable(), "Unspeakable: (its message cannot be read)"),
    ],
    ids=["nul", "surrogate", "no words", "beyond ascii", "no reason", "unspeakable"],
)
async def test_what_is_recorded(
    app: App, make: Callable[[], Exception], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    # A report with half of a surrogate pair in it cannot be passed between test processes.
    caplog.set_level(logging.CRITICAL, "tidemill")

    @app.task
    async def breaks(payload: Any) -> None:
        raise make()

    @app.task
    def breaks_thread(payload: Any) -> None:
        raise make()

    for name in ("breaks", "breaks_thread"):
        job = await run_one(app, name)
        assert job is not None
        assert job.last_error == said


async def test_exceptions_that_cannot_be_copied(app: App) -> None:
    @app.task
    def breaks(payload: Any) -> None:
        raise WithLambda

    job = await run_one(app, "breaks")
    assert job is not None
    assert str(job.last_error).startswith("WithLambda: <function ")


async def test_stop_iteration_from_a_plain_function(app: App) -> None:
    @app.task
    def breaks(payload: Any) -> None:
        next(iter([]))

    job = await run_one(app, "breaks")
    assert job is not None
    assert "StopIteration" in str(job.last_error)


@pytest.fixture
def latin1_database(server: Server) -> Iterator[str]:
    """A database whose encoding lacks most characters."""
    with server.superuser() as connection:
        connection.execute(
            "create database latin1 template template0 encoding 'LATIN1' locale 'C' owner tidemill_owner"
        )
    yield server.conninfo("latin1")
    server.drop("latin1")


async def test_a_message_that_the_database_cannot_hold_is_written_in_ascii(latin1_database: str) -> None:
    migrate(latin1_database)
    async with App(latin1_database) as app:

        @app.task
        async def breaks(payload: Any) -> None:
            raise ValueError("🎈 grün")

        @app.task
        async def breaks_plainly(payload: Any) -> None:
            raise ValueError("no")

        await app.add_job("breaks")
        await app.add_job("breaks_plainly")
        await run_all(app)
        with psycopg.connect(latin1_database) as connection:
            rows = connection.execute("select last_error from tidemill.jobs order by id").fetchall()
    assert rows == [("ValueError: \\U0001f388 gr\\xfcn",), ("ValueError: no",)]


async def test_a_result_that_the_database_cannot_hold_is_written_in_ascii(
    latin1_database: str, all_is_quick: None
) -> None:
    migrate(latin1_database)
    async with App(latin1_database) as app:

        @app.task(keep_result=True)
        async def t(payload: Any) -> Any:
            return "🎈" if payload == 3 else "plain"

        await app.add_jobs([t.spec(n) for n in range(20)])
        await run_all(app)
        with psycopg.connect(latin1_database) as connection:
            rows = connection.execute("select payload, result::text from tidemill.job_history").fetchall()
    assert sorted(rows) == [(n, r'"\ud83c\udf88"' if n == 3 else '"plain"') for n in range(20)]


@pytest.mark.parametrize("form", ["coroutine", "coroutine that waits", "function", "function with a limit"])
async def test_a_traceback_begins_with_the_tasks_own_code(
    app: App, form: str, caplog: pytest.LogCaptureFixture
) -> None:
    def inner() -> None:
        raise ValueError("no such street")

    async def coroutine(payload: Any) -> None:
        if form.endswith("waits"):
            await asyncio.sleep(0)
        inner()

    def function(payload: Any) -> None:
        inner()

    limit: dict[str, Any] = {"timeout": 60} if form.endswith("limit") else {}
    app.task("breaks", **limit)(coroutine if form.startswith("coroutine") else function)
    await run_one(app, "breaks")
    [record] = [one for one in caplog.records if one.exc_info]
    assert record.exc_info is not None
    frames = traceback.extract_tb(record.exc_info[2])
    assert [frame.name for frame in frames] == [form.split()[0], "inner"]


class Raises(logging.Handler):
    """As one whose collector is gone."""

    def emit(self, record: logging.LogRecord) -> None:
        raise ConnectionError("the collector is gone")


@pytest.mark.lane("lease", "express")
@pytest.mark.parametrize("form", ["coroutine", "function"])
async def test_a_log_handler_that_raises_changes_nothing(
    app: App,
    connection: psycopg.Connection,
    form: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logging.getLogger("tidemill"), "_has_told", False)

    async def coroutine(payload: Any) -> None:
        if payload == 3:
            raise ValueError("three")

    def function(payload: Any) -> None:
        if payload == 3:
            raise ValueError("three")

    app.task("works")(coroutine if form == "coroutine" else function)
    await app.add_jobs(
        [JobSpec("works", n, queue_name="q" if n % 2 else None, max_attempts=1) for n in range(40)]
    )
    handler = Raises()
    logging.getLogger("tidemill").addHandler(handler)
    try:
        await run_all(app, log_jobs=True)
    finally:
        logging.getLogger("tidemill").removeHandler(handler)
    left = connection.execute("select payload::text, state from tidemill.jobs").fetchall()
    assert left == [("3", "failed")]
    assert capsys.readouterr().err.count("a log handler or filter raised this") == 1
