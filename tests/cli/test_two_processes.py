"""What jobs are promised, where two processes take them from each other (`--processes 2`)."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from tests.support.commands import CommandLine
from tests.support.processes import settled
from tests.support.supervised import Supervised, supervised
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.versions(18)]
lanes = pytest.mark.parametrize("lane", ["lease", "express"])

APP = """
import os

from tidemill import App
from tidemill.retry import constant

app = App()
# They take some time, so that one process cannot take them all.
NOTE = "insert into ran select %s, %s, %s, %s, now(), clock_timestamp() from pg_sleep(0.002)"

def values(job, payload):
    return [job.id, job.attempt, str(payload), os.getpid()]

@app.task
async def notes(payload, job):
    async with job.connection() as connection:
        await connection.execute(NOTE, values(job, payload))

@app.task(retry=constant(0))
def plain(payload, job):
    with job.sync.connection() as connection:
        connection.execute(NOTE, values(job, payload))

@app.task(retry=constant(0))
def fails(payload, job):
    "Fails until the attempt that the payload names."
    plain.function(payload, job)
    if job.attempt < payload:
        raise ValueError("not yet")

@app.task(retry=constant(0))
async def batch(payload, job):
    "Entries that are odd fail in the first attempt."
    await notes.function(payload, job)
    return [ValueError("odd") if entry % 2 and job.attempt == 1 else None for entry in payload]

@app.task
def waits(payload, job):
    plain.function(payload, job)
    job.wait_cancelled(60)
    job.raise_if_cancelled()
"""

RUNNING = "select from tidemill._jobs where locked_at is not null"


@pytest.fixture
def table(cli: CommandLine, connection: psycopg.Connection) -> psycopg.Connection:
    """With the app's module, and the table in which its tasks tell what they did."""
    (cli.directory / "shop.py").write_text(APP)
    connection.execute(
        "create table ran (job bigint, attempt integer, payload text, pid integer,"
        " began timestamptz, ended timestamptz)"
    )
    return connection


@pytest.fixture
def lane(request: pytest.FixtureRequest) -> str:
    return str(getattr(request, "param", "auto"))


@pytest.fixture
def options() -> tuple[str, ...]:
    """More options of the worker."""
    return ()


@pytest.fixture
def two(
    cli: CommandLine, table: psycopg.Connection, lane: str, options: tuple[str, ...]
) -> Iterator[Supervised]:
    """Two processes that are ready for jobs, and that stop well."""
    command = ("--processes", "2", "--app", "shop:app", "--lane", lane, "--poll-interval", "0.1", *options)
    with supervised(cli, *command) as started:
        wait_until(lambda: table.execute("select from tidemill.workers").rowcount == 2, "both workers")
        yield started
        started.process.send_signal(signal.SIGTERM)
        assert started.code() == 0, started.log


def rows(connection: psycopg.Connection, statement: str) -> list[tuple[Any, ...]]:
    return connection.execute(statement.encode()).fetchall()


def add(connection: psycopg.Connection, statement: str) -> None:
    """Adds jobs, and waits until none is left."""
    connection.execute(statement.encode())
    wait_until(lambda: settled(connection), "all jobs to end")


@lanes
@pytest.mark.usefixtures("two")
def test_each_job_runs_once(table: psycopg.Connection) -> None:
    add(table, "select tidemill.add_job(t) from generate_series(1, 500), unnest('{notes,plain}'::text[]) t")
    assert rows(table, "select count(*), count(distinct job), count(distinct pid) from ran") == [
        (1000, 1000, 2)
    ]


@lanes
@pytest.mark.usefixtures("two")
def test_jobs_of_a_queue_run_one_at_a_time_the_most_urgent_first(table: psycopg.Connection) -> None:
    add(
        table,
        "select tidemill.add_job((array['notes', 'plain'])[1 + n % 2], to_json(n % 5), 'queue ' || n % 5,"
        " priority => n % 3) from generate_series(0, 199) n",
    )
    assert rows(table, "select count(*), count(distinct job) from ran") == [(200, 200)]
    overlaps = "select from ran a join ran b using (payload) where a.job < b.job"
    assert rows(table, f"{overlaps} and a.began < b.ended and b.began < a.ended") == []
    orders: dict[str, list[tuple[int, int]]] = {}
    for queue, job in rows(table, "select payload, job from ran order by began, ended"):
        orders.setdefault(queue, []).append(((job - 1) % 3, job))
    assert all(order == sorted(order) for order in orders.values()), orders


@lanes
@pytest.mark.usefixtures("two")
def test_attempts_are_counted_wherever_they_run(table: psycopg.Connection) -> None:
    table.execute("select tidemill.add_job('fails', '3') from generate_series(1, 40)")
    table.execute("select tidemill.add_job('fails', '9', max_attempts => 2) from generate_series(1, 40)")
    wait_until(lambda: not rows(table, "select from tidemill.jobs where state <> 'failed'"), "all to end")
    assert rows(
        table,
        "select payload, runs, count(*) from (select job, payload, array_agg(attempt order by began) runs"
        " from ran group by 1, 2) group by 1, 2 order by 1",
    ) == [("3", [1, 2, 3], 40), ("9", [1, 2], 40)]
    assert rows(table, "select attempts, last_error, count(*) from tidemill.jobs group by 1, 2") == [
        (2, "ValueError: not yet", 40)
    ]


@lanes
@pytest.mark.usefixtures("two")
def test_a_batch_job_keeps_the_entries_that_failed(table: psycopg.Connection) -> None:
    add(table, "select tidemill.add_job('batch', '[1, 2, 3, 4]') from generate_series(1, 40)")
    assert rows(table, "select attempt, payload, count(*) from ran group by 1, 2 order by 1") == [
        (1, "[1, 2, 3, 4]", 40),
        (2, "[1, 3]", 40),
    ]


@lanes
@pytest.mark.usefixtures("two")
def test_each_payload_of_a_key_runs_once_or_is_replaced(table: psycopg.Connection) -> None:
    """Whichever process is running an earlier one; the last one is never replaced."""
    for number in range(60):
        table.execute("select tidemill.add_job('notes', %s, job_key => 'key')", [str(number)])
    wait_until(lambda: settled(table), "all jobs to end")
    ran = [int(payload) for (payload,) in rows(table, "select payload from ran")]
    assert len(ran) == len(set(ran))
    assert 59 in ran


@lanes
def test_running_jobs_of_both_and_waiting_ones_are_cancelled(
    two: Supervised, table: psycopg.Connection
) -> None:
    table.execute("select tidemill.add_job('waits', max_attempts => 3) from generate_series(1, 20)")
    table.execute("select tidemill.add_job('notes', run_at => now() + interval '1 hour')")
    wait_until(lambda: len(rows(table, "select from ran")) == 20, "the jobs to run")
    assert rows(table, "select distinct pid from ran order by 1") == [
        (pid,) for pid in sorted(two.children())
    ]
    wait_until(lambda: len(rows(table, RUNNING)) == 20, "the jobs to be leased")
    table.execute("select tidemill.cancel_jobs(array(select id from tidemill.jobs), 'no longer wanted')")
    wait_until(lambda: not rows(table, RUNNING), "the jobs to end")
    assert rows(
        table, "select state, attempts, last_error, count(*) from tidemill.jobs group by 1, 2, 3 order by 2"
    ) == [
        ("cancelled", 0, "Cancelled: no longer wanted", 1),
        ("cancelled", 1, "Cancelled: no longer wanted", 20),
    ]


@lanes
def test_what_a_killed_process_ran_runs_again(two: Supervised, table: psycopg.Connection) -> None:
    """As soon as its lease has ended, which is put forward here; in the other one, or in a new one."""
    table.execute("select tidemill.add_job('waits') from generate_series(1, 20)")
    wait_until(lambda: len(rows(table, "select from ran")) == 20, "the jobs to run")
    wait_until(lambda: len(rows(table, RUNNING)) == 20, "the jobs to be leased")
    victim = two.children()[0]
    os.kill(victim, signal.SIGKILL)
    two.until("was ended by SIGKILL")
    table.execute("update tidemill._workers set expires_at = now() where pid = %s", [victim])
    [(lost,)] = rows(table, f"select count(*) from ran where pid = {victim}")
    wait_until(lambda: len(rows(table, "select from ran")) == 20 + lost, "the lost jobs to run again")
    table.execute("select tidemill.cancel_jobs(array(select id from tidemill.jobs))")
    wait_until(lambda: not rows(table, "select from tidemill.jobs where state = 'running'"), "the end")
    again = "select job from ran group by 1 having count(*) = 2 and max(attempt) = 2"
    assert len(rows(table, again)) == lost > 0


@pytest.mark.parametrize("options", [("--forbid-flag", "big")])
@pytest.mark.usefixtures("two")
def test_forbidden_flags_hold_in_both(table: psycopg.Connection, options: tuple[str, ...]) -> None:
    table.execute(
        "select tidemill.add_job('notes', to_json(f), flags => array[f])"
        " from generate_series(1, 50), unnest('{big,small}'::text[]) f"
    )
    wait_until(lambda: len(rows(table, "select from tidemill.jobs")) == 50, "the small ones to end")
    assert rows(table, "select payload, count(*) from ran group by 1") == [("small", 50)]
    assert rows(table, "select distinct flags from tidemill.jobs") == [(["big"],)]


@pytest.mark.usefixtures("two")
def test_each_slot_of_an_action_runs_once(table: psycopg.Connection) -> None:
    table.execute("create table noted (action_id integer)")
    table.execute(
        "create procedure note(action_id integer, config jsonb) language sql"
        " as $$ insert into noted values (action_id) $$"
    )
    # A little in the past, so that there is much to do at once.
    since = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=5)
    for what in ("proc => 'note'", "task => 'notes'"):
        table.execute(
            f"select tidemill.add_action({what}, schedule_interval => '1 second', missed => 'backfill',"
            " initial_start => %s) from generate_series(1, 5)",
            [since],
        )
    count = "select min(count) from (select count(*) from tidemill._action_runs group by action_id)"
    wait_until(lambda: (rows(table, count)[0][0] or 0) >= 6, "six runs of each")
    table.execute("select tidemill.alter_action(id, scheduled => false) from tidemill.actions")
    wait_until(lambda: settled(table), "the last jobs to end")
    wait_until(lambda: not rows(table, "select from tidemill._action_runs where outcome is null"), "the last")
    runs = rows(table, "select array_agg(slot order by slot) from tidemill._action_runs group by action_id")
    for (slots,) in runs:
        assert slots == [since + timedelta(seconds=number) for number in range(len(slots))]
    assert len(runs) == 10
    # A pause stops what runs, and so undoes it.
    [(routines, tasks, well)] = rows(
        table,
        "select (select count(*) from noted), (select count(distinct job) from ran),"
        " (select count(*) from tidemill._action_runs where outcome = 'success')",
    )
    assert routines + tasks == well
    assert rows(table, "select count(*) from ran") == [(tasks,)]


@pytest.mark.parametrize("options", [("--crontab", "cron")])
def test_each_minute_of_a_crontab_is_added_once(
    cli: CommandLine, table: psycopg.Connection, options: tuple[str, ...], request: pytest.FixtureRequest
) -> None:
    (cli.directory / "cron").write_text("* * * * * notes ?fill=10m&id=a\n* * * * * plain ?fill=10m&id=b\n")
    # As if another worker had known both for long.
    table.execute(
        "insert into tidemill._known_crontabs (identifier, known_since, last_execution)"
        " select i, now() - interval '1 day', now() - interval '1 day' from unnest('{a,b}'::text[]) i"
    )
    request.getfixturevalue("two")
    # The ten minutes are added at once; a present one may be half done.
    filled = "select count(*) from ran where payload like '%backfilled% True%' group by payload"
    wait_until(lambda: len(rows(table, filled)) >= 10 and settled(table), "the minutes")
    assert set(rows(table, filled)) == {(2,)}
