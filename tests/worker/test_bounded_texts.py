"""Whatever users' code says in an error, the log and `last_error` get a bounded part of it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, NoReturn

import msgspec
import pytest

from tests.support.running import run_one
from tidemill import App, Cancel, JobContext, JobSpec, Middleware, Retry
from tidemill.cli.logs import _Json, _Text
from tidemill.errors import InvalidJobError
from tidemill.texts import bounded, log_error

# What it is about does not depend on the lane.
pytestmark = pytest.mark.lane("express")

LONG = 2_000_000
FORMATTERS = [logging.Formatter("%(message)s"), _Text(), _Json()]


def flood(error: BaseException | None = None) -> NoReturn:
    raise error or ValueError("head" + "x" * LONG + "tail")


def with_notes() -> NoReturn:
    error = ValueError("has notes")
    error.add_note("x" * LONG)
    raise error


def with_a_cause() -> NoReturn:
    try:
        flood()
    except ValueError as error:
        raise KeyError("caused") from error


def in_a_group() -> NoReturn:
    raise ExceptionGroup("many", [ValueError("x" * 1000) for _ in range(LONG // 1000)])


class Small(msgspec.Struct, forbid_unknown_fields=True):
    a: int = 0


class Unwritable(Exception):
    def __str__(self) -> str:
        raise MemoryError

    def __getattribute__(self, name: str) -> Any:
        if name == "__cause__":
            raise RuntimeError("no cause")
        return super().__getattribute__(name)


def size(records: list[logging.LogRecord]) -> int:
    """The most characters that a formatter makes of these."""
    sizes = []
    for formatter in FORMATTERS:
        lines = []
        for record in records:
            # Formatters keep the traceback for each other.
            record.exc_text = None
            lines.append(formatter.format(record))
        sizes.append(sum(map(len, lines)))
    return max(sizes)


class Keep(logging.Handler):
    """Keeps records, and hides them from pytest: long ones would flood the report of a test that fails."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def records(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> list[logging.LogRecord]:
    keep, logger = Keep(), logging.getLogger("tidemill")
    caplog.set_level(logging.INFO, "tidemill")
    monkeypatch.setattr(logger, "propagate", False)
    monkeypatch.setattr(logger, "handlers", [keep])
    return keep.records


@pytest.mark.parametrize(
    "breaks",
    [
        flood,
        with_notes,
        with_a_cause,
        in_a_group,
        lambda: flood(Retry(0, "x" * LONG)),
        lambda: flood(Cancel("x" * LONG)),
        lambda: flood(Unwritable()),
        lambda: flood(InvalidJobError("x" * LONG)),
        lambda: flood(type("X" * LONG, (Exception,), {})()),
    ],
    ids=["message", "notes", "cause", "group", "retry", "cancel", "unwritable", "ours", "name of the type"],
)
@pytest.mark.parametrize("kind", ["async", "plain"])
async def test_an_error_of_a_task(
    app: App, records: list[logging.LogRecord], breaks: Callable[[], None], kind: str
) -> None:
    async def asynchronous(payload: Any, job: JobContext) -> None:
        breaks()

    def plain(payload: Any, job: JobContext) -> None:
        breaks()

    app.task("breaks", max_attempts=1)(asynchronous if kind == "async" else plain)
    job = await run_one(app, "breaks")
    assert job is not None
    assert job.last_error is not None
    assert len(job.last_error) <= 10_000
    assert 100 < size(records) < 60_000


async def test_head_and_tail_are_kept(app: App, records: list[logging.LogRecord]) -> None:
    @app.task(max_attempts=1)
    async def breaks(payload: Any) -> None:
        flood()

    job = await run_one(app, "breaks")
    assert job is not None
    assert job.last_error is not None
    assert job.last_error.startswith("ValueError: headxxx")
    assert job.last_error.endswith("xxxtail")
    assert " characters left out ... " in job.last_error
    [line] = [record.getMessage() for record in records if "failed attempt" in record.getMessage()]
    assert line.count("headxxx") == line.count("xxxtail") == 2
    assert "in flood" in line


async def test_an_error_of_usual_length_keeps_its_exception(
    app: App, records: list[logging.LogRecord]
) -> None:
    @app.task(max_attempts=1)
    async def breaks(payload: Any) -> None:
        raise ValueError("x" * 9000)

    await run_one(app, "breaks")
    [record] = [record for record in records if record.exc_info]
    assert isinstance(record.exc_info, tuple)
    assert isinstance(record.exc_info[1], ValueError)


async def test_a_batch_a_payload_and_a_strategy(app: App, records: list[logging.LogRecord]) -> None:
    async def entry() -> None:
        flood()

    @app.task(max_attempts=1)
    async def batch(payload: Any) -> Any:
        return [entry() for _ in payload]

    @app.task
    async def typed(payload: Small) -> None: ...

    @app.task
    async def keywords(*, a: int) -> None: ...

    @app.task(retry=lambda attempt: flood())
    async def retried(payload: Any) -> None:
        raise ValueError

    for name, payload in [
        ("batch", [1, 2, 3]),
        ("typed", {"x" * LONG: 1}),
        ("keywords", {f"k{number}": 1 for number in range(100_000)}),
        ("retried", {}),
    ]:
        records.clear()
        job = await run_one(app, name, payload)
        assert job is not None
        assert job.last_error is not None
        assert len(job.last_error) <= 10_000
        assert size(records) < 60_000


async def test_a_hook(database: str, records: list[logging.LogRecord]) -> None:
    class Floods(Middleware):
        def before_job(self, job: JobContext) -> None:
            flood()

    app = App(database, middleware=[Floods()])

    @app.task
    async def works(payload: Any) -> None: ...

    assert await run_one(app, "works") is None
    assert any("the hook before_job of Floods failed" in record.getMessage() for record in records)
    assert size(records) < 60_000


def test_wrong_arguments_are_not_shown_whole() -> None:
    wrong: Any = ["x" * LONG]
    wrong_specs: list[Callable[[], JobSpec]] = [
        lambda: JobSpec(wrong),
        lambda: JobSpec("a", run_at=wrong),
        lambda: JobSpec("a", priority=wrong),
        lambda: JobSpec("a", job_key=wrong),
        lambda: JobSpec("a", flags="x" * LONG),
        lambda: JobSpec("a", flags=[wrong]),
    ]
    for make in wrong_specs:
        with pytest.raises(InvalidJobError) as caught:
            make()
        assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("formatter", FORMATTERS[1:], ids=["text", "json"])
def test_what_others_log_is_bounded_by_the_command_line(formatter: logging.Formatter) -> None:
    """asyncio, for instance, logs the errors of tasks that nobody has awaited."""
    try:
        flood()
    except ValueError as error:
        info = (type(error), error, error.__traceback__)
    record = logging.LogRecord("asyncio", logging.ERROR, "", 1, "y" * LONG, None, info)
    assert len(formatter.format(record)) < 450_000


@pytest.mark.parametrize("length", [9_999, 10_000, 10_001, 50_000_000])
def test_bounded(length: int) -> None:
    text = "a" + "x" * (length - 2) + "z"
    short = bounded(text)
    assert len(short) <= 10_000
    assert (short == text) == (length <= 10_000)
    assert (short[0], short[-1]) == ("a", "z")


def test_what_is_left_out_is_counted() -> None:
    short = bounded("x" * 12_345)
    assert int(short.split(" ... ")[1].split()[0].replace(",", "")) == 12_345 - short.count("x")


def test_nothing_is_written_below_the_level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "tidemill")
    log_error(logging.getLogger("tidemill"), Unwritable(), "never seen")
    assert caplog.records == []
