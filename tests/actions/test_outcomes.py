"""How runs end: what each outcome counts as, and runs that were given back or left."""

from __future__ import annotations

import re
from datetime import timedelta

import psycopg
import pytest

from tests.actions.definitions import row, rows
from tests.actions.support import MINUTE, NOON, SECOND, add_action, make_note, outcomes

pytestmark = pytest.mark.versions(18, 16)

INSTANT = timedelta(microseconds=1)
KINDS = {
    "success": "success",
    "failure": "failure",
    "timeout": "failure",
    "stopped": "failure",
    "backend_terminated": "failure",
    "worker_lost": "crash",
    "server_restarted": "crash",
    "skipped": "none",
}
COUNTERS = {"success": "total_successes", "failure": "total_failures", "crash": "total_crashes"}
ENDS = [outcome for outcome, kind in KINDS.items() if kind != "none"]


def test_each_outcome_has_a_kind(connection: psycopg.Connection) -> None:
    allowed = row(
        connection,
        "select pg_get_constraintdef(oid) as text from pg_constraint where conname = 'runs_outcome_check'",
    )
    assert sorted(re.findall(r"'(\w+)'", allowed["text"])) == sorted(KINDS)
    told = rows(
        connection, "select o, tidemill._outcome_kind(o) as k from unnest(%s::text[]) o", [list(KINDS)]
    )
    assert {found["o"]: found["k"] for found in told} == KINDS
    assert row(connection, "select tidemill._outcome_kind(null) as k") == {"k": "none"}


@pytest.mark.parametrize("by_hand", [False, True], ids=["by schedule", "by hand"])
@pytest.mark.parametrize("outcome", ENDS)
def test_counts_as_its_kind(connection: psycopg.Connection, outcome: str, by_hand: bool) -> None:
    make_note(connection)
    action = add_action(connection, proc="note", initial_start=NOON)
    connection.execute(
        "update tidemill._action_states set consecutive_failures = 3, consecutive_crashes = 2"
        " where action_id = %s",
        [action],
    )
    run = row(connection, "select run_id from tidemill._start_actions('w', 1, %s)", [NOON])["run_id"]
    connection.execute("update tidemill._action_runs set by_hand = %s where id = %s", [by_hand, run])
    function = "_record_hand_run" if by_hand else "_finish_run"
    connection.execute(f"select tidemill.{function}(%s, %s, %s)".encode(), [run, outcome, NOON + 5 * SECOND])
    after = row(connection, "select * from tidemill.action_stats where action_id = %s", [action])
    kind = KINDS[outcome]
    assert {name: after[name] for name in COUNTERS.values()} == {
        name: int(kind == counted) for counted, name in COUNTERS.items()
    }
    succeeded = kind == "success"
    assert (after["last_run_success"], after["last_finish"]) == (succeeded, NOON + 5 * SECOND)
    assert after["last_successful_finish"] == (NOON + 5 * SECOND if succeeded else None)
    assert after["total_duration"] == (5 * SECOND if succeeded else 0 * SECOND)
    assert after["total_duration_failures"] == (0 * SECOND if succeeded else 5 * SECOND)
    failures, crashes = after["consecutive_failures"], after["consecutive_crashes"]
    if by_hand:
        assert (failures, crashes) == (3, 2)
    else:
        assert failures == {"success": 0, "failure": 3 if outcome == "stopped" else 4, "crash": 3}[kind]
        assert crashes == (3 if kind == "crash" else 0)


@pytest.mark.parametrize("outcome", ENDS)
def test_only_failures_of_the_routine_itself_pause(connection: psycopg.Connection, outcome: str) -> None:
    make_note(connection)
    action = add_action(connection, proc="note", initial_start=NOON, max_retries=0)
    run = row(connection, "select run_id from tidemill._start_actions('w', 1, %s)", [NOON])["run_id"]
    ended = row(connection, "select * from tidemill._finish_run(%s, %s, %s)", [run, outcome, NOON])
    after = row(connection, "select scheduled, paused_because from tidemill.actions where id = %s", [action])
    assert after["paused_because"] == ended["paused_because"]
    assert (after["scheduled"], after["paused_because"] is None) == (outcome != "failure",) * 2


def test_a_pause_by_hand_stays_one(connection: psycopg.Connection) -> None:
    make_note(connection)
    action = add_action(connection, proc="note", initial_start=NOON, max_retries=0)
    run = row(connection, "select run_id from tidemill._start_actions('w', 1, %s)", [NOON])["run_id"]
    connection.execute("select from tidemill.alter_action(%s, scheduled => false)", [action])
    ended = row(connection, "select * from tidemill._finish_run(%s, 'failure', %s)", [run, NOON])
    assert ended["paused_because"] is None
    after = row(connection, "select scheduled, paused_because from tidemill.actions where id = %s", [action])
    assert after == {"scheduled": False, "paused_because": None}


def test_the_end_of_a_run_leaves_another_ones_state_alone(connection: psycopg.Connection) -> None:
    make_note(connection)
    action = add_action(connection, proc="note", initial_start=NOON)
    run = row(connection, "select run_id from tidemill._start_actions('w', 1, %s)", [NOON])["run_id"]
    connection.execute(
        "update tidemill._action_states set run_id = %s where action_id = %s", [run + 1, action]
    )
    before = row(connection, "select * from tidemill.action_stats where action_id = %s", [action])
    ended = row(connection, "select * from tidemill._finish_run(%s, 'success', %s)", [run, NOON])
    assert ended == {"recorded": "success", "next_start": None, "paused_because": None}
    assert row(connection, "select * from tidemill.action_stats where action_id = %s", [action]) == before


class TestGivenBack:
    @pytest.fixture
    def run(self, connection: psycopg.Connection) -> int:
        """A run that has just been started, for noon."""
        make_note(connection)
        add_action(connection, proc="note", initial_start=NOON)
        return int(
            row(connection, "select run_id from tidemill._start_actions('w', 1, %s)", [NOON])["run_id"]
        )

    def test_it_is_due_again(self, connection: psycopg.Connection, run: int) -> None:
        connection.execute("select tidemill._give_back_run(%s)", [run])
        stats = row(
            connection,
            "select next_start, total_runs, run_id from tidemill.action_stats where action_id >= 1000",
        )
        assert stats == {"next_start": NOON, "total_runs": 0, "run_id": None}
        assert rows(connection, "select from tidemill._action_runs") == []

    def test_a_next_start_that_was_set_meanwhile_stays(
        self, connection: psycopg.Connection, run: int
    ) -> None:
        later = NOON + 7 * SECOND
        connection.execute(
            "select tidemill.alter_action(id, next_start => %s) from tidemill.actions where id >= 1000",
            [later],
        )
        connection.execute("select tidemill._give_back_run(%s)", [run])
        assert row(connection, "select next_start from tidemill.actions where id >= 1000") == {
            "next_start": later
        }

    def test_a_run_that_has_ended_stays_in_the_history(
        self, connection: psycopg.Connection, run: int
    ) -> None:
        connection.execute("select tidemill._finish_run(%s, 'success', %s)", [run, NOON])
        connection.execute("select tidemill._give_back_run(%s)", [run])
        stats = row(
            connection,
            "select total_runs, total_successes from tidemill.action_stats where action_id >= 1000",
        )
        assert stats == {"total_runs": 1, "total_successes": 1}
        assert rows(connection, "select outcome from tidemill.action_history") == [{"outcome": "success"}]


def test_what_a_worker_knows_of_its_own_runs(connection: psycopg.Connection) -> None:
    make_note(connection)
    actions = [add_action(connection, proc="note", initial_start=NOON) for _ in range(3)]
    runs = []
    for worker in ("w", "w", "x"):
        started = row(connection, "select run_id from tidemill._start_actions(%s, 1, %s)", [worker, NOON])
        runs.append(started["run_id"])
    # It has not heard of the second one.
    connection.execute("select tidemill._give_back_strays('w', %s)", [[runs[0]]])
    assert [outcomes(connection, action) for action in actions] == [[None], [], [None]]
    # It is asked to stop what it has not ended.
    asked = "select * from tidemill._stops_asked('w')"
    assert rows(connection, asked) == []
    for action in actions:
        connection.execute("select from tidemill.alter_action(%s, scheduled => false)", [action])
    assert rows(connection, asked) == [{"run_id": runs[0], "why": "paused"}]
    connection.execute("select tidemill._finish_run(%s, 'stopped', %s)", [runs[0], NOON])
    assert rows(connection, asked) == []


class TestLeft:
    """Runs of a worker, and a run whose row is gone."""

    @pytest.mark.parametrize(
        ("expires", "suspected", "lost", "ends"),
        [
            (INSTANT, None, False, False),
            (0 * SECOND, None, False, True),
            (INSTANT, "infinity", False, False),
            (INSTANT, "-infinity", False, True),
            (INSTANT, None, True, True),
        ],
        ids=["alive", "late", "suspected", "swept", "cut off"],
    )
    def test_by_their_worker(
        self,
        connection: psycopg.Connection,
        expires: timedelta,
        suspected: str | None,
        lost: bool,
        ends: bool,
    ) -> None:
        make_note(connection)
        action = add_action(connection, proc="note", initial_start=NOON)
        connection.execute("select tidemill._start_actions('w', 1, %s)", [NOON])
        connection.execute("select tidemill._register_worker('w', 'h', 1, '0', 1, '{}', '1 hour')")
        connection.execute(
            "update tidemill._workers set expires_at = %s, suspected_at = %s, lost_at = %s",
            [NOON + SECOND + expires, suspected, NOON if lost else None],
        )
        connection.execute("select tidemill._sweep_runs(%s)", [NOON + SECOND])
        assert (outcomes(connection, action) != [None]) == ends

    def test_by_everybody(self, connection: psycopg.Connection) -> None:
        make_note(connection)
        action = add_action(connection, proc="note", initial_start=NOON)
        connection.execute("select tidemill._start_actions('w', 1, %s)", [NOON])
        connection.execute("delete from tidemill._action_runs")
        # One that began a moment ago may have a row that the sweep does not see yet.
        for age, state in ((MINUTE, "running"), (MINUTE + INSTANT, "scheduled")):
            connection.execute("select tidemill._sweep_runs(%s)", [NOON + age])
            assert row(connection, "select state from tidemill.actions where id = %s", [action]) == {
                "state": state
            }
