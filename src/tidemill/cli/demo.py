"""`tidemill demo`: the five-minute tour, on a real database."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import psycopg
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from tidemill.app import App
from tidemill.cli import demo_actions, demo_sensors
from tidemill.cli.demo_words import show, title
from tidemill.cli.jobs_find import say_what_waits
from tidemill.cli.options import DatabaseOption
from tidemill.cli.output import errors, print_table, say
from tidemill.cli.welcome import program
from tidemill.context import JobContext
from tidemill.database import sql
from tidemill.database.connect import connect
from tidemill.database.find import find_database
from tidemill.database.migrate import installed_dialects
from tidemill.jobs import Job, JobSpec, Retry
from tidemill.middleware import Middleware
from tidemill.worker import Worker, WorkerOptions

_BULK = 20_000
_PATIENCE = 60.0


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("demo")(demo)


def demo(database: DatabaseOption = None) -> None:
    """See it work: a trigger adds jobs, a worker runs them; SQL runs on a schedule; old rows are packed.

    Works in schemas tidemill_demo... of its own, which it drops at the end.
    """
    found = find_database(database)
    logging.getLogger("tidemill").setLevel(logging.CRITICAL)
    asyncio.run(_Tour(App(found.conninfo)).run())


class _Ended(Middleware):
    """Counts the finished jobs of each task, and lets others wait for a count."""

    def __init__(self) -> None:
        self.done: dict[str, int] = {}
        self.failures: list[str] = []
        self._changed = asyncio.Event()

    def after_job(self, job: JobContext, seconds: float) -> None:
        self.done[job.identifier] = self.done.get(job.identifier, 0) + 1
        self._changed.set()

    def on_error(self, job: JobContext, error: BaseException, seconds: float) -> None:
        self.failures.append(f"attempt {job.attempt}: {error}")
        self._changed.set()

    async def wait(self, identifier: str, count: int) -> None:
        async with asyncio.timeout(_PATIENCE):
            while self.done.get(identifier, 0) < count:
                self._changed.clear()
                await self._changed.wait()


@dataclass
class _Email:
    id: int
    op: str
    schema: str
    table: str


@dataclass
class _Tour:
    app: App
    ended: _Ended = field(default_factory=_Ended)
    sent: list[str] = field(default_factory=list)
    indexed: list[Any] = field(default_factory=list)

    async def run(self) -> None:
        app = self.app
        app.middleware.append(self.ended)
        self._register_tasks()
        await app.migrate()
        with connect(app.database().conninfo, runs_users_code=True) as connection:
            demo_actions.clean_up(connection)
            connection.execute(sql.query("demo_tables"))
            worker = Worker(app, WorkerOptions(poll_interval=0.5))
            running = asyncio.create_task(worker.run())
            try:
                async with app:
                    await self._tour(connection)
            finally:
                worker.stop(hurry=True)
                await running
                connection.execute("set client_min_messages = warning")
                demo_actions.clean_up(connection)

    def _register_tasks(self) -> None:
        app = self.app

        @app.task
        async def send_verification_email(payload: _Email, job: JobContext) -> None:
            async with job.connection() as connection:
                cursor = await connection.execute(
                    "update tidemill_demo.user_emails set verification_sent_at = now() "
                    "where id = %s returning email",
                    [payload.id],
                )
                row = await cursor.fetchone()
            assert row is not None
            self.sent.append(row[0])

        @app.task
        async def charge_card(payload: dict[str, Any], job: JobContext) -> Retry | None:
            if job.attempt < 3:
                return Retry(0.2, reason="the bank did not answer")
            return None

        @app.task
        def reindex(payload: dict[str, Any]) -> None:
            self.indexed.append(payload)

        @app.task
        async def resize_image(payload: dict[str, Any]) -> None:
            pass

    async def _tour(self, connection: psycopg.Connection) -> None:
        title("1. A trigger adds jobs, in the transaction that inserts the rows")
        show(sql.query("demo_trigger"))
        connection.execute(sql.query("demo_trigger"))
        show(sql.query("demo_insert"))
        connection.execute(sql.query("demo_insert"))
        await self.ended.wait("send_verification_email", 2)
        say(f"A Python task has sent mail to {' and '.join(sorted(self.sent))}.")

        title("2. A job that fails is retried")
        show("await app.add_job('charge_card', {'order': 1})")
        await self.app.add_job("charge_card", {"order": 1})
        await self.ended.wait("charge_card", 1)
        for failure in self.ended.failures:
            say(f"{failure}; it will be retried")
        say("attempt 3: done")

        title("3. A key turns ten requests into one job")
        show(
            "for n in range(10):\n"
            "    await app.add_job('reindex', {'n': n}, job_key='reindex', run_at=timedelta(seconds=0.5))",
        )
        job: Job | None = None
        for n in range(10):
            job = await self.app.add_job(
                "reindex", {"n": n}, job_key="reindex", run_at=timedelta(seconds=0.5)
            )
        assert job is not None
        say(f"One row, job {job.id}, changed {job.revision} times.")
        await self.ended.wait("reindex", 1)
        say(f"The task ran {len(self.indexed)} time, with {self.indexed[0]}.")

        title(f"4. {_BULK:,} jobs in one call")
        show(f"await app.add_jobs([resize_image.spec({{'n': n}}) for n in range({_BULK})])")
        started = time.perf_counter()
        await self.app.add_jobs([JobSpec("resize_image", {"n": n}) for n in range(_BULK)])
        added = time.perf_counter() - started
        await self._follow("resize_image", _BULK)
        ran = time.perf_counter() - started
        say(
            f"Added in {added:.1f} s, all done after {ran:.1f} s, by one worker; "
            f"{len(await self._left())} jobs of it are left."
        )

        title("5. A job that no worker knows waits, and says so")
        fax = """select tidemill.add_job('send_fax', '{"to": "+1 555 0100"}', job_key => 'fax')"""
        show(fax + ";")
        connection.execute(fax)
        rows = connection.execute(
            "select id, state, identifier, has_worker, paused_at from tidemill.jobs"
            " where identifier operator(pg_catalog.=) 'send_fax'"
        ).fetchall()
        columns = ("id", "state", "identifier", "has_worker", "paused_at")
        found = [dict(zip(columns, row, strict=True)) for row in rows]
        print_table(found, columns[:3], empty="")
        say_what_waits(self.app.database().conninfo, found)
        connection.execute("select tidemill.remove_job('fax')")
        has_dialect = installed_dialects(self.app.database().conninfo).get("timescaledb", False)
        of_actions = await demo_actions.tour(connection, has_dialect=has_dialect)
        self._summary(of_actions, await demo_sensors.tour(connection))

    async def _left(self) -> list[Any]:
        async with self.app.connection() as connection:
            cursor = await connection.execute(
                "select id from tidemill.jobs where identifier operator(pg_catalog.=) 'resize_image' limit 1"
            )
            return await cursor.fetchall()

    async def _follow(self, identifier: str, count: int) -> None:
        """Waits for jobs with a progress bar, until their rows are gone."""
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            console=errors,
            transient=True,
            disable=not errors.is_terminal,
        ) as progress:
            bar = progress.add_task("Running jobs", total=count)
            for tenth in range(1, 11):
                await self.ended.wait(identifier, count * tenth // 10)
                progress.update(bar, completed=count * tenth // 10)
        # A job's row is deleted moments after its task has ended.
        for _ in range(500):
            if not await self._left():
                break
            await asyncio.sleep(0.01)

    def _summary(self, of_actions: str, of_sensors: str) -> None:
        done = self.ended.done
        title("That was")
        say(f"{done['send_verification_email']} jobs from a trigger, one after two retries,")
        say(f"{done['reindex']} out of ten requests with one key, {done['resize_image']:,} in bulk,")
        say(of_actions)
        say(of_sensors)
        title("Try next")
        show(
            "mkdir tasks\n"
            'echo \'def task(payload): print("Hello", payload["name"])\' > tasks/hello.py\n'
            f'{program()} add hello \'{{"name": "you"}}\'\n'
            f"{program()} worker --once\n"
            f"{program()} psql    # select * from tidemill.jobs;",
        )
        say("Then read the tutorial. The embedded PostgreSQL, if you used it, is kept in .tidemill/.")
