"""The express lane when connections and workers end in the middle of a batch."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Iterator
from typing import Any

import psycopg
import pytest

from tests.support.processes import SHORT_LEASE, leased, runs, settled, worker_process
from tests.support.proxy import Link, Message, Proxy, proxy
from tests.support.running import eventually, running
from tests.support.waiting import wait_until
from tests.worker.express import Gates, free_queues, lane_of, locked, rows
from tidemill import App, JobContext, JobSpec
from tidemill.queue import express

pytestmark = pytest.mark.lane("express")


def open_batches(connection: psycopg.Connection) -> list[int]:
    """The backends that hold batches."""
    found = connection.execute(
        "select pid from pg_stat_activity where datname = current_database()"
        " and state = 'idle in transaction' and application_name like 'worker-%'"
    )
    return [pid for (pid,) in found]


# Connections that end


@pytest.mark.usefixtures("no_hurry")
@pytest.mark.one_worker("the other one has lost nothing")
async def test_a_connection_that_is_cut_in_mid_batch(
    app: App, connection: psycopg.Connection, watcher: psycopg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    gates = Gates(app)
    lanes: list[str] = []

    @app.task
    async def looks(payload: Any, job: JobContext) -> None:
        lanes.append(lane_of(watcher, job.id))

    async with running(app, concurrency=3):
        await app.add_job("looks")
        await eventually(lambda: settled(connection), "the first job")
        await app.add_jobs([JobSpec("waits", str(number)) for number in range(5)])
        await eventually(lambda: len(gates.begun) == 3, "three jobs to run")
        pids = await eventually(lambda: open_batches(connection), "the batches")
        connection.execute("select pg_terminate_backend(pid) from unnest(%s) as pid", [pids])
        await eventually(lambda: not {*pids} & {*open_batches(connection)}, "the end of their transactions")
        gates.opened.set()
        await eventually(lambda: settled(connection), "all jobs to end")
        await app.add_job("looks")
        await eventually(lambda: settled(connection), "the last job")
    # At least once each. The batch's jobs may have run twice: the loss of its connection shows at its end.
    assert {gates.names().count(str(number)) for number in range(5)} <= {1, 2}
    assert lanes == ["express", "lease"]
    assert "the express lane lost its connection" in caplog.text


@pytest.fixture
def way(database: str) -> Iterator[Proxy]:
    with proxy(database) as opened:
        yield opened


@pytest.fixture
async def far_app(way: Proxy) -> AsyncIterator[App]:
    async with App(way.conninfo) as opened:
        yield opened


def cut_answer_to(way: Proxy, statement: bytes, answer: bytes) -> list[Link]:
    """Cuts the first connection that answers so after it was asked for that."""
    cut: list[Link] = []

    def on_answer(link: Link, message: Message) -> bool:
        if not cut and statement in link.sent and message[1].startswith(answer) and message[0] == b"C":
            cut.append(link)
            link.cut()
        return link not in cut

    way.on_answer = on_answer
    return cut


@pytest.mark.usefixtures("no_hurry")
@pytest.mark.parametrize(
    ("statement", "answer", "times"),
    [
        (b"_lock_jobs", b"SELECT 9", 1),
        (b"_lock_queued_jobs", b"SELECT 5", 1),
        (b"_settle_batch", b"SELECT 1", 2),
        (b"_settle_batch", b"COMMIT", 1),
    ],
)
async def test_an_answer_that_is_lost(
    way: Proxy,
    far_app: App,
    app: App,
    connection: psycopg.Connection,
    statement: bytes,
    answer: bytes,
    times: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    ran: list[int] = []

    @far_app.task
    async def counted(payload: Any, job: JobContext) -> None:
        ran.append(job.id)

    cut = cut_answer_to(way, statement, answer)
    await app.add_jobs([JobSpec("counted")] * 8)
    await app.add_jobs([JobSpec("counted", queue_name="letters")] * 4)
    async with running(far_app, heartbeat_interval=0.1, poll_interval=0.1, concurrency=1):
        await eventually(lambda: settled(connection), "all jobs to end")
        await eventually(lambda: "the express lane lost its connection" in caplog.text, "the loss")
    assert cut
    # What was not committed is run again; a batch at most.
    assert {ran.count(number) for number in range(1, 13)} <= {1, times}
    assert leased(connection) == 0
    assert free_queues(connection) == ["letters"]


# Workers that end


@pytest.mark.slow
def test_a_killed_worker_repeats_at_most_what_it_had_in_hand(
    database: str, table: psycopg.Connection
) -> None:
    total = 3000
    table.execute("select tidemill.add_job('tell') from generate_series(1, %s)", [total])
    with worker_process(database, lease=SHORT_LEASE) as doomed:
        wait_until(lambda: len(runs(table)) > total // 10, "some jobs to run")
        doomed.signal(signal.SIGSTOP)
        # It is stopped; the server may still carry out what it sent, and then those jobs are not in its hand.
        in_hand = locked(table)
        in_hand |= {row[0] for row in rows(table) if row[2] is not None}
        doomed.signal(signal.SIGKILL)
        doomed.wait()
    assert len(in_hand) <= express._MOST_BATCHES * express._LARGEST_BATCH
    with worker_process(database) as heir:
        wait_until(lambda: settled(table), "all jobs to end")
        heir.signal(signal.SIGTERM)
        assert heir.wait() == 0
    began = runs(table)
    assert set(began) == set(range(1, total + 1))
    repeated = {job for job in set(began) if began.count(job) > 1}
    assert repeated <= in_hand
    assert max(began.count(job) for job in repeated | {1}) <= 2


@pytest.mark.slow
def test_a_job_that_kills_its_worker_comes_to_its_end(database: str, table: psycopg.Connection) -> None:
    table.execute("select tidemill.add_job('die', max_attempts => 3)")
    table.execute("select tidemill.add_job('tell') from generate_series(1, 20)")

    def state() -> tuple[Any, ...] | None:
        return table.execute("select state, attempts, last_error from tidemill.jobs where id = 1").fetchone()

    exits = 0
    while (now := state()) is not None and now[0] != "failed":
        with worker_process(database, lease=SHORT_LEASE) as worker:
            wait_until(lambda: worker.ended or (state() or ["failed"])[0] == "failed", "its end")
            exits += worker.ended
        assert exits < 20
    assert now is not None
    assert now[1] == 3
    assert now[2].startswith("Attempt 3 of 3 did not end: its worker stopped without a word")
    # Its first attempt left no trace but the death of its worker.
    assert runs(table).count(1) == exits >= 4
    with worker_process(database) as worker:
        wait_until(lambda: table.execute("select from tidemill._jobs").rowcount == 1, "the others to end")
        worker.signal(signal.SIGTERM)
        worker.wait()


async def test_after_the_loss_of_a_worker_all_others_lease(
    app: App, connection: psycopg.Connection, watcher: psycopg.Connection
) -> None:
    lanes: list[str] = []

    @app.task
    async def looks(payload: Any, job: JobContext) -> None:
        lanes.append(lane_of(watcher, job.id))

    connection.execute(
        "select tidemill._register_worker('gone', 'here', 1, '0', 1, '{looks}', interval '-1 second')"
    )

    async def look() -> str:
        await app.add_job("looks")
        await eventually(lambda: settled(connection), "the job to end")
        return lanes[-1]

    async def express_is_safe(safe: bool) -> None:
        await eventually(
            lambda: connection.execute("select tidemill._express_is_safe()").fetchone() == (safe,), "safety"
        )

    async with running(app, heartbeat_interval=0.05):
        await express_is_safe(False)
        assert await look() == "lease"
        connection.execute("update tidemill._workers set lost_at = lost_at - tidemill._caution()")
        await express_is_safe(True)
        # Heard of with the next heartbeat.
        while await look() == "lease":
            pass
        assert set(lanes) == {"lease", "express"}
