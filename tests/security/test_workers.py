"""What a role that may run workers can do with the rows of others: end no session, act for no operator."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.actions.definitions import refused
from tests.security.test_roles import Connection, NewRole, give, named
from tests.support.waiting import wait_until
from tidemill.database.migrate import migrate

pytestmark = pytest.mark.versions(18, 16)

ID = "worker-0123456789abcdef"
REGISTER = "select tidemill._register_worker(%s, 'h', 1, '0', 1, '{t}', '1 hour')"
INSERT = (
    "insert into tidemill._workers (id, hostname, pid, version, concurrency, identifiers, expires_at)"
    " values (%s, 'h', 1, '0', 1, '{t}', now() - interval '1 minute')"
)
LOSE = (
    "update tidemill._workers set heartbeat_at = now() - interval '2 hours',"
    " expires_at = now() - interval '1 hour', suspected_at = now() - interval '1 hour'"
)


@pytest.fixture
def mallory(new_role: NewRole, connection: Connection) -> Connection:
    """A role that may run workers."""
    made = new_role(False)
    give(connection, "worker", made)
    return made


@pytest.fixture
def victim(database: str, connection: Connection) -> Iterator[Connection]:
    """A session of the owner's that has nothing to do with jobs."""
    with psycopg.connect(make_conninfo(database, application_name="billing"), autocommit=True) as opened:
        yield opened


def is_gone(connection: Connection, pid: int) -> bool:
    return not connection.execute("select from pg_stat_activity where pid = %s", [pid]).fetchall()


@pytest.mark.parametrize("name", ["billing", f"{ID}0", f"x{ID}", ID.upper(), f"{ID}\n"])
def test_a_row_with_the_name_of_a_session_does_not_end_it(
    mallory: Connection, connection: Connection, victim: Connection, database: str, name: str
) -> None:
    victim.execute("select set_config('application_name', %s, false)", [name])
    # Control: what is named as a worker is ended by the same sweep.
    ended = psycopg.connect(make_conninfo(database, application_name=ID), autocommit=True)
    for each in (name, ID):
        mallory.execute(INSERT, [each])
    mallory.execute(LOSE)
    connection.execute("select tidemill._sweep_leases()")
    states = connection.execute("select suspected_at = '-infinity' from tidemill._workers").fetchall()
    assert states == [(True,), (True,)]
    wait_until(lambda: is_gone(connection, ended.info.backend_pid), "its end")
    ended.close()
    assert victim.execute("select 1").fetchone() == (1,)


@pytest.mark.parametrize("name", ["billing", "", None, f"{ID}0", f"{ID}\n", ID.upper()])
def test_it_registers_by_no_other_name_than_a_workers(mallory: Connection, name: str | None) -> None:
    with refused("22023", "is no worker's id"):
        mallory.execute(REGISTER, [name])
    mallory.execute(REGISTER, [ID])
    assert mallory.execute("select id from tidemill.workers").fetchall() == [(ID,)]


ACTS = [
    "update tidemill._workers set stop_asked = 'mallory'",
    "update tidemill._workers set id = 'billing'",
    "update tidemill._workers set started_at = now()",
    INSERT.replace("expires_at", "expires_at, stop_asked").replace("minute')", "minute', 'mallory')") % "'w'",
    INSERT.replace("expires_at", "expires_at, suspected_at").replace("minute')", "minute', now())") % "'w'",
    "update tidemill._queues set paused_at = now()",
    "update tidemill._queues set queue_name = 'other'",
    "insert into tidemill._queues (queue_name) values ('x')",
    "delete from tidemill._queues",
]


@pytest.mark.parametrize("by_older_version", [False, True])
def test_it_writes_nothing_that_is_an_act_of_operators(
    mallory: Connection, connection: Connection, database: str, by_older_version: bool
) -> None:
    connection.execute("select tidemill.add_job('t', queue_name => 'q')")
    connection.execute(REGISTER, [ID])
    if by_older_version:
        connection.execute(
            f"grant insert, update on tidemill._workers to {named(mallory)};"
            f"grant update on tidemill._queues to {named(mallory)}".encode()
        )
        connection.execute("update tidemill._installed set hash = '' where part = 'functions'")
        assert migrate(database).functions_laid
    for statement in ACTS:
        with refused("42501", "permission denied for table"):
            mallory.execute(statement.encode())
    # What a worker does with these goes on.
    mallory.execute("update tidemill._queues set locked_at = null, locked_by = null, claim_token = null")
    assert mallory.execute(
        "select alive from tidemill._heartbeat(%s, '1 hour', 0, false)", [ID]
    ).fetchall() == [(True,)]
