"""The end of a run by hand: the session that runs it records it, and no sweep does meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.actions.definitions import rows
from tests.actions.support import (
    BLOCKS,
    NOON,
    SECOND,
    add_action,
    history,
    make_note,
    make_procedure,
    outcomes,
)
from tests.support.servers import Server
from tests.support.waiting import wait_until

pytestmark = pytest.mark.versions(18)


@pytest.fixture
def role(server: Server, database: str, connection: psycopg.Connection) -> Iterator[psycopg.Connection]:
    """A session of a role that works with actions."""
    with server.role() as name:
        connection.execute("select tidemill.grant_actions(%s::regrole)", [name])
        with psycopg.connect(make_conninfo(database, user=name), autocommit=True) as opened:
            yield opened


@pytest.mark.parametrize(
    ("by_hand", "own", "ends"), [(True, True, True), (True, False, False), (False, True, False)]
)
def test_a_session_ends_its_own_runs_by_hand(
    connection: psycopg.Connection, role: psycopg.Connection, by_hand: bool, own: bool, ends: bool
) -> None:
    make_note(connection)
    action = add_action(connection, proc="note", initial_start=NOON)
    connection.execute("select tidemill._start_actions('w', 1, %s)", [NOON])
    connection.execute(
        "update tidemill._action_runs set by_hand = %s, pid = %s, owner = %s::regrole",
        [by_hand, (role if own else connection).info.backend_pid, role.info.user],
    )
    role.execute("select tidemill._end_hand_run(id, 'failure') from generate_series(1, 9) id")
    assert outcomes(connection, action) == ["failure" if ends else None]


def test_a_sweep_leaves_it_alone(
    connection: psycopg.Connection, database: str, lock: psycopg.Connection
) -> None:
    make_procedure(connection, "blocks", BLOCKS)
    action = add_action(connection, proc="blocks")
    with psycopg.connect(database, autocommit=True) as session, ThreadPoolExecutor(1) as pool:
        run = pool.submit(session.execute, f"call tidemill.run_action({action})".encode())
        waits = "select from pg_stat_activity where pid = %s and wait_event = 'advisory'"
        wait_until(lambda: connection.execute(waits, [session.info.backend_pid]).fetchall(), "it to run")
        assert rows(connection, "select * from tidemill._sweep_runs()") == []
        assert outcomes(connection, action) == [None]
        lock.execute("select pg_advisory_unlock(7)")
        run.result()
    assert outcomes(connection, action) == ["success"]


def test_it_does_not_end_before_it_began(connection: psycopg.Connection) -> None:
    make_note(connection)
    action = add_action(connection, proc="note", initial_start=NOON)
    connection.execute("select tidemill._start_actions('w', 1, %s)", [NOON])
    connection.execute("update tidemill._action_runs set by_hand = true")
    # A clock was set back, or a session does not tell when its statement ended.
    connection.execute(
        "select tidemill._record_hand_run(id, 'failure', %s) from tidemill._action_runs", [NOON - SECOND]
    )
    [run] = history(connection, action)
    assert (run["outcome"], run["finished_at"]) == ("failure", NOON)


@pytest.mark.parametrize("nested", [True, False])
def test_one_that_seems_to_begin_later_is_running_only_if_it_calls(
    connection: psycopg.Connection, nested: bool
) -> None:
    """A session that left a run may see its clock set back."""
    make_note(connection)
    action = add_action(connection, proc="note", initial_start=NOON)
    connection.execute("select tidemill._start_actions('w', 1, %s)", [NOON])
    connection.execute(
        "update tidemill._action_runs r set by_hand = true, pid = a.pid, backend_start = a.backend_start,"
        " started_at = now() + interval '1 hour' from pg_stat_activity a where a.pid = pg_backend_pid()"
    )
    connection.execute("select tidemill._close_left_runs(%s, %s)", [action, nested])
    assert outcomes(connection, action) == [None if nested else "failure"]
