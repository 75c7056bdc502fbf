"""When an action is due again, after success and after failure; every time is given, none is the clock's."""

from __future__ import annotations

from typing import Any, LiteralString

import psycopg
import pytest
from psycopg import sql
from psycopg.types.json import Jsonb

pytestmark = pytest.mark.versions(18, 16)

BERLIN = "Europe/Berlin"
FINISHED = "2024-03-30 12:00:07+00"


def ask(connection: psycopg.Connection, call: LiteralString, action: dict[str, Any], *values: Any) -> str:
    """What a function answers for an action that is in no table: a time in UTC, as text."""
    columns = {"fixed_schedule": False, "retry_period": "5 minutes", **action}
    row = connection.execute(
        sql.SQL(
            """
            select (tidemill.{} at time zone 'UTC')::text
            from (select %s::jsonb d) d, jsonb_populate_record(
              null::tidemill._actions,
              d || jsonb_build_object('cron_fields', to_jsonb(tidemill._read_cron(d ->> 'cron')))) a
            """
        ).format(sql.SQL(call)),
        (*values, Jsonb(columns)),
    ).fetchone()
    assert row is not None
    return str(row[0])


def next_slot(connection: psycopg.Connection, action: dict[str, Any], after: str) -> str:
    return ask(connection, "_next_slot(a, %s)", action, after)


def retry_start(connection: psycopg.Connection, action: dict[str, Any], failures: int, jitter: float) -> str:
    return ask(connection, "_retry_start(a, %s, %s, %s)", action, FINISHED, failures, jitter)


def drifting(interval: str, **more: Any) -> dict[str, Any]:
    return {"schedule_interval": interval, **more}


def fixed(interval: str, initial: str = "2024-01-01 00:00+00", **more: Any) -> dict[str, Any]:
    return {"schedule_interval": interval, "initial_start": initial, "fixed_schedule": True, **more}


def cron(line: str, **more: Any) -> dict[str, Any]:
    return {"cron": line, "fixed_schedule": True, **more}


@pytest.fixture(params=["UTC", "Europe/Berlin", "America/New_York"])
def session(request: pytest.FixtureRequest, connection: psycopg.Connection) -> psycopg.Connection:
    """A connection whose session lives somewhere."""
    connection.execute("select set_config('timezone', %s, false)", (request.param,))
    return connection


# Action, after, next slot. On the 31st Berlin's clocks go from 02:00 to 03:00.
SLOTS = [
    (drifting("1 day"), "2024-03-30 11:00+00", "2024-03-31 11:00:00"),
    (drifting("1 day", timezone=BERLIN), "2024-03-30 11:00+00", "2024-03-31 10:00:00"),
    (drifting("24 hours", timezone=BERLIN), "2024-03-30 11:00+00", "2024-03-31 11:00:00"),
    (drifting("1 day 2 hours", timezone=BERLIN), "2024-03-30 11:00+00", "2024-03-31 12:00:00"),
    (drifting("1 month", timezone=BERLIN), "2024-01-31 23:30+00", "2024-02-29 23:30:00"),
    (drifting("1 month"), "2024-01-31 23:30+00", "2024-02-29 23:30:00"),
    # Of the repeated hour, the first half: an hour later is the second.
    (drifting("1 hour", timezone=BERLIN), "2024-10-27 00:30+00", "2024-10-27 01:30:00"),
    (drifting("1 hour", initial_start="2030-01-01 00:00+00"), "2024-03-30 11:00+00", "2030-01-01 00:00:00"),
    (drifting("1 hour", initial_start="2020-01-01 00:00+00"), "2024-03-30 11:00+00", "2024-03-30 12:00:00"),
    (drifting("293000 years"), "2024-03-30 11:00+00", "infinity"),
    (fixed("1 day", timezone=BERLIN), "2024-03-31 00:00+00", "2024-03-31 23:00:00"),
    (fixed("1 day"), "2024-03-30 23:59+00", "2024-03-31 00:00:00"),
    (fixed("1 day", "2030-01-01 00:00+00"), "2024-03-30 23:59+00", "2030-01-01 00:00:00"),
    (fixed("290000 years"), "2024-03-30 23:59+00", "292024-01-01 00:00:00"),
    (fixed("290000 years"), "292024-01-01 00:00+00", "infinity"),
    (cron("30 4 * * *", timezone=BERLIN), "2024-03-30 12:00+00", "2024-03-31 02:30:00"),
    (cron("30 4 * * *"), "2024-03-30 12:00+00", "2024-03-31 04:30:00"),
    # The start itself may be a slot.
    (cron("0 0 * * *", initial_start="2024-06-01 00:00+00"), "2024-01-01 00:00+00", "2024-06-01 00:00:00"),
    (cron("0 0 * * *", initial_start="2024-06-01 00:00:01+00"), "2024-01-01 00:00+00", "2024-06-02 00:00:00"),
    (cron("0 0 * * *", initial_start="2024-06-01 00:00+00"), "2024-06-01 00:00+00", "2024-06-02 00:00:00"),
    (cron("0 0 * * *", initial_start="infinity"), "2024-01-01 00:00+00", "infinity"),
]


def test_the_next_slot(session: psycopg.Connection) -> None:
    for action, after, expected in SLOTS:
        assert next_slot(session, action, after) == expected, (action, after)


@pytest.mark.parametrize(
    ("failures", "jitter", "expected"),
    [
        (1, 0, "2024-03-30 12:05:07"),
        (2, 0, "2024-03-30 12:10:07"),
        (19, 0, "2024-03-30 13:35:07"),
        (20, 0, "2024-03-30 13:40:07"),
        (21, 0, "2024-03-30 13:40:07"),
        (2147483647, 0, "2024-03-30 13:40:07"),
        # Of 300 s: 35.15625 less, and 37.5 more.
        (1, -15 / 128, "2024-03-30 12:04:31.84375"),
        (1, 16 / 128, "2024-03-30 12:05:44.5"),
        # Nobody has counted yet.
        (0, 0, "2024-03-30 12:05:07"),
    ],
)
def test_the_wait_grows_with_each_failure_up_to_the_twentieth(
    connection: psycopg.Connection, failures: int, jitter: float, expected: str
) -> None:
    assert retry_start(connection, drifting("1 day"), failures, jitter) == expected


# Action, failures, jitter, start.
RETRIES = [
    # At most five intervals, before the jitter.
    (drifting("10 minutes"), 9, 0, "2024-03-30 12:45:07"),
    (drifting("10 minutes"), 10, 0, "2024-03-30 12:50:07"),
    (drifting("10 minutes"), 15, 0, "2024-03-30 12:50:07"),
    (drifting("10 minutes"), 15, 16 / 128, "2024-03-30 12:56:22"),
    # A day is 24 hours here, whatever clocks do on this one.
    (drifting("1 week", retry_period="1 day", timezone=BERLIN), 1, 0, "2024-03-31 12:00:07"),
    (drifting("1 week", retry_period="0"), 7, 0, "2024-03-30 12:00:07"),
    # On a grid never later than the next slot.
    (fixed("1 hour"), 1, 0, "2024-03-30 12:05:07"),
    (fixed("1 hour"), 11, 0, "2024-03-30 12:55:07"),
    (fixed("1 hour"), 12, 0, "2024-03-30 13:00:00"),
    (fixed("1 hour"), 20, -15 / 128, "2024-03-30 13:00:00"),
    (fixed("1 minute"), 1, 0, "2024-03-30 12:01:00"),
    (fixed("1 month"), 20, 0, "2024-03-30 13:40:07"),
    (fixed("1 hour", "2030-01-01 00:00+00"), 20, 0, "2024-03-30 13:40:07"),
    (cron("0 * * * *"), 11, 0, "2024-03-30 12:55:07"),
    (cron("0 * * * *"), 12, 0, "2024-03-30 13:00:00"),
    # The next two slots are a minute apart: five minutes at most.
    (cron("0,1 18 * * *", retry_period="1 hour"), 1, 0, "2024-03-30 12:05:07"),
    (cron("0,1 18 * * *", retry_period="1 hour"), 1, 16 / 128, "2024-03-30 12:05:44.5"),
    (cron("0 0 * * *", initial_start="infinity"), 1, 0, "2024-03-30 12:05:07"),
    # Twenty times that is past the end of time: so once. That, too: never.
    (drifting("200000 years", retry_period="876000000 hours"), 20, 0, "101957-11-07 12:00:07"),
    (drifting("200000 years", retry_period="178000000 years"), 1, 0, "infinity"),
]


def test_retries(session: psycopg.Connection) -> None:
    for action, failures, jitter, expected in RETRIES:
        assert retry_start(session, action, failures, jitter) == expected, (action, failures, jitter)


def test_the_jitter_is_any_of_32_steps(connection: psycopg.Connection) -> None:
    rows = connection.execute(
        "select distinct tidemill._jitter() * 128 from generate_series(1, 5000)"
    ).fetchall()

    # That one of them is missing has a chance of 10^-67.
    assert {step for (step,) in rows} == set(range(-15, 17))
