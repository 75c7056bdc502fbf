"""Code that holds up the event loop is named in the log."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import sys
import threading
import time
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import pytest

from tests.support.running import eventually, run_all, running
from tidemill import App, JobContext, Middleware
from tidemill.queue import loop_watch
from tidemill.queue.loop_watch import LoopWatch

pytestmark = pytest.mark.lane("express")


class Log(logging.Handler):
    """The lines of the watch."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self.told = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if "held up the event loop" in record.getMessage():
            self.records.append(record)
            self.told.set()

    def lines(self, who: str = "") -> list[str]:
        """Those about someone: on a busy machine, the test's own code may be told of, too."""
        told = [f"{record.levelname} {record.getMessage()}" for record in self.records]
        return [line for line in told if who in line]

    async def both(self, who: str, place: str, limit: str = "0.2") -> None:
        """Waits for the end of a hold, and expects its two lines."""
        await eventually(lambda: len(self.lines(who)) >= 2, f"two lines: {self.lines()}")
        first, second = self.lines(who)
        assert first.startswith(
            f"WARNING {who} has held up the event loop for over {limit} s, at {__file__}:"
        )
        assert re.search(rf":\d+ in (\S+\.)?{place}: until it lets go", first), first
        assert re.fullmatch(rf"INFO {re.escape(who)} held up the event loop for \d+\.\d s", second)


@contextlib.contextmanager
def watching() -> Iterator[Log]:
    handler, logger = Log(), logging.getLogger("tidemill")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


@pytest.fixture
def log(app: App) -> Iterator[Log]:
    with watching() as handler:
        yield handler


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_watch, "_LIMIT_SECONDS", 0.2)
    monkeypatch.setattr(loop_watch, "_PAUSE_SECONDS", 0.01)


@pytest.mark.usefixtures("impatient")
@pytest.mark.one_worker("two watch one event loop")
async def test_a_job_at_once(app: App, log: Log) -> None:
    @app.task
    async def holds(payload: Any) -> None:
        log.told.wait(30)

    job = await app.add_job("holds")
    async with running(app):
        await log.both(f"job {job.id} (holds)", "holds")
    fields = vars(log.records[0])
    assert (fields["job_id"], fields["task"], fields["attempt"]) == (job.id, "holds", 1)


async def test_the_limit_is_a_second(app: App, log: Log) -> None:
    @app.task
    async def holds(payload: Any) -> None:
        log.told.wait(30)

    job = await app.add_job("holds")
    async with running(app):
        await log.both(f"job {job.id} (holds)", "holds", limit="1")


@pytest.mark.usefixtures("impatient")
async def test_a_job_that_had_waited_among_others(app: App, log: Log) -> None:
    waiting = asyncio.Event()
    over = asyncio.Event()

    @app.task
    async def waits(payload: Any) -> None:
        waiting.set()
        await over.wait()

    @app.task
    async def holds(payload: Any) -> None:
        await waiting.wait()
        await asyncio.to_thread(lambda: None)
        log.told.wait(30)

    await app.add_job("waits")
    job = await app.add_job("holds")
    await app.add_job("waits")
    async with running(app):
        await log.both(f"job {job.id} (holds)", "holds")
        over.set()


@pytest.mark.usefixtures("impatient")
async def test_asyncio_tasks_of_a_job(app: App, log: Log) -> None:
    async def part() -> None:
        await asyncio.sleep(0)
        log.told.wait(30)

    @app.task
    async def holds(payload: Any) -> None:
        await asyncio.gather(asyncio.sleep(0), part())

    job = await app.add_job("holds")
    async with running(app):
        await log.both(f"job {job.id} (holds)", "part")


@pytest.mark.usefixtures("impatient")
async def test_asyncio_tasks_of_one_of_several_jobs(app: App, log: Log) -> None:
    """Python 3.11 does not tell the context of an asyncio task."""
    over = asyncio.Event()

    @app.task
    async def waits(payload: Any) -> None:
        await over.wait()

    @app.task
    async def holds(payload: Any) -> None:
        async def part() -> None:
            log.told.wait(30)

        await asyncio.gather(asyncio.sleep(0), part())

    waiting = await app.add_job("waits")
    job = await app.add_job("holds")
    who = f"job {job.id} (holds)"
    if sys.version_info < (3, 12):
        who = f"one of 2 jobs, job {waiting.id} (waits), {who}"
    async with running(app):
        await log.both(who, "part")
        over.set()


@pytest.mark.usefixtures("impatient")
async def test_tasks_that_are_installed_as_a_library(
    app: App, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_watch, "_LIBRARIES", (*loop_watch._LIBRARIES, __file__))

    def inner() -> None:
        log.told.wait(30)

    @app.task
    async def holds(payload: Any) -> None:
        inner()

    job = await app.add_job("holds")
    async with running(app):
        await log.both(f"job {job.id} (holds)", "holds")


@pytest.mark.skipif(not hasattr(time, "pthread_getcpuclockid"), reason="no processor time of threads here")
@pytest.mark.usefixtures("impatient")
async def test_code_that_lets_no_thread_run(app: App, log: Log) -> None:
    @app.task
    async def holds(payload: Any) -> None:
        # A regular expression keeps the GIL to its end.
        re.match("(a+)+$", "a" * 24 + "b")

    await app.add_job("holds")
    # Another thread may run before the watch does, and the loop may come further.
    place = r"(at \S+:\d+ in \S+ or just before \(.+\)|and was gone when it could be looked for)"
    who = r"code that lets no other thread run \(.+\)"
    expected = re.compile(f"WARNING {who} has held up the event loop for over 0.2 s, {place}: ")
    async with running(app):
        await eventually(lambda: any(map(expected.match, log.lines())), "a line")


@pytest.mark.usefixtures("impatient")
async def test_a_hook_of_a_job(app: App, log: Log) -> None:
    class Hook(Middleware):
        def after_job(self, job: JobContext, seconds: float) -> None:
            log.told.wait(30)

    @app.task
    def plain(payload: Any) -> None:
        pass

    app.middleware.append(Hook())
    job = await app.add_job("plain")
    async with running(app):
        await log.both(f"job {job.id} (plain)", "after_job")


@pytest.mark.usefixtures("impatient")
async def test_a_callback(app: App, log: Log) -> None:
    @app.task
    async def calls(payload: Any) -> None:
        asyncio.get_running_loop().call_soon(lambda: log.told.wait(30))

    await app.add_job("calls")
    async with running(app):
        await log.both("code that belongs to no job", "<lambda>")


@pytest.mark.usefixtures("impatient")
@pytest.mark.one_worker("two watch one event loop")
async def test_the_same_place_is_told_once(app: App, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    found = threading.Event()
    find = LoopWatch._find

    def counted(watch: LoopWatch, held: bool) -> Any:
        hold = find(watch, held)
        found.set()
        return hold

    monkeypatch.setattr(LoopWatch, "_find", counted)

    @app.task
    async def holds(payload: Any) -> None:
        for _ in range(3):
            found.clear()
            assert found.wait(30)
            await asyncio.sleep(0)
        found.clear()
        assert found.wait(30)

    for _ in range(2):
        await app.add_job("holds")
    await run_all(app, concurrency=1)
    places = [line.split(" in ")[0] for line in log.lines("(holds)") if line.startswith("WARNING")]
    assert len(places) == len(set(places)) >= 4


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> threading.Semaphore:
    """Counts how often the loop was asked."""
    count = threading.Semaphore(0)
    ask = LoopWatch._ask

    def counted(watch: LoopWatch, since: float, held: bool) -> None:
        ask(watch, since, held)
        count.release()

    monkeypatch.setattr(LoopWatch, "_ask", counted)
    return count


@pytest.mark.usefixtures("impatient")
async def test_plain_functions_are_not_told_of(app: App, log: Log, asked: threading.Semaphore) -> None:
    @app.task
    def plain(payload: Any) -> None:
        for _ in range(20):
            assert asked.acquire(timeout=30)

    await app.add_job("plain")
    await run_all(app)
    assert log.lines("(plain)") == []


@pytest.mark.usefixtures("impatient")
async def test_a_long_computation_is_told_once(app: App, log: Log, asked: threading.Semaphore) -> None:
    @app.task
    async def computes(payload: Any) -> None:
        until = time.thread_time() + 1
        while time.thread_time() < until or not log.told.is_set():
            pass

    @app.task
    def plain(payload: Any) -> None:
        while asked.acquire(blocking=False):
            pass
        for _ in range(3):
            assert asked.acquire(timeout=30)

    job = await app.add_job("computes")
    await app.add_job("plain", priority=1)
    await run_all(app, concurrency=1)
    await log.both(f"job {job.id} (computes)", "computes")
    assert log.lines("no other thread") == []


@pytest.mark.skipif(find_spec("uvloop") is None, reason="uvloop is not installed")
@pytest.mark.usefixtures("impatient")
def test_on_uvloop(database: str, caplog: pytest.LogCaptureFixture) -> None:
    import uvloop

    caplog.set_level(logging.INFO, "tidemill")

    async def work() -> None:
        async with App(database) as app:
            told = threading.Event()

            async def part() -> None:
                await asyncio.sleep(0)
                told.wait(30)

            @app.task
            async def holds(payload: int) -> None:
                match payload:
                    case 1:
                        told.wait(30)
                    case 2:
                        await asyncio.sleep(0)
                        told.wait(30)
                    case 3:
                        await asyncio.gather(part(), asyncio.sleep(0))

            for number, place in enumerate(("holds", "holds", "part"), 1):
                job = await holds.add(number)
                with watching() as log:
                    told = log.told
                    async with running(app):
                        await log.both(f"job {job.id} (holds)", place)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work())
