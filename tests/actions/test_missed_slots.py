"""Slots that passed while no worker was there: run once, skipped, or backfilled."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import psycopg
import pytest

from tests.actions.clock import Clock
from tests.actions.support import DAY, HOUR, MINUTE, NOON, SECOND, add_action, history, outcomes, state


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
    action = add_action(
        connection, proc="note", schedule_interval=10 * SECOND, initial_start=NOON, missed="skip"
    )
    clock.run(NOON)
    assert clock.start(NOON + 21 * SECOND) == []
    assert outcomes(connection, action) == ["success", "skipped"]
    assert clock.run(NOON + 39 * SECOND, took=timedelta(0)) == NOON + 40 * SECOND


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


class TestNoSlot:
    """A start that is no slot of the schedule is never passed over."""

    @pytest.mark.parametrize("outcome", [None, "success", "failure"])
    @pytest.mark.parametrize("fixed", [True, False])
    def test_a_start_that_was_asked_for(
        self, connection: psycopg.Connection, clock: Clock, fixed: bool, outcome: str | None
    ) -> None:
        action = add_action(connection, proc="note", fixed_schedule=fixed, initial_start=NOON, missed="skip")
        if outcome is not None:
            clock.run(NOON, outcome)
        # It looks like a slot of the grid.
        asked = NOON + 2 * HOUR
        connection.execute("select tidemill.alter_action(%s, next_start => %s)", [action, asked])
        clock.start(asked + 30 * MINUTE)
        last = history(connection, action)[-1]
        assert (last["outcome"], last["slot"]) == (
            None,
            NOON if outcome == "failure" and not fixed else asked,
        )
        # What follows is a slot again.
        clock.finish(last["id"], "success", asked + 31 * MINUTE)
        assert clock.start(asked + 5 * HOUR) == []
        assert outcomes(connection, action)[-2:] == ["success", "skipped"]

    def test_one_that_is_older_than_what_is_backfilled(
        self, connection: psycopg.Connection, clock: Clock
    ) -> None:
        action = add_action(
            connection, proc="note", initial_start=NOON, missed="backfill", backfill_period=HOUR
        )
        connection.execute("select tidemill.alter_action(%s, next_start => %s)", [action, NOON - DAY])
        assert clock.run(NOON + 5 * HOUR) == NOON + 5 * HOUR
        assert [(run["outcome"], run["slot"]) for run in history(connection, action)] == [
            ("success", NOON - DAY)
        ]

    @pytest.mark.parametrize("kind", ["proc", "task"])
    @pytest.mark.parametrize("fixed", [True, False])
    def test_a_first_start_in_the_past(
        self, connection: psycopg.Connection, clock: Clock, fixed: bool, kind: str
    ) -> None:
        action = add_action(
            connection, **{kind: "note"}, fixed_schedule=fixed, initial_start=NOON, missed="skip"
        )
        at = NOON + 5 * HOUR + 2 * MINUTE
        if kind == "task":
            clock.enqueue(at)
        else:
            clock.run(at)
        assert clock.start(at + 2 * HOUR) == []
        assert outcomes(connection, action) == ["success", "skipped"]

    def test_a_run_that_the_workers_stop_ended(self, connection: psycopg.Connection, clock: Clock) -> None:
        action = add_action(connection, proc="note", initial_start=NOON, fixed_schedule=False, missed="skip")
        clock.run(NOON, "stopped")
        clock.run(NOON + 30 * MINUTE)
        assert outcomes(connection, action) == ["stopped", "success"]

    def test_one_that_no_connection_was_free_for(self, connection: psycopg.Connection, clock: Clock) -> None:
        action = add_action(connection, proc="note", initial_start=NOON, missed="skip")
        [run_id] = clock.start(NOON + 5 * HOUR)
        connection.execute("select tidemill._give_back_run(%s)", [run_id])
        clock.run(NOON + 6 * HOUR)
        assert outcomes(connection, action) == ["success"]


@pytest.mark.parametrize("outcome", ["failure", "worker_lost"])
def test_a_slot_that_was_missed_after_a_failure_is_skipped(
    connection: psycopg.Connection, clock: Clock, outcome: str
) -> None:
    action = add_action(connection, proc="note", initial_start=NOON, missed="skip", retry_period=DAY)
    # The slot comes before the retry.
    assert clock.run(NOON, outcome) == NOON + HOUR
    assert clock.start(NOON + 5 * HOUR + 2 * MINUTE) == []
    skipped = history(connection, action)[-1]
    assert (skipped["outcome"], skipped["slot"]) == ("skipped", NOON + HOUR)
    assert state(connection, action)["next_start"] == NOON + 6 * HOUR
    clock.run(NOON + 6 * HOUR)
    assert history(connection, action)[-1]["slot"] == NOON + 6 * HOUR


def test_a_missed_slot_of_a_cron_line_is_skipped_also_after_a_failure(
    connection: psycopg.Connection, clock: Clock
) -> None:
    action = add_action(connection, proc="note", schedule="0 * * * *", missed="skip", retry_period=DAY)
    connection.execute(
        "update tidemill._action_states set next_start = %s where action_id = %s", [NOON, action]
    )
    clock.run(NOON, "failure")
    assert clock.start(NOON + 2 * HOUR + 2 * MINUTE) == []
    assert outcomes(connection, action) == ["failure", "skipped"]


@pytest.mark.parametrize("failures", [0, 1])
@pytest.mark.parametrize("missed", ["run_once", "skip", "backfill"])
def test_a_time_zone_that_is_gone_pauses_its_action_alone(
    connection: psycopg.Connection, clock: Clock, missed: str, failures: int
) -> None:
    bad = add_action(connection, proc="note", initial_start=NOON, missed=missed, timezone="Europe/Berlin")
    good = add_action(connection, proc="note", initial_start=NOON, missed=missed)
    # As after an upgrade of the system's time zones.
    connection.execute(
        "update tidemill._actions set timezone = 'US/Gone', backfill_period = '1 day' where id = %s", [bad]
    )
    connection.execute(
        "update tidemill._action_states set consecutive_failures = %s where action_id = %s", [failures, bad]
    )
    at = NOON + SECOND if missed == "run_once" else NOON
    for run_id in clock.start(at):
        clock.finish(run_id, "success", at)
    clock.start(NOON + HOUR)
    assert outcomes(connection, good) == ["success", None]
    why = connection.execute("select paused_because from tidemill.actions where id = %s", [bad]).fetchone()
    assert why is not None
    assert 'time zone "US/Gone" not recognized' in why[0]
