"""No code of an action's owner runs with the rights of whoever administers the action."""

from __future__ import annotations

import psycopg
import pytest

from tests.actions.definitions import add, alter, definition, refused, row, rows, start

pytestmark = pytest.mark.versions(18, 16)


@pytest.fixture
def trapped(attacker: psycopg.Connection) -> int:
    """An action whose check and routine take the rights of whoever calls them."""
    name = attacker.info.user
    attacker.execute(
        f"create function {name}.verify(config jsonb) returns void language plpgsql as"
        f" $$ begin execute 'alter role {name} createrole'; exception when insufficient_privilege then null;"
        f" end $$;"
        f"create or replace procedure {name}.work(integer, jsonb) language plpgsql as"
        f" $$ begin execute 'alter role {name} createrole'; exception when insufficient_privilege then null;"
        f" end $$;"
        f"grant usage on schema {name} to public".encode()
    )
    return add(attacker, proc=f"{name}.work", check_config=f"{name}.verify", config={"a": 1}, on_failure="t")


@pytest.fixture
def administrators(
    superuser: psycopg.Connection, connection: psycopg.Connection
) -> tuple[psycopg.Connection, psycopg.Connection]:
    """A superuser, and the owner of the database."""
    return superuser, connection


def harmless(superuser: psycopg.Connection, attacker: psycopg.Connection) -> bool:
    """Whether the attacker has got nothing."""
    found = row(superuser, "select rolcreaterole from pg_roles where rolname = %s", [attacker.info.user])
    return not found["rolcreaterole"]


def test_pausing_and_the_like_call_no_check(
    administrators: tuple[psycopg.Connection, ...],
    superuser: psycopg.Connection,
    attacker: psycopg.Connection,
    trapped: int,
) -> None:
    for administrator in administrators:
        for change in (
            {"scheduled": False},
            {"scheduled": True},
            {"next_start": "2100-01-01Z"},
            {"schedule": "30 4 * * 1"},
            {"max_retries": 3, "config": {"a": 1}},
        ):
            alter(administrator, trapped, **change)
    assert harmless(superuser, attacker)
    superuser.execute("select tidemill.delete_action(%s)", [trapped])
    assert harmless(superuser, attacker)


@pytest.mark.parametrize(
    "change", [{"config": {"b": 2}}, {"config_merge": {"b": 2}}, {"check_config": "same"}]
)
def test_what_would_call_a_check_is_refused(
    administrators: tuple[psycopg.Connection, ...],
    superuser: psycopg.Connection,
    attacker: psycopg.Connection,
    trapped: int,
    change: dict[str, object],
) -> None:
    name = attacker.info.user
    if "check_config" in change:
        change = {"check_config": f"{name}.verify"}
    for administrator in administrators:
        with refused(
            "42501",
            f"only the owner of action {trapped} may change its config",
            f"calls the check function {name}.verify",
            "remove the check in the same call: check_config => 0",
        ):
            alter(administrator, trapped, **change)
    assert definition(superuser, trapped)["config"] == {"a": 1}
    assert harmless(superuser, attacker)
    alter(superuser, trapped, config={"b": 2}, check_config=0)
    assert definition(superuser, trapped)["config"] == {"b": 2}
    assert harmless(superuser, attacker)


def test_the_owner_may(attacker: psycopg.Connection, trapped: int) -> None:
    alter(attacker, trapped, config={"b": 2})
    assert definition(attacker, trapped)["config"] == {"b": 2}


def test_a_routine_is_not_run_with_the_rights_of_others(
    administrators: tuple[psycopg.Connection, ...],
    superuser: psycopg.Connection,
    attacker: psycopg.Connection,
    trapped: int,
) -> None:
    for administrator in administrators:
        with refused("42501", "may run its routine by hand", "next_start => now()"):
            administrator.execute("call tidemill.run_action(%s)", [trapped])
    assert harmless(superuser, attacker)
    assert rows(superuser, "select from tidemill.action_history") == []
    attacker.execute("call tidemill.run_action(%s)", [trapped])
    assert harmless(superuser, attacker)


def test_what_workers_do_around_a_run_calls_nothing(
    superuser: psycopg.Connection, attacker: psycopg.Connection, trapped: int
) -> None:
    """The worker's own statements are here those of a superuser; the run itself is the owner's."""
    run = start(superuser, trapped)
    superuser.execute("select tidemill._finish_run(%s, 'failure')", [run])
    superuser.execute("select tidemill._sweep_runs(), tidemill._skip_missed()")
    superuser.execute("select tidemill._declare_action('t', '1 hour')")
    assert harmless(superuser, attacker)


def test_nobody_else_can_attach_code_to_our_tables(connection: psycopg.Connection) -> None:
    """Rights on private tables and views are the owner's, save those to ask by."""
    found = rows(
        connection,
        "select c.relname::text, g.privilege_type from pg_class c, aclexplode(c.relacl) g"
        " where c.relnamespace = 'tidemill'::regnamespace and g.grantee <> c.relowner",
    )
    assert found == []


def test_nor_can_a_role_with_actions(connection: psycopg.Connection, attacker: psycopg.Connection) -> None:
    found = rows(
        connection,
        "select c.relname::text as name, g.privilege_type as right from pg_class c, aclexplode(c.relacl) g"
        " where c.relnamespace = 'tidemill'::regnamespace and g.grantee = %s::regrole order by 1",
        [attacker.info.user],
    )
    assert [(each["name"], each["right"]) for each in found] == [
        (view, "SELECT") for view in ("action_errors", "action_history", "action_stats", "actions")
    ]
