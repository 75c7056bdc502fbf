"""A database of an older version, with jobs and actions in every state, is brought to this one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg.rows import dict_row

from tests.actions.support import make_note, make_procedure
from tests.support.running import run_all
from tidemill import App, JobContext
from tidemill.database import sql
from tidemill.database.migrate import migrate

pytestmark = pytest.mark.versions(18, 17, 16, 15)

Connection = psycopg.Connection[Any]

RAN = ["keyed", "leased", "leased in a queue", "queued", "ready", "retried"]
RAN_TOO = ["flagged", "leased with a key", "by task", "by task with options"]
GONE = "its worker stopped without a word: killed, crashed, or cut off from the database (worker dead)"
LEFT = {
    "scheduled": ("scheduled", None, None),
    "failed": ("failed", None, "is bad"),
    "of an unknown task": ("ready", None, None),
    "in a busy queue": ("ready", None, None),
    "leased for the last time": ("failed", None, f"Attempt 3 of 3 did not end: {GONE}"),
    "replaced": (
        "failed",
        None,
        f"The attempt that a newer job with its key found running did not end: {GONE}",
    ),
    "removed": ("failed", None, f"The attempt that its removal by key found running did not end: {GONE}"),
    "cancelled": ("failed", None, "Cancelled"),
    "in good hands": ("running", "g", None),
}
# How the runs ended that were open or due, and which slot of the action's grid comes next.
ACTIONS: dict[str, tuple[list[str], int | None]] = {
    "on a grid": (["success"], 4),
    "skips": (["skipped"], 4),
    "backfills": (["success", "success"], 4),
    "paused": ([], 2),
    "ahead": ([], 4),
    "retried": (["success"], 4),
    "gives up": (["failure"], None),
    "lost": (["worker_lost"], None),
    "by hand": (["backend_terminated", "success"], 4),
    "task": (["success"], 4),
    "task with options": (["success"], 4),
    "drifts": (["success"], None),
    "is new": (["success"], None),
    "by cron": (["success"], None),
}


@pytest.fixture
def connection(empty_database: str) -> Iterator[Connection]:
    """An autocommit connection to a database without the schema."""
    with psycopg.connect(empty_database, autocommit=True) as opened:
        yield opened


def text(name: str) -> bytes:
    """What the file in the directory `upgrade` says."""
    return (Path(__file__).parent / "upgrade" / f"{name}.sql").read_bytes()


def rows(connection: Connection, query: str | bytes) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query.encode() if isinstance(query, str) else query).fetchall()


def lay(connection: Connection, newest: int, *files: str) -> list[str]:
    """Lays the tables of an older version with these rows; returns the migrations since."""
    for migration in sql.migrations():
        if migration.number <= newest:
            connection.execute(migration.text)
            connection.execute(
                sql.query("install/record_migration"),
                {"number": migration.number, "name": migration.name, "breaking": migration.breaking},
            )
    for name in files:
        with connection.transaction():
            connection.execute(text(name))
    return [f"{migration.number:04}" for migration in sql.migrations() if migration.number > newest]


async def run(database: str) -> list[Any]:
    """Runs all that is due; returns what the task was handed."""
    ran: list[Any] = []
    async with App(database) as app:
        app.task("t")(lambda payload: ran.append(payload))
        await run_all(app)
    return ran


async def test_jobs_in_every_state_survive_it(connection: Connection, empty_database: str) -> None:
    missing = lay(connection, 1, "jobs_of_0001")
    report = migrate(empty_database)
    assert [text[:4] for text in report.applied] == missing
    # The leases of the dead worker have run out: whatever runs next sweeps them.
    assert sorted(await run(empty_database)) == RAN
    left = connection.execute("select payload, state, last_error from tidemill.jobs order by id").fetchall()
    assert left == [("scheduled", "scheduled", None), ("failed", "failed", "is bad")]


def test_payloads_are_stored_as_large_as_they_are(connection: Connection, empty_database: str) -> None:
    lay(connection, 4)
    job: LiteralString = (
        "insert into tidemill._jobs (task_id, payload) values (1, to_json(repeat(%s, 100000)))"
    )
    connection.execute(job, ["x"])
    migrate(empty_database)
    connection.execute(job, ["y"])
    stored = connection.execute(
        "select left(payload::text, 2), pg_column_size(payload), updated_at = created_at from tidemill._jobs"
        " order by id"
    ).fetchall()
    assert stored == [('"x', 100_002, True), ('"y', 100_002, True)]


async def test_actions_in_every_state_survive_it(connection: Connection, empty_database: str) -> None:
    make_note(connection)
    make_procedure(connection, "break", "perform 1/0;")
    missing = lay(connection, 3, "jobs_of_0001", "jobs_of_0003", "actions_of_0003")
    assert [text[:4] for text in migrate(empty_database).applied] == missing

    ran = await run(empty_database)
    assert sorted(payload for payload in ran if isinstance(payload, str)) == sorted(RAN + RAN_TOO)
    check_jobs(connection)
    check_actions(connection)
    # An action's own task is told of its failure, else that for all of them.
    [told] = [payload for payload in ran if not isinstance(payload, str)]
    assert (told["name"], told["outcome"], told["paused"]) == ("gives up", "failure", True)
    [waiting] = rows(connection, "select payload from tidemill.jobs where json_typeof(payload) = 'object'")
    assert (waiting["payload"]["name"], waiting["payload"]["outcome"]) == ("lost", "worker_lost")

    # What was paused can be resumed, and is due then.
    connection.execute(
        "select tidemill.alter_action(id, scheduled => true) from tidemill.actions where name = 'paused'"
    )
    started = rows(connection, "select application_name as name from tidemill._start_actions('w', 9)")
    assert [found["name"].split(" [")[0] for found in started] == ["paused"]


def test_an_interval_below_the_least_one_becomes_that(connection: Connection, empty_database: str) -> None:
    lay(connection, 4)
    connection.execute(
        "insert into tidemill._actions (name, task, owner, schedule_interval, initial_start)"
        " select i, 't', current_user::regrole, i::interval, now()"
        " from unnest(array['0.25 s', '1 s', '1.5 s', '1 day -23:59:59.5']) as i"
    )
    connection.execute(
        "insert into tidemill._action_states (action_id) select id from tidemill._actions where id > 3"
    )
    migrate(empty_database)
    found = rows(
        connection,
        "select name, schedule_interval::text as every from tidemill.actions where id > 3 order by id",
    )
    assert {row["name"]: row["every"] for row in found} == {
        "0.25 s": "00:00:01",
        "1 s": "00:00:01",
        "1.5 s": "00:00:01.5",
        "1 day -23:59:59.5": "00:00:01",
    }


def test_numbers_that_no_limit_got_are_given_back(connection: Connection, empty_database: str) -> None:
    lay(connection, 18)
    connection.execute("insert into tidemill._limits (name, concurrency) values ('l', 1), ('m', 1)")
    connection.execute("select setval('tidemill._limits_id_seq', 9000000)")
    migrate(empty_database)
    connection.execute("select tidemill.set_limit('n', 1)")
    assert rows(connection, "select name, id from tidemill._limits order by id")[-1] == {"name": "n", "id": 3}


async def test_history_of_before_has_no_progress(connection: Connection, empty_database: str) -> None:
    lay(connection, 16)
    for root in ("_done_jobs", "_ended_attempts"):
        connection.execute(
            f"create table tidemill.{root}_week (like tidemill.{root} including indexes)"
            " partition by range (finished_at);"
            f"create table tidemill.{root}_old partition of tidemill.{root}_week default;"
            f"alter table tidemill.{root} attach partition tidemill.{root}_week for values in (2)".encode()
        )
    connection.execute("insert into tidemill._history_keeps values (2)")
    connection.execute(
        "insert into tidemill._done_jobs (id, created_at, run_at, started_at, finished_at, keep, attempt,"
        " max_attempts, priority, identifier) select 1, at, at, at, at, 2, 1, 25, 0, 't' from now() at"
    )
    migrate(empty_database)
    app = App(empty_database)

    @app.task(keep="1 week", max_attempts=1)
    async def t(payload: bool, job: JobContext) -> None:
        job.progress(0.5, "half way")
        if payload:
            raise LookupError

    for fails in (False, True):
        await t.add(fails)
    await run_all(app)
    found = connection.execute(
        "select outcome, progress, progress_message from tidemill.job_history order by id"
    ).fetchall()
    assert found == [("done", None, None), ("done", 0.5, "half way"), ("failed", 0.5, "half way")]


def check_jobs(connection: Connection) -> None:
    """Jobs that could not run are as they were, or say what became of them."""
    left = rows(
        connection,
        "select payload, state, key, last_error from tidemill.jobs where json_typeof(payload) = 'string'",
    )
    assert {job["payload"]: (job["state"], job["key"], job["last_error"]) for job in left} == LEFT
    workers = rows(connection, "select id, state from tidemill.workers where hostname = 'h' order by id")
    assert workers == [{"id": "alive", "state": "running"}, {"id": "dead", "state": "lost"}]
    queues = rows(connection, "select locked_by from tidemill._queues order by id")
    assert [queue["locked_by"] for queue in queues] == [None, None, "alive"]


def check_actions(connection: Connection) -> None:
    """Open runs have ended, those that were due have taken place, and each action has its next start."""
    actions = {action["name"]: action for action in rows(connection, text("actions_found"))}
    assert {name: action["outcomes"] for name, action in actions.items()} == {
        name: outcomes for name, (outcomes, _) in ACTIONS.items()
    }
    for name, (outcomes, next_slot) in ACTIONS.items():
        action = actions[name]
        assert action["run_id"] is None
        assert next_slot is None or action["next_slot"] == next_slot
        assert action["scheduled"] == (name not in ("paused", "gives up"))
        if name in ("on a grid", "backfills", "retried"):
            assert action["configs"] == [{"a": 1}] * len(outcomes)
    assert actions["paused"]["paused_because"] == "it was tired"
    assert actions["gives up"]["paused_because"].startswith("paused after 3 consecutive failures")
    assert (actions["gives up"]["total_failures"], actions["gives up"]["total_runs"]) == (3, 3)
    assert (actions["retried"]["consecutive_failures"], actions["retried"]["total_successes"]) == (0, 1)
    # A retry is for the slot that failed.
    assert (actions["retried"]["slot"], actions["on a grid"]["slot"], actions["backfills"]["slot"]) == (
        1,
        2,
        3,
    )
    assert (actions["lost"]["consecutive_crashes"], actions["by hand"]["consecutive_crashes"]) == (1, 0)
    assert actions["lost"]["last_finish"] < actions["lost"]["next_start"]
    assert actions["lost"]["next_slot"] <= 4
    assert (actions["drifts"]["has_drifted"], actions["is new"]["has_drifted"]) == (True, True)
    assert actions["by cron"]["is_by_cron"]
    past = rows(connection, "select name, outcome from tidemill.action_history where action_id = 999999")
    assert len({found["outcome"] for found in past}) == 8
    assert {found["name"] for found in past} == {"long gone"}
    assert len(rows(connection, "select from tidemill._known_crontabs where identifier = 'nightly'")) == 1
