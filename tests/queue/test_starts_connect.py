"""Asking for starts: the answer comes, whatever else goes on in the process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import psycopg

from tests.support.running import within
from tidemill.database.patient import PatientConnection, connect_patiently
from tidemill.queue.starts import Starts

WORKER = "worker"


@asynccontextmanager
async def opened(connect: Callable[[], PatientConnection]) -> AsyncIterator[Starts]:
    starts = Starts(WORKER, connect, 30.0)
    try:
        yield starts
    finally:
        starts.close()


async def answer(starts: Starts, token: int) -> bool:
    """Whether the jobs with this claim token may start."""
    answers: list[bool] = []
    answered = asyncio.Event()

    def note(may_start: bool) -> None:
        answers.append(may_start)
        answered.set()

    starts.ask(token, note)
    await within(answered)
    return answers[0]


def claim(connection: psycopg.Connection) -> int:
    """Notes a claim whose jobs have not started; returns its token."""
    [(tokens,)] = connection.execute("select tidemill._draw_tokens(%s, 1)", [WORKER]).fetchall()
    return int(tokens[1])


async def test_each_claim_starts_once(database: str, connection: psycopg.Connection) -> None:
    token = claim(connection)
    async with opened(lambda: connect_patiently(database, 30.0)) as starts:
        assert await answer(starts, token)
        assert not await answer(starts, token)


async def test_tasks_that_take_all_threads_of_the_loop_hold_up_no_start(
    database: str, connection: psycopg.Connection
) -> None:
    loop, gate = asyncio.get_running_loop(), threading.Event()
    loop.set_default_executor(ThreadPoolExecutor(1))
    waiting = asyncio.create_task(asyncio.to_thread(gate.wait))
    try:
        async with opened(lambda: connect_patiently(database, 30.0)) as starts:
            assert await answer(starts, claim(connection))
    finally:
        gate.set()
        await waiting


async def test_whatever_keeps_it_from_connecting_it_tries_again(
    database: str, connection: psycopg.Connection
) -> None:
    failures = [OSError(24, "Too many open files"), psycopg.OperationalError("away")]

    def connect() -> PatientConnection:
        if failures:
            raise failures.pop(0)
        return connect_patiently(database, 30.0)

    async with opened(connect) as starts:
        answers = [await answer(starts, claim(connection)) for _ in range(3)]
    assert answers == [False, False, True]
