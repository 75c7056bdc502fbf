"""One turn of the engine after the other, without its thread."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

import psycopg
import pytest

from tests.queue.jobs import job, kept_lease
from tests.queue.lanes import WORKER, Bench, Make, refuse
from tests.support.hand_worker import HandWorker
from tests.support.running import eventually, within
from tidemill.queue import engine as module
from tidemill.queue.engine import Engine
from tidemill.queue.settlement import Settlement
from tidemill.queue.sweep import Sweep


@pytest.fixture
async def engine(make: Make, connection: psycopg.Connection) -> Engine:
    """An engine that ends when nothing is ready; all jobs are leased."""
    bench = make("lease")
    engine = engine_of(bench, lambda: connection, once=True)
    engine._sweep.run(connection)
    return engine


def engine_of(
    bench: Bench,
    connect: Callable[[], psycopg.Connection],
    *,
    once: bool,
    flags: Callable[[], Sequence[str]] = tuple,
    on_end: Callable[[BaseException | None], None] = lambda error: None,
) -> Engine:
    lease = kept_lease()
    return Engine(
        worker_id=WORKER,
        connect=connect,
        lanes=bench.lanes,
        executor=bench.executor,
        own_lease=lease,
        sweep=Sweep(lease, interval=600, on_safety=bench.lanes.allow_express),
        loop=asyncio.get_running_loop(),
        wake=bench.wake,
        poll_interval=600,
        reconcile_interval=600,
        forbidden_flags=flags,
        listen=False,
        once=once,
        on_end=on_end,
    )


def look(engine: Engine, connection: psycopg.Connection, times: int = 1) -> None:
    for _ in range(times):
        engine._look(connection, time.monotonic())


async def test_it_ends_after_it_has_looked_everywhere(engine: Engine, connection: psycopg.Connection) -> None:
    look(engine, connection)
    assert not engine._is_done()
    look(engine, connection)
    assert engine._is_done()


async def test_what_was_looked_at_while_a_job_ran_is_no_end(
    engine: Engine, connection: psycopg.Connection
) -> None:
    leases = engine._lanes.leases
    running = job(1)
    leases.take_in_hand([running])
    look(engine, connection, 2)
    assert not engine._is_done()
    # It may have added a job, and the look that finds this may still fail.
    leases.settle(Settlement.of(running, "done"))
    leases.settle_due(connection)
    assert not leases.is_busy
    assert not engine._is_done()
    look(engine, connection)
    assert engine._is_done()


async def test_what_was_looked_at_while_a_batch_was_open_is_no_end(
    make: Make, database: str, connection: psycopg.Connection
) -> None:
    HandWorker.register(connection, ["t"], worker_id=WORKER)
    connection.execute("select tidemill.add_job('t')")
    bench = make(connect=lambda: psycopg.connect(database, autocommit=True))
    lanes = bench.lanes
    engine = engine_of(bench, lambda: connection, once=True)
    look(engine, connection, 3)
    assert lanes.express.is_busy
    # The event loop had no turn, so the job has not started and is ready again.
    lanes.express.disconnect()
    assert not lanes.is_busy
    assert not engine._is_done()


async def test_no_batch_stays_open_while_the_engine_waits_for_the_database(
    make: Make, database: str, connection: psycopg.Connection
) -> None:
    HandWorker.register(connection, ["t"], worker_id=WORKER)
    connection.execute("select tidemill.add_job('t')")
    bench = make(connect=lambda: psycopg.connect(database, autocommit=True))
    lanes = bench.lanes
    engine = engine_of(bench, refuse, once=False)
    batch, _ = lanes.claim_batch(lanes.plan([], regular=True, thorough=True))
    assert batch is not None
    # So that it does not wait here.
    engine.give_up()
    engine._lost(psycopg.OperationalError("gone"))
    assert not lanes.express.is_busy
    connection.execute("select from tidemill._jobs for update nowait")


async def test_broken_flags_are_asked_for_again_after_a_while(
    make: Make, connection: psycopg.Connection
) -> None:
    def fail() -> Sequence[str]:
        raise LookupError("no flags today")

    engine = engine_of(make("lease"), lambda: connection, once=False, flags=fail)
    # Although both kinds of search are asked for.
    assert engine._lanes.next_search is not None
    look(engine, connection)
    assert engine._next_look() > time.monotonic() + 300


async def test_what_ends_during_a_look_is_written_after_it(
    make: Make, database: str, connection: psycopg.Connection
) -> None:
    HandWorker.register(connection, ["t"], worker_id=WORKER)
    connection.execute("select tidemill.add_job('t')")
    bench = make("lease")
    lanes = bench.lanes
    [claimed], _ = lanes.leases.claim(connection, lanes.plan([], regular=True, thorough=True))
    ended = asyncio.Event()

    def flags() -> Sequence[str]:
        lanes.leases.settle(Settlement.of(claimed, "done"))
        return ()

    engine = engine_of(
        bench,
        lambda: psycopg.connect(database, autocommit=True),
        once=False,
        flags=flags,
        on_end=lambda error: ended.set(),
    )
    engine.start()
    await eventually(lambda: connection.execute("select from tidemill._jobs").rowcount == 0, "the end")
    engine.drain()
    await within(ended)


async def test_it_waits_once_it_has_done_what_it_was_woken_for(
    make: Make, database: str, connection: psycopg.Connection
) -> None:
    HandWorker.register(connection, ["t"], worker_id=WORKER)
    ended = asyncio.Event()
    bench = make("lease")
    engine = engine_of(
        bench,
        lambda: psycopg.connect(database, autocommit=True),
        once=False,
        on_end=lambda error: ended.set(),
    )
    engine.notify()
    engine.start()
    await eventually(lambda: not bench.wake.is_set(), "its turn")
    engine.drain()
    await within(ended)


async def test_losses_are_forgotten_once_the_database_answers(
    make: Make, database: str, connection: psycopg.Connection
) -> None:
    HandWorker.register(connection, ["t"], worker_id=WORKER)
    ended = asyncio.Event()
    refusals = [1, 2]

    def connect() -> psycopg.Connection:
        if refusals:
            refusals.pop()
            return refuse()
        return psycopg.connect(database, autocommit=True)

    engine = engine_of(make("lease"), connect, once=False, on_end=lambda error: ended.set())
    engine.start()

    def is_back() -> bool:
        # At the end of a turn, which has to be woken.
        engine.notify()
        return not refusals and engine._trouble.losses == 0

    await eventually(is_back, "the database to be back")
    engine.drain()
    await within(ended)


async def test_one_that_is_to_end_gives_up_on_the_database(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_ONCE_TRIES", 2)
    ended: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()
    engine = engine_of(make("lease"), refuse, once=True, on_end=ended.set_result)
    engine.start()
    assert isinstance(await asyncio.wait_for(ended, 30), psycopg.OperationalError)
