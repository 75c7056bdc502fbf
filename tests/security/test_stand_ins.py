"""Whoever takes a name that has become free gets nothing by it: of a routine, of a check, or of an action."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.actions.definitions import add, alter, definition, notices, refused, row, start
from tests.database.schema import make_outdated
from tests.support.servers import EMPTY, Server
from tidemill.database import sql as statements
from tidemill.database.migrate import migrate

pytestmark = pytest.mark.versions(18, 16)

MINE = "create procedure app.{}(integer, jsonb) language sql as 'select'"
CHECK = "create function app.{}({}) returns boolean language sql as 'select true'"


@pytest.fixture
def thief(stranger: psycopg.Connection, superuser: psycopg.Connection) -> psycopg.Connection:
    """A role that may create functions in the schema app, and nothing else."""
    superuser.execute(f"grant create, usage on schema app to {stranger.info.user}".encode())
    return stranger


def steal(thief: psycopg.Connection, signature: str) -> None:
    """Creates a function that makes the thief more than it is, if somebody else calls it."""
    thief.execute(
        f"create function app.{signature} returns boolean language plpgsql as"
        f" $$ begin execute 'alter role {thief.info.user} createrole'; return true; end $$".encode()
    )


def harmless(superuser: psycopg.Connection, thief: psycopg.Connection) -> bool:
    found = row(superuser, "select rolcreaterole from pg_roles where rolname = %s", [thief.info.user])
    return not found["rolcreaterole"]


def prepare(superuser: psycopg.Connection, action: int) -> str:
    """What a worker that is a superuser would execute."""
    run = start(superuser, action)
    return str(row(superuser, "select call from tidemill._prepare_run(%s)", [run])["call"])


@pytest.mark.parametrize("change", ["rename to purge_v2", "set schema moved"])
def test_a_routine_that_went_elsewhere_is_followed(
    superuser: psycopg.Connection, thief: psycopg.Connection, change: str
) -> None:
    superuser.execute(MINE.format("purge").encode())
    superuser.execute("create schema moved")
    action = add(superuser, proc="app.purge")
    superuser.execute(f"alter procedure app.purge {change}".encode())
    steal(thief, "purge(action_id integer, config jsonb)")
    assert ("moved.purge(" if "moved" in change else "app.purge_v2(") in prepare(superuser, action)
    superuser.execute(
        "select tidemill._finish_run(run_id, 'success') from tidemill._action_states where run_id is not null"
    )
    superuser.execute("call tidemill.run_action(%s)", [action])
    assert harmless(superuser, thief)


def test_a_routine_that_is_gone_is_not_replaced(
    superuser: psycopg.Connection, thief: psycopg.Connection
) -> None:
    superuser.execute(MINE.format("purge").encode())
    action = add(superuser, proc="app.purge")
    superuser.execute("drop procedure app.purge")
    steal(thief, "purge(integer, jsonb)")
    words = [
        f"app.purge(integer,jsonb) is not the routine that action {action} was given",
        f'It belongs to "{thief.info.user}", who has not the rights of "postgres"',
        "alter routine app.purge(integer,jsonb) owner to postgres",
    ]
    with refused("42501", *words):
        superuser.execute("call tidemill.run_action(%s)", [action])
    with refused("42501", *words):
        prepare(superuser, action)
    assert harmless(superuser, thief)
    # What the hint says helps.
    superuser.execute("alter routine app.purge(integer,jsonb) owner to postgres")
    superuser.execute("update tidemill._action_states set run_id = null")
    assert "app.purge(" in prepare(superuser, action)


def test_a_name_that_is_taken_between_start_and_run(
    superuser: psycopg.Connection, thief: psycopg.Connection
) -> None:
    superuser.execute(MINE.format("purge").encode())
    action = add(superuser, proc="app.purge")
    run = start(superuser, action)
    superuser.execute("alter procedure app.purge rename to purge_v2")
    steal(thief, "purge(integer, jsonb)")
    with refused("42501", "is not the routine"):
        superuser.execute("select tidemill._prepare_run(%s)", [run])


@pytest.mark.parametrize("as_former", [True, False])
def test_those_who_could_anyway_may_create_it_again(
    superuser: psycopg.Connection,
    connection: psycopg.Connection,
    thief: psycopg.Connection,
    new_role: Callable[[bool], psycopg.Connection],
    as_former: bool,
) -> None:
    """As restores and migrations do: the former one's owner, or who has the rights of the action's owner."""
    maker, planner = new_role(False), new_role(True)
    superuser.execute(
        f"grant create, usage on schema app to {maker.info.user}; grant usage on schema app to"
        f" {planner.info.user}".encode()
    )
    maker.execute(MINE.format("purge").encode())
    action = add(planner, proc="app.purge")
    maker.execute("drop procedure app.purge")
    by = maker if as_former else superuser
    by.execute(MINE.format("purge").encode())
    before = row(superuser, "select proc_oid from tidemill._actions where id = %s", [action])
    assert "app.purge(" in prepare(superuser, action)
    assert before != row(superuser, "select proc_oid from tidemill._actions where id = %s", [action])


def test_a_number_that_means_a_function_of_another_after_a_restore(
    superuser: psycopg.Connection, thief: psycopg.Connection
) -> None:
    superuser.execute(MINE.format("purge").encode())
    action = add(superuser, proc="app.purge")
    steal(thief, "other(integer, jsonb)")
    superuser.execute("update tidemill._actions set proc_oid = 'app.other'::regproc where id = %s", [action])
    assert "app.purge(" in prepare(superuser, action)
    superuser.execute("update tidemill._action_states set run_id = null")
    superuser.execute("update tidemill._actions set proc_oid = 'app.other'::regproc where id = %s", [action])
    superuser.execute("drop procedure app.purge")
    with refused("42883", "does not exist"):
        prepare(superuser, action)


def test_no_caller_says_who_owned_the_routine(
    attacker: psycopg.Connection, superuser: psycopg.Connection
) -> None:
    """The definition comes from the caller, but not what is noted about it."""
    name = attacker.info.user
    attacker.execute(
        "insert into tidemill._add_requests (a, if_not_exists, noun) values (jsonb_populate_record("
        "null::tidemill._actions, jsonb_build_object('proc_oid', %s::regproc::oid, 'proc_owner', 'postgres',"
        " 'check_owner', 'postgres', 'added_by', 'postgres', 'schedule_interval', '1 hour')),"
        " false, 'action')",
        [f"{name}.work"],
    )
    assert row(
        superuser,
        "select proc_owner::text, check_owner::text, added_by::text from tidemill._actions where id >= 1000",
    ) == {"proc_owner": name, "check_owner": None, "added_by": name}


def test_a_restored_dump_goes_on(
    server: Server,
    database: str,
    connection: psycopg.Connection,
    attacker: psycopg.Connection,
    directory: Path,
) -> None:
    name = attacker.info.user
    attacker.execute(CHECK.format("verify", "jsonb").replace("app.", f"{name}.").encode())
    action = add(attacker, proc=f"{name}.work", check_config=f"{name}.verify", config={"a": 1})
    postgres = make_conninfo(database, user="postgres")
    server.program("pg_dump", "--format=custom", "--file", directory / "dump", postgres)
    copy = server.clone(EMPTY)
    into = server.conninfo(copy, "postgres")
    server.program(
        "pg_restore", "--exit-on-error", "--clean", "--if-exists", "--dbname", into, directory / "dump"
    )
    with psycopg.connect(server.conninfo(copy, name), autocommit=True) as restored:
        restored.execute("call tidemill.run_action(%s)", [action])
        with notices(restored) as told:
            alter(restored, action, config={"a": 2})
        assert told == []
        restored.execute("select tidemill.delete_action(%s)", [action])
    with psycopg.connect(into, autocommit=True) as superuser:
        found = "select from tidemill._anchors(%s::regrole)"
        assert superuser.execute(found, [name]).fetchall() == []
    server.drop(copy)


class TestChecks:
    def test_one_that_took_the_name_is_not_called(
        self, superuser: psycopg.Connection, thief: psycopg.Connection
    ) -> None:
        superuser.execute(MINE.format("work").encode())
        superuser.execute(CHECK.format("verify", "jsonb").encode())
        action = add(superuser, check_config="app.verify", config={})
        superuser.execute("drop function app.verify")
        steal(thief, "verify(jsonb)")
        with notices(superuser) as told:
            alter(superuser, action, config={"a": 1})
        assert told == [
            "WARNING: function app.verify(config jsonb) is not the one that was given, and has only its name,"
            f" skipping config validation for action {action}"
        ]
        assert harmless(superuser, thief)
        # Whoever names it means it.
        superuser.execute("alter function app.verify owner to postgres")
        superuser.execute("create or replace function app.verify(jsonb) returns boolean return 1 / 0 = 0")
        with refused("22012"):
            alter(superuser, action, config={"a": 2})

    def test_a_renamed_one_is_followed(
        self, superuser: psycopg.Connection, thief: psycopg.Connection
    ) -> None:
        superuser.execute(MINE.format("work").encode())
        superuser.execute(CHECK.format("verify", "jsonb").encode())
        action = add(superuser, check_config="app.verify", config={})
        superuser.execute("alter function app.verify rename to verify_v2")
        steal(thief, "verify(jsonb)")
        alter(superuser, action, config={"a": 1})
        assert definition(superuser, action)["check_config"] == "app.verify_v2"
        assert harmless(superuser, thief)

    def test_an_overload_with_defaults_is_not_called(
        self, superuser: psycopg.Connection, thief: psycopg.Connection
    ) -> None:
        superuser.execute(MINE.format("work").encode())
        superuser.execute(CHECK.format("verify", '"the %s" jsonb').encode())
        action = add(superuser, check_config="app.verify", config={})
        steal(thief, "verify(jsonb, integer default 1)")
        alter(superuser, action, config={"a": 1})
        assert harmless(superuser, thief)
        steal(thief, "verify(\"the %s\" jsonb, text default '')")
        alter(superuser, action, max_retries=3)
        with refused("42725", "could also mean app.verify(jsonb,", "both take (jsonb)"):
            alter(superuser, action, config={"a": 2})


class TestNamesOfActions:
    @pytest.fixture
    def squatter(self, attacker: psycopg.Connection) -> int:
        """A paused action of somebody else with the name that others will want."""
        return add(attacker, proc=f"{attacker.info.user}.work", name="backup", scheduled=False)

    def test_if_not_exists_counts_ones_own(
        self, superuser: psycopg.Connection, connection: psycopg.Connection, squatter: int
    ) -> None:
        superuser.execute(MINE.format("work").encode())
        mine = add(superuser, name="backup", if_not_exists=True)
        assert mine != squatter
        assert add(superuser, name="backup", if_not_exists=True) == mine
        owners = add(connection, task="t", name="backup", if_not_exists=True)
        assert owners not in (mine, squatter)
        # Ids by names are those of one's own, too.
        for role, number in ((superuser, mine), (connection, owners)):
            assert row(role, "select tidemill.action_id('backup') as id") == {"id": number}
            found = role.execute(statements.query("find_actions"), {"words": ["backup"]}).fetchall()
            assert [(each[1], each[4]) for each in found] == [
                (each, each == number) for each in (squatter, mine, owners)
            ]

    def test_one_that_was_given_away_is_still_there(
        self, server: Server, superuser: psycopg.Connection, attacker: psycopg.Connection
    ) -> None:
        given = add(superuser, task="t", name="report", if_not_exists=True)
        superuser.execute("select tidemill.set_action_owner(%s, %s::regrole)", [given, attacker.info.user])
        assert add(superuser, task="t", name="report", if_not_exists=True) == given


def test_what_keeps_an_owner_keeps_no_action(
    attacker: psycopg.Connection, superuser: psycopg.Connection
) -> None:
    name = attacker.info.user
    number = add(attacker, task="t")
    anchors = "select a::text from tidemill._anchors(%s::regrole) a"
    attacker.execute(f"create view {name}.v as select {row(superuser, anchors, [name])['a']}".encode())
    superuser.execute("select tidemill.delete_action(%s)", [number])
    assert superuser.execute(anchors.encode(), [name]).fetchall() == []


def test_an_upgrade_keeps_owners_from_being_dropped(
    database: str, attacker: psycopg.Connection, superuser: psycopg.Connection
) -> None:
    name = attacker.info.user
    number = add(attacker, task="t")
    anchors = "select a::text from tidemill._anchors(%s::regrole) a"
    superuser.execute(f"drop function {row(superuser, anchors, [name])['a']}".encode())
    make_outdated(database)
    assert migrate(database).functions_laid
    assert len(superuser.execute(anchors.encode(), [name]).fetchall()) == 1
    attacker.execute("select tidemill.delete_action(%s)", [number])
    assert superuser.execute(anchors.encode(), [name]).fetchall() == []


def test_a_first_action_in_an_open_transaction_holds_up_no_other_role(
    attacker: psycopg.Connection,
    new_role: Callable[[bool], psycopg.Connection],
    superuser: psycopg.Connection,
) -> None:
    other, leaving = new_role(True), new_role(True)
    last = add(leaving, task="t")
    superuser.execute("alter function tidemill._lock set lock_timeout = '100ms'")
    with attacker.transaction():
        add(attacker, task="t")
        leaving.execute("select tidemill.delete_action(%s)", [last])
        add(other, task="t")
    for role in (attacker, other):
        with refused("2BP01", "cannot be dropped"):
            superuser.execute(f"drop role {role.info.user}".encode())
