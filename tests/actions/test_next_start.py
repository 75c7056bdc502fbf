"""tidemill.next_start: the grid, its edges, and that no setting of the session matters."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import errors

from tests.actions.fires import MICROSECOND, Grid, next_starts, utc

BERLIN = "Europe/Berlin"

# Interval, initial start, time zone, finish, next slot; all times in UTC.
KNOWN: list[tuple[str, str, str | None, str, str]] = [
    # What TimescaleDB answers where the session's time zone is the job's.
    ("1 day", "2022-03-27 00:00", None, "2022-03-27 23:00", "2022-03-28 00:00"),
    ("1 day", "2022-03-27 00:00", None, "2022-03-28 23:00", "2022-03-29 00:00"),
    ("1 day", "2022-03-27 00:00", BERLIN, "2022-03-28 23:00", "2022-03-29 23:00"),
    ("1 day", "2022-10-29 23:01", BERLIN, "2022-10-29 23:10:19", "2022-10-31 00:01"),
    ("1 mon", "2022-10-29 23:01", BERLIN, "2023-01-30 00:01", "2023-02-28 00:01"),
    ("1 year", "2022-03-27 00:00", BERLIN, "2022-03-27 00:19:20", "2023-03-26 23:00"),
    ("1 year", "2022-03-27 00:00", None, "2022-03-27 00:19:20", "2023-03-27 00:00"),
    ("1 day", "2022-09-21 06:00", None, "2022-09-21 13:21:34", "2022-09-22 06:00"),
    # Strictly after, and not before the first.
    ("1 hour", "2024-01-01 00:00", None, "2024-01-01 05:00", "2024-01-01 06:00"),
    ("1 hour", "2024-01-01 00:00", None, "2024-01-01 04:59:59.999999", "2024-01-01 05:00"),
    ("1 hour", "2024-01-01 00:00", None, "2023-06-01 00:00", "2024-01-01 00:00"),
    ("1 hour", "2024-01-01 00:00", None, "2023-12-31 23:59:59.999999", "2024-01-01 00:00"),
    ("1 hour", "2024-01-01 00:00", None, "2024-01-01 00:00", "2024-01-01 01:00"),
    # A run of 5 s on a grid of 2 s misses slots.
    ("2 seconds", "2024-01-01 00:00", None, "2024-01-01 00:00:07.1", "2024-01-01 00:00:08"),
    # Months are counted from the first slot, not from the last one.
    ("1 month", "2023-01-31 12:00", None, "2023-02-28 12:00", "2023-03-31 12:00"),
    ("1 month", "2023-01-31 12:00", None, "2023-03-31 12:00", "2023-04-30 12:00"),
    ("1 month", "2023-01-31 12:00", None, "2024-02-01 00:00", "2024-02-29 12:00"),
    ("1 year", "2024-02-29 00:00", None, "2024-03-01 00:00", "2025-02-28 00:00"),
    ("1 year", "2024-02-29 00:00", None, "2027-03-01 00:00", "2028-02-29 00:00"),
    # Far away, in one step.
    ("1 microsecond", "1999-12-31 23:59:59.999999", None, "2999-01-01 00:00", "2999-01-01 00:00:00.000001"),
    ("1 day", "0100-06-01 12:00", BERLIN, "2999-07-01 12:00", "2999-07-02 10:53:28"),
    ("7 months", "2000-05-31 00:00", None, "9999-01-01 00:00", "9999-01-31 00:00"),
    # Days and hours are one distance; months and days follow each other.
    ("1 day 12:00", "2024-03-30 11:00", BERLIN, "2024-03-30 11:00", "2024-03-31 22:00"),
    ("2 days -12:00", "2024-03-30 11:00", BERLIN, "2024-03-30 11:00", "2024-03-31 22:00"),
    ("1 month 1 day", "2024-01-31 00:00", None, "2024-01-31 00:00", "2024-03-01 00:00"),
    ("1 month 1 day", "2024-01-31 00:00", None, "2024-03-01 00:00", "2024-04-02 00:00"),
    # Less than a day in all is elapsed time.
    ("1 day -23:00", "2024-03-31 00:00", BERLIN, "2024-03-31 00:30", "2024-03-31 01:00"),
]

SESSIONS = [
    ("UTC", "ISO", "postgres"),
    ("Europe/Berlin", "German", "sql_standard"),
    ("America/New_York", "SQL, DMY", "postgres_verbose"),
    ("Australia/Lord_Howe", "Postgres, MDY", "iso_8601"),
]


def next_start(connection: psycopg.Connection, *values: Any) -> Any:
    row = connection.execute(
        "select tidemill.next_start(%s::interval, %s::timestamptz, %s::text, %s::timestamptz)", values
    ).fetchone()
    assert row is not None
    return row[0]


@pytest.mark.parametrize("session", SESSIONS, ids=lambda session: session[0])
def test_known_slots_whatever_the_session_is_set_to(
    connection: psycopg.Connection, session: tuple[str, str, str]
) -> None:
    # Seconds since 1970 are read without the session's settings, too.
    arguments = [
        (length, utc(initial).timestamp(), zone, utc(finished).timestamp())
        for length, initial, zone, finished, _ in KNOWN
    ]
    lengths, initials, zones, finishes = zip(*arguments, strict=True)
    asked = connection.execute(
        """
        create temp table asked as
        select i, length, 'epoch'::timestamptz + make_interval(secs => initial) as initial, zone,
               'epoch'::timestamptz + make_interval(secs => finished) as finished
        from unnest(%s::interval[], %s::numeric[], %s::text[], %s::numeric[]) with ordinality
             q (length, initial, zone, finished, i)
        """,
        (list(lengths), [f"{value:.6f}" for value in initials], list(zones), [f"{v:.6f}" for v in finishes]),
    )
    assert asked.rowcount == len(KNOWN)
    for name, value in zip(("timezone", "datestyle", "intervalstyle"), session, strict=True):
        connection.execute("select set_config(%s, %s, false)", (name, value))

    rows = connection.execute(
        """
        select to_char(tidemill.next_start(length, initial, zone, finished) at time zone 'UTC',
                       'YYYY-MM-DD HH24:MI:SS.US')
        from asked order by i
        """
    ).fetchall()

    assert [slot for (slot,) in rows] == [
        utc(expected).strftime("%Y-%m-%d %H:%M:%S.%f") for *_, expected in KNOWN
    ]


def test_it_is_the_same_under_a_hostile_search_path(connection: psycopg.Connection) -> None:
    connection.execute(
        """
        create schema trap;
        create function trap.minus(timestamp, timestamp) returns interval language sql
          as $$ select '1 s'::interval $$;
        create operator trap.- (function = trap.minus, leftarg = timestamp, rightarg = timestamp);
        create function trap.floor(numeric) returns numeric language sql as $$ select 0 $$;
        set search_path = trap, pg_catalog
        """
    )

    assert next_start(connection, "1 day", utc("2024-01-01"), BERLIN, utc("2024-06-01")) == utc(
        "2024-06-01 23:00"
    )


@pytest.mark.parametrize("length", ["0", "-1 day", "-1 month", "1 month -30 days", "-00:00:00.000001"])
def test_an_interval_that_is_not_positive_is_refused(connection: psycopg.Connection, length: str) -> None:
    with pytest.raises(errors.InvalidParameterValue, match="is not positive") as refused:
        next_start(connection, length, utc("2024-01-01"), None, utc("2024-01-01"))

    assert refused.value.diag.message_hint == "Use an interval above zero."


@pytest.mark.parametrize("length", ["1 month -29 days", "-1 month 31 days", "2 months -1 hour"])
def test_an_interval_that_goes_forth_and_back_is_refused(connection: psycopg.Connection, length: str) -> None:
    with pytest.raises(errors.InvalidParameterValue, match="goes forth and back"):
        next_start(connection, length, utc("2024-01-01"), None, utc("2024-01-01"))


@pytest.mark.parametrize("length", ["1 day", "1 hour"])
@pytest.mark.parametrize("finished", ["2020-01-01", "2024-06-01"])
def test_an_unknown_time_zone_is_refused(connection: psycopg.Connection, length: str, finished: str) -> None:
    with pytest.raises(errors.InvalidParameterValue, match='time zone "Mars/Olympus" not recognized'):
        next_start(connection, length, utc("2024-01-01"), "Mars/Olympus", utc(finished))


@pytest.mark.parametrize("missing", range(4))
def test_null(connection: psycopg.Connection, missing: int) -> None:
    values: list[Any] = ["1 day", utc("2024-01-01"), "UTC", utc("2024-06-01")]
    values[missing] = None

    # Of these, only the time zone may be unknown.
    assert next_start(connection, *values) == (utc("2024-06-02") if missing == 2 else None)


@pytest.mark.parametrize(
    ("length", "initial", "finished", "expected"),
    [
        ("1 day", "2024-01-01", "-infinity", "2024-01-01 00:00:00+00"),
        ("1 day", "2024-01-01", "infinity", "infinity"),
        ("1 day", "infinity", "2024-01-01", "infinity"),
        ("1 day", "infinity", "infinity", "infinity"),
        ("200000 years", "2000-01-01", "2024-01-01", "202000-01-01 00:00:00+00"),
        ("200000 years", "2000-01-01", "202000-01-01", "infinity"),
        ("178000000 years", "2000-01-01", "2024-01-01", "infinity"),
        ("2147483647 days", "2000-01-01", "2024-01-01", "infinity"),
        ("1 day", "2000-01-01", "294276-12-31", "infinity"),
        ("1 day", "4714-11-24 BC", "2024-06-01 12:00", "2024-06-02 00:00:00+00"),
    ],
)
def test_the_ends_of_time(
    connection: psycopg.Connection, length: str, initial: str, finished: str, expected: str
) -> None:
    connection.execute("set timezone = 'UTC'")

    row = connection.execute(
        "select tidemill.next_start(%s, %s, 'UTC', %s)::text", (length, initial, finished)
    ).fetchone()

    assert row == (expected,)


def test_initial_start_must_be_somewhere(connection: psycopg.Connection) -> None:
    with pytest.raises(errors.InvalidParameterValue, match="initial start cannot be -infinity"):
        next_start(connection, "1 day", "-infinity", None, utc("2024-01-01"))


def test_an_interval_without_end(connection: psycopg.Connection) -> None:
    if connection.info.server_version < 170000:
        with pytest.raises(errors.InvalidDatetimeFormat):
            connection.execute("select interval 'infinity'")
        return

    assert next_start(connection, "infinity", utc("2024-01-01"), None, utc("2023-01-01")) == utc("2024-01-01")
    shown = connection.execute(
        "select tidemill.next_start('infinity', '2024-01-01', null, '2024-01-01')::text"
    ).fetchone()
    assert shown == ("infinity",)


def test_a_first_slot_within_the_repeated_hour_stays_where_it_is(connection: psycopg.Connection) -> None:
    # 02:30 in Berlin comes twice on this day; this is the first of them.
    first = utc("2024-10-27 00:30")

    assert next_start(connection, "1 day", first, BERLIN, first - MICROSECOND) == first
    assert next_start(connection, "1 day", first, BERLIN, first) == utc("2024-10-28 01:30")


def test_a_day_that_a_country_skipped_gives_no_second_slot(connection: psycopg.Connection) -> None:
    # Samoa had no 30 December 2011: it went from UTC-10 to UTC+14.
    grid = Grid(0, 1, 0, utc("2011-12-28 22:00"), "Pacific/Apia")
    slots = [grid.initial]
    for _ in range(4):
        slots += next_starts(connection, [(grid, slots[-1])])

    assert slots == [utc(f"2011-12-{day} 22:00") for day in (28, 29, 30, 31)] + [utc("2012-01-01 22:00")]


ZONES = [
    None,
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kolkata",
    "America/Havana",
    "Africa/Cairo",
    "Pacific/Apia",
    "America/Santiago",
]


@st.composite
def questions(draw: st.DrawFn) -> tuple[Grid, datetime]:
    months, days, seconds = draw(
        st.one_of(
            st.tuples(st.just(0), st.integers(1, 40), st.just(0)),
            st.tuples(st.just(0), st.integers(1, 10), st.integers(0, 86399)),
            st.tuples(st.integers(1, 30), st.just(0), st.just(0)),
            st.tuples(st.integers(1, 5), st.integers(0, 40), st.integers(0, 100_000)),
            st.tuples(st.just(0), st.just(0), st.integers(3600, 400_000)),
        )
    )
    initial = draw(st.datetimes(datetime(2005, 1, 1), datetime(2022, 1, 1))).replace(tzinfo=UTC)
    if draw(st.booleans()):
        # Where clocks are turned: around whole hours and half hours.
        initial = initial.replace(minute=draw(st.sampled_from([0, 30])), second=0, microsecond=0)
    grid = Grid(months, days, seconds, initial, draw(st.sampled_from(ZONES)))
    length = timedelta(days=months * 30 + days, seconds=seconds)
    return grid, initial + length * draw(st.floats(-1, 120, allow_nan=False))


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batch=st.lists(questions(), min_size=20, max_size=60))
def test_the_next_slot_is_after_on_the_grid_and_nothing_is_skipped(
    connection: psycopg.Connection, batch: list[tuple[Grid, datetime]]
) -> None:
    slots = next_starts(connection, batch)

    assert slots == [grid.after(finished) for grid, finished in batch]
    assert all(slot > finished for slot, (_, finished) in zip(slots, batch, strict=True))
    just_before = [(grid, slot - MICROSECOND) for slot, (grid, _) in zip(slots, batch, strict=True)]
    assert next_starts(connection, just_before) == slots
