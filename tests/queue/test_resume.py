"""Coroutines whose first step is taken at once."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Generator
from types import coroutine
from typing import Any

import pytest

from tidemill.queue.resume import Suspended, first_step

seen: contextvars.ContextVar[str] = contextvars.ContextVar("seen", default="outside")


@coroutine
def pause(value: object) -> Generator[object, object, object]:
    """What asyncio's own futures do: hands something to its driver, and gets something back."""
    return (yield value)


async def test_what_never_waits_is_its_result() -> None:
    async def returns(number: int) -> int:
        return number + 1

    async def raises() -> None:
        raise ValueError("at once")

    assert first_step(returns, 1) == 2
    with pytest.raises(ValueError, match="at once"):
        first_step(raises)


def test_arguments_that_do_not_fit_raise_what_a_call_raises() -> None:
    async def takes_none() -> None: ...

    with pytest.raises(TypeError):
        first_step(takes_none, 1)


async def test_what_waits_goes_on_in_the_same_task() -> None:
    tasks: list[asyncio.Task[Any] | None] = []

    async def waits() -> str:
        tasks.append(asyncio.current_task())
        await asyncio.sleep(0)
        tasks.append(asyncio.current_task())
        return "done"

    step = first_step(waits)
    assert isinstance(step, Suspended)
    assert await step == "done"
    assert tasks == [asyncio.current_task()] * 2


def drive(step: Suspended) -> Generator[Any, Any, Any]:
    return step.__await__()


def test_what_is_sent_arrives_and_what_is_yielded_comes_out() -> None:
    async def talks() -> list[object]:
        return [await pause("one"), await pause("two")]

    step = first_step(talks)
    assert isinstance(step, Suspended)
    driver = drive(step)
    # The first step was taken before.
    assert next(driver) == "one"
    assert driver.send(1) == "two"
    with pytest.raises(StopIteration) as end:
        driver.send(2)
    assert end.value.value == [1, 2]


def test_what_is_thrown_arrives_and_may_be_answered() -> None:
    async def withstands() -> str:
        try:
            await pause("one")
        except KeyError:
            await pause("two")
        return "done"

    step = first_step(withstands)
    assert isinstance(step, Suspended)
    driver = drive(step)
    next(driver)
    assert driver.throw(KeyError()) == "two"
    with pytest.raises(StopIteration) as end:
        driver.send(None)
    assert end.value.value == "done"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, asyncio.CancelledError])
def test_what_is_raised_comes_out(error: type[BaseException]) -> None:
    async def fails() -> None:
        await pause("one")
        raise error

    step = first_step(fails)
    assert isinstance(step, Suspended)
    driver = drive(step)
    next(driver)
    with pytest.raises(error):
        driver.send(None)


def test_closing_runs_what_finally_is_for() -> None:
    told: list[str] = []

    async def cleans_up() -> None:
        try:
            await pause("one")
        finally:
            told.append(seen.get())

    step = first_step(cleans_up)
    assert isinstance(step, Suspended)
    driver = drive(step)
    next(driver)
    driver.close()
    assert told == ["outside"]


async def test_a_cancellation_reaches_the_coroutine() -> None:
    told: list[str] = []
    begun = asyncio.Event()

    async def waits() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            told.append("cancelled")
            raise

    async def run() -> None:
        await first_step(waits)

    task = asyncio.create_task(run())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert told == ["cancelled"]


async def test_contexts_are_copied_once_and_kept() -> None:
    async def sets(name: str) -> tuple[str, str]:
        before = seen.get()
        seen.set(name)
        await asyncio.sleep(0)
        return before, seen.get()

    one, two = first_step(sets, "one"), first_step(sets, "two")
    assert seen.get() == "outside"
    seen.set("later")
    assert [await one, await two] == [("outside", "one"), ("outside", "two")]
    assert seen.get() == "later"
    seen.set("outside")


async def test_tasks_that_it_starts_inherit_its_context() -> None:
    async def look() -> str:
        return seen.get()

    async def starts() -> asyncio.Task[str]:
        seen.set("inside")
        return asyncio.create_task(look())

    assert await first_step(starts) == "inside"


async def test_time_limits_and_groups_that_begin_in_the_first_step() -> None:
    async def limited() -> str:
        try:
            async with asyncio.timeout(0.001):
                await asyncio.Event().wait()
        except TimeoutError:
            return "over"
        return "not over"

    async def grouped() -> int:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(asyncio.sleep(0, number)) for number in range(3)]
        return sum(task.result() for task in tasks)

    assert await first_step(limited) == "over"
    assert await first_step(grouped) == 3
    current = asyncio.current_task()
    assert current is not None
    assert current.cancelling() == 0
