"""run_action beside other runs: one at a time, and those whose sessions recorded no end."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from psycopg import errors

from tests.actions.definitions import wait_for_a_lock
from tests.actions.hand_runs import GATE, LEFT, Connection, at_the_gate, call, values
from tests.actions.support import add_action, history, make_note, make_procedure, outcomes, state
from tests.support.waiting import wait_until


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
            superuser.execute(f"set role {connection.info.user}".encode())
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
