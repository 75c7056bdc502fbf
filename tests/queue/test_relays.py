"""Plain functions: a thread goes on with the next job by itself, and all else stays as it is."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Iterable
from contextvars import ContextVar
from typing import Any

import pytest

from tests.queue.executors import ExecutorBench, executor_bench, named
from tests.queue.jobs import TERM
from tests.support.running import within
from tidemill.database.lent import held_here
from tidemill.jobs import Retry
from tidemill.queue import attempt, execute
from tidemill.queue.batch import Batch
from tidemill.queue.loop_watch import seat_here
from tidemill.queue.own_lease import Term, now

LETTERS = 7
remembered: ContextVar[str] = ContextVar("remembered", default="nothing")


@pytest.fixture(params=["leased", "batch"])
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def bench(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ExecutorBench]:
    # However slow this machine is, one thread is enough for jobs that do not wait.
    monkeypatch.setattr(execute, "_STUCK_SECONDS", 1000.0)
    async with executor_bench() as made:
        yield made


class Threads:
    """Notes in which thread each job ran."""

    def __init__(self) -> None:
        self.of: dict[int, int] = {}

    def note(self, job: Any) -> None:
        self.of[job.id] = threading.get_ident()

    @property
    def count(self) -> int:
        return len(set(self.of.values()))


def submit(bench: ExecutorBench, way: str, tasks: Iterable[str], term: Term = TERM) -> Batch | None:
    """Hands over jobs of these tasks, numbered from 1."""
    jobs = [named(number, task) for number, task in enumerate(tasks, 1)]
    if way == "leased":
        bench.executor.submit(jobs, term)
        return None
    batch = Batch(1, jobs, bench.settled.append, lambda: None)
    bench.executor.submit_batch(batch, term)
    return batch


def done(bench: ExecutorBench, batch: Batch | None) -> list[int]:
    """The ids of jobs that ended well, in their order."""
    if batch is not None:
        return batch.close().done
    return [number for what, number in bench.news() if what == "done"]


async def test_one_thread_does_them_all(bench: ExecutorBench, way: str) -> None:
    seen = Threads()

    @bench.app.task
    def plain(payload: Any, job: Any) -> None:
        seen.note(job)

    bench.start()
    batch = submit(bench, way, ["plain"] * 200)
    await bench.executor.wait_idle()
    assert list(seen.of) == list(range(1, 201))
    assert seen.count == 1
    assert done(bench, batch) == list(range(1, 201))


async def test_each_has_a_line_in_the_log_and_its_time(
    bench: ExecutorBench, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    @bench.app.task
    def plain(payload: Any) -> None: ...

    caplog.set_level(logging.INFO, "tidemill")
    bench.start()
    submit(bench, way, ["plain"] * 20)
    await bench.executor.wait_idle()
    told = [vars(record)["job_id"] for record in caplog.records if "done in" in record.getMessage()]
    assert told == list(range(1, 21))
    assert (bench.executor.durations.mean is not None) == (way == "leased")


async def test_coroutines_between_them_run_on_the_event_loop(bench: ExecutorBench, way: str) -> None:
    seen = Threads()

    @bench.app.task
    def plain(payload: Any, job: Any) -> None:
        seen.note(job)

    @bench.app.task
    async def coroutine(payload: Any, job: Any) -> None:
        seen.note(job)

    @bench.app.task(timeout=60)
    def limited(payload: Any, job: Any) -> None:
        seen.note(job)

    bench.start(concurrency=1)
    order = ["plain", "plain", "coroutine", "plain", "limited", "limited", "coroutine", "plain"]
    batch = submit(bench, way, order)
    await bench.executor.wait_idle()
    assert done(bench, batch) == list(range(1, 9))
    here = threading.get_ident()
    assert [seen.of[number] == here for number in range(1, 9)] == [task == "coroutine" for task in order]


async def test_a_failure_is_its_own_jobs_alone(bench: ExecutorBench, way: str) -> None:
    @bench.app.task
    def plain(payload: Any, job: Any) -> None:
        if job.id == 2:
            raise ValueError("no")
        if job.id == 4:
            raise Retry(5)

    bench.start()
    batch = submit(bench, way, ["plain"] * 6)
    await bench.executor.wait_idle()
    if batch is None:
        assert sorted(bench.news()) == [
            *(("done", number) for number in (1, 3, 5, 6)),
            *(("failed", number) for number in (2, 4)),
        ]
    else:
        closed = batch.close()
        assert (closed.done, [one.id for one in closed.failed]) == ([1, 3, 5, 6], [2, 4])


async def test_what_a_job_sets_in_its_context_others_do_not_see(bench: ExecutorBench, way: str) -> None:
    found: list[str] = []

    @bench.app.task
    def plain(payload: Any, job: Any) -> None:
        found.append(remembered.get())
        remembered.set(f"job {job.id}")

    bench.start()
    submit(bench, way, ["plain"] * 5)
    await bench.executor.wait_idle()
    assert found == ["nothing"] * 5


async def test_a_cancel_reaches_the_job_that_runs_and_the_thread_goes_on_after_it(
    bench: ExecutorBench, way: str
) -> None:
    loop, told = asyncio.get_running_loop(), []

    @bench.app.task
    def plain(payload: Any, job: Any) -> None:
        if job.id == 3:
            loop.call_soon_threadsafe(bench.event.set)
            told.append(job.wait_cancelled(30))
            job.raise_if_cancelled()
        assert not job.cancelled

    bench.start()
    batch = submit(bench, way, ["plain"] * 5)
    await within(bench.event)
    bench.executor.cancel({3: "enough", 1: "too late"})
    await bench.executor.wait_idle()
    assert told == [True]
    if batch is None:
        assert bench.messages() == [None, None, "enough", None, None]
    else:
        closed = batch.close()
        assert (closed.done, [one.message for one in closed.failed]) == ([1, 2, 4, 5], ["enough"])


async def test_a_cancelled_job_that_waits_does_not_start(bench: ExecutorBench, way: str) -> None:
    loop = asyncio.get_running_loop()

    @bench.app.task
    def plain(payload: Any, job: Any) -> None:
        bench.begun.append(job.id)
        if job.id == 1:
            loop.call_soon_threadsafe(bench.event.set)
            bench.release.wait(30)

    bench.start()
    submit(bench, way, ["plain"] * 3)
    await within(bench.event)
    bench.executor.cancel({2: "not wanted"})
    bench.release.set()
    await bench.executor.wait_idle()
    assert bench.begun == [1, 3]


@pytest.mark.parametrize("end", ["stop", "term"])
async def test_after_a_stop_and_past_the_lease_nothing_starts(
    bench: ExecutorBench, way: str, end: str
) -> None:
    loop, term = asyncio.get_running_loop(), Term(now() + 3600)

    @bench.app.task
    def plain(payload: Any, job: Any) -> None:
        bench.begun.append(job.id)
        loop.call_soon_threadsafe(bench.event.set)
        bench.release.wait(30)

    bench.start()
    batch = submit(bench, way, ["plain"] * 3, term)
    await within(bench.event)
    if end == "stop":
        bench.executor.stop()
    else:
        # No more than the clock's passing: the thread itself has to look.
        term.end()
    bench.release.set()
    await bench.executor.wait_idle()
    assert bench.begun == [1]
    if batch is None:
        assert sorted(bench.news()) == [("done", 1), ("returned", 2), ("returned", 3)]
    else:
        assert batch.close().done == [1]


async def test_one_that_is_abandoned_settles_nothing_more(bench: ExecutorBench, way: str) -> None:
    loop, ended = asyncio.get_running_loop(), threading.Event()

    @bench.app.task
    def plain(payload: Any, job: Any) -> None:
        bench.begun.append(job.id)
        loop.call_soon_threadsafe(bench.event.set)
        bench.release.wait(30)
        ended.set()

    bench.start(concurrency=1)
    batch = submit(bench, way, ["plain"] * 3)
    await within(bench.event)
    bench.executor.stop()
    bench.executor.abandon()
    await bench.executor.wait_idle()
    bench.release.set()
    assert ended.wait(30)
    assert bench.begun == [1]
    if batch is None:
        assert sorted(bench.news()) == [("returned", 1), ("returned", 2), ("returned", 3)]
    else:
        assert batch.close().done == []


async def test_one_that_waits_gets_others_beside_it(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execute, "_STUCK_SECONDS", 0.001)
    meeting = threading.Barrier(4)
    async with executor_bench() as bench:

        @bench.app.task
        def plain(payload: Any, job: Any) -> None:
            if job.id > 10:
                # Four at once, or nobody gets on.
                meeting.wait(30)

        bench.start(concurrency=4)
        batch = submit(bench, way, ["plain"] * 14)
        await bench.executor.wait_idle()
        assert sorted(done(bench, batch)) == list(range(1, 15))


async def test_queues_keep_their_order_in_a_thread(bench: ExecutorBench) -> None:
    @bench.app.task
    def plain(payload: Any, job: Any) -> None:
        bench.begun.append(job.id)

    first, second, third = (named(number, "plain", LETTERS) for number in (1, 2, 3))
    first.next, second.next = second, third
    bench.start()
    bench.executor.submit([first, named(4, "plain")], TERM)
    await bench.executor.wait_idle()
    assert bench.begun == [1, 2, 3, 4]
    assert sorted(bench.news()) == [*(("done", number) for number in (1, 2, 3, 4)), ("queue", LETTERS)]


async def test_a_cancel_of_the_runner_that_nobody_asked_for_loses_no_job(
    bench: ExecutorBench, way: str
) -> None:
    """Such as that of a timer that an earlier job has left behind."""
    loop = asyncio.get_running_loop()

    @bench.app.task
    def plain(payload: Any, job: Any) -> None:
        loop.call_soon_threadsafe(bench.event.set)
        bench.release.wait(30)
        ended.set()

    @bench.app.task
    async def coroutine(payload: Any, job: Any) -> None:
        bench.begun.append(job.id)

    ended = threading.Event()
    bench.start(concurrency=1)
    batch = submit(bench, way, ["plain", "coroutine", "coroutine"])
    await within(bench.event)
    [runner] = bench.executor.runners
    runner.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    bench.release.set()
    await bench.executor.wait_idle()
    assert await asyncio.to_thread(ended.wait, 30)
    assert bench.begun == [2, 3]
    if batch is None:
        assert sorted(bench.news()) == [("done", 2), ("done", 3), ("failed", 1)]
    else:
        closed = batch.close()
        assert (closed.done, [one.id for one in closed.failed]) == ([2, 3], [1])


async def test_an_attempt_whose_jobs_are_settled_is_over_for_whoever_cuts(
    bench: ExecutorBench, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    finish = attempt.Attempt.finish

    async def note(self: attempt.Attempt) -> None:
        seen.append(self)
        await finish(self)

    monkeypatch.setattr(attempt.Attempt, "finish", note)

    @bench.app.task
    def plain(payload: Any) -> None: ...

    bench.start(concurrency=1)
    submit(bench, way, ["plain"] * 3)
    await bench.executor.wait_idle()
    assert [one.has_ended() for one in seen] == [True]


async def test_what_a_later_job_returns_is_awaited_as_its_own(bench: ExecutorBench, way: str) -> None:
    held: list[Any] = []

    async def rest(job: Any) -> None:
        seated = seat_here.get().job
        assert seated is not None
        held.append((job.id, seated.id, held_here.get()))

    @bench.app.task
    def plain(payload: Any, job: Any) -> Any:
        held.append(held_here.get())
        return rest(job) if job.id == 2 else None

    bench.start(concurrency=1)
    batch = submit(bench, way, ["plain"] * 2)
    await bench.executor.wait_idle()
    first, second, (job_id, noted, used) = held
    assert (job_id, noted) == (2, 2)
    assert used is second
    assert used is not first
    assert done(bench, batch) == [1, 2]
