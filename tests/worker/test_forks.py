"""Tasks that fork: the worker goes on, once, and the children are no workers."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.support import processes
from tests.support.processes import WorkerProcess, worker_process
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.lane("express"), pytest.mark.versions(18)]

PROGRAM = str(Path(processes.__file__).with_name("forking_worker.py"))
NEEDS_UVLOOP = pytest.mark.skipif(find_spec("uvloop") is None, reason="no uvloop here")
LOOPS = ["asyncio", pytest.param("uvloop", marks=NEEDS_UVLOOP)]


@pytest.fixture
def told(connection: psycopg.Connection) -> psycopg.Connection:
    connection.execute("create table told (job_id bigint not null, value jsonb not null)")
    return connection


@pytest.fixture(params=LOOPS)
def worker(
    request: pytest.FixtureRequest, database: str, told: psycopg.Connection
) -> Iterator[WorkerProcess]:
    with worker_process(database, program=PROGRAM, loop=request.param, concurrency=4) as started:
        started.wait_log("task(s)")
        yield started


def outcome(connection: psycopg.Connection, worker: WorkerProcess, task: str, case: str, how: str) -> Any:
    """Runs a job among others; returns what its case told, which must have happened once."""
    payload = json.dumps({"case": case, "how": how})
    [(job,)] = connection.execute("select (tidemill.add_job(%s, %s)).id", [task, payload]).fetchall()
    # Others must not be run twice, or be lost, either.
    others = [
        row[0]
        for row in connection.execute(
            "select (tidemill.add_job('many')).id from generate_series(1, 5)"
        ).fetchall()
    ]

    def is_over() -> bool:
        assert not worker.ended, worker.log
        return not connection.execute(
            "select from tidemill._jobs join tidemill._tasks on _tasks.id = task_id"
            " where identifier <> 'nobody' limit 1"
        ).rowcount

    wait_until(is_over, f"{task} {case} {how} to be done: {worker.log}")
    told = connection.execute("select job_id, value from told order by job_id").fetchall()
    connection.execute("delete from told")
    assert [job_id for job_id, _ in told] == sorted([job, *others])
    assert connection.execute("select from tidemill.workers").rowcount == 1
    # Of lines that count quick jobs two may be alike.
    done = re.findall(r"job \d+ \(\w+\)(?= done in)", worker.log)
    assert done
    assert len(done) == len(set(done))
    return dict(told)[job]


def stop(worker: WorkerProcess) -> None:
    """The worker has heard of no signal so far, and still stops as usual."""
    assert "SIG" not in worker.log, worker.log
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    assert "given back" not in worker.log


@pytest.mark.parametrize(
    ("worker", "task", "how"),
    [
        ("asyncio", "plain", "fork"),
        ("asyncio", "blocking", "fork"),
        pytest.param("uvloop", "plain", "fork", marks=NEEDS_UVLOOP),
        pytest.param("uvloop", "blocking", "fork", marks=NEEDS_UVLOOP),
        # These are interpreters anew, which know nothing of the event loop.
        ("asyncio", "plain", "forkserver"),
        ("asyncio", "blocking", "spawn"),
    ],
    indirect=["worker"],
)
def test_processes_of_multiprocessing(
    worker: WorkerProcess, connection: psycopg.Connection, task: str, how: str
) -> None:
    squares = [0, 1, 4, 9]
    assert outcome(connection, worker, task, "pool", how) == squares
    assert outcome(connection, worker, task, "executor", how) == squares
    assert outcome(connection, worker, task, "terminate", how) == -signal.SIGTERM
    stop(worker)


def test_processes_that_an_event_loop_waits_for(
    worker: WorkerProcess, connection: psycopg.Connection
) -> None:
    for how in ("fork", "forkserver", "spawn"):
        assert outcome(connection, worker, "fork", "executor", how) == [0, 1, 4, 9]
    stop(worker)


@pytest.mark.parametrize("task", ["plain", "blocking"])
def test_children_of_children(worker: WorkerProcess, connection: psycopg.Connection, task: str) -> None:
    assert outcome(connection, worker, task, "kill", "") == [-signal.SIGTERM, signal.SIGTERM]
    assert outcome(connection, worker, task, "grandchild", "") == 4
    assert connection.execute("select from tidemill.jobs where identifier = 'nobody'").rowcount == 1
    assert worker.log.count("ends here") == 2
    stop(worker)


@pytest.mark.parametrize("task", ["plain", "blocking"])
def test_a_signal_to_a_child_that_has_just_been_forked(
    worker: WorkerProcess, connection: psycopg.Connection, task: str
) -> None:
    assert outcome(connection, worker, task, "interrupt", "fork") == [-signal.SIGTERM]
    stop(worker)


@pytest.mark.parametrize("how", ["fork", "spawn"])
def test_children_add_jobs_over_connections_of_their_own(
    worker: WorkerProcess, connection: psycopg.Connection, how: str
) -> None:
    assert outcome(connection, worker, "plain", "add_in_children", how) == [True, True, 90]
    stop(worker)


def test_a_child_is_no_worker(worker: WorkerProcess, connection: psycopg.Connection) -> None:
    said = outcome(connection, worker, "plain", "worker_in_child", "fork")
    assert "was forked by a worker" in said
    assert outcome(connection, worker, "plain", "worker_in_child", "spawn") == "it ran"
    stop(worker)


def test_programs_that_are_started(worker: WorkerProcess, connection: psycopg.Connection) -> None:
    assert outcome(connection, worker, "plain", "preexec", "") == "SIG_DFL\n"
    assert outcome(connection, worker, "blocking", "preexec", "") == "SIG_DFL\n"
    assert outcome(connection, worker, "plain", "spawned", "") == -signal.SIGTERM
    stop(worker)


@pytest.mark.parametrize("case", ["at once", "later", "connected"])
def test_a_child_that_comes_back_from_a_coroutine_ends(
    worker: WorkerProcess, connection: psycopg.Connection, case: str
) -> None:
    # There is no event loop to wait for in a child, and no connection to use.
    codes = {"exit": 3, "return": int(case == "connected"), "raise": 1, "await": 0, "wait": 1}
    assert {how: outcome(connection, worker, "fork", case, how) for how in codes} == codes
    assert "a mistake of the child" in worker.log
    assert worker.log.count("ends here") == len(codes)
    stop(worker)


def test_a_child_that_comes_back_from_an_asyncio_task_ends(
    worker: WorkerProcess, connection: psycopg.Connection
) -> None:
    codes = {"exit": 3, "return": 0, "raise": 1, "await": 0, "wait": 1}
    told = {how: outcome(connection, worker, "fork", "beside", how) for how in codes}
    assert told == {how: [code] * 3 for how, code in codes.items()}
    stop(worker)


def test_a_child_that_comes_back_to_a_thread_of_asyncio_ends(
    worker: WorkerProcess, connection: psycopg.Connection
) -> None:
    codes = {"exit": 3, "return": 0, "raise": 1}
    assert {how: outcome(connection, worker, "fork", "thread", how) for how in codes} == codes
    stop(worker)


def test_a_child_that_comes_back_from_a_hook_ends(
    worker: WorkerProcess, connection: psycopg.Connection
) -> None:
    for task in ("hooked", "hooked_plain"):
        assert outcome(connection, worker, task, "", "") == 0
    wait_until(lambda: worker.log.count("ends here") == 2, "two children to end")
    stop(worker)


def test_a_child_that_comes_back_to_the_engine_ends(database: str, told: psycopg.Connection) -> None:
    with worker_process(database, program=PROGRAM, loop="asyncio", fork_in_flags=True) as worker:
        worker.wait_log("ends here")
        assert outcome(told, worker, "plain_fork", "", "return") == 0
        stop(worker)


def test_a_child_does_not_keep_the_sessions_of_a_killed_worker(
    database: str, told: psycopg.Connection
) -> None:
    def sessions() -> int:
        return told.execute(
            "select from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
            " and application_name similar to '(worker-|tidemill)%'"
        ).rowcount

    with worker_process(database, program=PROGRAM, loop="asyncio") as worker:
        # Of the engine, the heartbeat, the listener and the scheduler.
        wait_until(lambda: sessions() >= 4, "the worker to be connected")
        told.execute("select tidemill.add_job('orphan')")
        [(child,)] = wait_until(lambda: told.execute("select value from told").fetchall(), "the child")
        try:
            assert sessions() > 4
            worker.end()
            wait_until(lambda: sessions() == 0, "the sessions to end")
        finally:
            os.kill(child, signal.SIGKILL)


def test_a_child_may_outlive_its_worker(worker: WorkerProcess, connection: psycopg.Connection) -> None:
    child = outcome(connection, worker, "plain", "leave", "")
    try:
        stop(worker)
        wait_until(
            lambda: connection.execute("select from tidemill.jobs where identifier = 'nobody'").rowcount == 1,
            "the child to go on alone",
        )
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_child_on_a_terminal_of_its_own(worker: WorkerProcess, connection: psycopg.Connection) -> None:
    assert outcome(connection, worker, "fork", "terminal", "") == 0
    stop(worker)


def test_a_child_that_comes_back_from_a_plain_function_ends(
    worker: WorkerProcess, connection: psycopg.Connection
) -> None:
    assert outcome(connection, worker, "plain_fork", "", "exit") == 3
    assert outcome(connection, worker, "plain_fork", "", "return") == 0
    stop(worker)
