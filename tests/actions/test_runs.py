"""Starting and ending runs in SQL, with the clock in our hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

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


@pytest.fixture
def clock(connection: psycopg.Connection) -> Clock:
    make_note(connection)
    return Clock(connection)


class Clock:
    """A worker's looks, each at a time that the test says."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection

    def start(self, at: datetime, slots: int = 100, worker: str = "w") -> list[int]:
        """Starts what is due, and returns the runs."""
        self._connection.execute("select tidemill._skip_missed(%s)", [at])
        rows = self._connection.execute(
            "select run_id from tidemill._start_actions(%s, %s, %s)", [worker, slots, at]
        )
        return [run_id for (run_id,) in rows]

    def finish(self, run_id: int, outcome: str, at: datetime, **more: Any) -> tuple[Any, ...]:
        """Ends a run, and returns the outcome, the next start and why the action was paused."""
        row = self._connection.execute(
            "select recorded, nullif(next_start, 'infinity'), paused_because"
            " from tidemill._finish_run(%s, %s, %s, message => %s)",
            [run_id, outcome, at, more.get("message", "it failed")],
        ).fetchone()
        assert row is not None
        return row

    def run(self, at: datetime, outcome: str = "success", took: timedelta = SECOND) -> datetime:
        """Runs the one action that is due; returns its next start."""
        [run_id] = self.start(at)
        next_start = self.finish(run_id, outcome, at + took)[1]
        assert isinstance(next_start, datetime)
        return next_start

    def enqueue(self, at: datetime, most: int = 100) -> int:
        """Adds the jobs of what is due."""
        self._connection.execute("select tidemill._skip_missed(%s)", [at])
        [(taken,)] = self._connection.execute(
            "select tidemill._enqueue_actions(%s, %s)", [most, at]
        ).fetchall()
        return int(taken)


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


# Missed slots


def test_a_missed_slot_is_run_once(connection: psycopg.Connection, clock: Clock) -> None:
    action = add_action(connection, proc="note", initial_start=NOON)
    assert clock.run(NOON + 50 * HOUR + MINUTE) == NOON + 51 * HOUR
    assert outcomes(connection, action) == ["success"]


def test_a_missed_slot_is_skipped(connection: psycopg.Connection, clock: Clock) -> None:
    action = add_action(connection, proc="note", initial_start=NOON, missed="skip")
    assert len(clock.start(NOON + 59 * SECOND)) == 1
    clock.finish(history(connection, action)[0]["id"], "success", NOON + MINUTE)
    assert clock.start(NOON + 3 * HOUR + 2 * MINUTE) == []
    assert state(connection, action)["next_start"] == NOON + 4 * HOUR
    skipped = history(connection, action)[1]
    assert (skipped["outcome"], skipped["slot"]) == ("skipped", NOON + HOUR)
    assert "were missed" in skipped["message"]
    assert clock.run(NOON + 4 * HOUR) == NOON + 5 * HOUR


def test_skipping_at_short_intervals_asks_for_the_slot_itself(
    connection: psycopg.Connection, clock: Clock
) -> None:
    add_action(connection, proc="note", schedule_interval=10 * SECOND, initial_start=NOON, missed="skip")
    assert clock.start(NOON + 11 * SECOND) == []
    assert clock.run(NOON + 29 * SECOND, took=timedelta(0)) == NOON + 30 * SECOND


def test_missed_slots_are_made_up_for(connection: psycopg.Connection, clock: Clock) -> None:
    action = add_action(
        connection, proc="note", initial_start=NOON, missed="backfill", backfill_period=3 * HOUR
    )
    now = NOON + 10 * HOUR + MINUTE
    # Older than three hours at 19:01 are the slots up to 19:00.
    assert [clock.run(now, took=SECOND) for _ in range(3)] == [NOON + hours * HOUR for hours in (9, 10, 11)]
    assert clock.start(now + MINUTE) == []
    runs = history(connection, action)
    assert [run["outcome"] for run in runs] == ["skipped", "success", "success", "success"]
    assert [run["slot"] for run in runs] == [NOON + hours * HOUR for hours in (0, 8, 9, 10)]


@pytest.mark.parametrize("outcome", ["failure", "worker_lost", "stopped"])
def test_a_slot_that_ended_badly_is_made_up_for(
    connection: psycopg.Connection, clock: Clock, outcome: str
) -> None:
    action = add_action(
        connection, proc="note", initial_start=NOON, missed="backfill", backfill_period=9 * HOUR
    )
    now = NOON + 2 * HOUR + 58 * MINUTE
    # Tried again no later than the next slot, which does not take its place.
    again = clock.run(now, outcome)
    assert again <= NOON + 3 * HOUR
    [clock.run(NOON + 3 * HOUR) for _ in range(4)]
    slots = [run["slot"] for run in history(connection, action)]
    assert slots == [NOON + hours * HOUR for hours in (0, 0, 1, 2, 3)]


def test_a_pause_leaves_the_slots_after_it(connection: psycopg.Connection, clock: Clock) -> None:
    action = add_action(connection, proc="note", initial_start=NOON, missed="backfill")
    [run_id] = clock.start(NOON + 3 * HOUR)
    connection.execute("select tidemill.alter_action(%s, scheduled => false)", [action])
    assert clock.finish(run_id, "stopped", NOON + 3 * HOUR)[1] == NOON + HOUR


def test_what_fails_for_too_long_is_given_up(connection: psycopg.Connection, clock: Clock) -> None:
    action = add_action(
        connection, proc="note", initial_start=NOON, missed="backfill", backfill_period=3 * HOUR
    )
    clock.run(NOON, "failure")
    clock.run(NOON + 5 * HOUR + MINUTE)
    # From 14:01 on.
    assert [run["slot"] for run in history(connection, action)] == [NOON, NOON + 3 * HOUR]


@pytest.mark.parametrize(
    "extreme",
    [
        {"missed": "backfill", "backfill_period": "10000 years"},
        {"missed": "skip", "schedule_interval": "294000 years"},
        {"initial_start": "4714-11-24 00:00:00+00 BC"},
        {"missed": "skip", "initial_start": "4714-11-24 00:00:00+00 BC"},
    ],
    ids=["period", "interval", "start", "skip"],
)
def test_an_extreme_action_stops_no_other(
    connection: psycopg.Connection, clock: Clock, extreme: dict[str, Any]
) -> None:
    odd = add_action(connection, **{"proc": "note", "initial_start": NOON} | extreme)
    connection.execute("update tidemill._action_states set slot = next_start where action_id = %s", [odd])
    for failures in (1, 0):
        connection.execute(
            "update tidemill._action_states set consecutive_failures = %s where action_id = %s",
            [failures, odd],
        )
        other = add_action(connection, proc="note", initial_start=NOON)
        for run_id in clock.start(NOON + MINUTE / 2):
            connection.execute("select from tidemill._finish_run(%s, 'failure', %s)", [run_id, NOON + MINUTE])
        assert outcomes(connection, other) == ["failure"]
        connection.execute("update tidemill._action_states set next_start = slot where action_id = %s", [odd])


def test_a_retry_is_not_missed(connection: psycopg.Connection, clock: Clock) -> None:
    action = add_action(
        connection, proc="note", schedule_interval=DAY, initial_start=NOON, missed="skip", retry_period=MINUTE
    )
    clock.run(NOON, "failure")
    clock.run(NOON + 5 * HOUR)
    assert outcomes(connection, action) == ["failure", "success"]


@pytest.mark.parametrize("missed", ["run_once", "skip", "backfill"])
def test_a_time_zone_that_is_gone_pauses_its_action_alone(
    connection: psycopg.Connection, clock: Clock, missed: str
) -> None:
    bad = add_action(connection, proc="note", initial_start=NOON, missed=missed, timezone="Europe/Berlin")
    good = add_action(connection, proc="note", initial_start=NOON, missed=missed)
    # As after an upgrade to a system that no longer has it.
    connection.execute(
        "update tidemill._actions set timezone = 'US/Gone', backfill_period = '1 day' where id = %s", [bad]
    )
    at = NOON + SECOND if missed == "run_once" else NOON
    for run_id in clock.start(at):
        clock.finish(run_id, "success", at)
    clock.start(NOON + HOUR)
    assert outcomes(connection, good) == ["success", None]
    why = connection.execute("select paused_because from tidemill.actions where id = %s", [bad]).fetchone()
    assert why is not None
    assert 'time zone "US/Gone" not recognized' in why[0]


# Task actions


def test_a_task_action_adds_a_job(connection: psycopg.Connection, clock: Clock) -> None:
    action = add_action(connection, task="report", config='{"of": "sales"}', initial_start=NOON)
    assert clock.enqueue(NOON - SECOND) == 0
    assert clock.enqueue(NOON + SECOND) == 1
    assert clock.start(NOON + SECOND) == []
    jobs = connection.execute("select id, identifier, payload, run_at from tidemill.jobs").fetchall()
    [run] = history(connection, action)
    assert jobs == [(run["job_id"], "report", {"of": "sales"}, NOON)]
    assert (run["outcome"], run["slot"]) == ("success", NOON)
    assert state(connection, action)["next_start"] == NOON + HOUR
    assert clock.enqueue(NOON + 2 * SECOND) == 0


def test_many_task_actions_keep_their_jobs_apart(connection: psycopg.Connection, clock: Clock) -> None:
    wanted = {
        add_action(connection, task=f"t{n % 3}", config=f'{{"n": {n}}}', initial_start=NOON): n
        for n in range(30)
    }
    assert [clock.enqueue(NOON, most=20), clock.enqueue(NOON, most=20), clock.enqueue(NOON)] == [20, 10, 0]
    rows = connection.execute(
        "select r.action_id, j.identifier, (j.payload ->> 'n')::integer"
        " from tidemill._action_runs r join tidemill.jobs j on j.id = r.job_id"
    ).fetchall()
    assert {action: (task, n) for action, task, n in rows} == {
        action: (f"t{n % 3}", n) for action, n in wanted.items()
    }


def test_a_task_action_with_options(connection: psycopg.Connection, clock: Clock) -> None:
    options = '{"queue_name": "q", "priority": -5, "max_attempts": 3, "job_key": "k", "flags": ["x"]}'
    add_action(connection, task="report", job_options=options, initial_start=NOON)
    clock.enqueue(NOON)
    clock.enqueue(NOON + HOUR)
    jobs = connection.execute(
        "select queue_name, priority, max_attempts, key, flags, run_at, revision from tidemill.jobs"
    ).fetchall()
    assert jobs == [("q", -5, 3, "k", ["x"], NOON + HOUR, 1)]


def test_a_job_that_cannot_be_added_is_a_failed_run(connection: psycopg.Connection, clock: Clock) -> None:
    good = add_action(connection, task="good", initial_start=NOON)
    bad = add_action(connection, task="bad", initial_start=NOON)
    connection.execute("update tidemill._actions set task = repeat('x', 200) where id = %s", [bad])
    assert clock.enqueue(NOON) == 2
    assert outcomes(connection, good) == ["success"]
    [run] = history(connection, bad)
    assert (run["outcome"], run["sqlstate"]) == ("failure", "23514")
    assert "identifier has 200 characters" in run["message"]
    assert connection.execute("select identifier from tidemill.jobs").fetchall() == [("good",)]


def test_null_flags_are_none(connection: psycopg.Connection, clock: Clock) -> None:
    action = add_action(connection, task="report", job_options='{"flags": null}', initial_start=NOON)
    clock.enqueue(NOON)
    assert outcomes(connection, action) == ["success"]


def test_a_task_action_that_is_changed_is_left_alone(
    connection: psycopg.Connection, clock: Clock, database: str
) -> None:
    action = add_action(connection, task="report", job_options='{"job_key": "k"}', initial_start=NOON)
    with psycopg.connect(database) as changes:
        # As alter_action begins; then comes the row of its state.
        changes.execute("select from tidemill._actions where id = %s for update", [action])
        connection.execute("set lock_timeout = '1s'")
        assert clock.enqueue(NOON) == 0
    assert clock.enqueue(NOON) == 1


def test_a_job_key_that_is_held_holds_nobody_up(
    connection: psycopg.Connection, clock: Clock, database: str
) -> None:
    held = add_action(connection, task="report", job_options='{"job_key": "k"}', initial_start=NOON)
    other = add_action(connection, task="other", initial_start=NOON)
    connection.execute("set statement_timeout = '20s'")
    with psycopg.connect(database) as producer:
        producer.execute("select tidemill.add_job('report', job_key => 'k')")
        clock.enqueue(NOON)
        assert outcomes(connection, other) == ["success"]
        assert outcomes(connection, held) == []
    assert clock.enqueue(NOON) == 1
    assert outcomes(connection, held) == ["success"]


def test_a_new_task_that_is_held_holds_nobody_up(
    connection: psycopg.Connection, clock: Clock, database: str
) -> None:
    for _ in range(200):
        add_action(connection, task="report", initial_start=NOON)
    other = add_action(connection, task="other", initial_start=NOON)
    connection.execute("set statement_timeout = '20s'")
    with psycopg.connect(database) as producer:
        producer.execute("select tidemill.add_job('report')")
        assert clock.enqueue(NOON, 250) == 1
        assert outcomes(connection, other) == ["success"]
    assert clock.enqueue(NOON, 250) == 200


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
