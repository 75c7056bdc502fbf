"""tidemill.delete_action: what it removes, what stays, and what becomes of a running run."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from tests.actions.definitions import ROUTINE, add, refused, row, rows, start
from tests.support.servers import Server
from tests.support.waiting import wait_until


@pytest.fixture
def connection(connection: psycopg.Connection) -> psycopg.Connection:
    """With a routine that actions can call."""
    connection.execute(ROUTINE)
    return connection


def delete(connection: psycopg.Connection, action: int | None) -> None:
    connection.execute("select tidemill.delete_action(%s)", [action])


def test_it_is_gone_and_its_history_stays(connection: psycopg.Connection) -> None:
    number, other = add(connection, name="nightly", config={"a": 1}), add(connection)
    run = start(connection, number)
    row(connection, "select * from tidemill._finish_run(%s, 'failure', message => 'no')", [run])
    delete(connection, number)
    assert rows(connection, "select id from tidemill.actions where id >= 1000") == [{"id": other}]
    assert rows(connection, "select action_id from tidemill.action_stats where action_id >= 1000") == [
        {"action_id": other}
    ]
    assert rows(connection, "select action_id, name, message, config from tidemill.action_errors") == [
        {"action_id": number, "name": "nightly", "message": "no", "config": {"a": 1}}
    ]
    assert add(connection) > other


def test_unknown(connection: psycopg.Connection) -> None:
    with refused("42704", "action 4711 not found"):
        delete(connection, 4711)
    number = add(connection)
    delete(connection, number)
    with refused("42704", f"action {number} not found"):
        delete(connection, number)


def test_null_does_nothing(connection: psycopg.Connection) -> None:
    add(connection)
    assert row(connection, "select tidemill.delete_action(null) is null as nothing") == {"nothing": True}
    assert len(rows(connection, "select from tidemill.actions where id >= 1000")) == 1


def test_a_built_in_one_can_be_deleted(connection: psycopg.Connection) -> None:
    delete(connection, 3)
    assert rows(connection, "select from tidemill.actions") == []


def test_a_run_is_to_be_stopped_and_can_still_end(connection: psycopg.Connection) -> None:
    number = add(connection)
    run = start(connection, number)
    delete(connection, number)
    assert rows(connection, "select * from tidemill._stops_asked('w')") == [{"run_id": run, "why": "deleted"}]
    row(
        connection,
        "select * from (select tidemill._finish_run(%s, 'stopped')) f right join (values (1)) v on true",
        [run],
    )
    found = row(connection, "select outcome, finished_at is not null as ended from tidemill.action_history")
    assert found == {"outcome": "stopped", "ended": True}


def test_an_action_may_delete_itself(connection: psycopg.Connection) -> None:
    number = add(connection)
    start(connection, number)
    connection.execute("update tidemill._action_runs set pid = pg_backend_pid()")
    delete(connection, number)
    assert rows(connection, "select * from tidemill._stops_asked('w')") == []


def test_two_at_once(database: str, connection: psycopg.Connection) -> None:
    number = add(connection)
    with ThreadPoolExecutor(1) as pool, psycopg.connect(database) as other:
        delete(other, number)
        deleting = pool.submit(delete, connection, number)
        wait_until(
            lambda: rows(
                other,
                "select from pg_stat_activity where datname = current_database()"
                " and wait_event_type = 'Lock'",
            ),
            "the second to wait",
        )
        other.commit()
        with refused("42704", f"action {number} not found"):
            deleting.result()


def test_its_owner_can_be_dropped_again(server: Server, connection: psycopg.Connection) -> None:
    # The fixture drops the role, which must no longer own an action.
    with server.role() as role:
        connection.execute(b"select tidemill.grant_actions(%s::regrole)" % repr(role).encode())
        with psycopg.connect(connection.info.dsn, user=role, autocommit=True) as owner:
            number = add(owner, task="t")
            delete(owner, number)
        connection.execute(f"revoke all on all routines in schema tidemill from {role}".encode())
        connection.execute(f"revoke all on all tables in schema tidemill from {role}".encode())
        connection.execute(f"revoke all on schema tidemill from {role}".encode())
        with server.superuser() as superuser:
            superuser.execute(f"drop role {role}".encode())
            superuser.execute(f"create role {role}".encode())
