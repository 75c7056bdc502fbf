"""Slots at their edges: just missed, and with a clock that is set back."""

from __future__ import annotations

from datetime import datetime, timedelta

import psycopg
import pytest

from tests.actions.definitions import row
from tests.actions.support import HOUR, MINUTE, NOON, SECOND, add_action, make_note, outcomes, state

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
    make_note(connection)
    action = add_action(
        connection, proc="note", schedule_interval=interval, initial_start=NOON, missed="skip"
    )
    assert skip(connection, NOON + grace) == 0
    assert state(connection, action)["next_start"] == NOON
    assert skip(connection, NOON + grace + INSTANT) == 1
    assert outcomes(connection, action) == ["skipped"]
    first_kept = NOON + interval if interval > grace else NOON + 2 * interval
    assert state(connection, action)["next_start"] == first_kept


def test_a_clock_that_was_set_back_brings_no_slot_again(connection: psycopg.Connection) -> None:
    make_note(connection)
    action = add_action(connection, proc="note", initial_start=NOON)
    again = run(connection, NOON, "failure")
    assert NOON < again < NOON + HOUR
    # The clock is an hour behind by now, and somebody does not want to wait.
    early = NOON - HOUR
    connection.execute("select from tidemill.alter_action(%s, next_start => %s)", [action, early])
    assert run(connection, early) == NOON + HOUR
