"""The express lane: what its batches become when time, connections or workers end."""

from __future__ import annotations

import asyncio
import contextvars
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from tests.support.processes import SHORT_LEASE, leased, make_runs, runs, settled, worker_process
from tests.support.proxy import Link, Message, Proxy, proxy
from tests.support.running import eventually, running, until_leased, within
from tests.support.waiting import wait_until
from tidemill import App, JobContext, JobSpec, Retry, Worker, WorkerOptions
from tidemill.queue import durations, express
from tidemill.retry import constant

pytestmark = pytest.mark.lane("express")

Row = tuple[Any, ...]


@pytest.fixture
def all_is_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes all tasks for quick, however busy this machine is."""
    monkeypatch.setattr(durations, "QUICK_SECONDS", 1000)
    monkeypatch.setattr(durations, "_SLOW_SECONDS", 1001)


@pytest.fixture
def no_hurry(all_is_quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches stay open until all of their jobs have ended."""
    monkeypatch.setattr(express, "_BUDGET_SECONDS", 1000)
    monkeypatch.setattr(express, "_PATIENCE_SECONDS", 1000)


@pytest.fixture
def table(connection: psycopg.Connection) -> psycopg.Connection:
    make_runs(connection)
    return connection


@pytest.fixture
def watcher(database: str) -> Iterator[psycopg.Connection]:
    """A connection of its own for what tasks look at."""
    with psycopg.connect(database, autocommit=True) as opened:
        yield opened


def rows(connection: psycopg.Connection) -> list[Row]:
    return connection.execute("select id, attempts, locked_by from tidemill._jobs order by id").fetchall()


def locked(connection: psycopg.Connection) -> set[int]:
    """Jobs whose rows somebody's open transaction holds."""
    with connection.transaction(force_rollback=True):
        free = connection.execute("select id from tidemill._jobs for update skip locked").fetchall()
        jobs = connection.execute("select id from tidemill._jobs").fetchall()
    return {job for (job,) in jobs} - {job for (job,) in free}


def open_batches(connection: psycopg.Connection) -> list[int]:
    """The backends that hold batches."""
    found = connection.execute(
        "select pid from pg_stat_activity where datname = current_database()"
        " and state = 'idle in transaction' and application_name like 'worker-%'"
    )
    return [pid for (pid,) in found]


def lane_of(connection: psycopg.Connection, job_id: int) -> str:
    """How a running job was claimed: row locks are not to be seen."""
    [(locked_by,)] = connection.execute(
        "select locked_by from tidemill._jobs where id = %s", [job_id]
    ).fetchall()
    return "express" if locked_by is None else "lease"


class Gates:
    """A task `waits` whose jobs say that they began, and end when they may."""

    def __init__(self, app: App) -> None:
        self.begun: list[tuple[str, int]] = []
        self.opened = asyncio.Event()

        @app.task
        async def waits(payload: str, job: JobContext) -> None:
            self.begun.append((payload, job.attempt))
            await self.opened.wait()

    def names(self) -> list[str]:
        return sorted(name for name, _ in self.begun)


# The end of the budget


@pytest.mark.usefixtures("all_is_quick")
async def test_what_goes_on_is_leased_when_the_budget_ends(app: App, connection: psycopg.Connection) -> None:
    gates = Gates(app)
    app.task("ends")(_nothing)
    added = [
        await app.add_job("ends"),
        await app.add_job("waits", "queued", queue_name="letters", priority=1),
        await app.add_job("waits", "single", priority=1),
        await app.add_job("waits", "queued after", queue_name="letters", priority=2),
        await app.add_job("waits", "single after", priority=2),
    ]
    done, queued, single, queued_after, single_after = [job.id for job in added]
    async with running(app, concurrency=2) as first:
        await until_leased(connection, 2)
        assert gates.names() == ["queued", "single"]
        # Done, and leased with one attempt spent; the rest is free, as it was.
        assert rows(connection) == [
            (queued, 1, first.id),
            (single, 1, first.id),
            (queued_after, 0, None),
            (single_after, 0, None),
        ]
        assert done not in locked(connection)
        tokens = connection.execute(
            "select array_agg(distinct claim_token) from tidemill._jobs where locked_at is not null"
        ).fetchone()
        queue = connection.execute("select queue_name, locked_by, array[claim_token] from tidemill._queues")
        assert queue.fetchall() == [("letters", first.id, *(tokens or ()))]
        async with running(app, concurrency=10) as second:
            # Another worker runs what is free; its queue is not.
            await until_leased(connection, 3)
            assert rows(connection)[2:] == [(queued_after, 0, None), (single_after, 1, second.id)]
            gates.opened.set()
            await eventually(lambda: settled(connection), "all jobs to end")
    assert sorted(gates.begun) == [(name, 1) for name in ("queued", "queued after", "single", "single after")]


async def _nothing(payload: Any) -> None: ...


@pytest.mark.usefixtures("all_is_quick")
async def test_a_promoted_job_fails_and_is_retried_as_a_leased_one(
    app: App, connection: psycopg.Connection
) -> None:
    go_on = asyncio.Event()

    @app.task(retry=constant(3600))
    async def fails(payload: Any) -> None:
        await go_on.wait()
        raise ValueError("in the end")

    async with running(app):
        await app.add_job("fails", queue_name="letters")
        await until_leased(connection)
        go_on.set()
        await eventually(lambda: failures(connection) == [("ValueError: in the end", 1)], "the failure")
        await eventually(lambda: free_queues(connection) == ["letters"], "its queue to be free")


def failures(connection: psycopg.Connection) -> list[Row]:
    """Of jobs that wait for their next attempt, which is an hour away."""
    return connection.execute(
        "select last_error, attempts from tidemill._jobs where locked_at is null and last_error is not null"
        " and run_at between now() + interval '55 minutes' and now() + interval '65 minutes' order by id"
    ).fetchall()


def free_queues(connection: psycopg.Connection) -> list[str]:
    found = connection.execute("select queue_name from tidemill._queues where locked_at is null order by 1")
    return [name for (name,) in found]


@contextmanager
def worker_in_a_thread(conninfo: str, add_tasks: Callable[[App], None], **options: Any) -> Iterator[Worker]:
    """A worker with an event loop of its own, which its tasks may block."""
    made: list[Worker] = []
    started = threading.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def work() -> None:
        async with App(conninfo) as app:
            add_tasks(app)
            worker = Worker(app, WorkerOptions(**{"migrate": False, **options}))
            made.append(worker)
            loops.append(asyncio.get_running_loop())
            started.set()
            await worker.run()

    thread = threading.Thread(target=asyncio.run, args=[work()])
    thread.start()
    assert started.wait(30)
    try:
        yield made[0]
    finally:
        loops[0].call_soon_threadsafe(made[0].stop)
        thread.join(60)
    assert not thread.is_alive()


@pytest.mark.usefixtures("all_is_quick")
def test_a_blocked_event_loop_keeps_nothing_but_the_job_that_blocks_it(
    database: str, table: psycopg.Connection
) -> None:
    """The batch's transaction ends in time, and others run what this worker cannot."""
    release, began = threading.Event(), threading.Event()
    done: list[int] = []

    def add_tasks(app: App) -> None:
        @app.task
        async def blocks(payload: Any, job: JobContext) -> None:
            began.set()
            release.wait(60)
            done.append(job.id)

        @app.task
        async def tell(payload: Any, job: JobContext) -> None:
            done.append(job.id)

    table.execute("select tidemill.add_job('blocks')")
    table.execute("select tidemill.add_job('tell', priority => 1) from generate_series(1, 10)")
    with worker_in_a_thread(database, add_tasks) as blocked:
        try:
            assert began.wait(30)
            wait_until(lambda: leased(table) == 1, "the job to be leased")
            assert rows(table)[0] == (1, 1, blocked.id)
            with worker_process(database) as other:
                wait_until(lambda: len(runs(table)) == 10, "the other jobs to be run elsewhere")
                other.signal(signal.SIGTERM)
                assert other.wait() == 0
            assert leased(table) == 1
            assert done == []
        finally:
            release.set()
        wait_until(lambda: settled(table), "the end")
    assert done == [1]
    assert runs(table) == list(range(2, 12))


@pytest.mark.usefixtures("no_hurry")
async def test_a_stop_returns_what_has_not_started(app: App, connection: psycopg.Connection) -> None:
    gates = Gates(app)
    await app.add_jobs([JobSpec("waits", n) for n in ("a", "b", "c")])
    for name in ("d", "e"):
        await app.add_job("waits", name, queue_name="letters", priority=-1)
    async with running(app, concurrency=2) as worker:
        await eventually(lambda: len(gates.begun) == 2, "two jobs to run")
        assert len(locked(connection)) == 5
        assert leased(connection) == 0
        worker.stop()
        # Of the transaction nothing is left, though two jobs go on.
        await until_leased(connection, 2)
        assert locked(connection) == set()
        gates.opened.set()
    assert gates.names() == ["a", "d"]
    assert [row[1:] for row in rows(connection)] == [(0, None)] * 3
    assert free_queues(connection) == ["letters"]
    # In order, as before.
    await app.run_until_empty()
    assert gates.names() == ["a", "b", "c", "d", "e"]


@pytest.mark.usefixtures("no_hurry")
async def test_a_stop_in_a_hurry_spends_no_attempt(app: App, connection: psycopg.Connection) -> None:
    gates = Gates(app)
    await app.add_jobs([JobSpec("waits", n) for n in ("a", "b", "c")])
    async with running(app, concurrency=2) as worker:
        await eventually(lambda: len(gates.begun) == 2, "two jobs to run")
        worker.stop(hurry=True)
    assert [row[1:] for row in rows(connection)] == [(0, None)] * 3


# Outcomes


@pytest.mark.usefixtures("no_hurry")
async def test_failures_of_a_batch(app: App, connection: psycopg.Connection) -> None:
    hour = constant(3600)
    app.task("ends")(_nothing)

    @app.task(retry=hour)
    async def fails_at_once(payload: Any) -> None:
        raise ValueError(payload)

    @app.task
    async def asks_for_more(payload: Any) -> Retry:
        await asyncio.sleep(0)
        return Retry(3600, payload)

    @app.task(retry=hour)
    def fails_in_its_thread(payload: Any) -> None:
        raise ValueError(payload)

    @app.task(max_attempts=1)
    async def fails_for_good(payload: Any) -> None:
        raise ValueError(payload)

    names = ("ends", "fails_at_once", "ends", "asks_for_more", "fails_in_its_thread", "fails_for_good")
    await app.add_jobs([JobSpec(name, name) for name in names])
    await app.add_job("fails_at_once", "queued", queue_name="letters")
    await app.add_job("ends", queue_name="letters")
    async with running(app):
        await eventually(lambda: len(failures(connection)) == 4, "four failures")
        await eventually(lambda: connection.execute("select from tidemill._jobs").rowcount == 5, "the rest")
        assert failures(connection) == [
            ("ValueError: fails_at_once", 1),
            ("asks_for_more", 1),
            ("ValueError: fails_in_its_thread", 1),
            ("ValueError: queued", 1),
        ]
        await eventually(lambda: free_queues(connection) == ["letters"], "the queue")
    gone = connection.execute("select state, last_error from tidemill.jobs where attempts = 25").fetchall()
    assert gone == [("failed", "ValueError: fails_for_good")]


@pytest.mark.usefixtures("no_hurry")
async def test_the_default_backoff_of_a_job_that_failed_in_a_batch(
    app: App, connection: psycopg.Connection
) -> None:
    @app.task
    async def fails(payload: Any) -> None:
        raise ValueError

    before = connection.execute("select clock_timestamp()").fetchone()
    await app.add_job("fails")
    async with running(app):
        await eventually(
            lambda: connection.execute("select last_error from tidemill._jobs").fetchone() != (None,), "it"
        )
    [(wait,)] = connection.execute(
        "select extract(epoch from run_at - %s) from tidemill._jobs", [*(before or ())]
    ).fetchall()
    assert wait >= 2.718


# Connections that end


@pytest.mark.usefixtures("no_hurry")
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
    # At least once each. Those of the batch may have run twice: that its connection is gone shows at its end.
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
        (b"_lock_queued_jobs", b"SELECT 4", 1),
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


def test_a_killed_worker_repeats_at_most_what_it_had_in_hand(
    database: str, table: psycopg.Connection
) -> None:
    total = 3000
    table.execute("select tidemill.add_job('tell') from generate_series(1, %s)", [total])
    with worker_process(database, lease=SHORT_LEASE) as doomed:
        wait_until(lambda: len(runs(table)) > total // 10, "some jobs to run")
        doomed.signal(signal.SIGSTOP)
        # Nothing runs any longer; what it sent may still be carried out, and then is no longer in its hand.
        in_hand = locked(table)
        in_hand |= {row[0] for row in rows(table) if row[2] is not None}
        doomed.signal(signal.SIGKILL)
        doomed.wait()
    assert len(in_hand) <= express._LANES * express._LARGEST_BATCH
    with worker_process(database) as heir:
        wait_until(lambda: settled(table), "all jobs to end")
        heir.signal(signal.SIGTERM)
        assert heir.wait() == 0
    began = runs(table)
    assert set(began) == set(range(1, total + 1))
    repeated = {job for job in set(began) if began.count(job) > 1}
    assert repeated <= in_hand
    assert max(began.count(job) for job in repeated | {1}) <= 2


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


# What a worker finds


@pytest.mark.usefixtures("all_is_quick")
@pytest.mark.parametrize("queue_name", [None, "letters"])
async def test_a_job_of_a_long_transaction_is_found(
    app: App, database: str, connection: psycopg.Connection, queue_name: str | None
) -> None:
    ran: list[str] = []

    @app.task
    async def named(payload: str) -> None:
        ran.append(payload)

    # Without notifications, to find it by looking.
    async with running(app, listen=False, poll_interval=0.05):
        # A name that is new waits for others who add it too.
        await app.add_job("named", "first", queue_name=queue_name)
        await eventually(lambda: settled(connection), "the first job")
        with psycopg.connect(database) as late:
            late.execute("select tidemill.add_job('named', '\"late\"', queue_name => %s)", [queue_name])
            # The marks go on by more than the time that they allow for.
            [(then,)] = late.execute("select now()").fetchall()
            while True:
                await app.add_job("named", "in between")
                await eventually(lambda: settled(connection), "the job in between")
                [(passed,)] = connection.execute(
                    "select now() - %s > interval '0.3 seconds'", [then]
                ).fetchall()
                if passed:
                    break
            assert "late" not in ran
            late.commit()
        await eventually(lambda: "late" in ran, "the late job")
        await eventually(lambda: settled(connection), "its end")
    assert ran.count("late") == 1


@pytest.mark.usefixtures("all_is_quick")
@pytest.mark.parametrize("priority", [-1, 0])
async def test_an_urgent_job_is_found_while_a_long_backlog_runs(
    app: App, connection: psycopg.Connection, watcher: psycopg.Connection, priority: int
) -> None:
    backlog, first = 40_000, 1000
    places: dict[str, int] = {}
    ran = 0

    @app.task
    async def counted(payload: Any) -> None:
        nonlocal ran
        ran += 1
        if ran == first:
            # Of a priority that is not seen elsewhere, or due before what has been claimed long since.
            watcher.execute(
                "select tidemill.add_job('urgent', priority => %s, run_at => '2020-01-01')", [priority]
            )

    @app.task
    async def urgent(payload: Any) -> None:
        places["urgent"] = ran

    connection.execute(
        "select count(*) from tidemill.add_jobs(array(select row('counted', null, null, null, null, null, "
        "null, null)::tidemill.job_spec from generate_series(1, %s)))",
        [backlog],
    )
    async with running(app):
        await eventually(lambda: settled(connection), "all jobs to end")
    assert ran == backlog
    in_hand = express._LANES * express._LARGEST_BATCH
    assert places["urgent"] - first <= in_hand + backlog // 4


@pytest.mark.usefixtures("all_is_quick")
@pytest.mark.parametrize("kind", ["retried", "late", "queued"])
async def test_a_trickle_of_quick_jobs_keeps_no_other_waiting(
    app: App, database: str, connection: psycopg.Connection, kind: str
) -> None:
    """Each look finds a job that it was told of; of those that nobody tells, it must find all too."""
    ended = asyncio.Event()
    app.task("quick")(_nothing)

    @app.task
    async def waits(payload: str, job: JobContext) -> None:
        if payload == "retried" and job.attempt == 1:
            raise Retry(0.1)
        ended.set()

    async with running(app, poll_interval=0.2):
        with psycopg.connect(database) as late:
            await app.add_job("waits", "first")
            await within(ended)
            ended.clear()
            if kind == "retried":
                await app.add_job("waits", kind)
            else:
                # Committed by one who sees nobody that listens.
                late.execute("delete from tidemill._listeners")
                late.execute(
                    "select tidemill.add_job('waits', to_json(%s::text), queue_name => %s,"
                    " run_at => '2020-01-01')",
                    [kind, "letters" if kind == "queued" else None],
                )
                late.execute(
                    "insert into tidemill._listeners select id from tidemill._workers on conflict do nothing"
                )
                late.commit()
        for _ in range(200):
            await app.add_job("quick")
            await eventually(lambda: not quick_jobs(connection), "the quick job")
            if ended.is_set():
                break
        assert ended.is_set()


def quick_jobs(connection: psycopg.Connection) -> int:
    return connection.execute("select from tidemill.jobs where identifier = 'quick'").rowcount


# How jobs are shared out between the lanes


async def test_slow_jobs_are_leased_one_per_free_slot_and_quick_ones_pass_them(
    app: App, connection: psycopg.Connection, watcher: psycopg.Connection
) -> None:
    go_on = asyncio.Event()
    lanes: list[str] = []

    @app.task
    async def slow(payload: Any) -> None:
        await go_on.wait()

    @app.task
    async def quick(payload: Any, job: JobContext) -> None:
        lanes.append(lane_of(watcher, job.id))

    async with running(app, concurrency=3):
        # That it is slow is seen.
        await app.add_job("slow")
        await until_leased(connection)
        go_on.set()
        await eventually(lambda: settled(connection), "the first job")
        go_on.clear()
        await app.add_jobs([JobSpec("slow")] * 5)
        await until_leased(connection, 3)
        assert locked(connection) == set()
        assert [row[1] for row in rows(connection)] == [1, 1, 1, 0, 0]
        go_on.set()
        await eventually(lambda: settled(connection), "the slow jobs")
        go_on.clear()
        await app.add_jobs([JobSpec("slow")] * 2)
        await until_leased(connection, 2)
        for _ in range(5):
            await app.add_job("quick")
            await eventually(lambda: leased(connection) == 2 and len(rows(connection)) == 2, "the quick job")
        assert leased(connection) == 2
        go_on.set()
    assert lanes == ["express"] * 5


@pytest.mark.parametrize("lane_choice", ["auto", "express"])
async def test_a_task_turns_slow_and_quick_again(
    app: App,
    connection: psycopg.Connection,
    watcher: psycopg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    lane_choice: str,
) -> None:
    pace = 1.0
    lanes: list[str] = []
    add = durations.Durations.add

    def timed(self: durations.Durations, identifier: str, seconds: float, *, leased: bool) -> None:
        add(self, identifier, pace, leased=leased)

    monkeypatch.setattr(durations.Durations, "add", timed)
    monkeypatch.setattr(durations, "_NEWEST", 0.9)

    @app.task
    async def changes(payload: Any, job: JobContext) -> None:
        lanes.append(lane_of(watcher, job.id))
        await asyncio.sleep(0)

    async def run() -> str:
        await app.add_job("changes")
        await eventually(lambda: settled(connection), "the job to end")
        return lanes[-1]

    async with running(app, lane=lane_choice):
        assert await run() == ("lease" if lane_choice == "auto" else "express")
        assert await run() == "lease"
        assert await run() == "lease"
        pace = 0.0
        while await run() == "lease":
            pass
        assert await run() == "express"
        pace = 1.0
        while await run() == "express":
            pass
        assert await run() == "lease"


async def test_only_new_jobs_without_a_key_are_for_express(
    app: App, connection: psycopg.Connection, watcher: psycopg.Connection
) -> None:
    lanes: dict[str, str] = {}

    @app.task
    async def looks(payload: str, job: JobContext) -> None:
        lanes[payload] = lane_of(watcher, job.id)
        if payload == "fails" and job.attempt == 1:
            lanes["new"] = lanes[payload]
            raise Retry(0)

    async with running(app, poll_interval=0.05):
        await app.add_job("looks", "keyed", job_key="k")
        await app.add_job("looks", "queued", queue_name="letters")
        await app.add_job("looks", "fails")
        await eventually(lambda: settled(connection), "all jobs to end")
    assert lanes == {"keyed": "lease", "queued": "express", "new": "express", "fails": "lease"}


# Many jobs in one asyncio task: none sees that it is not alone

here: contextvars.ContextVar[str] = contextvars.ContextVar("here", default="nobody")


async def test_context_variables_are_a_jobs_own(app: App, connection: psycopg.Connection) -> None:
    seen: list[tuple[str, str]] = []

    @app.task
    async def sets(payload: str) -> None:
        before = here.get()
        here.set(payload)
        if payload == "b":
            await asyncio.sleep(0)
        seen.append((before, here.get()))

    @app.task
    def sets_in_its_thread(payload: str) -> None:
        seen.append((here.get(), payload))
        here.set(payload)

    await app.add_jobs([JobSpec("sets", name) for name in "abc"])
    await app.add_jobs([JobSpec("sets_in_its_thread", name) for name in "de"])
    async with running(app, concurrency=1):
        await eventually(lambda: settled(connection), "all jobs to end")
    assert sorted(seen) == [("nobody", name) for name in "abcde"]


@pytest.mark.parametrize("waits", [False, True])
async def test_a_job_that_cancels_itself_cancels_no_other(
    app: App, connection: psycopg.Connection, waits: bool
) -> None:
    ran: list[str] = []

    @app.task(max_attempts=1)
    async def cancels(payload: Any) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        ran.append("cancels")
        if waits:
            await asyncio.sleep(0)
            ran.append("goes on")

    @app.task
    async def after(payload: Any) -> None:
        await asyncio.sleep(0)
        ran.append("after")

    await app.add_jobs([JobSpec("cancels"), JobSpec("after"), JobSpec("cancels"), JobSpec("after")])
    async with running(app, concurrency=1):
        await eventually(
            lambda: not connection.execute("select from tidemill.jobs where state <> 'failed'").rowcount,
            "all jobs to end",
        )
    assert ran == ["cancels", "after", "cancels", "after"]
    errors = connection.execute("select last_error from tidemill._jobs").fetchall()
    assert errors == ([("CancelledError",)] * 2 if waits else [])


async def test_what_asyncio_ties_to_the_current_task(app: App, connection: psycopg.Connection) -> None:
    told: list[str] = []
    spawned: list[asyncio.Task[None]] = []

    async def tell(what: str) -> None:
        told.append(what)

    async def wait_for_ever() -> None:
        await asyncio.Event().wait()

    @app.task
    async def limits(payload: Any) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await wait_for_ever()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(wait_for_ever(), 0.001)
        told.append("limited")

    @app.task
    async def groups(payload: Any) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(tell("in a group"))
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(wait_for_ever())
                group.create_task(fails())
        except* ValueError:
            told.append("group failed")

    async def fails() -> None:
        raise ValueError

    @app.task
    async def spawns(payload: Any) -> None:
        spawned.append(asyncio.create_task(tell("spawned")))

    await app.add_jobs([JobSpec(name) for name in ("limits", "groups", "spawns", "limits")])
    async with running(app, concurrency=1):
        await eventually(lambda: settled(connection), "all jobs to end")
        await spawned[0]
    assert sorted(told) == sorted(["limited", "in a group", "group failed", "spawned", "limited"])


async def test_jobs_that_never_wait_let_the_event_loop_turn(app: App, connection: psycopg.Connection) -> None:
    """A thousand at a stretch must not starve the rest of the process."""
    ended = asyncio.Event()
    ran = 0

    @app.task
    async def spins(payload: Any) -> None:
        nonlocal ran
        ran += 1
        if ran == 1:
            asyncio.get_running_loop().call_soon(lambda: places.append(ran))
        # About a tenth of a turn.
        for _ in range(20_000):
            pass
        if ran == 2000:
            ended.set()

    places: list[int] = []
    await app.add_jobs([JobSpec("spins")] * 2000)
    async with running(app):
        await within(ended, 60)
    assert places
    assert places[0] < 1000
