"""A dump that is taken while jobs wait and run, restored into another database by an ordinary role."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.support.hand_worker import HandWorker
from tests.support.open_functions import OPEN_TO_ALL
from tests.support.servers import EMPTY, Server
from tidemill.database.migrate import drop_dialect, installed_dialects, migrate

pytestmark = pytest.mark.versions(18, 17, 16, 15)

JOBS = """
    select id, identifier, queue_name, payload::text, state, priority, run_at, attempts, max_attempts,
           last_error, key, locked_by, revision, flags
    from tidemill.jobs order by id
"""


@pytest.fixture
def busy(connection: psycopg.Connection) -> dict[int, int]:
    """Fills `database` with a job in each state; returns the claim tokens of the running ones."""
    worker = HandWorker.register(connection, ["run", "serial"], worker_id="of before")
    connection.execute(
        "select tidemill.add_job('run', '{\"n\": 1}'), tidemill.add_job('serial', queue_name => 'line')"
    )
    running = worker.claim()
    assert len(running) == 2
    connection.execute(
        "select tidemill.add_job('wait', '[1.50, \"ü\"]', priority => -3, job_key => 'k', flags => '{a,b}'), "
        "tidemill.add_job('serial', queue_name => 'line'), "
        "tidemill.add_job('later', run_at => now() + interval '1 day'), "
        "tidemill.add_job('fail')"
    )
    connection.execute(
        "select tidemill.permanently_fail_jobs("
        "array(select id from tidemill.jobs where identifier = 'fail'), 'it broke')"
    )
    states = connection.execute("select state, count(*) from tidemill.jobs group by 1 order by 1").fetchall()
    assert states == [("failed", 1), ("ready", 2), ("running", 2), ("scheduled", 1)]
    return running


@pytest.fixture(params=["custom", "plain"])
def restored(
    request: pytest.FixtureRequest,
    server: Server,
    database: str,
    busy: dict[int, int],
    directory: Path,
) -> Iterator[psycopg.Connection]:
    """A connection to the restored database."""
    file = directory / "dump"
    what = ("--schema", "tidemill", "--schema", "graphile_worker")
    server.program("pg_dump", f"--format={request.param}", "--file", file, *what, database)
    name = server.clone(EMPTY)
    into = server.conninfo(name)
    if request.param == "custom":
        server.program("pg_restore", "--exit-on-error", "--single-transaction", "--dbname", into, file)
    else:
        server.program("psql", "-Xq", "-v", "ON_ERROR_STOP=1", "--file", file, into)
    with psycopg.connect(into, autocommit=True) as connection:
        yield connection
    server.drop(name)


def test_every_job_is_there(connection: psycopg.Connection, restored: psycopg.Connection) -> None:
    assert restored.execute(JOBS).fetchall() == connection.execute(JOBS).fetchall()


def test_there_is_nothing_to_migrate(restored: psycopg.Connection) -> None:
    assert not migrate(restored.info.dsn).changed
    assert installed_dialects(restored.info.dsn) == {"graphile_worker": True, "timescaledb": False}
    assert drop_dialect(restored.info.dsn, "graphile_worker")
    assert migrate(restored.info.dsn, dialects=["graphile_worker"]).dialects_laid == ["graphile_worker"]


def test_functions_are_not_opened_to_public(restored: psycopg.Connection) -> None:
    found = restored.execute(
        "select oid::regprocedure from pg_proc where pronamespace = 'tidemill'::regnamespace "
        "and proname <> all(%s) "
        "and (proacl is null or exists (select from aclexplode(proacl) where grantee = 0))",
        [list(OPEN_TO_ALL)],
    ).fetchall()
    assert found == []


def test_new_jobs_do_not_collide(restored: psycopg.Connection, busy: dict[int, int]) -> None:
    highest = restored.execute("select max(id) from tidemill.jobs").fetchone()
    added = restored.execute(
        "select id from tidemill.add_job('new one', queue_name => 'new line') "
        "union all select id from tidemill.add_job('run') order by 1"
    ).fetchall()
    assert highest is not None
    assert added[0][0] > highest[0]
    assert len(set(added)) == 2
    # Nor do claims, whose numbers fence completions.
    worker = HandWorker.register(restored, ["run"])
    tokens = worker.claim()
    assert min(tokens.values()) > max(busy.values())


def test_a_key_still_means_its_job(restored: psycopg.Connection) -> None:
    before = restored.execute("select id from tidemill.jobs where key = 'k'").fetchone()
    after = restored.execute("select id from tidemill.add_job('wait', '[2]', job_key => 'k')").fetchone()
    assert after == before
    assert restored.execute(
        "select payload::text, revision from tidemill.jobs where key = 'k'"
    ).fetchall() == [('[1.50, "ü", 2]', 1)]


def test_leases_hold_until_they_expire(restored: psycopg.Connection, busy: dict[int, int]) -> None:
    worker = HandWorker.register(restored, ["run", "serial"], worker_id="of after")
    assert restored.execute("select from tidemill._sweep_leases()").fetchall() == []
    assert worker.claim() == {}

    # As if two hours had gone by.
    restored.execute(
        "update tidemill._workers set expires_at = expires_at - interval '2 hours',"
        " heartbeat_at = heartbeat_at - interval '2 hours', suspected_at = suspected_at - interval '2 hours'"
        " where id = 'of before'"
    )
    swept = restored.execute("select id from tidemill._sweep_leases() order by 1").fetchall()
    assert swept == [(job,) for job in sorted(busy)]
    # The worker of before may still live, and reach this database.
    stale = HandWorker(restored, "of before", [])
    assert stale.complete(busy) == dict.fromkeys(busy, "lost")

    claimed = worker.claim()
    assert busy.keys() < claimed.keys()
    assert worker.complete(claimed) == {}
    left = restored.execute("select identifier, state from tidemill.jobs order by 1").fetchall()
    assert left == [("fail", "failed"), ("later", "scheduled"), ("wait", "ready")]


def test_failed_jobs_can_be_brought_back(restored: psycopg.Connection) -> None:
    worker = HandWorker.register(restored, ["fail"])
    assert worker.claim() == {}
    restored.execute(
        "select tidemill.reschedule_jobs("
        "array(select id from tidemill.jobs where state = 'failed'), attempts => 0)"
    )
    assert worker.complete(worker.claim()) == {}
    assert restored.execute("select from tidemill.jobs where identifier = 'fail'").fetchall() == []
