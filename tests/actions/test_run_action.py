"""Actions that are run by hand: in the caller's session, as the caller, and recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from psycopg import errors, sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.actions.support import add_action, history, make_note, make_procedure, outcomes, state
from tests.actions.test_alter_action import wait_for_a_lock
from tests.support.servers import Server
from tests.support.waiting import wait_until
from tidemill.database.migrate import migrate

Connection = psycopg.Connection
Run = Callable[[Connection, int], None]

LEFT = "the run ended with an error that its own session saw"
# Where a hand run waits until the test lets it go on.
GATE = "perform pg_advisory_lock(77); perform pg_advisory_unlock(77);"


def call(connection: Connection, action_id: int) -> None:
    """In one string, as psql does."""
    connection.execute(f"call tidemill.run_action({action_id})".encode())


def call_with_parameter(connection: Connection, action_id: int) -> None:
    """By the extended protocol, as most drivers do."""
    connection.execute("call tidemill.run_action(%s)", [action_id])


def values(connection: Connection, query: str) -> list[Any]:
    return [value for (value,) in connection.execute(query.encode())]


@pytest.fixture
def written(connection: Connection) -> Callable[[], list[str]]:
    """The texts in the table `log`, which is made."""
    connection.execute("create table log (nr serial, line text)")
    return lambda: values(connection, "select line from log order by nr")


@pytest.fixture
def other(database: str) -> Iterator[Connection]:
    """A second session of the owner."""
    with psycopg.connect(database, autocommit=True) as opened:
        yield opened


@contextmanager
def at_the_gate(connection: Connection, other: Connection, action_id: int) -> Iterator[Future[None]]:
    """An action that goes on in `other`; it passes the gate at the end of the block."""
    connection.execute("select pg_advisory_lock(77)")
    waiting = (
        "select from pg_locks where locktype = 'advisory' and objid = 77 and not granted"
        f" and pid = {other.info.backend_pid}"
    )
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(call, other, action_id)
        try:
            wait_until(
                lambda: done.done() or connection.execute(waiting.encode()).fetchone() is not None,
                "the run to reach the gate",
            )
            yield done
        finally:
            connection.execute("select pg_advisory_unlock(77)")


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
        # Nothing could catch it: the next one who looks ends it.
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


class TestLeftRuns:
    """Runs whose sessions did not record their end."""

    @pytest.fixture
    def action(self, connection: Connection) -> int:
        make_procedure(connection, "halfway", "commit; perform 1/0;")
        return add_action(connection, proc="halfway")

    @pytest.fixture
    def left(self, other: Connection, action: int) -> int:
        with pytest.raises(errors.DivisionByZero):
            call(other, action)
        return action

    def close(self, connection: Connection) -> None:
        connection.execute("select tidemill._close_left_runs()")

    def test_another_session_sees_that_it_idles(self, connection: Connection, left: int) -> None:
        assert outcomes(connection, left) == [None]
        self.close(connection)
        (run,) = history(connection, left)
        assert (run["outcome"], run["message"]) == ("failure", LEFT)
        assert run["finished_at"] >= run["started_at"]

    def test_or_does_something_else(self, connection: Connection, other: Connection, left: int) -> None:
        make_procedure(connection, "waits", GATE)
        with at_the_gate(connection, other, add_action(connection, proc="waits")):
            self.close(connection)
            assert outcomes(connection, left) == ["failure"]

    def test_or_is_gone(self, connection: Connection, other: Connection, left: int) -> None:
        other.close()
        gone = "select from pg_stat_activity where pid = %s"
        pid = history(connection, left)[0]["pid"]
        wait_until(lambda: not connection.execute(gone, [pid]).fetchall(), "the session to be gone")
        self.close(connection)
        (run,) = history(connection, left)
        assert (run["outcome"], run["message"]) == (
            "backend_terminated",
            "the session that ran it ended during the run",
        )
        assert state(connection, left)["total_failures"] == 1

    def test_or_went_with_its_server(self, connection: Connection, left: int) -> None:
        connection.execute(
            "update tidemill._action_runs set started_at = pg_postmaster_start_time() - interval '1 s',"
            " pid = 0"
        )
        self.close(connection)
        assert outcomes(connection, left) == ["server_restarted"]
        after = state(connection, left)
        assert (after["total_crashes"], after["total_failures"], after["consecutive_crashes"]) == (1, 0, 0)

    def test_what_goes_on_is_left_alone(self, connection: Connection, other: Connection) -> None:
        make_procedure(connection, "waits", f"commit; {GATE} commit; {GATE}")
        action = add_action(connection, proc="waits")
        with at_the_gate(connection, other, action) as done:
            self.close(connection)
            assert outcomes(connection, action) == [None]
        done.result()
        assert outcomes(connection, action) == ["success"]

    def test_sessions_that_the_role_may_not_look_at(
        self, connection: Connection, superuser_conninfo: str, action: int
    ) -> None:
        make_procedure(connection, "waits", f"commit; {GATE}")
        waits = add_action(connection, proc="waits")
        with psycopg.connect(superuser_conninfo, autocommit=True) as superuser:
            with at_the_gate(connection, superuser, waits) as done:
                assert values(
                    connection, f"select state from pg_stat_activity where pid = {superuser.info.backend_pid}"
                ) == [None]
                self.close(connection)
                assert outcomes(connection, waits) == [None]
            done.result()
            with pytest.raises(errors.DivisionByZero):
                call(superuser, action)
            self.close(connection)
            assert outcomes(connection, action) == ["failure"]

    def test_a_worker_runs_it_again_after_the_sweep(self, connection: Connection, left: int) -> None:
        due = "select run_id from tidemill._start_actions('w', 9, clock_timestamp() + interval '2 days')"
        assert left not in values(connection, due.replace("run_id", "action_id"))
        connection.execute("select tidemill._sweep_runs()")
        assert left in values(connection, due.replace("run_id", "action_id"))


class TestOneAtATime:
    def test_not_twice_by_hand(self, connection: Connection, other: Connection) -> None:
        make_procedure(connection, "waits", GATE)
        action = add_action(connection, proc="waits")
        with at_the_gate(connection, other, action):
            with pytest.raises(errors.ObjectInUse) as raised:
                call(connection, action)
            told = raised.value.diag
            (run,) = history(connection, action)
            pid = other.info.backend_pid
            assert told.message_primary == f"action {action} is running already"
            assert told.message_detail is not None
            assert told.message_detail.startswith(f"Run {run['id']} has been going on since ")
            assert told.message_detail.endswith(f", by hand, in server process {pid}.")
            assert told.message_hint == (
                f"Wait until it has ended, or stop it: select pg_cancel_backend({pid})."
            )
        assert outcomes(connection, action) == ["success"]

    def test_not_beside_a_worker(self, connection: Connection) -> None:
        make_note(connection)
        action = add_action(connection, proc="note")
        started = connection.execute("select run_id from tidemill._start_actions('w', 1)").fetchone()
        assert started is not None
        with pytest.raises(errors.ObjectInUse) as raised:
            call(connection, action)
        assert raised.value.diag.message_detail is not None
        assert raised.value.diag.message_detail.endswith(", in worker w.")
        assert raised.value.diag.message_hint == "Wait until it has ended."
        connection.execute("select tidemill._finish_run(%s, 'success')", started)
        call(connection, action)

    def test_not_beside_one_that_begins_meanwhile(self, connection: Connection, other: Connection) -> None:
        make_note(connection)
        action = add_action(connection, proc="note")
        with ThreadPoolExecutor(1) as pool, other.transaction():
            other.execute("select from tidemill._start_actions('w', 1)")
            late = pool.submit(call, connection, action)
            wait_for_a_lock(other)
        with pytest.raises(errors.ObjectInUse):
            late.result()
        assert outcomes(connection, action) == [None]

    @pytest.mark.parametrize("committing", [True, False])
    def test_no_worker_beside_it(self, connection: Connection, other: Connection, committing: bool) -> None:
        make_procedure(connection, "waits", ("commit;" if committing else "") + GATE)
        action = add_action(connection, proc="waits", initial_start="2020-01-01 00:00+00")
        due = "select action_id from tidemill._start_actions('w', 9)"
        with at_the_gate(connection, other, action):
            assert values(connection, due) == []
        assert values(connection, due) == [action]

    def test_not_within_itself(self, connection: Connection) -> None:
        make_procedure(connection, "again", "commit; call tidemill.run_action(job_id);")
        action = add_action(connection, proc="again")
        with pytest.raises(errors.ObjectInUse):
            call(connection, action)

    def test_another_one_within_it(self, connection: Connection, written: Callable[[], list[str]]) -> None:
        make_procedure(connection, "inner_one", "insert into log (line) values ('inner'); commit;")
        inner = add_action(connection, proc="inner_one")
        make_procedure(
            connection,
            "outer_one",
            f"commit; call tidemill.run_action({inner}); commit;"
            " insert into log (line) values ('outer'); commit;",
        )
        outer = add_action(connection, proc="outer_one")
        for _ in range(2):
            call(connection, outer)
        assert written() == ["inner", "outer"] * 2
        assert outcomes(connection, inner) == outcomes(connection, outer) == ["success"] * 2

    def test_another_one_whose_record_is_rolled_back(self, connection: Connection) -> None:
        make_procedure(connection, "inner_one", "commit;")
        inner = add_action(connection, proc="inner_one")
        make_procedure(connection, "outer_one", f"call tidemill.run_action({inner}); rollback;")
        outer = add_action(connection, proc="outer_one")
        for _ in range(2):
            call(connection, outer)
        assert outcomes(connection, outer) == ["success"] * 2
        assert outcomes(connection, inner) == ["failure", None]


class TestDialect:
    """run_job is the same one level deeper."""

    @pytest.fixture
    def connection(self, server: Server, empty_database: str) -> Iterator[Connection]:
        # An ordinary role may not create in the schema public.
        conninfo = server.conninfo(str(conninfo_to_dict(empty_database)["dbname"]), "postgres")
        migrate(conninfo)
        with psycopg.connect(conninfo, autocommit=True) as opened:
            yield opened

    def test_it_commits(self, connection: Connection, written: Callable[[], list[str]]) -> None:
        make_procedure(
            connection,
            "steps",
            "insert into log (line) values ('one'); commit; insert into log (line) values ('two'); rollback;",
        )
        action = add_action(connection, proc="steps")
        connection.execute("call run_job(%s)", [action])
        assert written() == ["one"]
        assert outcomes(connection, action) == ["success"]

    def test_it_records_failures(self, connection: Connection) -> None:
        make_procedure(connection, "broken", "perform 1/0;")
        action = add_action(connection, proc="broken")
        with pytest.raises(errors.DivisionByZero):
            connection.execute("call run_job(%s)", [action])
        assert outcomes(connection, action) == ["failure"]

    def test_its_words(self, connection: Connection) -> None:
        with pytest.raises(errors.InvalidParameterValue, match="job ID cannot be NULL"):
            connection.execute("call run_job(null)")
        with pytest.raises(errors.UndefinedObject, match="job 12 not found"):
            connection.execute("call run_job(12)")
        make_procedure(connection, "again", "commit; call run_job(job_id);")
        action = add_action(connection, proc="again")
        with pytest.raises(errors.ObjectInUse, match=f"job {action} is running already"):
            connection.execute("call run_job(%s)", [action])


class TestInTheCallersTransaction:
    def test_the_record_goes_with_it(self, connection: Connection) -> None:
        make_note(connection)
        action = add_action(connection, proc="note")
        for end in ("rollback", "commit"):
            connection.execute("begin")
            call(connection, action)
            connection.execute(end.encode())
        assert values(connection, "select action_id from seen") == [action]
        assert outcomes(connection, action) == ["success"]
        assert state(connection, action)["total_runs"] == 1

    def test_nothing_may_be_committed(self, connection: Connection, written: Callable[[], list[str]]) -> None:
        make_procedure(connection, "steps", "insert into log (line) values ('x'); commit;")
        action = add_action(connection, proc="steps")
        with pytest.raises(errors.InvalidTransactionTermination), connection.transaction():
            call(connection, action)
        assert (written(), outcomes(connection, action)) == ([], [])

    def test_others_wait_for_its_end(self, connection: Connection, other: Connection) -> None:
        make_note(connection)
        action = add_action(connection, proc="note")
        with other.transaction():
            call(other, action)
            with pytest.raises(errors.ObjectInUse) as raised:
                call(connection, action)
            assert raised.value.diag.message_primary == f"action {action} is running already"
            assert raised.value.diag.message_hint == "Try again when that transaction has ended."
        call(connection, action)
        assert outcomes(connection, action) == ["success", "success"]

    @pytest.mark.parametrize(
        "around",
        [
            "insert into log (line) values ('before'); call tidemill.run_action({})",
            "do $$ begin insert into log (line) values ('before'); call tidemill.run_action({}); end $$",
            "select by_function({})",
            "call by_procedure({})",
        ],
    )
    def test_nobody_elses_work_is_committed(
        self, connection: Connection, written: Callable[[], list[str]], around: str
    ) -> None:
        for kind, result in (("function", "returns void"), ("procedure", "")):
            connection.execute(
                f"create {kind} by_{kind}(id integer) {result} language plpgsql as $$ begin"
                " insert into log (line) values ('before'); call tidemill.run_action(id); end $$".encode()
            )
        make_procedure(connection, "broken", "perform 1/0;")
        action = add_action(connection, proc="broken")
        with pytest.raises(errors.DivisionByZero):
            connection.execute(around.format(action).encode())
        assert (written(), outcomes(connection, action)) == ([], [])
        # Without the error all of it stays.
        make_procedure(connection, "broken", "insert into log (line) values ('within');")
        connection.execute(around.format(action).encode())
        assert written() == ["before", "within"]
        assert outcomes(connection, action) == ["success"]

    def test_a_procedure_may_commit_within_a_procedure(
        self, connection: Connection, written: Callable[[], list[str]]
    ) -> None:
        make_procedure(
            connection, "steps", "insert into log (line) values ('x'); commit; insert into log values (1/0);"
        )
        action = add_action(connection, proc="steps")
        with pytest.raises(errors.DivisionByZero):
            connection.execute(f"do $$ begin call tidemill.run_action({action}); end $$".encode())
        assert written() == ["x"]
        connection.execute("select tidemill._close_left_runs(nested => false)")
        assert [run["message"] for run in history(connection, action)] == [LEFT]

    def test_not_in_one_that_is_read_only(self, connection: Connection) -> None:
        make_note(connection)
        action = add_action(connection, proc="note")
        connection.execute("set default_transaction_read_only = on")
        with pytest.raises(errors.ReadOnlySqlTransaction):
            call(connection, action)


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


class TestRoles:
    def test_unknown_actions(self, connection: Connection) -> None:
        with pytest.raises(errors.InvalidParameterValue, match="action ID cannot be NULL"):
            connection.execute("call tidemill.run_action(null)")
        with pytest.raises(errors.UndefinedObject, match="action 12 not found"):
            call(connection, 12)

    def test_it_runs_as_the_caller(
        self, server: Server, connection: Connection, database: str, written: Callable[[], list[str]]
    ) -> None:
        make_procedure(
            connection,
            "who",
            "commit; insert into app.log (line) values (current_user || ' ' || session_user);",
        )
        action = add_action(connection, proc="who")
        owner = str(connection.info.user)
        with server.role() as member, server.superuser(connection.info.dbname) as superuser:
            superuser.execute(f"grant {owner} to {member}".encode())
            superuser.execute(f"grant usage on schema app to {member}".encode())
            with psycopg.connect(make_conninfo(database, user=member), autocommit=True) as opened:
                call(opened, action)
                opened.execute(f"set role {owner}".encode())
                # The temporary procedure is not the member's.
                call(opened, action)
            call(superuser, action)
            assert written() == [f"{member} {member}", f"{owner} {member}", "postgres postgres"]
        assert outcomes(connection, action) == ["success"] * 3

    def test_a_role_that_was_granted_actions(
        self, server: Server, connection: Connection, database: str
    ) -> None:
        make_note(connection)
        foreign = add_action(connection, proc="note")
        with server.role() as role:
            connection.execute("select tidemill.grant_actions(%s::regrole)", [role])
            connection.execute(f"grant usage on schema app to {role}".encode())
            connection.execute(f"grant insert on seen to {role}".encode())
            with psycopg.connect(make_conninfo(database, user=role), autocommit=True) as opened:
                own = add_action(opened, proc="note")
                call(opened, own)
                with pytest.raises(errors.InsufficientPrivilege) as raised:
                    call(opened, foreign)
                told = raised.value.diag
                assert told.message_primary == f"insufficient permissions to run action {foreign}"
                assert told.message_detail == (
                    f'Action {foreign} is owned by role "{connection.info.user}" but user "{role}"'
                    " does not belong to that role."
                )
                # What is recorded is only what the session itself has run.
                opened.execute("select tidemill._end_hand_run(id, 'failure') from generate_series(1, 9) id")
            assert values(connection, "select action_id from seen") == [own]
            assert outcomes(connection, own) == ["success"]
            assert outcomes(connection, foreign) == []
            connection.execute("select tidemill.delete_action(%s)", [own])

    def test_the_right_to_make_temporary_objects(
        self, server: Server, connection: Connection, database: str
    ) -> None:
        make_note(connection)
        make_procedure(connection, "steps", "commit;")
        steps = add_action(connection, proc="steps")
        note = add_action(connection, proc="note")
        name, owner = conninfo_to_dict(database)["dbname"], connection.info.user
        connection.execute(f"revoke temporary on database {name} from public, {owner}".encode())
        with pytest.raises(errors.InsufficientPrivilege) as raised:
            call(connection, steps)
        told = raised.value.diag
        assert told.message_hint == (
            f"Let an administrator run: grant temporary on database {name} to {owner};"
        )
        # It is needed for procedures that may commit alone.
        call(connection, note)
        assert outcomes(connection, note) == ["success"]
        connection.execute(f"grant temporary on database {name} to {owner}".encode())
        call(connection, steps)
        # Others need none.
        with server.superuser(str(name)) as superuser, server.role() as member:
            superuser.execute(f"grant {owner} to {member}".encode())
            with psycopg.connect(make_conninfo(database, user=member), autocommit=True) as opened:
                call(opened, steps)
        assert outcomes(connection, steps) == ["success", "success"]
