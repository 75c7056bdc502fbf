"""Tasks with several parameters, run by a worker; and payloads that fit no attempt."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any, assert_type

import psycopg
import pytest

from tests.support.running import run_all, run_one
from tidemill import App, JobContext, Task
from tidemill.context import SyncJobContext
from tidemill.jobs import Job
from tidemill.task_directory import load_directory

# What it is about does not depend on the lane.
pytestmark = pytest.mark.lane("express")


async def test_keywords_arrive_typed_in_async_and_plain_functions(
    app: App, connection: psycopg.Connection
) -> None:
    ran: list[Any] = []

    @app.task
    async def mail(order_id: int, email: str, *, job: JobContext) -> None:
        ran.append((order_id, email, job.identifier))

    @app.task
    def ship(order_id: int, parcels: tuple[int, ...] = (1,)) -> None:
        ran.append((order_id, parcels))

    @app.task
    def tidy() -> None:
        ran.append("tidied")

    @app.task
    def chain(order_id: int, *, context: SyncJobContext) -> None:
        context.add_job("ship", {"order_id": order_id, "parcels": [2, 3]})

    await mail.add(order_id=5, email="ann@example.com", priority=-3)
    await mail.add({"order_id": 6, "email": "bob@example.com"})
    await asyncio.to_thread(lambda: ship.sync.add(order_id=7))
    await tidy.add()
    await chain.add(8)
    connection.execute("""select tidemill.add_job('mail', '{"order_id": 9, "email": "from SQL"}')""")
    await run_all(app)
    assert await app.get_job(1) is None
    assert sorted(ran, key=str) == [
        (5, "ann@example.com", "mail"),
        (6, "bob@example.com", "mail"),
        (7, (1,)),
        (8, (2, 3)),
        (9, "from SQL", "mail"),
        "tidied",
    ]


async def test_one_waits_for_something(app: App) -> None:
    ran: list[Any] = []

    @app.task(timeout=30)
    async def slow(a: int, b: int) -> None:
        await asyncio.sleep(0)
        ran.append((a, b))

    assert await run_one(app, "slow", {"a": 1, "b": 2}) is None
    assert ran == [(1, 2)]


@pytest.mark.parametrize("is_async", [True, False], ids=["async", "plain"])
@pytest.mark.parametrize(
    ("payload", "words"),
    [
        ({"order_id": 5}, "The payload does not fit its task: email is missing."),
        ({"order_id": 5, "email": "x", "more": 1}, "more is unknown"),
        ({"order_id": "5", "email": "x"}, "Expected `int`, got `str` - at `$.order_id`"),
        ([{"order_id": 5, "email": "x"}], "Expected `object`, got `array`"),
    ],
)
async def test_what_does_not_fit_fails_at_once(app: App, is_async: bool, payload: Any, words: str) -> None:
    async def mail_async(order_id: int, email: str) -> None:
        raise AssertionError("not reached")

    def mail(order_id: int, email: str) -> None:
        raise AssertionError("not reached")

    app.task("mail")(mail_async if is_async else mail)
    job = await run_one(app, "mail", payload)
    assert job is not None
    assert (job.state, job.attempts) == ("failed", 25)
    assert words in str(job.last_error)


async def test_a_payload_that_was_mended_runs(app: App, connection: psycopg.Connection) -> None:
    @app.task
    async def mail(order_id: int, email: str) -> None: ...

    job = await run_one(app, "mail", {"order_id": 5})
    assert job is not None
    connection.execute('select tidemill.add_job(\'mail\', \'{"order_id": 5, "email": "x"}\')')
    connection.execute('update tidemill._jobs set payload = \'{"order_id": 5, "email": "x"}\'')
    await app.reschedule_jobs([job.id], attempts=0, run_at=timedelta(0))
    await run_all(app)
    assert connection.execute("select count(*) from tidemill.jobs").fetchone() == (0,)


UNREADABLE = {
    "number": ("1e400", "it has a number that Python cannot hold"),
    "surrogate": ('{"a": "\\ud800"}', "it has half of a surrogate pair"),
    "deep": ("[" * 5000 + "]" * 5000, "its JSON is nested too deep"),
}


@pytest.mark.parametrize("case", UNREADABLE)
async def test_what_nobody_can_read_fails_at_once_whatever_the_task(
    app: App, connection: psycopg.Connection, tmp_path: Path, case: str
) -> None:
    text, words = UNREADABLE[case]
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\nexit 0\n")
    program.chmod(0o755)

    @app.task
    async def untyped(payload: Any) -> None: ...

    @app.task
    def untyped_plain(payload: Any, job: Any) -> None: ...

    @app.task
    async def typed(payload: list[int]) -> None: ...

    @app.task
    async def keywords(a: str = "") -> None: ...

    @app.task
    async def two_keywords(a: str = "", b: str = "") -> None: ...

    [executable], [] = load_directory(tmp_path)
    app.register(executable)
    for name in app.tasks:
        connection.execute("select tidemill.add_job(%s, %s::json)", [name, text])
    await run_all(app)
    rows = connection.execute(
        "select identifier, state, attempts, last_error from tidemill.jobs order by identifier"
    ).fetchall()
    assert [(name, state, attempts) for name, state, attempts, _ in rows] == [
        (name, "failed", 25) for name in sorted(app.tasks)
    ]
    for *_, error in rows:
        assert error.startswith(f"The payload cannot be read: {words}")


async def test_a_task_directory_and_a_schedule(app: App, tmp_path: Path) -> None:
    (tmp_path / "mail.py").write_text(
        "from tidemill import task\n@task(every='1h')\ndef mail(order_id: int = 0, email: str = ''): ...\n"
    )
    (tmp_path / "wrong.py").write_text(
        "from tidemill import task\n@task(every='1h')\ndef wrong(order_id: int, email: str): ...\n"
    )
    [mail], [problem] = load_directory(tmp_path)
    assert mail.has_keywords
    assert "order_id is missing, email is missing" in str(problem)
    app.register(mail)
    assert await run_one(app, "mail") is None


async def test_type_checkers_know_the_payload(app: App) -> None:
    @app.task
    async def alone(payload: list[int]) -> None: ...

    @app.task(max_attempts=3)
    async def alone_with_job(payload: list[int], job: JobContext) -> None: ...

    @app.task
    async def several(a: int, b: str) -> None: ...

    assert_type(alone, Task[list[int]])
    assert_type(alone_with_job, Task[list[int]])
    assert_type(several, Task[Any])
    assert_type(await alone.add([1], priority=2), Job)
    assert_type(await several.add(a=1, b="x"), Job)
    assert (await alone_with_job.add([1])).max_attempts == 3


async def test_a_tasks_own_options_hold_unless_a_job_has_its_own(app: App) -> None:
    @app.task(queue="mail", priority=7, max_attempts=4)
    async def mail(payload: Any) -> None: ...

    added = [
        await mail.add(1),
        (await app.add_jobs([mail.spec(2)]))[0],
        await app.add_job("mail", 3),
        await asyncio.to_thread(app.sync.add_job, "mail", 4),
        await asyncio.to_thread(lambda: mail.sync.add(5)),
    ]
    assert {(job.queue_name, job.priority) for job in added} == {("mail", 7)}
    # The worker keeps to the task's limit whatever a job says.
    assert [job.max_attempts for job in added] == [4, 4, 25, 25, 4]
    own = await mail.add(6, queue_name="other", priority=0, max_attempts=1)
    assert (own.queue_name, own.priority, own.max_attempts) == ("other", 0, 1)
    assert (await app.add_job("unknown", 1)).queue_name is None
