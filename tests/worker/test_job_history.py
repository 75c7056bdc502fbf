"""What is remembered of jobs: in both lanes, in the statement that settles them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from tests.support.running import eventually, running, within
from tidemill import App, Cancel, JobContext, Retry, WorkerOptions
from tidemill.errors import InvalidJobError, TaskLoadError, TidemillError
from tidemill.waiting import Waiting


def history(connection: psycopg.Connection, job_id: int | None = None) -> list[dict[str, Any]]:
    """What is kept, in the order in which it ended."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            "select * from tidemill.job_history where %(id)s::bigint is null or id = %(id)s"
            " order by finished_at, attempt",
            {"id": job_id},
        ).fetchall()


def outcomes(rows: Sequence[dict[str, Any]]) -> list[tuple[str, int]]:
    return [(row["outcome"], row["attempt"]) for row in rows]


async def test_what_is_kept_of_a_done_job(app: App, connection: psycopg.Connection) -> None:
    @app.task(keep="1 week", keep_result=True)
    async def double(payload: Any) -> dict[str, int]:
        return {"twice": 2 * payload["n"]}

    job = await double.add({"n": 4}, queue_name="q", priority=3, job_key="k")
    await app.run_until_empty()
    [row] = history(connection)
    worker = row.pop("worker_id")
    assert worker.startswith("worker-")
    assert row["created_at"] <= row["run_at"] <= row["started_at"] <= row["finished_at"]
    assert row["duration"] == row["finished_at"] - row["started_at"] < timedelta(seconds=10)
    kept = ("id", "identifier", "outcome", "attempt", "max_attempts", "queue_name", "key", "priority")
    assert tuple(row[name] for name in kept) == (job.id, "double", "done", 1, 25, "q", "k", 3)
    assert (row["payload"], row["result"], row["keep"]) == ({"n": 4}, {"twice": 8}, "1 week")
    assert row["error"] is row["error_type"] is row["traceback"] is None
    assert await app.get_job(job.id) is None


@pytest.mark.parametrize("kind", ["async", "plain"])
async def test_each_attempt_is_a_row(app: App, connection: psycopg.Connection, kind: str) -> None:
    def work(job: Any) -> None:
        if job.attempt == 1:
            raise LookupError(f"street {job.id} of 12")
        if job.attempt == 2:
            raise Retry(0, "not yet")

    async def asynchronous(payload: Any, job: Any) -> None:
        work(job)

    def plain(payload: Any, job: Any) -> None:
        work(job)

    app.task("t", keep="1d", retry=lambda attempt: 0)(asynchronous if kind == "async" else plain)
    job = await app.add_job("t")
    await app.run_until_empty()
    first, second, third = history(connection)
    assert outcomes([first, second, third]) == [("retried", 1), ("retried", 2), ("done", 3)]
    assert (first["error_type"], first["error"]) == ("LookupError", f"LookupError: street {job.id} of 12")
    assert first["error_frame"].startswith("worker/test_job_history.py:")
    assert first["error_frame"].endswith("<locals>.work")
    assert first["traceback"].startswith("Traceback (most recent call last):\n")
    assert first["traceback"].endswith(f"LookupError: street {job.id} of 12\n")
    assert "tidemill/queue" not in first["traceback"]
    assert (second["error_type"], second["traceback"]) == ("Retry", None)
    assert first["payload"] is None
    assert len({row["worker_id"] for row in (first, second, third)}) == 1


async def test_failed_and_cancelled_jobs_stay_as_well(app: App, connection: psycopg.Connection) -> None:
    @app.task(keep="1 month")
    async def fails(payload: Any) -> None:
        raise ValueError(f"no {payload['n']}: 0x{payload['n']:x}")

    @app.task(keep="1 month")
    async def gives_up(payload: Any) -> None:
        raise Cancel("not wanted")

    for n in (7, 8):
        await fails.add({"n": n}, max_attempts=1)
    await gives_up.add({})
    await app.run_until_empty()
    rows = history(connection)
    assert sorted(row["outcome"] for row in rows) == ["cancelled", "failed", "failed"]
    marks = {row["error_fingerprint"] for row in rows if row["outcome"] == "failed"}
    assert len(marks) == 1, "they differ in numbers alone"
    states = connection.execute("select state from tidemill.jobs order by id").fetchall()
    assert states == [("failed",), ("failed",), ("cancelled",)]


async def test_of_others_nothing_is_kept(app: App, connection: psycopg.Connection) -> None:
    @app.task
    async def quiet(payload: Any) -> int:
        return 5

    @app.task(keep="1d", keep_payload=False)
    def secret(payload: Any) -> int:
        return 6

    await quiet.add({})
    await quiet.add({"n": 2}, keep="forever")
    await secret.add({"password": "x"})
    await secret.add({}, keep="none")
    await app.run_until_empty()
    rows = history(connection)
    assert sorted((row["identifier"], row["keep"], str(row["payload"])) for row in rows) == [
        ("quiet", "forever", "{'n': 2}"),
        ("secret", "1 day", "None"),
    ]
    assert {row["result"] for row in rows} == {None}


async def test_a_worker_has_a_default(app: App, connection: psycopg.Connection) -> None:
    @app.task
    async def t(payload: Any) -> None: ...

    @app.task(keep="none")
    async def never(payload: Any) -> None: ...

    @app.task(keep="1 year")
    async def long(payload: Any) -> None: ...

    for task in (t, never, long):
        await task.add({})
    await app.run_until_empty(WorkerOptions(keep="36h"))
    assert sorted((row["identifier"], row["keep"]) for row in history(connection)) == [
        ("long", "1 year"),
        ("t", "1 week"),
    ]


async def test_batch_jobs_keep_the_results_of_their_entries(app: App, connection: psycopg.Connection) -> None:
    @app.task(keep_result=True)
    async def t(payloads: list[int]) -> list[Any]:
        async def later(n: int) -> int:
            await asyncio.sleep(0)
            return n

        return [later(payloads[0]), payloads[1]]

    await t.add([1, 2])
    await app.run_until_empty()
    [row] = history(connection)
    assert (row["result"], row["keep"]) == ([1, 2], "1 day")


@pytest.mark.parametrize(
    ("result", "words"),
    [(object(), "a object, cannot be kept as JSON"), ("x" * 1_100_000, "1,100,002 bytes")],
)
async def test_a_result_that_cannot_be_kept(
    app: App, connection: psycopg.Connection, result: object, words: str
) -> None:
    ran = []

    @app.task(keep_result=True)
    def t(payload: Any) -> object:
        ran.append(payload)
        return result

    job = await t.add({})
    await app.run_until_empty()
    assert len(ran) == 1, "its effects are there, so it must not run again"
    [row] = history(connection)
    assert (row["outcome"], row["error_type"]) == ("failed", "ResultError")
    assert words in row["error"]
    failed = await app.get_job(job.id)
    assert failed is not None
    assert failed.state == "failed"


async def test_many_in_one_batch(app: App, connection: psycopg.Connection, all_is_quick: None) -> None:
    @app.task(keep_result=True)
    async def t(payload: Any) -> int:
        return int(payload)

    await app.add_jobs([t.spec(n) for n in range(500)])
    await app.run_until_empty()
    rows = connection.execute("select payload, result from tidemill.job_history").fetchall()
    assert sorted(rows) == [(n, n) for n in range(500)]
    assert connection.execute("select count(*) from tidemill._jobs").fetchone() == (0,)


async def test_long_results(
    app: App, connection: psycopg.Connection, all_is_quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of an express batch end by lease, where they are written in parts."""
    for module in ("express", "lease"):
        monkeypatch.setattr(f"tidemill.queue.{module}.MOST_BYTES", 1000)
    ran = []

    @app.task(keep_result=True)
    async def t(payload: Any) -> str:
        ran.append(payload)
        return "x" * 400

    await app.add_jobs([t.spec(n) for n in range(50)])
    await app.run_until_empty()
    assert sorted(ran) == list(range(50))
    rows = connection.execute("select payload, result from tidemill.job_history").fetchall()
    assert sorted(rows) == [(n, "x" * 400) for n in range(50)]


async def test_waiting(app: App, connection: psycopg.Connection) -> None:
    @app.task(keep_result=True)
    async def double(payload: int) -> int:
        return 2 * payload

    @app.task(keep="1d")
    def fails(payload: Any) -> None:
        raise ValueError("no")

    @app.task
    async def unkept(payload: Any) -> None: ...

    async with running(app):
        jobs = [await double.add(n) for n in range(20)]
        assert await asyncio.gather(*(app.wait(job, timeout=30) for job in jobs)) == list(range(0, 40, 2))
        assert await app.wait(jobs[3].id) == 6
        assert await asyncio.to_thread(app.sync.wait, jobs[4], timeout="30s") == 8
        failed = await fails.add({}, max_attempts=1)
        with pytest.raises(Exception, match=f"Job {failed.id} has failed for good: ValueError: no") as caught:
            await app.wait(failed, timeout=30)
        assert (caught.value.outcome, caught.value.job_id) == ("failed", failed.id)  # type: ignore[attr-defined]
        with pytest.raises(InvalidJobError, match="history"):
            await app.wait(await unkept.add({}, run_at=timedelta(hours=1)), timeout=30)
        with pytest.raises(InvalidJobError, match="Nothing is known of job 999999"):
            await app.wait(999999, timeout=30)
        with pytest.raises(TimeoutError, match=r"has not ended within 0\.05 s"):
            await app.wait(await double.add(1, run_at=timedelta(hours=1)), timeout=0.05)
        await eventually(
            lambda: not connection.execute("select from tidemill._waiters").fetchall(), "nobody to be told"
        )


async def test_whoever_waits_is_told(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a look once a second."""
    monkeypatch.setattr("tidemill.waiting._INTERVAL_SECONDS", 1000)
    monkeypatch.setattr("tidemill.waiting._LOOKS", (0.0,))
    looks: list[bool] = []
    look = Waiting._look

    def noted_look(self: Waiting, *args: Any) -> bool:
        looks.append(look(self, *args))
        return looks[-1]

    monkeypatch.setattr(Waiting, "_look", noted_look)
    gate, begun = asyncio.Event(), asyncio.Event()

    @app.task(keep_result=True)
    async def t(payload: Any) -> str:
        begun.set()
        await gate.wait()
        return "there"

    async with running(app):
        waits = asyncio.ensure_future(app.wait(await t.add({}), timeout=30))
        await within(begun)
        await eventually(lambda: looks == [False, False], "two looks in vain")
        gate.set()
        assert await waits == "there"


@pytest.mark.lane("express")
@pytest.mark.parametrize("keep", ["soon", 0, timedelta(0), "-1d", 5.0])
async def test_what_is_no_keep(app: App, keep: Any) -> None:
    with pytest.raises(
        TaskLoadError, match=r"keep of task 'nothing': .* is not how long history can be kept"
    ):
        app.task("nothing", keep=keep)(lambda payload: None)
    with pytest.raises(TidemillError, match=r"keep: .* is not how long history can be kept"):
        WorkerOptions(keep=keep)
    with pytest.raises(InvalidJobError, match=r"keep of job 'nothing': .* is not how long"):
        await app.add_job("nothing", keep=keep)


@pytest.mark.lane("express")
async def test_a_locked_partition_repeats_no_job(
    app: App, connection: psycopg.Connection, watcher: psycopg.Connection, all_is_quick: None
) -> None:
    ran = []

    @app.task(keep="1d")
    async def t(payload: Any) -> None:
        ran.append(payload)

    async with running(app):
        watcher.execute("begin; lock table tidemill._done_jobs_day in access exclusive mode")
        await app.add_jobs([t.spec(n) for n in range(50)])
        await eventually(lambda: len(ran) == 50, "all jobs to have run")
        await eventually(
            lambda: (
                connection.execute(
                    "select count(*) from tidemill._jobs where locked_at is not null"
                ).fetchone()
                == (50,)
            ),
            "the jobs to be leased, since their history cannot be written",
        )
        watcher.execute("rollback")
        await eventually(
            lambda: connection.execute("select count(*) from tidemill.job_history").fetchone() == (50,),
            "their history",
        )
    assert sorted(ran) == list(range(50))


@pytest.mark.lane("lease")
async def test_what_cannot_be_written_does_not_hold_up_jobs(
    app: App, connection: psycopg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    @app.task(keep="1d")
    async def t(payload: Any) -> None: ...

    connection.execute("select tidemill._open_history(1::smallint)")
    connection.execute("alter table tidemill._done_jobs_day add check (id < 0)")
    job = await t.add({})
    await app.run_until_empty()
    assert await app.get_job(job.id) is None
    assert "no history is kept of jobs that are done: job 1 (t)" in caplog.text


async def test_the_last_progress_of_each_attempt(app: App, connection: psycopg.Connection) -> None:
    @app.task(keep="1d", retry=lambda attempt: 0)
    async def t(payload: Any, job: JobContext) -> None:
        job.progress(0.1, "begun")
        if job.attempt == 1:
            job.progress(0.25, "a quarter\0")
            raise LookupError
        if job.attempt == 2:
            job.progress(0.5)
            raise Retry(0)
        job.progress(None, "at the end")

    @app.task(keep="1d")
    def plain(payload: Any, job: JobContext) -> None:
        if payload:
            job.sync.progress(payload, f"{payload} of 1")

    job = await app.add_job("t")
    await app.run_until_empty()
    told = [(row["progress"], row["progress_message"]) for row in history(connection, job.id)]
    assert told == [(0.25, "a quarter\N{REPLACEMENT CHARACTER}"), (0.5, None), (None, "at the end")]
    # Among those that tell of none each has its own.
    jobs = await app.add_jobs([plain.spec(n) for n in (0, 0.5, 0, 1, 0)])
    await app.run_until_empty()
    rows = {row["id"]: (row["progress"], row["progress_message"]) for row in history(connection)}
    none = (None, None)
    assert [rows[job.id] for job in jobs] == [none, (0.5, "0.5 of 1"), none, (1, "1 of 1"), none]


async def test_progress_of_attempts_that_fail_together(app: App, connection: psycopg.Connection) -> None:
    @app.task(max_attempts=1)
    async def t(payload: Any, job: JobContext) -> None:
        if payload % 2:
            job.progress(payload / 10, "so far")
        raise LookupError

    jobs = await app.add_jobs([t.spec(n, keep="none" if n == 4 else "1d") for n in range(8)])
    await app.run_until_empty()
    rows = {row["id"]: row["progress"] for row in history(connection)}
    assert [rows.get(job.id, "none") for job in jobs] == pytest.approx(
        [None, 0.1, None, 0.3, "none", 0.5, None, 0.7]
    )
