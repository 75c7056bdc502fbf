"""Starting and ending runs in SQL, with the clock in our hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from tests.actions.clock import Clock
from tests.actions.support import (
    DAY,
    HOUR,
    MINUTE,
    NOON,
    SECOND,
    add_action,
    history,
    make_note,
    outcomes,
    state,
)

pytestmark = pytest.mark.versions(18, 17, 16, 15)


def test_a_fixed_action_keeps_to_its_grid(connection: psycopg.Connection, clock: Clock) -> None:
    action = add_action(connection, proc="note", initial_start=NOON)
    assert clock.start(NOON - SECOND) == []
    assert clock.run(NOON + 3 * MINUTE) == NOON + HOUR
    assert clock.run(NOON + HOUR, took=150 * MINUTE) == NOON + 4 * HOUR
    [first, second] = history(connection, action)
    assert (first["slot"], first["started_at"]) == (NOON, NOON + 3 * MINUTE)
    assert second["finished_at"] - second["started_at"] == 150 * MINUTE


def test_a_drifting_action_counts_from_its_end(connection: psycopg.Connection, clock: Clock) -> None:
    add_action(connection, proc="note", fixed_schedule=False)
    assert clock.run(NOON, took=MINUTE) == NOON + HOUR + MINUTE


def test_a_cron_action_keeps_to_its_line(connection: psycopg.Connection, clock: Clock) -> None:
    action = add_action(connection, proc="note", schedule="30 4 * * 1", timezone="Europe/Berlin")
    # The Mondays after Tuesday, 10 March 2026; summer time begins on the 29th.
    due = [datetime.fromisoformat(f"2026-03-{day}T03:30+00:00") for day in (16, 23)]
    due.append(datetime.fromisoformat("2026-03-30T02:30+00:00"))
    # A new cron line looks ahead of the real clock: back to ours.
    connection.execute("select tidemill.alter_action(%s, next_start => %s)", [action, due[0]])
    assert clock.start(due[0] - SECOND) == []
    assert clock.run(due[0]) == due[1]
    assert clock.run(due[1]) == due[2]


def test_never_two_runs_of_one_action(connection: psycopg.Connection, clock: Clock) -> None:
    add_action(connection, proc="note", initial_start=NOON)
    [run_id] = clock.start(NOON)
    assert clock.start(NOON + 5 * HOUR) == []
    clock.finish(run_id, "success", NOON + 5 * HOUR)
    assert clock.start(NOON + 6 * HOUR) != []


def test_the_longest_due_comes_first(connection: psycopg.Connection, clock: Clock) -> None:
    late, early, later = (
        add_action(connection, proc="note", initial_start=NOON + n * MINUTE) for n in (1, 0, 2)
    )
    started = [clock.start(NOON + HOUR, slots=1) for _ in range(4)]
    assert [len(runs) for runs in started] == [1, 1, 1, 0]
    order = connection.execute("select action_id from tidemill._action_runs order by id").fetchall()
    assert order == [(early,), (late,), (later,)]


def test_a_locked_action_is_left_to_its_holder(
    connection: psycopg.Connection, clock: Clock, database: str
) -> None:
    action = add_action(connection, proc="note", initial_start=NOON)
    with psycopg.connect(database) as other:
        other.execute("select from tidemill._actions where id = %s for update", [action])
        assert clock.start(NOON) == []
    assert len(clock.start(NOON)) == 1


def test_a_clock_that_steps_back_repeats_no_slot(connection: psycopg.Connection, clock: Clock) -> None:
    action = add_action(connection, proc="note", initial_start=NOON)
    [run_id] = clock.start(NOON)
    back = NOON - 30 * MINUTE
    assert clock.finish(run_id, "success", back)[1] == NOON + HOUR
    assert clock.start(back + 40 * MINUTE) == []
    [run] = history(connection, action)
    assert run["finished_at"] == run["started_at"]
    assert state(connection, action)["total_duration"] == timedelta(0)


def test_failures_come_again_soon(connection: psycopg.Connection, clock: Clock) -> None:
    action = add_action(connection, proc="note", initial_start=NOON, retry_period=MINUTE)
    at, waits = NOON, []
    for _ in range(3):
        next_start = clock.run(at, "failure", took=timedelta(0))
        waits.append((next_start - at) / MINUTE)
        at = next_start
    # 1, 2 and 3 times the retry period, each with a jitter of -15/128 to 16/128.
    for number, wait in enumerate(waits, start=1):
        assert number * (1 - 15 / 128) - 1e-6 <= wait <= number * (1 + 16 / 128) + 1e-6
    assert [run["slot"] for run in history(connection, action)] == [NOON] * 3
    assert state(connection, action)["consecutive_failures"] == 3
    clock.run(at)
    after = state(connection, action)
    assert (after["consecutive_failures"], after["total_failures"], after["total_successes"]) == (0, 3, 1)
    assert after["next_start"] == NOON + HOUR


def test_a_retry_never_passes_the_next_slot(connection: psycopg.Connection, clock: Clock) -> None:
    action = add_action(connection, proc="note", initial_start=NOON, retry_period=DAY)
    assert clock.run(NOON, "failure") == NOON + HOUR
    clock.run(NOON + HOUR)
    assert [run["slot"] for run in history(connection, action)] == [NOON, NOON + HOUR]


@pytest.mark.parametrize(("max_retries", "runs"), [(0, 1), (1, 1), (3, 3)])
def test_max_retries_pauses(
    connection: psycopg.Connection, clock: Clock, max_retries: int, runs: int
) -> None:
    action = add_action(
        connection, proc="note", initial_start=NOON, max_retries=max_retries, retry_period=SECOND
    )
    reasons = []
    for number in range(runs):
        [run_id] = clock.start(NOON + number * MINUTE)
        reasons.append(clock.finish(run_id, "failure", NOON + number * MINUTE)[2])
    assert reasons[:-1] == [None] * (runs - 1)
    assert reasons[-1] == (
        f"paused after {runs} consecutive failures (max_retries {max_retries});"
        f" alter_action({action}, scheduled => true) resumes it"
    )
    assert clock.start(NOON + DAY) == []
    assert connection.execute(
        "select state, scheduled, paused_because from tidemill.actions where id = %s", [action]
    ).fetchall() == [("paused", False, reasons[-1])]


@pytest.mark.parametrize("outcome", ["timeout", "backend_terminated", "worker_lost", "server_restarted"])
def test_only_errors_count_towards_max_retries(
    connection: psycopg.Connection, clock: Clock, outcome: str
) -> None:
    action = add_action(connection, proc="note", initial_start=NOON, max_retries=0)
    next_start = clock.run(NOON, outcome)
    assert NOON < next_start < NOON + 10 * MINUTE
    found = state(connection, action)
    crashed = outcome in ("worker_lost", "server_restarted")
    assert (found["total_crashes"], found["consecutive_crashes"]) == (int(crashed), int(crashed))
    assert (found["total_failures"], found["consecutive_failures"]) == (int(not crashed), int(not crashed))


def test_a_next_start_set_during_a_run_holds(connection: psycopg.Connection, clock: Clock) -> None:
    action = add_action(connection, proc="note", initial_start=NOON)
    for outcome in ("success", "failure", "worker_lost"):
        [run_id] = clock.start(NOON + DAY)
        wanted = NOON + 90 * MINUTE
        connection.execute("select tidemill.alter_action(%s, next_start => %s)", [action, wanted])
        assert clock.finish(run_id, outcome, NOON + DAY)[1] == wanted


def test_an_end_is_recorded_once(connection: psycopg.Connection, clock: Clock) -> None:
    action = add_action(connection, proc="note", initial_start=NOON)
    [run_id] = clock.start(NOON)
    clock.finish(run_id, "success", NOON)
    late = connection.execute("select * from tidemill._finish_run(%s, 'failure')", [run_id]).fetchall()
    assert late == []
    assert outcomes(connection, action) == ["success"]


def test_the_end_of_a_deleted_action(connection: psycopg.Connection, clock: Clock) -> None:
    action = add_action(connection, proc="note", initial_start=NOON)
    [run_id] = clock.start(NOON)
    connection.execute("select tidemill.delete_action(%s)", [action])
    assert clock.finish(run_id, "stopped", NOON + SECOND) == ("stopped", None, None)
    assert outcomes(connection, action) == ["stopped"]


def test_what_could_not_begin_is_due_again(connection: psycopg.Connection, clock: Clock) -> None:
    action = add_action(connection, proc="note", initial_start=NOON)
    [run_id] = clock.start(NOON)
    connection.execute("select tidemill._give_back_run(%s)", [run_id])
    found = state(connection, action)
    assert (found["next_start"], found["run_id"], found["total_runs"]) == (NOON, None, 0)
    assert history(connection, action) == []


def test_giving_back_beside_a_pause(connection: psycopg.Connection, clock: Clock, database: str) -> None:
    action = add_action(connection, proc="note", initial_start=NOON)
    [run_id] = clock.start(NOON)
    with psycopg.connect(database) as pauses:
        pauses.execute("select tidemill.alter_action(%s, scheduled => false)", [action])
        with pytest.raises(psycopg.errors.LockNotAvailable):
            connection.execute("select tidemill._give_back_run(%s)", [run_id])
    connection.execute("select tidemill._give_back_run(%s)", [run_id])
    assert state(connection, action)["run_id"] is None


def test_an_action_that_is_changed_holds_nobody_up(
    connection: psycopg.Connection, clock: Clock, database: str
) -> None:
    changed = add_action(connection, proc="note", initial_start=NOON)
    lost = add_action(connection, proc="note", initial_start=NOON)
    clock.start(datetime.now(UTC))
    with psycopg.connect(database) as open_transaction:
        open_transaction.execute("select tidemill.alter_action(%s, max_retries => 3)", [changed])
        [run_id] = (run["id"] for run in history(connection, changed))
        with pytest.raises(psycopg.errors.LockNotAvailable):
            clock.finish(run_id, "success", NOON)
        connection.execute("select tidemill._sweep_runs()")
        assert (outcomes(connection, changed), outcomes(connection, lost)) == ([None], ["worker_lost"])
    connection.execute("select tidemill._sweep_runs()")
    assert outcomes(connection, changed) == ["worker_lost"]


def test_when_something_is_due_at_once(connection: psycopg.Connection) -> None:
    make_note(connection)
    add_action(connection, proc="note", fixed_schedule=False)
    assert connection.execute("select tidemill._next_due()").fetchall() == [(float("-inf"),)]


def test_when_something_is_due(connection: psycopg.Connection) -> None:
    make_note(connection)
    connection.execute("delete from tidemill._actions")

    def due(with_routines: bool) -> float | None:
        row = connection.execute("select tidemill._next_due(%s, %s)", [with_routines, NOON]).fetchone()
        assert row is not None
        seconds: float | None = row[0]
        return seconds

    assert due(True) is None
    add_action(connection, proc="note", initial_start=NOON + MINUTE)
    paused = add_action(connection, proc="note", initial_start=NOON + SECOND, scheduled=False)
    assert (due(True), due(False)) == (60, None)
    add_action(connection, task="t", initial_start=NOON + HOUR)
    assert (due(True), due(False)) == (60, 3600)
    connection.execute("select tidemill.alter_action(%s, scheduled => true)", [paused])
    assert due(True) == 1
    add_action(connection, proc="note", initial_start=NOON - SECOND)
    assert due(True) == -1
