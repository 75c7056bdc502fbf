"""Slots at their edges: just missed, just too old, and with a clock that is set back."""

from __future__ import annotations

from datetime import datetime, timedelta

import psycopg
import pytest

from tests.actions.definitions import ROUTINE, add_at, row, rows
from tests.actions.support import HOUR, MINUTE, NOON, SECOND, add_action, make_note, outcomes, state
from tests.support.servers import Server

pytestmark = pytest.mark.versions(18, 16)

INSTANT = timedelta(microseconds=1)


def skip(connection: psycopg.Connection, at: datetime) -> int:
    """Passes over what is missed at a time; returns how many actions that were."""
    return int(row(connection, "select tidemill._skip_missed(%s) as n", [at])["n"])


def run(connection: psycopg.Connection, at: datetime, outcome: str = "success") -> datetime:
    """Runs the one action that is due at a time, in no time; returns its next start."""
    started = row(connection, "select run_id from tidemill._start_actions('w', 9, %s)", [at])
    ended = row(
        connection,
        "select next_start from tidemill._finish_run(%s, %s, %s)",
        [started["run_id"], outcome, at],
    )
    assert isinstance(ended["next_start"], datetime)
    return ended["next_start"]


@pytest.mark.parametrize(
    ("interval", "grace"), [(HOUR, MINUTE), (61 * SECOND, MINUTE), (10 * SECOND, 10 * SECOND)]
)
def test_a_slot_is_missed_after_a_minute_or_at_the_next_one(
    connection: psycopg.Connection, interval: timedelta, grace: timedelta
) -> None:
    connection.execute(ROUTINE)
    action = add_at(
        connection,
        "2026-03-10 11:00",
        schedule_interval=str(interval),
        initial_start=str(NOON),
        missed="skip",
    )
    assert skip(connection, NOON + grace) == 0
    assert state(connection, action)["next_start"] == NOON
    assert skip(connection, NOON + grace + INSTANT) == 1
    assert outcomes(connection, action) == ["skipped"]
    first_kept = NOON + interval if interval > grace else NOON + 2 * interval
    assert state(connection, action)["next_start"] == first_kept


def test_a_pause_passes_over_no_slots(connection: psycopg.Connection) -> None:
    connection.execute(ROUTINE)
    action = add_at(
        connection,
        "2026-03-10 11:00",
        schedule_interval="1 hour",
        initial_start=str(NOON),
        missed="skip",
        scheduled=False,
    )
    assert skip(connection, NOON + 9 * HOUR) == 0
    connection.execute("select from tidemill.alter_action(%s, scheduled => true)", [action])
    assert skip(connection, NOON + 9 * HOUR) == 1
    # Later slots come after this one, whatever the clock does.
    assert state(connection, action)["slot"] == NOON


def test_a_first_start_at_once_cannot_be_missed(connection: psycopg.Connection) -> None:
    make_note(connection)
    action = add_action(connection, proc="note", fixed_schedule=False, missed="skip")
    assert skip(connection, NOON) == 0
    assert isinstance(run(connection, NOON), datetime)
    assert outcomes(connection, action) == ["success"]


@pytest.mark.parametrize("outcome", ["failure", "worker_lost"])
def test_a_retry_is_never_passed_over(connection: psycopg.Connection, outcome: str) -> None:
    make_note(connection)
    action = add_action(connection, proc="note", initial_start=NOON, missed="skip")
    again = run(connection, NOON, outcome)
    assert skip(connection, again + 5 * HOUR) == 0
    assert state(connection, action)["next_start"] == again


def test_a_slot_is_backfilled_until_it_is_older_than_the_period(connection: psycopg.Connection) -> None:
    make_note(connection)
    action = add_action(
        connection, proc="note", initial_start=NOON, missed="backfill", backfill_period=3 * HOUR
    )
    assert skip(connection, NOON + 3 * HOUR) == 0
    assert skip(connection, NOON + 3 * HOUR + INSTANT) == 1
    assert state(connection, action)["next_start"] == NOON + HOUR
    # The first one that is kept may have just that age.
    assert skip(connection, NOON + 6 * HOUR) == 1
    assert state(connection, action)["next_start"] == NOON + 3 * HOUR


@pytest.mark.parametrize(
    ("took", "next_start"), [(3 * HOUR, HOUR), (4 * HOUR, HOUR), (4 * HOUR + INSTANT, 2 * HOUR)]
)
def test_a_long_run_is_followed_by_a_slot_that_is_not_too_old(
    connection: psycopg.Connection, took: timedelta, next_start: timedelta
) -> None:
    make_note(connection)
    add_action(connection, proc="note", initial_start=NOON, missed="backfill", backfill_period=3 * HOUR)
    started = row(connection, "select run_id from tidemill._start_actions('w', 9, %s)", [NOON])
    ended = row(
        connection,
        "select next_start from tidemill._finish_run(%s, 'success', %s)",
        [started["run_id"], NOON + took],
    )
    assert ended["next_start"] == NOON + next_start


@pytest.mark.parametrize("years", [5999, 6000, 6999])
def test_a_period_of_thousands_of_years_is_as_good_as_none(
    connection: psycopg.Connection, years: int
) -> None:
    make_note(connection)
    action = add_action(connection, proc="note", initial_start=NOON, missed="backfill")
    connection.execute(
        "update tidemill._actions set backfill_period = make_interval(years => %s) where id = %s",
        [years, action],
    )
    assert skip(connection, NOON + HOUR) == 0
    assert run(connection, NOON + HOUR) == NOON + HOUR
    assert outcomes(connection, action) == ["success"]


def test_a_first_start_at_once_is_left_to_a_worker_that_may_act_as_the_owner(
    server: Server, connection: psycopg.Connection
) -> None:
    make_note(connection)
    with server.role() as owner:
        action = add_action(connection, proc="note", fixed_schedule=False)
        created = row(
            connection,
            "update tidemill._actions set owner = %s::regrole where id = %s returning created_at",
            [owner, action],
        )["created_at"]
        for age, runs in ((10 * SECOND, 0), (10 * SECOND + INSTANT, 1)):
            started = rows(connection, "select * from tidemill._start_actions('w', 9, %s)", [created + age])
            assert len(started) == runs


def test_a_clock_that_was_set_back_brings_no_slot_again(connection: psycopg.Connection) -> None:
    make_note(connection)
    action = add_action(connection, proc="note", initial_start=NOON)
    again = run(connection, NOON, "failure")
    assert NOON < again < NOON + HOUR
    # The clock is an hour behind by now, and somebody does not want to wait.
    early = NOON - HOUR
    connection.execute("select from tidemill.alter_action(%s, next_start => %s)", [action, early])
    assert run(connection, early) == NOON + HOUR
