"""A copy of a database beside the original, on one server: process numbers are the cluster's."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.actions.support import add_action, make_note, outcomes
from tests.support.servers import Server

pytestmark = pytest.mark.versions(18, 16)


@pytest.fixture
def original(server: Server, database: str) -> str:
    """A database with a worker, and runs by a worker and by hand that go on; with sessions of their own."""
    with psycopg.connect(database, autocommit=True) as connection:
        make_note(connection)
        for _ in range(2):
            add_action(connection, proc="note")
    return database


@pytest.fixture
def copy(server: Server, original: str, connection: psycopg.Connection) -> Iterator[psycopg.Connection]:
    """A copy, in which the rows of the original name the process of `connection`."""
    worker = "select tidemill._register_worker('w', 'h', 1, '1', 1, '{t}', '1 minute')"
    running = """
        insert into tidemill._action_runs
            (action_id, application_name, owner, by_hand, worker_id, pid, backend_start, started_at)
          select a.id, 'x', a.owner, a.id % 2 = 0, 'gone', p.pid, p.backend_start, clock_timestamp()
          from tidemill._actions a, pg_stat_activity p
          where a.id >= 1000 and p.pid = pg_backend_pid()
    """
    connection.execute(worker)
    connection.execute(running)
    pid = connection.info.backend_pid
    start = connection.execute(
        "select backend_start from pg_stat_activity where pid = pg_backend_pid()"
    ).fetchone()
    assert start is not None
    name = server.clone("tidemill_template")
    into = make_conninfo(original, dbname=name)
    with psycopg.connect(into, autocommit=True) as other:
        make_note(other)
        for _ in range(2):
            add_action(other, proc="note")
        other.execute(worker)
        other.execute("update tidemill._workers set backend_pid = %s", [pid])
        other.execute(running)
        other.execute("update tidemill._action_runs set pid = %s, backend_start = %s", [pid, start[0]])
        yield other
    server.drop(name)


def test_a_sweep_ends_no_process_of_the_original(
    connection: psycopg.Connection, copy: psycopg.Connection
) -> None:
    copy.execute("select tidemill._sweep_runs()")
    # Still there; a terminated one would raise an error.
    assert connection.execute("select 1").fetchone() == (1,)
    # In the copy nothing runs; the original's rows are its own.
    found = copy.execute("select by_hand, outcome from tidemill._action_runs order by 1").fetchall()
    assert found == [(False, "worker_lost"), (True, "backend_terminated")]
    assert outcomes(connection, 1000) + outcomes(connection, 1001) == [None, None]


def test_a_lost_connection_ends_no_process_of_the_original(
    connection: psycopg.Connection, copy: psycopg.Connection
) -> None:
    copy.execute(
        "select tidemill._finish_run(id, 'connection_lost') from tidemill._action_runs where not by_hand"
    )
    assert connection.execute("select 1").fetchone() == (1,)
    assert outcomes(connection, 1001) == [None]


def test_a_worker_of_the_original_is_none_of_the_copy(
    connection: psycopg.Connection, copy: psycopg.Connection
) -> None:
    lost = "select lost_at is not null from tidemill._workers"
    for database, expected in ((connection, False), (copy, True)):
        database.execute("select tidemill._sweep_leases()")
        assert database.execute(lost).fetchall() == [(expected,)]


def test_everything_that_is_the_clusters_is_compared_with_the_database(
    connection: psycopg.Connection, database: str
) -> None:
    """A function that looks for another process in the statistics says in which database."""
    found = connection.execute(
        r"select proname from pg_proc where pronamespace = 'tidemill'::regnamespace"
        r" and prosrc ~ 'from pg_stat_activity' and prosrc !~ 'current_database\(\)'"
        # Looks at its own process, or at one that _backend_of has found.
        r" and prosrc !~ 'pid = pg_backend_pid\(\)' and prosrc !~ 'tidemill\._backend_of'"
        r" and prosrc !~ 'pg_backend_pid\(\)'"
    ).fetchall()
    assert found == []
