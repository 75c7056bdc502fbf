"""run_action in the caller's transaction, with the caller's rights, and as run_job."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg
import pytest
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.actions.hand_runs import LEFT, Connection, call, values
from tests.actions.support import add_action, history, make_note, make_procedure, outcomes, state
from tests.support.servers import Server
from tidemill.database.migrate import migrate


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

    @pytest.mark.slow
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


class TestRoles:
    def test_unknown_actions(self, connection: Connection) -> None:
        with pytest.raises(errors.InvalidParameterValue, match="action ID cannot be NULL"):
            connection.execute("call tidemill.run_action(null)")
        with pytest.raises(errors.UndefinedObject, match="action 12 not found"):
            call(connection, 12)

    def test_a_routine_runs_as_its_owner_alone(
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
                with pytest.raises(errors.InsufficientPrivilege) as raised:
                    call(opened, action)
                told = raised.value.diag
                assert (
                    told.message_primary == f"only the owner of action {action} may run its routine by hand"
                )
                assert f"alter_action({action}, next_start => now())" in (told.message_hint or "")
                opened.execute(f"set role {owner}".encode())
                call(opened, action)
            with pytest.raises(errors.InsufficientPrivilege):
                call(superuser, action)
            assert written() == [f"{owner} {member}"]
        assert outcomes(connection, action) == ["success"]

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
                # A session may end only runs of its own.
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
        # Only procedures that may commit need it.
        call(connection, note)
        assert outcomes(connection, note) == ["success"]
        connection.execute(f"grant temporary on database {name} to {owner}".encode())
        call(connection, steps)
        # Others need none.
        with server.superuser(str(name)) as superuser, server.role() as member:
            superuser.execute(f"grant {owner} to {member}".encode())
            with psycopg.connect(make_conninfo(database, user=member), autocommit=True) as opened:
                opened.execute(f"set role {owner}".encode())
                call(opened, steps)
        assert outcomes(connection, steps) == ["success", "success"]
