"""What becomes of actions whose routines and owners are renamed or dropped."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.actions.support import add_action, history, make_note, outcomes
from tests.support.servers import Server
from tests.support.waiting import wait_until
from tidemill.database.migrate import migrate, uninstall
from tidemill.errors import MissingRightsError

pytestmark = pytest.mark.versions(18, 16)

Connection = psycopg.Connection


def run(connection: Connection, action_id: int) -> None:
    connection.execute("call tidemill.run_action(%s)", [action_id])


def seen(connection: Connection) -> int:
    (row,) = connection.execute("select count(*) from app.seen")
    return int(row[0])


def names(connection: Connection, action_id: int) -> tuple[str, str]:
    row = connection.execute(
        "select proc_schema, proc_name from tidemill._actions where id = %s", [action_id]
    ).fetchone()
    assert row is not None
    return row[0], row[1]


class TestCalls:
    """Which routine an action's names stand for, and how it is called."""

    @pytest.mark.parametrize(
        ("created", "name", "call", "is_procedure"),
        [
            ("procedure p(integer, jsonb)", "p", "call app.p(1, null)", True),
            ("procedure p(a integer default 1, b jsonb default null)", "p", "call app.p(1, null)", True),
            (
                "function f(integer, jsonb) returns void",
                "f",
                "select pg_catalog.count(app.f(1, null))",
                False,
            ),
            (
                "function f(integer, jsonb, out text) returns text",
                "f",
                "select pg_catalog.count(app.f(1, null))",
                False,
            ),
            ('procedure "P p"(integer, jsonb)', "P p", 'call app."P p"(1, null)', True),
            ('procedure "q""q"(integer, jsonb)', 'q"q', 'call app."q""q"(1, null)', True),
            ('procedure "50%s"(integer, jsonb)', "50%s", 'call app."50%s"(1, null)', True),
            ('procedure "select"(integer, jsonb)', "select", 'call app."select"(1, null)', True),
        ],
    )
    def test_found(
        self, connection: Connection, created: str, name: str, call: str, is_procedure: bool
    ) -> None:
        connection.execute(f"create {created} language sql as $$ select null $$".encode())
        found = connection.execute(
            "select format(call, 1, 'null'), is_procedure from tidemill._routine_call('app', %s)", [name]
        ).fetchall()
        assert found == [(call, is_procedure)]
        connection.execute(call.encode())

    @pytest.mark.parametrize(
        "created",
        [
            None,
            "procedure n()",
            "procedure n(integer)",
            "procedure n(integer, json)",
            "procedure n(bigint, jsonb)",
            "procedure n(integer, jsonb, text default '')",
            "procedure n(integer, jsonb, out text)",
            "procedure n(integer, variadic jsonb[])",
            "procedure public.n(integer, jsonb)",
        ],
    )
    def test_not_found(self, server: Server, connection: Connection, created: str | None) -> None:
        if created is not None:
            with server.superuser(connection.info.dbname) as superuser:
                superuser.execute(f"create {created} language sql as $$ select null $$".encode())
        with pytest.raises(errors.UndefinedFunction) as raised:
            connection.execute("select tidemill._routine_call('app', 'n')")
        told = raised.value.diag
        assert told.message_primary == 'function or procedure "app.n(integer, jsonb)" does not exist'
        assert told.message_hint == "Custom job actions must accept (integer, jsonb) arguments."

    @pytest.mark.parametrize(
        ("created", "message"),
        [
            (
                "function n(integer, jsonb) returns setof integer language sql as $$ select 1 $$",
                "set-valued function called in context that cannot accept a set",
            ),
            (
                "function n(integer, jsonb) returns table (a integer) language sql as $$ select 1 $$",
                "set-valued function called in context that cannot accept a set",
            ),
            (
                "aggregate n(integer, jsonb) (sfunc = kept, stype = jsonb)",
                "unsupported function type",
            ),
        ],
    )
    def test_unsupported(self, connection: Connection, created: str, message: str) -> None:
        connection.execute(
            "create function kept(jsonb, integer, jsonb) returns jsonb language sql as $$ select $1 $$"
        )
        connection.execute(f"create {created}".encode())
        with pytest.raises(errors.FeatureNotSupported) as raised:
            connection.execute("select tidemill._routine_call('app', 'n')")
        assert raised.value.diag.message_primary == message

    @pytest.mark.parametrize(
        ("created", "may"),
        [
            ("procedure n(integer, jsonb) language plpgsql as $$ begin perform 1; end $$", False),
            ("procedure n(integer, jsonb) language plpgsql as $$ begin CoMMit; end $$", True),
            ("procedure n(integer, jsonb) language plpgsql as $$ begin rollback; end $$", True),
            ("procedure n(integer, jsonb) language plpgsql as $$ begin call x(); end $$", True),
            ("procedure n(integer, jsonb) language plpgsql as $$ begin perform committed(); end $$", False),
            ("procedure n(integer, jsonb) language sql as $$ select 'commit' $$", False),
            ("procedure n(integer, jsonb) begin atomic select 1; end", False),
            ("function n(integer, jsonb) returns void language plpgsql as $$ begin commit; end $$", False),
        ],
    )
    def test_which_may_end_transactions(self, connection: Connection, created: str, may: bool) -> None:
        connection.execute(f"create {created}".encode())
        assert connection.execute("select tidemill._can_commit('app', 'n')").fetchone() == (may,)


class TestRenames:
    @pytest.fixture
    def action(self, connection: Connection) -> int:
        make_note(connection)
        return add_action(connection, proc="note")

    @pytest.mark.parametrize(
        ("statement", "found"),
        [
            ("alter procedure note(integer, jsonb) rename to noted", ("app", "noted")),
            ("alter routine note(integer, jsonb) rename to noted", ("app", "noted")),
            ('alter procedure note(integer, jsonb) set schema "S 2"', ("S 2", "note")),
            ("alter schema app rename to appendix", ("appendix", "note")),
        ],
    )
    def test_are_followed(
        self, connection: Connection, action: int, statement: str, found: tuple[str, str]
    ) -> None:
        connection.execute('create schema "S 2"')
        connection.execute("alter procedure note(integer, jsonb) set search_path = app, appendix")
        connection.execute(statement.encode())
        run(connection, action)
        assert names(connection, action) == found
        assert outcomes(connection, action) == ["success"]
        last = history(connection, action)[0]
        assert (last["proc_schema"], last["proc_name"]) == found

    def test_when_a_worker_starts_it(self, connection: Connection, action: int) -> None:
        connection.execute("alter procedure note(integer, jsonb) rename to noted")
        connection.execute("select tidemill._start_actions('w', 1)")
        assert history(connection, action)[0]["proc_name"] == "noted"

    def test_a_routine_that_took_the_name_is_the_actions(self, connection: Connection, action: int) -> None:
        connection.execute("alter procedure note(integer, jsonb) rename to old_note")
        connection.execute("create procedure note(integer, jsonb) language sql as $$ select $$")
        run(connection, action)
        assert (names(connection, action), seen(connection)) == (("app", "note"), 0)
        # And is followed from then on.
        connection.execute("alter procedure note(integer, jsonb) rename to new_note")
        run(connection, action)
        assert names(connection, action) == ("app", "new_note")

    def test_one_that_was_replaced_by_other_arguments(self, connection: Connection, action: int) -> None:
        connection.execute("drop procedure note")
        connection.execute("create procedure note(integer) language sql as $$ select $$")
        with pytest.raises(errors.UndefinedFunction):
            run(connection, action)


class TestDrops:
    def test_without_event_triggers_the_next_run_tells(self, connection: Connection) -> None:
        make_note(connection)
        action = add_action(connection, proc="note")
        connection.execute("drop procedure note")
        with pytest.raises(errors.UndefinedFunction, match=r'"app\.note\(integer, jsonb\)" does not exist'):
            run(connection, action)
        row = connection.execute("select run_id from tidemill._start_actions('w', 1)").fetchone()
        with pytest.raises(errors.UndefinedFunction, match=r'"app\.note\(integer, jsonb\)" does not exist'):
            connection.execute("select tidemill._prepare_run(%s)", row)


class TestEventTrigger:
    """Where a superuser installs Tidemill, DROP knows of actions."""

    @pytest.fixture
    def superuser(self, server: Server, empty_database: str) -> str:
        """The conninfo of the superuser who has installed it."""
        conninfo = server.conninfo(str(conninfo_to_dict(empty_database)["dbname"]), "postgres")
        migrate(conninfo)
        return conninfo

    @pytest.fixture
    def connection(self, superuser: str) -> Iterator[Connection]:
        with psycopg.connect(superuser, autocommit=True) as opened:
            make_note(opened)
            yield opened

    @pytest.fixture
    def action(self, connection: Connection) -> int:
        return add_action(connection, proc="note")

    def exists(self, connection: Connection, action: int) -> bool:
        return bool(connection.execute("select from tidemill._actions where id = %s", [action]).fetchall())

    @pytest.mark.parametrize(
        "statement",
        [
            "drop procedure app.note",
            "drop procedure app.note(integer, jsonb) restrict",
            "drop routine note",
            "do $$ begin drop procedure note; end $$",
            "drop procedure other, note",
            "drop procedure note /* cascade */",
            "do $$ begin drop procedure note; /* cascade */ end $$",
        ],
    )
    def test_a_drop_is_refused(self, connection: Connection, action: int, statement: str) -> None:
        connection.execute("create procedure other(integer, jsonb) language sql as $$ select $$")
        with pytest.raises(errors.DependentObjectsStillExist) as raised:
            connection.execute(statement.encode())
        told = raised.value.diag
        assert told.message_primary == (f"cannot drop app.note because background job {action} depends on it")
        assert told.message_hint in (
            "Use delete_job() to drop the job first.",
            f"Use tidemill.delete_action({action}) to delete it first.",
        )
        run(connection, action)
        assert seen(connection) == 1

    @pytest.mark.parametrize(
        "statement",
        [
            "drop procedure note cascade",
            "DROP ROUTINE note CASCADE",
            "do $$ begin drop procedure note cascade; end $$",
            "do $$ begin execute 'drop procedure \"note\"\n-- it\n cascade'; end $$",
            "drop schema app cascade",
            "do $$ begin execute 'drop sch' || 'ema app casc' || 'ade'; end $$",
        ],
    )
    def test_with_cascade_the_action_goes(self, connection: Connection, action: int, statement: str) -> None:
        second = add_action(connection, proc="note")
        task = add_action(connection, task="mail")
        told: list[str | None] = []
        connection.add_notice_handler(lambda diag: told.append(diag.message_primary))
        connection.execute(statement.encode())
        assert told[-2:] == [f"drop cascades to job {action}", f"drop cascades to job {second}"]
        assert not self.exists(connection, action)
        assert not self.exists(connection, second)
        assert self.exists(connection, task)
        assert self.exists(connection, 3)

    def test_a_drop_after_a_rename(self, connection: Connection, action: int) -> None:
        connection.execute("alter procedure note(integer, jsonb) rename to noted")
        with pytest.raises(errors.DependentObjectsStillExist):
            connection.execute("drop procedure noted")
        # The one that has the name now is the action's.
        connection.execute("create procedure note(integer, jsonb) language sql as $$ select $$")
        connection.execute("drop procedure noted")
        with pytest.raises(errors.DependentObjectsStillExist):
            connection.execute("drop procedure note")

    @pytest.mark.parametrize(
        "statement",
        [
            "drop procedure note(integer)",
            "drop procedure note(integer, json)",
            "drop table unrelated cascade",
            "drop procedure pg_temp.note",
            "drop schema unrelated cascade",
            "drop function tidemill.check_history_retention(jsonb)",
            "drop procedure tidemill.prune_action_history",
            "drop owned by nobody_here cascade",
        ],
    )
    def test_other_drops_pass(
        self, server: Server, connection: Connection, action: int, statement: str
    ) -> None:
        connection.execute("create procedure note(integer) language sql as $$ select $$")
        connection.execute("create procedure note(integer, json) language sql as $$ select $$")
        connection.execute("create procedure pg_temp.note(integer, jsonb) language sql as $$ select $$")
        connection.execute("create table unrelated ()")
        connection.execute("create schema unrelated")
        connection.execute("create procedure unrelated.note(integer, jsonb) language sql as $$ select $$")
        with server.role() as nobody:
            connection.execute(statement.replace("nobody_here", nobody).encode())
        assert self.exists(connection, action)
        assert self.exists(connection, 3)

    def test_ordinary_roles_drop_what_is_theirs(
        self, server: Server, superuser: str, connection: Connection, action: int
    ) -> None:
        with server.role() as role:
            connection.execute(f"create schema theirs authorization {role}".encode())
            with psycopg.connect(make_conninfo(superuser, user=role), autocommit=True) as opened:
                opened.execute("create procedure theirs.p(integer, jsonb) language sql as $$ select $$")
                add_action(connection, proc="theirs.p")
                with pytest.raises(errors.DependentObjectsStillExist):
                    opened.execute("drop procedure theirs.p")
                opened.execute("drop procedure theirs.p cascade")
        assert self.exists(connection, action)

    def test_it_breaks_no_drop_when_tidemill_is_broken(self, connection: Connection, action: int) -> None:
        connection.execute("alter table tidemill._actions rename to _elsewhere")
        connection.execute("drop procedure note")

    def test_it_is_laid_once_and_goes_with_the_schema(
        self, superuser: str, connection: Connection, action: int
    ) -> None:
        triggers = "select evtname from pg_event_trigger"
        assert connection.execute(triggers).fetchall() == [("tidemill_routines",)]
        connection.execute("update tidemill._installed set hash = 'old' where part = 'functions'")
        assert migrate(superuser).functions_laid
        assert connection.execute(triggers).fetchall() == [("tidemill_routines",)]
        uninstall(superuser)
        assert connection.execute(triggers).fetchall() == []
        connection.execute("drop procedure note")
        migrate(superuser)
        assert connection.execute(triggers).fetchall() == [("tidemill_routines",)]

    def test_an_ordinary_owner_has_none(self, server: Server, empty_database: str) -> None:
        migrate(empty_database)
        with psycopg.connect(empty_database, autocommit=True) as opened:
            assert opened.execute("select from pg_event_trigger").fetchall() == []
            # A superuser may not upgrade it: the owner could change what then runs in everybody's sessions.
            opened.execute("update tidemill._installed set hash = 'old' where part = 'functions'")
            with pytest.raises(MissingRightsError):
                migrate(server.conninfo(opened.info.dbname, "postgres"))
            assert opened.execute("select from pg_event_trigger").fetchall() == []


class TestOwners:
    """A role that owns actions cannot be dropped."""

    @pytest.fixture
    def role(self, server: Server, connection: Connection) -> Iterator[str]:
        make_note(connection)
        with server.role() as name:
            connection.execute("select tidemill.grant_actions(%s::regrole)", [name])
            connection.execute(f"grant usage on schema app to {name}".encode())
            connection.execute(f"grant insert on seen to {name}".encode())
            yield name

    @pytest.fixture
    def theirs(self, database: str, role: str) -> Iterator[Connection]:
        with psycopg.connect(make_conninfo(database, user=role), autocommit=True) as opened:
            yield opened

    def holds(self, connection: Connection, role: str) -> bool:
        row = connection.execute(
            "select exists (select from tidemill._anchors(%s::regrole))", [role]
        ).fetchone()
        assert row is not None
        return bool(row[0])

    def test_it_is_kept_while_it_has_actions(
        self, server: Server, connection: Connection, theirs: Connection, role: str
    ) -> None:
        first, second = (add_action(theirs, proc="note") for _ in range(2))
        with server.superuser(connection.info.dbname) as superuser:
            # Of its other privileges nothing is left.
            superuser.execute(f"revoke all on seen from {role}".encode())
            superuser.execute(f"revoke all on schema app, tidemill from {role}".encode())
            superuser.execute(f"revoke all on all tables in schema tidemill from {role}".encode())
            for routine in connection.execute(
                "select oid::regprocedure::text from pg_proc where pronamespace = 'tidemill'::regnamespace"
                " and not starts_with(proname, '_owns_actions')"
            ).fetchall():
                superuser.execute(f"revoke all on routine {routine[0]} from {role}".encode())
            with pytest.raises(errors.DependentObjectsStillExist) as raised:
                superuser.execute(f"drop role {role}".encode())
            assert raised.value.diag.message_primary == (
                f'role "{role}" cannot be dropped because some objects depend on it'
            )
            assert str(raised.value.diag.message_detail).startswith(
                "privileges for function tidemill._owns_actions_"
            )
            connection.execute("select tidemill.delete_action(%s)", [first])
            assert self.holds(connection, role)
            connection.execute("select tidemill.delete_action(%s)", [second])
            assert not self.holds(connection, role)
            superuser.execute(f"drop role {role}".encode())
            superuser.execute(f"create role {role}".encode())

    def test_a_renamed_one_keeps_its_actions(
        self, server: Server, connection: Connection, theirs: Connection, role: str
    ) -> None:
        action = add_action(theirs, proc="note")
        with server.superuser() as superuser:
            superuser.execute(f'alter role {role} rename to "Renamed {role}"'.encode())
            owner = connection.execute(
                "select owner::text from tidemill._actions where id = %s", [action]
            ).fetchone()
            assert owner == (f'"Renamed {role}"',)
            connection.execute("select tidemill.delete_action(%s)", [action])
            superuser.execute(f'alter role "Renamed {role}" rename to {role}'.encode())
        assert not self.holds(connection, role)

    def test_the_owner_of_the_schema_needs_none(self, connection: Connection) -> None:
        make_note(connection)
        action = add_action(connection, proc="note")
        assert not self.holds(connection, str(connection.info.user))
        connection.execute("select tidemill.delete_action(%s)", [action])

    def test_two_at_once(
        self, server: Server, connection: Connection, database: str, theirs: Connection, role: str
    ) -> None:
        with (
            server.role() as second,
            psycopg.connect(make_conninfo(database, user=second)) as others,
        ):
            connection.execute("select tidemill.grant_actions(%s::regrole)", [second])
            connection.execute(f"grant usage on schema app to {second}".encode())
            with theirs.transaction():
                first_action = add_action(theirs, proc="note")
                # It does not wait.
                second_action = add_action(others, proc="note")
                others.commit()
            assert self.holds(connection, role)
            assert self.holds(connection, second)
            for action in (first_action, second_action):
                connection.execute("select tidemill.delete_action(%s)", [action])
            assert not self.holds(connection, role)
            assert not self.holds(connection, second)
            left = "select from pg_proc where starts_with(proname, '_owns_actions_')"
            assert connection.execute(left).fetchall() == []

    def test_the_last_action_goes_while_another_comes(
        self, connection: Connection, database: str, theirs: Connection, role: str
    ) -> None:
        first = add_action(theirs, proc="note")
        with (
            psycopg.connect(database, autocommit=True) as deleting,
            ThreadPoolExecutor(1) as pool,
        ):
            with theirs.transaction():
                second = add_action(theirs, proc="note")
                waits = pool.submit(deleting.execute, "select tidemill.delete_action(%s)", [first])
                blocked = "select cardinality(pg_blocking_pids(%s)) > 0"
                wait_until(
                    lambda: (
                        waits.done()
                        or connection.execute(blocked, [deleting.info.backend_pid]).fetchone() == (True,)
                    ),
                    "the deletion to wait",
                )
            waits.result()
        assert self.holds(connection, role)
        connection.execute("select tidemill.delete_action(%s)", [second])
        assert not self.holds(connection, role)

    def test_dropping_what_it_owns_takes_the_anchor_along(
        self, server: Server, connection: Connection, theirs: Connection, role: str
    ) -> None:
        """Documented: DROP OWNED is how to get past it; the next run then tells."""
        action = add_action(theirs, proc="note")
        with server.superuser(connection.info.dbname) as superuser:
            superuser.execute(f"drop owned by {role}".encode())
            superuser.execute(f"drop role {role}".encode())
            connection.execute("select tidemill.delete_action(%s)", [action])
            superuser.execute(f"create role {role}".encode())
