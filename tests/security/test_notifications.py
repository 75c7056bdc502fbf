"""Any role may notify: what it says makes a worker look, and nothing else."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.support.running import eventually, running, until_leased
from tidemill import App

pytestmark = pytest.mark.versions(18, 16)

CHANNELS = ("tidemill:jobs", "tidemill:cancel", "tidemill:actions", "tidemill:ping")
GARBAGE = [
    "",
    "nonsense",
    "0 99999 0 1",
    "-1",
    "0 0",
    "0 0 0",
    "1 2 3 4 5",
    "9" * 4000,
    "0 0 " + "9" * 20 + " 1",
    "0 0 0 " + "9" * 19,
    "1e9 nan inf 0x10",
    "{1,2,3}",
    "[1]",
    "1,2,3",
    "null",
    "';drop table x;--",
    "\N{SNOWMAN}\N{BALLOON}\u202e",
    "x" * 7999,
    "\x01\x7f %s %(id)s {0}",
]


@pytest.fixture
async def app(database: str, caplog: pytest.LogCaptureFixture) -> AsyncIterator[App]:
    caplog.set_level(logging.INFO, "tidemill")
    async with App(database) as opened:
        yield opened


def flood(stranger: psycopg.Connection, ids: list[int]) -> None:
    """Each garbage on each channel, and the ids of jobs, hundreds of times."""
    said = [*GARBAGE, ",".join(map(str, ids)), *map(str, ids), *(f"0 0 0 {job_id}" for job_id in ids)]
    for _ in range(20):
        stranger.execute(
            "select pg_notify(c, p) from unnest(%s::text[]) c, unnest(%s::text[]) p", [list(CHANNELS), said]
        )


@pytest.mark.one_worker("each says so once")
@pytest.mark.parametrize("encoding", ["UTF8", "LATIN9"])
async def test_a_flood_of_garbage_on_every_channel(
    database: str,
    connection: psycopg.Connection,
    stranger: psycopg.Connection,
    caplog: pytest.LogCaptureFixture,
    encoding: str,
) -> None:
    caplog.set_level(logging.INFO, "tidemill")
    app = App(make_conninfo(database, client_encoding=encoding))
    ends = asyncio.Event()
    ran: list[Any] = []

    @app.task
    async def waits(payload: Any) -> None:
        ran.append(payload)
        await ends.wait()

    @app.task
    async def note(payload: Any) -> None:
        ran.append(payload)

    async with app, running(app, lane="lease", heartbeat_interval=0.5) as worker:
        jobs = [await app.add_job("waits", number) for number in range(3)]
        await eventually(
            lambda: (
                connection.execute(
                    "select from pg_stat_activity where query = 'listen \"tidemill:ping\"' and state = 'idle'"
                    " and datname = current_database()"
                ).rowcount
            ),
            "the listener",
        )
        later = await app.add_job("note", "later", run_at=jobs[0].run_at.replace(year=2100))
        await until_leased(connection, 3)
        await asyncio.to_thread(flood, stranger, [job.id for job in [*jobs, later]])
        stranger.execute("select pg_notify('tidemill:ping', %s)", [worker.id])
        # The worker still hears, and still looks.
        await app.add_job("note", "after")
        await eventually(lambda: "after" in ran, "the job after the flood")
        # Nothing of it is true: no job is cancelled, settled or run early.
        states = "select id, state from tidemill.jobs order by id"
        await eventually(lambda: connection.execute(states).rowcount == 4, "that job to be settled")
        assert connection.execute(states).fetchall() == [
            *((job.id, "running") for job in jobs),
            (later.id, "scheduled"),
        ]
        await app.cancel_jobs([jobs[0].id], "truly")
        await eventually(
            lambda: (
                "truly" in str(connection.execute("select last_error, state from tidemill.jobs").fetchall())
            ),
            "the true cancellation",
        )
        ends.set()
    assert connection.execute(
        "select count(*) from tidemill.jobs where id = any(%s)", [[job.id for job in jobs[1:]]]
    ).fetchone() == (0,)
    complaints = [record for record in caplog.records if "was not understood" in record.getMessage()]
    assert len(complaints) == 1
    # And one of the job that was cancelled in truth, at most.
    others = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert [line for line in others if "not understood" not in line and "ancel" not in line] == []


async def test_ids_of_running_jobs_cancel_none(
    app: App, connection: psycopg.Connection, stranger: psycopg.Connection
) -> None:
    ends = asyncio.Event()

    @app.task
    async def waits(payload: Any) -> None:
        await ends.wait()

    async with running(app, lane="lease"):
        jobs = [await app.add_job("waits") for _ in range(5)]
        await until_leased(connection, 5)
        stranger.execute("select pg_notify('tidemill:cancel', %s)", [",".join(str(job.id) for job in jobs)])
        # One that is cancelled in truth: the worker has looked by then.
        await app.cancel_jobs([jobs[0].id])
        await eventually(
            lambda: connection.execute("select from tidemill.jobs where state = 'cancelled'").rowcount == 1,
            "the one that is cancelled",
        )
        assert connection.execute("select from tidemill.jobs where state = 'running'").rowcount == 4
        ends.set()
    assert connection.execute("select state, last_error from tidemill.jobs").fetchall() == [
        ("cancelled", "Cancelled")
    ]
