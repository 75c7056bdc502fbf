"""Running leased jobs on the event loop: slots, cancellation, and what a stop leaves."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.queue.executors import ExecutorBench, executor_bench, named
from tests.queue.jobs import TERM
from tests.support.running import within
from tidemill.queue.batch import Batch
from tidemill.queue.own_lease import Term, now
from tidemill.queue.settlement import FreedQueue, Settlement

LETTERS = 7


@pytest.fixture
async def bench() -> AsyncIterator[ExecutorBench]:
    async with executor_bench() as made:
        yield made


async def test_while_one_waits_the_next_one_runs(bench: ExecutorBench) -> None:
    @bench.app.task
    async def waits(payload: Any, job: Any) -> None:
        bench.begun.append(job.id)
        if len(bench.begun) == 2:
            bench.event.set()
        await bench.gate.wait()

    executor = bench.start()
    executor.submit([named(number, "waits") for number in (1, 2, 3)], TERM)
    await within(bench.event)
    assert executor.free_slots == 0
    assert bench.begun == [1, 2]
    bench.gate.set()
    await executor.wait_idle()
    assert sorted(bench.news()) == [("done", 1), ("done", 2), ("done", 3)]


async def test_jobs_that_end_at_once_are_counted_by_task_and_hand(bench: ExecutorBench) -> None:
    """Tasks take turns, and jobs of a batch follow leased ones, while the runner never waits."""

    @bench.app.task
    async def a(payload: Any) -> None: ...

    @bench.app.task
    async def b(payload: Any) -> None: ...

    batch = Batch(1, [named(5, "a"), named(6, "b"), named(7, "b")], bench.settled.append, lambda: None)
    executor = bench.start()
    executor.submit([named(number, task) for number, task in enumerate("aaba", 1)], TERM)
    executor.submit_batch(batch, TERM)
    await executor.wait_idle()
    counts = {tally.identifier: tally.counts() for tally in executor.tallies.all()}
    found = {task: (one["done"], sum(one["runs"]), sum(one["waits"])) for task, one in counts.items()}
    assert found == {"a": (4, 4, 4), "b": (3, 3, 3)}
    assert bench.news() == [("done", 1), ("done", 2), ("done", 3), ("done", 4)]
    assert batch.close().done == [5, 6, 7]
    assert executor.durations.mean is not None


async def test_only_leased_jobs_are_measured_while_they_are_quick(bench: ExecutorBench) -> None:
    @bench.app.task
    async def a(payload: Any) -> None: ...

    executor = bench.start()
    executor.submit_batch(Batch(1, [named(1, "a")], bench.settled.append, lambda: None), TERM)
    await executor.wait_idle()
    assert executor.durations.mean is None


async def test_a_stop_reaches_batches_with_jobs_in_hand(bench: ExecutorBench) -> None:
    """Also one of which no head waits: behind the running job of a named queue are others."""

    @bench.app.task
    async def waits(payload: Any, job: Any) -> None:
        bench.begun.append(job.id)
        if len(bench.begun) == 2:
            bench.event.set()
        await bench.gate.wait()

    behind = named(3, "waits", LETTERS)
    queued = named(2, "waits", LETTERS)
    queued.next = behind
    singles = Batch(1, [named(1, "waits"), named(4, "waits")], bench.settled.append, lambda: None)
    queue = Batch(2, [queued], bench.settled.append, lambda: None)
    executor = bench.start()
    executor.submit_batch(queue, TERM)
    executor.submit_batch(singles, TERM)
    await within(bench.event)
    executor.stop()
    bench.gate.set()
    await executor.wait_idle()
    assert sorted(bench.begun) == [1, 2]
    late = Batch(3, [named(5, "waits")], bench.settled.append, lambda: None)
    executor.submit_batch(late, TERM)
    await executor.wait_idle()
    assert sorted(bench.begun) == [1, 2]
    assert (singles.close().done, queue.close().done) == ([1], [2])


async def test_a_second_request_to_cancel_does_not_disturb_what_cleans_up(bench: ExecutorBench) -> None:
    begun = asyncio.Event()

    @bench.app.task
    async def tidy(payload: Any) -> None:
        try:
            begun.set()
            await asyncio.Event().wait()
        finally:
            bench.event.set()
            await bench.gate.wait()
            bench.begun.append(1)

    executor = bench.start()
    executor.submit([named(1, "tidy")], TERM)
    await within(begun)
    executor.cancel({1: "Cancelled"})
    await within(bench.event)
    # A heartbeat tells of the same request again and again.
    executor.cancel({1: "Cancelled"})
    bench.gate.set()
    await executor.wait_idle()
    assert bench.begun == [1]
    assert bench.news() == [("failed", 1)]


async def test_a_cancellation_ends_with_its_job(bench: ExecutorBench) -> None:
    @bench.app.task
    async def waits(payload: Any) -> None:
        bench.event.set()
        await bench.gate.wait()
        raise ValueError("recorded")

    executor = bench.start(concurrency=1)
    executor.submit([named(1, "waits"), named(2, "waits")], TERM)
    await within(bench.event)
    bench.event.clear()
    executor.cancel({1: "Cancelled"})
    # The same runner has it.
    await within(bench.event)
    executor.stop()
    bench.gate.set()
    await executor.wait_idle()
    assert bench.messages() == ["Cancelled", "ValueError: recorded"]


async def test_what_an_event_loop_that_ends_cancels_is_given_back(bench: ExecutorBench) -> None:
    @bench.app.task
    async def waits(payload: Any) -> None:
        bench.event.set()
        await bench.gate.wait()

    executor = bench.start()
    executor.submit([named(1, "waits")], TERM)
    await within(bench.event)
    executor.stop()
    for runner in executor.runners:
        runner.cancel()
    await executor.wait_idle()
    assert bench.news() == [("returned", 1)]


async def test_an_abandoned_plain_function_is_not_waited_for(bench: ExecutorBench) -> None:
    loop = asyncio.get_running_loop()

    @bench.app.task
    def hangs(payload: Any) -> None:
        loop.call_soon_threadsafe(bench.event.set)
        bench.release.wait(60)

    executor = bench.start()
    executor.submit([named(1, "hangs", LETTERS)], TERM)
    await within(bench.event)
    executor.stop()
    executor.abandon()
    await asyncio.wait_for(executor.wait_idle(), 30)
    assert bench.news() == [("returned", 1), ("queue", LETTERS)]


async def test_a_function_that_outlives_its_time_limit_keeps_its_slot_until_it_is_abandoned(
    bench: ExecutorBench,
) -> None:
    @bench.app.task(timeout=0.01)
    def hangs(payload: Any, job: Any) -> None:
        assert job.wait_cancelled(30)
        bench.release.wait(60)

    executor = bench.start()
    settled = executor.leased._settle

    def settle(one: Settlement | FreedQueue) -> None:
        settled(one)
        bench.event.set()

    executor.leased._settle = settle
    executor.submit([named(1, "hangs", LETTERS)], TERM)
    await within(bench.event)
    assert bench.messages() == ["Timed out after 0.01 s"]
    assert executor.free_slots == 1
    executor.stop()
    executor.abandon()
    await asyncio.wait_for(executor.wait_idle(), 30)
    assert bench.news() == [("failed", 1), ("queue", LETTERS)]


@pytest.mark.parametrize("timeout", [None, 60])
async def test_a_plain_function_that_has_ended_is_not_said_to_hang(
    bench: ExecutorBench, caplog: pytest.LogCaptureFixture, timeout: float | None
) -> None:
    caplog.set_level(logging.INFO, "tidemill")

    @bench.app.task(timeout=timeout)
    def fails(payload: Any) -> None:
        raise TimeoutError("the printer")

    executor = bench.start()
    executor.submit([named(1, "fails")], TERM)
    await executor.wait_idle()
    # Nor does its own error become that of the limit.
    assert bench.messages() == ["TimeoutError: the printer"]
    assert "does not stop" not in caplog.text


async def test_past_its_term_nothing_starts(bench: ExecutorBench) -> None:
    """What was claimed in it does not start in the next one either."""

    @bench.app.task
    async def waits(payload: Any, job: Any) -> None:
        bench.begun.append(job.id)
        bench.event.set()
        await bench.gate.wait()

    queued = named(1, "waits", LETTERS)
    queued.next = named(2, "waits", LETTERS)
    batch = Batch(7, [named(4, "waits"), named(5, "waits")], bench.settled.append, lambda: None)
    executor, term = bench.start(concurrency=1), Term(now() + 3600)
    executor.submit([queued, named(3, "waits")], term)
    executor.submit_batch(batch, term)
    await within(bench.event)
    # As after a stop of the process: nobody had a moment to notice.
    term.end()
    executor.submit([named(6, "waits")], term)
    executor.submit([named(7, "waits")], TERM)
    bench.gate.set()
    await executor.wait_idle()
    assert bench.begun == [1, 7]
    assert sorted(bench.news()) == [
        ("done", 7),
        ("queue", LETTERS),
        *(("returned", number) for number in (1, 2, 3, 6)),
    ]
    closed = batch.close()
    assert closed.started == []
    assert [job.id for job in closed.unstarted] == [4, 5]


async def test_the_runner_looks_at_the_term_before_each_start(bench: ExecutorBench) -> None:
    term = Term(now() + 3600)

    @bench.app.task
    async def stops(payload: Any, job: Any) -> None:
        bench.begun.append(job.id)
        # From now on nobody but the runner has a turn.
        term.end()

    queued = named(1, "stops", LETTERS)
    queued.next = named(2, "stops", LETTERS)
    executor = bench.start(concurrency=1)
    executor.submit([queued, named(3, "stops")], term)
    batch = Batch(7, [named(4, "stops")], bench.settled.append, lambda: None)
    executor.submit_batch(batch, term)
    await executor.wait_idle()
    assert bench.begun == [1]
    assert bench.news()[0] == ("done", 1)
    assert sorted(bench.news()[1:]) == [("queue", LETTERS), ("returned", 2), ("returned", 3)]


async def test_the_end_of_the_term_is_seen_without_other_threads(
    bench: ExecutorBench, caplog: pytest.LogCaptureFixture
) -> None:
    @bench.app.task
    async def waits(payload: Any) -> None:
        await asyncio.Event().wait()

    executor = bench.start()
    executor.submit([named(number, "waits") for number in (1, 2, 3)], Term(now() + 0.01))
    await asyncio.wait_for(executor.wait_idle(), 30)
    assert sorted(bench.news()) == [("returned", 1), ("returned", 2), ("returned", 3)]
    assert len(caplog.records) == 1
    assert "no heartbeat of this worker arrived" in caplog.text


async def test_a_plain_function_is_told_of_the_end_of_its_term_and_keeps_its_slot(
    bench: ExecutorBench,
) -> None:
    loop = asyncio.get_running_loop()

    @bench.app.task
    def obeys(payload: Any, job: Any) -> None:
        loop.call_soon_threadsafe(bench.event.set)
        assert job.wait_cancelled(30)
        bench.release.wait(60)
        job.raise_if_cancelled()

    @bench.app.task
    def ends(payload: Any, job: Any) -> None:
        loop.call_soon_threadsafe(other_began.set)
        bench.release.wait(60)

    other_began = asyncio.Event()
    executor, term = bench.start(), Term(now() + 3600)
    executor.submit([named(1, "obeys"), named(2, "ends")], term)
    await within(bench.event)
    await within(other_began)
    term.end()
    executor.check_term()
    assert executor.free_slots == 0
    bench.release.set()
    await executor.wait_idle()
    # One that went on to its end has done its work: whether that counts is for the database to say.
    assert sorted(bench.news()) == [("done", 2), ("returned", 1)]
