"""Steps of the server's clock: silence is short, and few slots are missed or run twice."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest

from tests.actions.clock import Clock
from tests.actions.support import DAY, HOUR, MINUTE, NOON, SECOND, add_action, history, outcomes, state

pytestmark = pytest.mark.versions(18, 16)

GRID = {"schedule_interval": MINUTE, "initial_start": NOON}
CRON = {"schedule": "* * * * *"}
DRIFTING = {"schedule_interval": MINUTE, "fixed_schedule": False}


def put_back(connection: psycopg.Connection, to: datetime) -> datetime | None:
    """What the next sweep makes of the next start of the only action of the test."""
    connection.execute("select * from tidemill._sweep_runs(%s)", [to])
    [(next_start,)] = connection.execute(
        "select nullif(next_start, 'infinity') from tidemill._action_states where action_id >= 1000"
    ).fetchall()
    return next_start  # type: ignore[no-any-return]


def at_noon(connection: psycopg.Connection, **schedule: Any) -> int:
    """A routine that is due at noon."""
    action = add_action(connection, proc="note", **schedule)
    connection.execute(
        "update tidemill._action_states set next_start = %s, decided_at = null, must_run = false"
        " where action_id = %s",
        [NOON, action],
    )
    return action


@pytest.mark.parametrize("schedule", [GRID, CRON, DRIFTING], ids=["grid", "cron", "drifting"])
def test_an_action_goes_on_after_the_clock_was_ahead(
    connection: psycopg.Connection, clock: Clock, schedule: dict[str, Any]
) -> None:
    at_noon(connection, **schedule)
    # Three days ahead it runs for noon, and twice more.
    ahead = clock.run(NOON + 3 * DAY)
    ahead = clock.run(clock.run(ahead))
    assert ahead > NOON + 3 * DAY
    now = NOON + 10 * SECOND
    mended = put_back(connection, now)
    assert mended == (now + MINUTE if schedule is DRIFTING else NOON + MINUTE)
    # From here on each of its slots runs.
    following = clock.run(mended)
    assert timedelta(0) < following - mended <= MINUTE + SECOND


@pytest.mark.parametrize("schedule", [GRID, DRIFTING], ids=["grid", "drifting"])
def test_a_run_during_which_the_clock_is_put_back(
    connection: psycopg.Connection, clock: Clock, schedule: dict[str, Any]
) -> None:
    action = at_noon(connection, **schedule)
    [run] = clock.start(NOON + DAY)
    now = NOON + 10 * SECOND
    clock.finish(run, "success", now)
    [ended] = history(connection, action)
    assert ended["finished_at"] == ended["started_at"] == NOON + DAY
    assert put_back(connection, now) == (now + MINUTE if schedule is DRIFTING else NOON + MINUTE)


def test_a_retry(connection: psycopg.Connection, clock: Clock) -> None:
    at_noon(connection, **GRID | {"schedule_interval": HOUR}, retry_period=MINUTE)
    assert clock.run(NOON + DAY, "failure") > NOON + DAY
    now = NOON + 10 * SECOND
    mended = put_back(connection, now)
    assert mended is not None
    assert now + 52 * SECOND < mended < now + 68 * SECOND


def test_a_run_that_a_stopping_worker_gave_up(connection: psycopg.Connection, clock: Clock) -> None:
    at_noon(connection, **GRID)
    assert clock.run(NOON + DAY, "stopped") == NOON + DAY + SECOND
    now = NOON + 10 * SECOND
    # At once, as it would be by a clock that is right.
    assert put_back(connection, now) == now


def test_slots_that_were_skipped_by_a_wrong_clock(connection: psycopg.Connection, clock: Clock) -> None:
    action = at_noon(connection, **GRID, missed="skip")
    assert clock.start(NOON + DAY) == []
    assert outcomes(connection, action) == ["skipped"]
    assert put_back(connection, NOON + 10 * SECOND) == NOON + MINUTE


def test_a_task_action(connection: psycopg.Connection, clock: Clock) -> None:
    action = add_action(connection, task="tick", **GRID)
    connection.execute("update tidemill._action_states set next_start = %s", [NOON])
    clock.enqueue(NOON + DAY)
    assert state(connection, action)["next_start"] > NOON + DAY
    assert put_back(connection, NOON + 10 * SECOND) == NOON + MINUTE


def test_a_schedule_that_was_altered_by_a_wrong_clock(connection: psycopg.Connection, clock: Clock) -> None:
    # The clock of this server is ahead of the test's noon.
    at_noon(connection, **GRID)
    connection.execute(
        "select tidemill.alter_action(id, schedule => '*/5 * * * *') from tidemill.actions where id >= 1000"
    )
    assert put_back(connection, NOON + DAY) == NOON + DAY + 5 * MINUTE


def test_a_start_that_was_asked_for_stays(connection: psycopg.Connection, clock: Clock) -> None:
    action = at_noon(connection, **GRID)
    clock.run(NOON + DAY)
    connection.execute("select tidemill.alter_action(%s, next_start => %s)", [action, NOON + 2 * DAY])
    assert put_back(connection, NOON) == NOON + 2 * DAY


@pytest.mark.parametrize(
    ("schedule", "step"), [(GRID, 50 * SECOND), (CRON, 50 * SECOND), (DRIFTING, 4 * SECOND)]
)
def test_a_short_step_repeats_no_slot(
    connection: psycopg.Connection, clock: Clock, schedule: dict[str, Any], step: timedelta
) -> None:
    at_noon(connection, **schedule)
    following = clock.run(NOON)
    assert put_back(connection, NOON + SECOND - step) == following
    assert following <= NOON + MINUTE + SECOND


def test_a_step_forward_misses_slots_as_a_pause_does(connection: psycopg.Connection, clock: Clock) -> None:
    action = at_noon(connection, **GRID)
    assert clock.run(NOON) == NOON + MINUTE
    # An hour ahead: it runs once for all slots that it missed.
    assert clock.run(NOON + HOUR + SECOND) == NOON + HOUR + MINUTE
    assert [run["slot"] for run in history(connection, action)] == [NOON, NOON + MINUTE]


def test_an_owner_that_ran_ahead_keeps_its_turn(connection: psycopg.Connection, clock: Clock) -> None:
    at_noon(connection, **GRID)
    clock.run(NOON + DAY)
    now = NOON + 10 * SECOND
    mended = put_back(connection, now)
    turns = connection.execute(
        "select waits_since from tidemill._due_actions(false, %s) where action_id >= 1000", [mended]
    ).fetchall()
    assert turns == [(mended,)]
