"""Actions that are run by hand: what they may do, what holds meanwhile, and what is recorded."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest
from psycopg import errors, sql
from psycopg.conninfo import make_conninfo

from tests.actions.hand_runs import GATE, LEFT, Connection, at_the_gate, call, values
from tests.actions.support import add_action, history, make_note, make_procedure, outcomes, state
from tests.support.servers import Server

pytestmark = pytest.mark.versions(18, 17, 16, 15)

Run = Callable[[Connection, int], None]


def call_with_parameter(connection: Connection, action_id: int) -> None:
    """By the extended protocol, as most drivers do."""
    connection.execute("call tidemill.run_action(%s)", [action_id])


class TestRuns:
    @pytest.mark.parametrize("run", [call, call_with_parameter])
    def test_procedures_that_commit_and_roll_back(
        self, connection: Connection, written: Callable[[], list[str]], run: Run
    ) -> None:
        make_procedure(
            connection,
            "steps",
            "insert into log (line) values ('one'); commit; insert into log (line) values ('two'); rollback;"
            " insert into log (line) values (config ->> 'word');",
        )
        action = add_action(connection, proc="steps", config='{"word": "three"}')
        for _ in range(3):
            run(connection, action)
        assert written() == ["one", "three"] * 3
        assert outcomes(connection, action) == ["success"] * 3

    def test_one_after_the_other_under_odd_names(
        self, connection: Connection, written: Callable[[], list[str]]
    ) -> None:
        connection.execute('create schema "S p"')
        names = [("app", 'Mixed "quoted" Name'), ("S p", "it's"), ("app", "$body$"), ("app", "plain")]
        actions = []
        for schema, name in names:
            connection.execute(
                sql.SQL(
                    "create procedure {}(integer, jsonb) language plpgsql as"
                    " $$ begin commit; insert into app.log (line) values ({}); end $$"
                ).format(sql.Identifier(schema, name), sql.Literal(name))
            )
            proc = sql.Identifier(schema, name).as_string(connection)
            actions.append(add_action(connection, proc=proc))
        for action in actions * 2:
            call(connection, action)
        assert written() == [name for _, name in names] * 2

    def test_after_the_session_was_discarded(
        self, connection: Connection, written: Callable[[], list[str]]
    ) -> None:
        make_procedure(connection, "steps", "commit; insert into app.log (line) values ('x');")
        action = add_action(connection, proc="steps")
        call(connection, action)
        connection.execute("discard all")
        call(connection, action)
        assert written() == ["x", "x"]

    def test_a_routine_that_was_replaced_meanwhile(
        self, connection: Connection, written: Callable[[], list[str]]
    ) -> None:
        for word in ("old", "new"):
            connection.execute("drop procedure if exists steps")
            make_procedure(connection, "steps", f"commit; insert into log (line) values ('{word}');")
            if word == "old":
                action = add_action(connection, proc="steps")
            call(connection, action)
        assert written() == ["old", "new"]

    def test_procedures_with_inout_parameters(
        self, connection: Connection, written: Callable[[], list[str]]
    ) -> None:
        connection.execute(
            "create procedure inouts(inout id integer, inout config jsonb) language plpgsql as"
            " $$ begin insert into log (line) values (id || (config ->> 'a')); commit; id := 0; end $$"
        )
        action = add_action(connection, proc="inouts", config='{"a": "b"}')
        call(connection, action)
        assert written() == [f"{action}b"]

    def test_functions(self, connection: Connection, written: Callable[[], list[str]]) -> None:
        connection.execute(
            "create function giving(integer, jsonb) returns text language sql as"
            " $$ insert into log (line) values (coalesce($2::text, 'NULL')) returning line $$"
        )
        action = add_action(connection, proc="giving")
        call(connection, action)
        assert written() == ["NULL"]
        assert outcomes(connection, action) == ["success"]

    def test_an_action_that_is_paused(self, connection: Connection) -> None:
        make_note(connection)
        action = add_action(connection, proc="note", scheduled=False)
        call(connection, action)
        assert values(connection, "select action_id from seen") == [action]

    def test_notices_go_to_the_caller(self, connection: Connection) -> None:
        make_procedure(connection, "talk", "raise notice 'hello %', config; commit; raise warning 'bye';")
        action = add_action(connection, proc="talk", config='{"a": 1}')
        told: list[str | None] = []
        connection.add_notice_handler(lambda diag: told.append(diag.message_primary))
        call(connection, action)
        assert told == ['hello {"a": 1}', "bye"]
        connection.execute("set client_min_messages = debug1")
        told.clear()
        call(connection, action)
        assert 'Executing app.talk with parameters {"a": 1}' in told

    def test_a_task_is_enqueued(self, connection: Connection) -> None:
        action = add_action(connection, task="mail", config='{"to": "Ann"}', job_options='{"priority": 7}')
        told: list[str | None] = []
        connection.add_notice_handler(lambda diag: told.append(diag.message_primary))
        call(connection, action)
        job = connection.execute(
            "select id, identifier, payload, priority, state from tidemill.jobs"
        ).fetchone()
        assert job is not None
        assert job[1:] == ("mail", {"to": "Ann"}, 7, "ready")
        assert told == [f"added job {job[0]} (mail)"]
        (run,) = history(connection, action)
        assert (run["outcome"], run["job_id"], run["task"], run["by_hand"]) == (
            "success",
            job[0],
            "mail",
            True,
        )

    def test_pruning_the_history(self, connection: Connection) -> None:
        call(connection, 3)
        assert outcomes(connection, 3) == ["success"]


class TestRecord:
    def test_of_a_success(self, connection: Connection) -> None:
        make_note(connection)
        action = add_action(connection, proc="note", config='{"a": 1}', name="Noted")
        before = state(connection, action)
        call(connection, action)
        (run,) = history(connection, action)
        assert (run["by_hand"], run["outcome"], run["config"]) == (True, "success", {"a": 1})
        assert (run["pid"], run["worker_id"], run["slot"]) == (connection.info.backend_pid, None, None)
        assert run["application_name"] == f"Noted [{action}]"
        assert (run["proc_schema"], run["proc_name"]) == ("app", "note")
        assert run["definition"]["proc_name"] == "note"
        assert run["backend_start"] <= run["started_at"] <= run["finished_at"]
        after = state(connection, action)
        assert {name for name in after if after[name] != before[name]} == {
            "last_start",
            "last_finish",
            "last_successful_finish",
            "last_run_success",
            "total_runs",
            "total_successes",
            "total_duration",
        }
        assert (after["total_runs"], after["total_successes"], after["last_run_success"]) == (1, 1, True)
        assert (after["last_start"], after["last_finish"]) == (run["started_at"], run["finished_at"])
        assert after["total_duration"] == run["finished_at"] - run["started_at"]

    @pytest.mark.parametrize("run", [call, call_with_parameter])
    def test_of_an_error_that_comes_through_unchanged(
        self, connection: Connection, written: Callable[[], list[str]], run: Run
    ) -> None:
        make_procedure(
            connection,
            "broken",
            "insert into log (line) values ('undone');"
            " raise exception using errcode = 'ABCDE', message = 'm', detail = 'd', hint = 'h';",
        )
        action = add_action(connection, proc="broken", max_retries=0)
        before = state(connection, action)
        with pytest.raises(psycopg.Error) as raised:
            run(connection, action)
        told = raised.value.diag
        assert (told.sqlstate, told.message_primary) == ("ABCDE", "m")
        assert (told.message_detail, told.message_hint) == ("d", "h")
        assert told.context is not None
        assert "broken(integer,jsonb) line 1 at RAISE" in told.context
        (recorded,) = history(connection, action)
        assert [recorded[name] for name in ("outcome", "sqlstate", "message", "detail", "hint")] == [
            "failure",
            "ABCDE",
            "m",
            "d",
            "h",
        ]
        assert recorded["context"] == "PL/pgSQL function broken(integer,jsonb) line 1 at RAISE"
        after = state(connection, action)
        assert (after["total_failures"], after["last_run_success"], after["run_id"]) == (1, False, None)
        # It neither counts for a pause nor changes when the action runs next.
        assert (after["consecutive_failures"], after["next_start"]) == (0, before["next_start"])
        assert values(connection, f"select scheduled from tidemill._actions where id = {action}") == [True]
        assert written() == []

    def test_of_what_fails_at_the_commit(self, connection: Connection) -> None:
        connection.execute("create table parent (id int primary key)")
        connection.execute("create table child (id int references parent deferrable initially deferred)")
        make_procedure(connection, "orphan", "insert into child values (1);")
        action = add_action(connection, proc="orphan")
        with pytest.raises(errors.ForeignKeyViolation):
            call(connection, action)
        (run,) = history(connection, action)
        assert (run["outcome"], run["sqlstate"]) == ("failure", "23503")
        assert run["context"] is None

    def test_of_what_may_not_be_executed(self, server: Server, connection: Connection, database: str) -> None:
        make_procedure(connection, "secret", "")
        action = add_action(connection, proc="secret")
        connection.execute("revoke execute on procedure secret from public")
        with server.role() as role:
            connection.execute("select tidemill.grant_actions(%s::regrole)", [role])
            connection.execute(f"grant usage on schema app to {role}".encode())
            connection.execute(
                "update tidemill._actions set owner = %s::regrole where id = %s", [role, action]
            )
            with (
                psycopg.connect(make_conninfo(database, user=role), autocommit=True) as opened,
                pytest.raises(errors.InsufficientPrivilege, match="permission denied for procedure secret"),
            ):
                call(opened, action)
        (run,) = history(connection, action)
        assert (run["outcome"], run["sqlstate"], run["context"]) == ("failure", "42501", None)

    def test_of_an_error_within_an_action_within_it(self, connection: Connection) -> None:
        make_procedure(connection, "inner_one", "perform 1/0;")
        inner = add_action(connection, proc="inner_one")
        connection.execute(
            "create function through(id integer) returns void language plpgsql as"
            " $$ begin call tidemill.run_action(id); end $$"
        )
        make_procedure(connection, "outer_one", f"perform through({inner});")
        outer = add_action(connection, proc="outer_one")
        with pytest.raises(errors.DivisionByZero):
            call(connection, outer)
        assert outcomes(connection, inner) == []
        context = history(connection, outer)[0]["context"].splitlines()
        assert "inner_one" in context[1]
        assert context[-1] == "PL/pgSQL function outer_one(integer,jsonb) line 1 at PERFORM"

    def test_of_a_failed_assertion(self, connection: Connection) -> None:
        make_procedure(connection, "checked", "assert false, 'not so';")
        action = add_action(connection, proc="checked")
        with pytest.raises(errors.AssertFailure, match="not so"):
            call(connection, action)
        assert [run["message"] for run in history(connection, action)] == ["not so"]

    @pytest.mark.parametrize("field", ["message", "detail", "hint"])
    def test_of_a_large_error(self, connection: Connection, field: str) -> None:
        make_procedure(
            connection, "shouts", f"raise 'no' using {field} = 'head' || repeat('x', 1000000) || 'tail';"
        )
        if field == "message":
            make_procedure(connection, "shouts", "raise '%', 'head' || repeat('x', 1000000) || 'tail';")
        action = add_action(connection, proc="shouts")
        with pytest.raises(errors.RaiseException):
            call(connection, action)
        (run,) = history(connection, action)
        kept = run[field]
        assert len(kept) < 10_100
        assert kept.startswith("headxxx")
        assert kept.endswith("xxxtail")
        assert "characters left out" in kept

    def test_of_a_cancelled_run(self, connection: Connection, other: Connection) -> None:
        make_procedure(connection, "waits", GATE)
        action = add_action(connection, proc="waits")
        with at_the_gate(connection, other, action) as done:
            connection.execute("select pg_cancel_backend(%s)", [other.info.backend_pid])
            with pytest.raises(errors.QueryCanceled):
                done.result()
        (run,) = history(connection, action)
        assert (run["outcome"], run["sqlstate"]) == ("failure", "57014")

    def test_of_an_error_in_a_procedure_that_commits(
        self, connection: Connection, written: Callable[[], list[str]]
    ) -> None:
        make_procedure(connection, "halfway", "insert into log (line) values ('kept'); commit; perform 1/0;")
        action = add_action(connection, proc="halfway")
        for _ in range(2):
            with pytest.raises(errors.DivisionByZero):
                call(connection, action)
        assert written() == ["kept", "kept"]
        # No handler could catch it, so the next look at open runs ends it.
        first, second = history(connection, action)
        assert (first["outcome"], first["message"], first["sqlstate"]) == ("failure", LEFT, None)
        assert second["outcome"] is None
        connection.execute("select tidemill._close_left_runs(nested => false)")
        assert outcomes(connection, action) == ["failure", "failure"]
        assert state(connection, action)["run_id"] is None
        assert state(connection, action)["total_failures"] == 2

    def test_a_worker_is_told_when_it_was_due_meanwhile(
        self, connection: Connection, other: Connection
    ) -> None:
        make_note(connection)
        action = add_action(connection, proc="note", initial_start="2020-01-01 00:00+00")
        later = add_action(connection, proc="note", initial_start="2100-01-01 00:00+00")
        other.execute('listen "tidemill:actions"')
        call(connection, later)
        call(connection, action)
        connection.execute("notify \"tidemill:actions\", 'end'")
        told = []
        for notify in other.notifies(timeout=30):
            told.append(notify.payload)
            if notify.payload == "end":
                break
        assert told == ["", "end"]


class TestWorkMem:
    """config's work_mem holds during the run, and no longer."""

    @pytest.mark.parametrize("body", ["", "commit;"])
    def test_it_is_set_and_restored(
        self, connection: Connection, written: Callable[[], list[str]], body: str
    ) -> None:
        make_procedure(
            connection, "told", f"{body} insert into log (line) values (current_setting('work_mem'));"
        )
        action = add_action(connection, proc="told", config='{"work_mem": "77MB"}')
        connection.execute("set work_mem = '5MB'")
        call(connection, action)
        assert values(connection, "show work_mem") == ["5MB"]
        if not body:
            with connection.transaction():
                connection.execute("set local work_mem = '6MB'")
                call(connection, action)
                assert values(connection, "show work_mem") == ["6MB"]
            assert values(connection, "show work_mem") == ["5MB"]
        assert set(written()) == {"77MB"}

    @pytest.mark.parametrize("body", ["perform 1/0;", "if 1/0 > 0 then commit; end if;"])
    def test_it_is_restored_after_an_error(self, connection: Connection, body: str) -> None:
        make_procedure(connection, "broken", body)
        action = add_action(connection, proc="broken", config='{"work_mem": "77MB"}')
        with pytest.raises(errors.DivisionByZero):
            call(connection, action)
        assert values(connection, "show work_mem") == ["4MB"]

    def test_one_that_is_no_size(self, connection: Connection) -> None:
        make_note(connection)
        action = add_action(connection, proc="note", config='{"work_mem": "much"}')
        with pytest.raises(errors.InvalidParameterValue, match="work_mem"):
            call(connection, action)
        assert [run["outcome"] for run in history(connection, action)] == ["failure"]
