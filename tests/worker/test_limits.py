"""Limits, kept by workers: together, and when some of them die."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from collections import Counter
from contextlib import AsyncExitStack, ExitStack
from functools import partial
from typing import Any

import psycopg
import pytest

from tests.support import limited_worker
from tests.support.processes import SHORT_LEASE, settled, worker_process
from tests.support.running import _running, eventually, run_all, running, within
from tests.support.waiting import wait_until
from tidemill import App, JobSpec, Limit, Rate, Retry
from tidemill.database import patient
from tidemill.errors import InvalidJobError, TaskLoadError
from tidemill.queue import limited

# Limited jobs go by lease in either lane.
pytestmark = pytest.mark.lane("express")

# A poll would come far too late for the test.
NO_POLLS: dict[str, Any] = {"poll_interval": 600}


@pytest.fixture
def spans(connection: psycopg.Connection) -> psycopg.Connection:
    connection.execute(limited_worker.TABLE)
    return connection


def add(connection: psycopg.Connection, task: str, payloads: list[Any], limit: str | None = None) -> None:
    for payload in payloads:
        connection.execute(
            "select from tidemill.add_job(%s, %s::json, limit_name => %s)", [task, json.dumps(payload), limit]
        )


def has_begun(connection: psycopg.Connection, jobs: int) -> bool:
    return connection.execute("select from spans").rowcount > jobs


def most_at_once(connection: psycopg.Connection) -> dict[str, int]:
    """By key, how many attempts ran at the moment when one began. Those that were killed have ended then."""
    rows = connection.execute(
        "select key, max(at_once) from ("
        "  select s.key, (select count(*) from spans o where o.key = s.key"
        "    and o.began <= s.began and coalesce(o.ended, 'infinity') > s.began) as at_once"
        "  from spans s) x group by 1"
    )
    return dict(rows.fetchall())


def excess(connection: psycopg.Connection, rate: float, burst: int) -> float:
    """By how much more began than `burst` and `rate` a second allow, in the worst time between two starts."""
    times = [
        row[0] for row in connection.execute("select extract(epoch from began)::float8 from spans order by 1")
    ]
    return max(
        float(last - first + 1 - burst - rate * (times[last] - times[first]))
        for first in range(len(times))
        for last in range(first, len(times))
    )


@pytest.mark.slow
@pytest.mark.parametrize("workers", [2, 8])
def test_workers_together_keep_the_limits(database: str, spans: psycopg.Connection, workers: int) -> None:
    spans.execute("select tidemill.set_limit('three', 3)")
    with ExitStack() as stack:
        started = [
            stack.enter_context(worker_process(database, program=limited_worker.__file__))
            for _ in range(workers)
        ]
        for worker in started:
            worker.wait_log("at once")
        add(spans, "of_customer", [{"customer": {"id": n % 5}} for n in range(150)])
        add(spans, "named", [{}] * 40, "three")
        add(spans, "named_too", [{}] * 40, "three")
        add(spans, "rated", [{}] * 60)
        wait_until(lambda: settled(spans), "all jobs to end")
    most = most_at_once(spans)
    assert most.pop("rate") >= 1
    assert most == {"named": 3} | {f"customer {n}": 2 for n in range(5)}
    # An insert may come some milliseconds after its claim.
    spans.execute("delete from spans where key <> 'rate'")
    assert excess(spans, 100, 10) < 10


@pytest.mark.slow
def test_the_share_of_a_killed_worker_is_free_with_its_leases(
    database: str, spans: psycopg.Connection
) -> None:
    add(spans, "of_customer", [{"customer": {"id": n % 3}} for n in range(300)])
    with ExitStack() as stack:
        doomed = [
            stack.enter_context(worker_process(database, program=limited_worker.__file__, lease=SHORT_LEASE))
            for _ in range(2)
        ]
        heir = stack.enter_context(
            worker_process(database, program=limited_worker.__file__, lease=SHORT_LEASE)
        )
        for number, worker in enumerate(doomed, start=1):
            worker.wait_log(" runs ")
            wait_until(partial(has_begun, spans, 40 * number), "jobs to begin")
            worker.signal(signal.SIGKILL)
            worker.wait()
            (name,) = re.findall(r"(worker-\w+) runs ", worker.log)
            spans.execute(
                "update spans set ended = clock_timestamp() where worker = %s and ended is null", [name]
            )
        wait_until(lambda: settled(spans), "all jobs to end")
        heir.signal(signal.SIGTERM)
        assert heir.wait() == 0
    assert most_at_once(spans) == {f"customer {n}": 2 for n in range(3)}
    assert spans.execute("select count(distinct job_id) from spans").fetchone() == (300,)


@pytest.mark.one_worker("it runs two itself")
async def test_limits_hold_when_connections_are_cut(app: App, connection: psycopg.Connection) -> None:
    at_once, most, done = Counter[int](), Counter[int](), set[int]()

    @app.task(limit=Limit(2, per="c"))
    async def task(payload: Any, job: Any) -> None:
        key = payload["c"]
        at_once[key] += 1
        most[key] = max(most[key], at_once[key])
        await asyncio.sleep(0.005)
        at_once[key] -= 1
        done.add(job.id)

    await app.add_jobs([task.spec({"c": n % 3}) for n in range(120)])
    async with _running(app, {}), _running(app, {}):
        for round_ in range(1, 6):
            await eventually(partial(lambda jobs: len(done) > jobs, 15 * round_), "jobs to end")
            connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where application_name like 'worker-%' and datname = current_database()"
            )
        await eventually(lambda: settled(connection), "all jobs to end")
    assert most == {0: 2, 1: 2, 2: 2}


async def test_an_idle_worker_is_told_of_limited_jobs_and_of_limits(
    app: App, connection: psycopg.Connection
) -> None:
    ran = asyncio.Event()

    @app.task
    async def task(payload: Any) -> None:
        ran.set()

    async with running(app, **NO_POLLS):
        await eventually(lambda: connection.execute("select from tidemill._listeners").rowcount, "idleness")
        await app.set_limit("l", Limit(1))
        await app.add_job("task", limit_name="l")
        await within(ran)
    app.sync.remove_limit("l")
    with pytest.raises(InvalidJobError, match='no limit "l"'):
        app.sync.add_job("task", limit_name="l")


async def test_the_walk_goes_on_by_itself(
    app: App, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limited, "_STRIDE", 3)
    ran: set[int] = set()

    @app.task
    async def task(payload: Any) -> None:
        ran.add(payload["c"])

    await app.set_limit("l", Limit(1, per="c"))
    await app.add_jobs([JobSpec("task", {"c": n}, limit_name="l") for n in range(20)])
    # As after a crash of the server.
    connection.execute("truncate tidemill._visits")
    async with running(app, **NO_POLLS):
        await eventually(lambda: len(ran) == 20, "all to run")


async def test_an_end_makes_another_worker_start_the_next_job(
    app: App, connection: psycopg.Connection
) -> None:
    began: asyncio.Queue[str] = asyncio.Queue()
    may_end = asyncio.Event()

    @app.task(limit=Limit(1))
    async def task(payload: Any, job: Any) -> None:
        began.put_nowait(job.worker_id)
        await may_end.wait()

    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(_running(app, NO_POLLS))
        await task.add({})
        assert await began.get() == first.id
        second = await stack.enter_async_context(_running(app, NO_POLLS))
        await task.add({})
        await eventually(
            lambda: connection.execute("select from tidemill._listeners").rowcount == 2, "idleness"
        )
        # It takes no more, so it cannot be the one to go on.
        first.stop()
        may_end.set()
        assert await began.get() == second.id


async def test_a_token_is_waited_for(app: App) -> None:
    times: list[float] = []
    done = asyncio.Event()

    @app.task(limit=Rate(5, "1 second", burst=1))
    async def task(payload: Any) -> None:
        times.append(asyncio.get_running_loop().time())
        if len(times) == 3:
            done.set()

    async with running(app, **NO_POLLS):
        await app.add_jobs([task.spec({})] * 3)
        await within(done)
    assert times[2] - times[0] > 0.3


@pytest.mark.one_worker("the log is that of one")
async def test_the_newest_code_decides(app: App, database: str, caplog: pytest.LogCaptureFixture) -> None:
    app.task(limit=Limit(3, per="c"))(named("task"))
    await run_all(app)
    assert "task task is limited now: 3 at once, per c" in caplog.text
    async with App(database) as newer:
        newer.task(limit=Limit(5, rate=Rate(10, "1 minute")))(named("task"))
        await run_all(newer)
    assert (
        "its limit is 5 at once, 10 in 00:01:00 now, as the code of this worker has it; "
        "it was 3 at once, per c" in caplog.text
    )
    async with App(database) as without:
        without.task(named("task"))
        await run_all(without)
    assert "its limit is gone now" in caplog.text


def named(name: str) -> Any:
    async def task(payload: Any) -> None: ...

    task.__name__ = name
    return task


async def test_a_worker_does_not_start_without_the_limit_that_its_task_names(app: App) -> None:
    app.task(limit="nobody's")(named("task"))
    with pytest.raises(TaskLoadError, match=r'has the limit "nobody.s", which is not there.*set_limit'):
        await run_all(app)


async def test_all_limited_jobs_run_once_over(app: App, connection: psycopg.Connection) -> None:
    ran: list[int] = []

    @app.task(limit=Limit(1))
    async def task(payload: int, job: Any) -> Any:
        ran.append(payload)
        return Retry(0) if payload == 3 and job.attempt == 1 else None

    await app.add_jobs([task.spec(n) for n in range(6)])
    # They were added before the task had its limit.
    await run_all(app)
    assert sorted(ran) == [0, 1, 2, 3, 3, 4, 5]
    await app.add_jobs([task.spec(n) for n in range(4, 10)])
    await run_all(app)
    assert ran[7:] == [4, 5, 6, 7, 8, 9]
    assert connection.execute("select from tidemill.jobs").rowcount == 0


async def test_a_pooler_and_another_isolation_do_not_matter(
    app: App, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patient, "settle_own_session", lambda opened: False)
    database = connection.info.dbname
    connection.execute(
        f"alter database {database} set default_transaction_isolation to 'repeatable read'".encode()
    )
    ran: set[int] = set()

    @app.task(limit=Limit(2))
    async def task(payload: int) -> None:
        ran.add(payload)

    async with running(app):
        for n in range(20):
            await task.add(n)
        await eventually(lambda: settled(connection), "all jobs to end")
    assert ran == set(range(20))
