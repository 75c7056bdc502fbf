"""Routines with overloads: which one an action runs, and what is refused."""

from __future__ import annotations

import psycopg
import pytest

from tests.actions.definitions import refused
from tests.actions.support import add_action, one_run
from tests.actions.test_routines_and_roles import run
from tidemill import App

pytestmark = pytest.mark.versions(18, 16)

TABLE = "create table told (line text)"


def make(connection: psycopg.Connection, kind: str, parameters: str, says: str) -> None:
    """Makes app.work with these parameters, which writes a line into `told`."""
    returns = " returns void" if kind == "function" else ""
    connection.execute(
        f"create {kind} app.work({parameters}){returns} language plpgsql"
        f" as $$ begin insert into told values ('{says}'); end $$".encode()
    )


def told(connection: psycopg.Connection) -> list[str]:
    return [line for (line,) in connection.execute("select line from told").fetchall()]


@pytest.fixture(params=["procedure", "function"])
def kind(request: pytest.FixtureRequest, connection: psycopg.Connection) -> str:
    connection.execute(TABLE)
    return str(request.param)


@pytest.mark.parametrize(
    "other",
    [
        "integer, text, text default ''",
        "bigint, jsonb, text default ''",
        "integer, anyelement, text default ''",
        "integer, jsonb, text",
        "integer, variadic jsonb[]",
        "integer",
        "",
    ],
)
async def test_another_overload_is_no_hindrance(
    app: App, connection: psycopg.Connection, kind: str, other: str
) -> None:
    make(connection, kind, "integer, jsonb", "mine")
    make(connection, kind, other, "other")
    [(action,)] = connection.execute(
        "select tidemill.add_action('app.work(integer, jsonb)'::regprocedure, '1 hour')"
    ).fetchall()
    assert (await one_run(app, connection, action))["outcome"] == "success"
    run(connection, action)
    assert told(connection) == ["mine", "mine"]


@pytest.mark.parametrize(
    "other",
    ["integer, jsonb, text default ''", "integer, jsonb, variadic text[] default '{}'"],
)
async def test_names_of_parameters_tell_which_one_is_meant(
    app: App, connection: psycopg.Connection, kind: str, other: str
) -> None:
    make(connection, kind, '"the id" integer, "50%s" jsonb', "mine")
    action = add_action(connection, proc="app.work")
    make(connection, kind, other, "other")
    with pytest.raises(psycopg.errors.AmbiguousFunction):
        connection.execute(
            f"{'call' if kind == 'procedure' else 'select'} app.work(1, '{{}}'::jsonb)".encode()
        )
    assert (await one_run(app, connection, action))["outcome"] == "success"
    run(connection, action)
    assert told(connection) == ["mine", "mine"]


async def test_what_no_call_can_mean_is_refused(app: App, connection: psycopg.Connection, kind: str) -> None:
    words = [
        "a call of app.work(integer,jsonb) could also mean app.work(integer,jsonb,text)",
        "Rename one of them",
    ]
    make(connection, kind, "action_id integer, config jsonb", "mine")
    action = add_action(connection, proc="app.work")
    make(connection, kind, "action_id integer, config jsonb, more text default ''", "other")
    with refused("42725", *words):
        connection.execute("select tidemill.add_action('app.work(integer, jsonb)'::regprocedure, '1 hour')")
    with refused("42725", *words):
        run(connection, action)
    ended = await one_run(app, connection, action)
    assert (ended["outcome"], ended["sqlstate"], ended["message"]) == ("failure", "42725", words[0])
    assert told(connection) == []


@pytest.mark.parametrize(
    "created",
    [
        ("function app.work() returns trigger", "It is a trigger function without parameters."),
        ("procedure app.work()", "It is a procedure without parameters."),
        ("function app.work(a bigint) returns integer", "It is a function with the parameters (a bigint)."),
        ("procedure app.work(integer, jsonb, out text)", "the parameters (IN integer, IN jsonb, OUT text)."),
    ],
)
def test_what_a_routine_is_instead_is_told(connection: psycopg.Connection, created: tuple[str, str]) -> None:
    connection.execute(f"create {created[0]} language plpgsql as 'begin end'".encode())
    with refused("42883", "its parameters are not (integer, jsonb)", created[1]):
        add_action(connection, proc="app.work")


@pytest.mark.parametrize(
    "parameters",
    [
        "",
        "integer",
        "integer, json",
        "bigint, jsonb",
        "integer, jsonb, text",
        "integer, jsonb, text default ''",
        "integer, variadic jsonb[]",
    ],
)
def test_a_routine_that_no_run_could_call_is_refused(
    connection: psycopg.Connection, kind: str, parameters: str
) -> None:
    make(connection, kind, parameters, "never")
    with refused(
        "42883", "app.work(", "its parameters are not (integer, jsonb)", "must accept (integer, jsonb)"
    ):
        add_action(connection, proc="app.work")
    make(connection, kind, "integer, jsonb", "right")
    with refused("42883", "Give the one that has them: 'app.work(integer,jsonb)'::regprocedure"):
        connection.execute(
            "select tidemill.add_action(p.oid::regproc, '1 hour') from pg_proc p"
            " where p.proname = 'work' and p.proargtypes <> '23 3802'"
        )


def test_a_routine_that_returns_a_set_is_refused(connection: psycopg.Connection) -> None:
    connection.execute(
        "create function app.many(integer, jsonb) returns setof integer language sql as 'select 1'"
    )
    with refused("0A000", "set-valued function", "app.many returns a set"):
        add_action(connection, proc="app.many")


@pytest.mark.parametrize("returns", ["void", "integer", "text", "record", "app.told", "regclass"])
async def test_a_function_runs_once_whatever_it_returns(
    app: App, connection: psycopg.Connection, returns: str
) -> None:
    connection.execute(TABLE)
    ends = "return;" if returns == "void" else "return null;"
    connection.execute(
        f"create function app.work(integer, jsonb) returns {returns} language plpgsql"
        f" as $$ begin insert into told values ('once'); {ends} end $$".encode()
    )
    action = add_action(connection, proc="app.work")
    assert (await one_run(app, connection, action))["outcome"] == "success"
    run(connection, action)
    assert told(connection) == ["once", "once"]


@pytest.mark.parametrize("volatility", ["volatile", "stable", "immutable"])
async def test_a_function_that_fails_is_a_failed_run_whatever_it_says_of_itself(
    app: App, connection: psycopg.Connection, volatility: str
) -> None:
    connection.execute(
        f"create function app.work(integer, jsonb) returns integer language plpgsql {volatility}"
        " as $$ begin raise 'no'; end $$".encode()
    )
    action = add_action(connection, proc="app.work")
    ended = await one_run(app, connection, action)
    assert (ended["outcome"], ended["message"]) == ("failure", "no")
    assert ended["context"] == "PL/pgSQL function work(integer,jsonb) line 1 at RAISE"


async def test_a_functions_result_stays_on_the_server(app: App, connection: psycopg.Connection) -> None:
    connection.execute(
        "create function app.work(integer, jsonb) returns text language sql as $$ select repeat('x', 9999) $$"
    )
    add_action(connection, proc="app.work")
    [(call,)] = connection.execute(
        "select format(call, 1, 'null') from tidemill._routine_call('app', 'work')"
    ).fetchall()
    assert connection.execute(call.encode()).fetchall() == [(1,)]
