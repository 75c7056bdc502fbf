"""Who asks is the caller's current_user, whatever session, role or trick the call comes through."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from tests.actions.definitions import add, alter, definition, refused, row, rows
from tidemill.database.migrate import migrate

pytestmark = pytest.mark.versions(18, 16)

ADD = "tidemill.add_action(proc => '{0}.work', schedule_interval => interval '1 hour', name => 'mine')"


def owners(connection: psycopg.Connection) -> list[str]:
    found = rows(connection, "select owner::text from tidemill.actions where id >= 1000 order by id")
    return [each["owner"] for each in found]


def lay_trap(attacker: psycopg.Connection, statement: str) -> None:
    """An index expression of the attacker's that runs the statement when others look after its table."""
    name = attacker.info.user
    attacker.execute(
        f"create table {name}.bait (id integer);"
        # What an immutable function calls may be anything.
        f"create function {name}.act() returns void language plpgsql as $act$ begin {statement}; end $act$;"
        f"create function {name}.trap(id integer) returns integer immutable language plpgsql as"
        f" $trap$ begin perform {name}.act(); return id; end $trap$;".encode()
    )
    attacker.execute(f"create index on {name}.bait ({name}.trap(id))".encode())


def spring(attacker: psycopg.Connection, superuser: psycopg.Connection) -> None:
    """The superuser analyses a table with a row that the index has not seen by this statement."""
    name = attacker.info.user
    attacker.execute(f"insert into {name}.bait values (1)".encode())
    superuser.execute(f"analyze {name}.bait".encode())


class TestAnIndexExpressionInASuperusersSession:
    def test_adds_for_the_owner_of_the_table(
        self, attacker: psycopg.Connection, superuser: psycopg.Connection
    ) -> None:
        call = ADD.format(attacker.info.user)
        lay_trap(
            attacker,
            f"if session_user = 'postgres' then perform {call}; end if",
        )
        spring(attacker, superuser)
        assert set(owners(superuser)) == {attacker.info.user}

    @pytest.mark.parametrize(
        "statement",
        [
            "perform tidemill.alter_action(3, next_start => now())",
            "perform tidemill.delete_action(3)",
            "call tidemill.run_action(3)",
        ],
    )
    def test_may_not_touch_what_the_superuser_may(
        self, attacker: psycopg.Connection, superuser: psycopg.Connection, statement: str
    ) -> None:
        lay_trap(attacker, f"if session_user = 'postgres' then {statement}; end if")
        with refused("42501", "insufficient permissions"):
            spring(attacker, superuser)
        assert definition(superuser, 3)["owner"] == "tidemill_owner"

    def test_ends_no_run_of_the_session(
        self, connection: psycopg.Connection, attacker: psycopg.Connection, superuser: psycopg.Connection
    ) -> None:
        superuser.execute(
            "insert into tidemill._action_runs (action_id, application_name, owner, by_hand, pid)"
            " values (3, 'x', 'postgres', true, pg_backend_pid())"
        )
        lay_trap(
            attacker,
            "if session_user = 'postgres' then perform tidemill._end_hand_run(r, 'failure')"
            " from generate_series(1, 9) r; end if",
        )
        spring(attacker, superuser)
        assert row(connection, "select outcome from tidemill._action_runs") == {"outcome": None}

    def test_reads_no_history(self, attacker: psycopg.Connection, superuser: psycopg.Connection) -> None:
        superuser.execute(
            "insert into tidemill._action_runs (action_id, application_name, owner)"
            " values (3, 'x', 'postgres')"
        )
        lay_trap(
            attacker,
            "if session_user = 'postgres' and exists (select from tidemill.action_history)"
            " then raise 'seen'; end if",
        )
        spring(attacker, superuser)
        assert len(rows(superuser, "select from tidemill.action_history")) == 1


class TestForgery:
    @pytest.mark.parametrize("who", ["'postgres'", "current_user", "default"])
    @pytest.mark.parametrize(
        "view",
        [
            "_add_requests",
            "_alter_requests",
            "_delete_requests",
            "_owner_requests",
            "_run_requests",
            "_run_ends",
        ],
    )
    def test_nobody_may_say_who_asks(self, attacker: psycopg.Connection, view: str, who: str) -> None:
        with refused("42501", f"permission denied for view {view}"):
            attacker.execute(f"insert into tidemill.{view} (who) values ({who})".encode())

    def test_nor_through_a_view_of_ones_own(self, attacker: psycopg.Connection) -> None:
        name = attacker.info.user
        attacker.execute(
            f"create view {name}.v as select action_id, noun from tidemill._delete_requests".encode()
        )
        with refused("42501", "insufficient permissions to delete"):
            attacker.execute(f"insert into {name}.v values (3, 'action')".encode())
        with refused("42501", "permission denied"):
            attacker.execute(
                f"create view {name}.w as select who, action_id, noun from tidemill._delete_requests;"
                f"insert into {name}.w values ('postgres', 3, 'action')".encode()
            )

    def test_nor_by_copy(self, attacker: psycopg.Connection) -> None:
        with (
            refused("42501"),
            attacker.cursor().copy("copy tidemill._delete_requests (action_id, noun) from stdin") as copy,
        ):
            copy.write_row([3, "action"])
        with (
            refused("42501"),
            attacker.cursor().copy("copy tidemill._delete_requests (who, action_id) from stdin") as copy,
        ):
            copy.write_row(["postgres", 3])

    @pytest.mark.parametrize(
        "what", ["update tidemill._add_requests set noun = ''", "delete from tidemill._run_ends"]
    )
    def test_the_views_take_nothing_else(self, attacker: psycopg.Connection, what: str) -> None:
        # No rights, and nothing that would answer.
        with pytest.raises(
            psycopg.errors.ObjectNotInPrerequisiteState, match=r"cannot (update|delete from) view"
        ):
            attacker.execute(what.encode())

    @pytest.mark.parametrize("kind", ["rule", "trigger", "default"])
    def test_none_can_be_changed(self, attacker: psycopg.Connection, kind: str) -> None:
        name = attacker.info.user
        statement = {
            "rule": "create rule r as on insert to tidemill._add_requests do nothing",
            "trigger": "create trigger t instead of insert on tidemill._add_requests"
            " for each row execute function tidemill._answer_add()",
            "default": "alter view tidemill._add_requests alter who set default 'postgres'",
        }[kind]
        with refused("42501"):
            attacker.execute(statement.encode())
        # Nor does the trigger's function serve on a table of one's own, where the column is free to write.
        attacker.execute(f"create table {name}.fake (who name, action_id integer, noun text)".encode())
        with refused("42501", "permission denied for function tidemill._answer_delete"):
            attacker.execute(
                f"create trigger t before insert on {name}.fake"
                " for each row execute function tidemill._answer_delete()".encode()
            )

    def test_private_functions_are_closed(
        self, attacker: psycopg.Connection, stranger: psycopg.Connection
    ) -> None:
        """The private ones that roles may call run with their rights."""
        for role in (attacker, stranger):
            found = rows(
                role,
                "select proname from pg_proc where pronamespace = (select oid from pg_namespace"
                " where nspname = 'tidemill') and proname ~ '^_' and prosecdef"
                " and has_function_privilege(oid, 'execute')",
            )
            assert found == []


class TestTheCallerIsTheCurrentUser:
    def test_after_set_session_authorization(
        self, attacker: psycopg.Connection, superuser: psycopg.Connection
    ) -> None:
        name = attacker.info.user
        superuser.execute(f"set session authorization {name}".encode())
        row(superuser, f"select {ADD.format(name)}")
        with refused("42501"):
            superuser.execute("select tidemill.delete_action(3)")
        assert owners(superuser) == [name]

    def test_in_a_definers_function(
        self, new_role: Callable[[bool], psycopg.Connection], attacker: psycopg.Connection
    ) -> None:
        """It acts for its definer, as with every other statement in it."""
        caller, name = new_role(True), attacker.info.user
        attacker.execute(
            f"create function {name}.add() returns integer language sql security definer as"
            f" $$ select {ADD.format(name)} $$;"
            f" grant usage on schema {name} to public".encode()
        )
        row(caller, f"select {name}.add()")
        assert owners(caller) == [name]
        number = row(caller, "select id from tidemill.actions where id >= 1000")["id"]
        with refused("42501"):
            alter(caller, number, max_retries=1)

    def test_a_prepared_statement_asks_again(
        self, attacker: psycopg.Connection, superuser: psycopg.Connection
    ) -> None:
        name = attacker.info.user
        superuser.execute(f"prepare p as select {ADD.format(name)}".encode())
        superuser.execute("execute p")
        superuser.execute(f"set role {name}".encode())
        superuser.execute("execute p")
        assert owners(superuser) == ["postgres", name]

    def test_times_are_ours(self, attacker: psycopg.Connection) -> None:
        """Nobody but the clock says what time it is."""
        for view in ("_add_requests", "_alter_requests"):
            columns = rows(
                attacker,
                "select attname from pg_attribute where attrelid = %s::regclass and attnum > 0",
                [f"tidemill.{view}"],
            )
            assert {"attname": "at"} not in columns
        with refused("42501", "permission denied for function _insert_action"):
            attacker.execute(
                "select tidemill._insert_action("
                "current_user::regrole, null, null, false, 'action', 'infinity')"
            )


def test_nothing_asks_the_session(connection: psycopg.Connection) -> None:
    """Identity is never session_user or the role setting; the exceptions are a worker's own session."""
    asks = r"(session_user|current_setting\(\s*''role''|current_role)"
    functions = rows(
        connection,
        "select proname::text from pg_proc p join pg_namespace n on n.oid = p.pronamespace"
        f" where nspname in ('tidemill', 'graphile_worker') and prosrc ~* '{asks}' order by 1",
    )
    assert [each["proname"] for each in functions] == ["_begin_run", "_due_actions"]
    views = rows(
        connection,
        "select viewname from pg_views where schemaname in ('tidemill', 'graphile_worker')"
        f" and definition ~* '{asks}'",
    )
    assert views == []


def test_a_role_that_an_older_version_granted_works_on(
    database: str, connection: psycopg.Connection, attacker: psycopg.Connection
) -> None:
    """After an upgrade it has what grant_actions gives now."""
    name = attacker.info.user
    connection.execute(f"revoke all on all tables in schema tidemill from {name}".encode())
    connection.execute(f"revoke all on function tidemill._refuse_read_only from {name}".encode())
    connection.execute("update tidemill._installed set hash = '' where part = 'functions'")
    assert migrate(database).functions_laid
    number = add(attacker, proc=f"{name}.work")
    alter(attacker, number, max_retries=1)
    attacker.execute("call tidemill.run_action(%s)", [number])
    assert rows(attacker, "select outcome from tidemill.action_history") == [{"outcome": "success"}]
    attacker.execute("select tidemill.delete_action(%s)", [number])
