"""What each outcome of a run counts as."""

from __future__ import annotations

import re

import psycopg
import pytest

from tests.actions.definitions import row, rows
from tests.actions.support import NOON, SECOND, add_action, make_note

pytestmark = pytest.mark.versions(18, 16)

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
