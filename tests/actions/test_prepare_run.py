"""The first statement of a run: whose session it makes, and when it makes none."""

from __future__ import annotations

import json
from collections.abc import Iterator

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.actions.definitions import row, rows
from tests.actions.support import NOON, add_action, make_note
from tests.security.decoys import caught, lay_decoys
from tests.support.servers import OWNER, Server
from tidemill.database.connect import settle_own_session

pytestmark = pytest.mark.versions(18, 16)


@pytest.fixture
def run(connection: psycopg.Connection) -> int:
    """A run that was started for a worker, and has no session yet."""
    make_note(connection)
    add_action(connection, proc="note", initial_start=NOON, config='{"a": 1}')
    return int(row(connection, "select run_id from tidemill._start_actions('w', 1, %s)", [NOON])["run_id"])


@pytest.fixture
def owner(server: Server, connection: psycopg.Connection, run: int) -> Iterator[str]:
    """The role that owns the run; the worker's role may become it."""
    with server.role() as name, server.superuser() as superuser:
        superuser.execute(f"grant {name} to {OWNER}".encode())
        connection.execute("update tidemill._action_runs set owner = %s::regrole", [name])
        yield name


def test_the_call(connection: psycopg.Connection, run: int) -> None:
    prepared = row(connection, "select * from tidemill._prepare_run(%s)", [run])
    action = row(connection, "select action_id, pid from tidemill._action_runs")
    assert prepared["call"] == f"call app.note({action['action_id']}, '{{\"a\": 1}}'::pg_catalog.jsonb)"
    assert prepared["set_role"] is None
    assert action["pid"] == connection.info.backend_pid


BIG = "to_jsonb(repeat('x', 1000000))"
RESULTS = {
    "function big(integer, jsonb) returns text": f"return {BIG}",
    "function big(integer, jsonb) returns jsonb": f"return {BIG}",
    "function big(integer, jsonb) returns text[]": f"return array[{BIG}]",
    "function big(integer, jsonb) returns void": "return",
    "function big(integer, jsonb, out one text, out two text)": f"one := {BIG}",
    "function big(integer, inout two jsonb)": f"two := {BIG}",
    "procedure big(inout one integer, inout two jsonb)": f"one := 5; two := {BIG}",
    "procedure big(inout integer, jsonb)": "$1 := 5",
    "procedure big(integer, inout jsonb)": f"$2 := {BIG}",
}


@pytest.mark.parametrize("created", RESULTS)
def test_results_stay_on_the_server(connection: psycopg.Connection, created: str) -> None:
    connection.execute("create table called (config jsonb)")
    connection.execute(
        f"create {created} language plpgsql as $x$ begin insert into called values ($2);"
        f" {RESULTS[created]}; end $x$".encode()
    )
    configs = [None, '{"a": "$$ \'b\' \\\\ %s $1"}']
    for config in configs:
        connection.execute(
            "select tidemill.add_action('big', '1 hour', %s::jsonb, initial_start => %s)", [config, NOON]
        )
    for started in rows(connection, "select * from tidemill._start_actions('w', 9, %s)", [NOON]):
        prepared = row(connection, "select * from tidemill._prepare_run(%s)", [started["run_id"]])
        ended = connection.execute(prepared["call"])
        assert ended.description is None or ended.fetchall() in ([(0,)], [(1,)])
    called = connection.execute("select config from called").fetchall()
    assert called == [(config and json.loads(config),) for config in configs]


def test_a_procedure_with_results_may_commit(connection: psycopg.Connection) -> None:
    connection.execute(
        "create procedure big(integer, inout jsonb) language plpgsql"
        " as 'begin commit; $2 := null; rollback; end'"
    )
    connection.execute("select tidemill.add_action('big', '1 hour')")
    [started] = rows(connection, "select * from tidemill._start_actions('w', 1)")
    connection.execute(
        row(connection, "select * from tidemill._prepare_run(%s)", [started["run_id"]])["call"]
    )


@pytest.mark.parametrize(
    "statement",
    [
        "select from tidemill._finish_run({run}, 'failure')",
        "select tidemill.alter_action(id, scheduled => false) from tidemill.actions where id >= 1000",
        "select tidemill.delete_action(id) from tidemill.actions where id >= 1000",
    ],
)
def test_none_for_a_run_that_was_stopped_before_it_began(
    connection: psycopg.Connection, run: int, statement: str
) -> None:
    connection.execute(statement.format(run=run).encode())
    assert rows(connection, "select * from tidemill._prepare_run(%s)", [run]) == []
    assert row(connection, "select pid from tidemill._action_runs") == {"pid": None}


def test_the_owners_settings_are_those_of_its_log_in(
    server: Server, connection: psycopg.Connection, database: str, run: int, owner: str
) -> None:
    name = conninfo_to_dict(database)["dbname"]
    with server.superuser() as superuser:
        # Those for this database come first here, and are applied last.
        superuser.execute(f"alter role {owner} in database {name} set work_mem = '7MB'".encode())
        superuser.execute(f"alter role {owner} set work_mem = '5MB'".encode())
        superuser.execute(f"alter role {owner} set role = '{owner}'".encode())
        superuser.execute(f"alter role {owner} set client_encoding = 'LATIN1'".encode())
    assert row(connection, "select * from tidemill._prepare_run(%s)", [run])["set_role"] == owner
    settings = row(
        connection,
        "select current_setting('work_mem') as memory, current_setting('role') as role,"
        " current_setting('client_encoding') as encoding",
    )
    assert settings == {"memory": "7MB", "role": "none", "encoding": "UTF8"}


def test_the_owners_search_path_leads_to_no_code_with_the_workers_rights(
    server: Server, connection: psycopg.Connection, database: str, run: int, owner: str
) -> None:
    name = conninfo_to_dict(database)["dbname"]
    with server.superuser(str(name)) as superuser:
        superuser.execute(f"create schema {owner} authorization {owner}".encode())
        superuser.execute(f"set role {owner}; set search_path = {owner}".encode())
        lay_decoys(superuser, schema=owner)
        superuser.execute("reset role")
        superuser.execute(f"alter role {owner} set work_mem = '5MB'".encode())
        superuser.execute(f"alter role {owner} set search_path = {owner}, pg_catalog".encode())
        superuser.execute(f"alter role {owner} set application_name = 'x'".encode())
        superuser.execute('update tidemill._action_runs set config = \'{"work_mem": "7MB"}\'')
        prepared = row(connection, "select * from tidemill._prepare_run(%s)", [run])
        assert prepared["set_role"] == owner
        [(path,)] = connection.execute("show search_path").fetchall()
        assert path == f"{owner}, pg_catalog"
        assert connection.execute("show work_mem").fetchone() == ("7MB",)
        assert caught(superuser, schema=owner) is None


def test_the_session_gets_back_what_the_worker_had_set(connection: psycopg.Connection, run: int) -> None:
    before = connection.execute("show search_path").fetchone()
    settle_own_session(connection)
    assert connection.execute("show search_path").fetchone() != before
    connection.execute("select tidemill._prepare_run(%s)", [run])
    assert connection.execute("show search_path").fetchone() == before
