"""tidemill.time_bucket: known buckets, errors, a slow reference, and what is left of it in plans."""

from __future__ import annotations

from calendar import monthrange
from datetime import UTC, datetime, timedelta
from typing import Any, LiteralString
from zoneinfo import ZoneInfo

import psycopg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from psycopg import errors, sql

# The oldest and the newest: what they compute does not change in between.
pytestmark = pytest.mark.versions(18, 15)

BERLIN, NEW_YORK, HAVANA = "Europe/Berlin", "America/New_York", "America/Havana"
MONDAY = datetime(2000, 1, 3)
FIRST = datetime(2000, 1, 1)

# Width, time, start of its bucket. 2000-01-03 was a Monday.
PLAIN = [
    ("1 week", "2024-01-10 12:34:56", "2024-01-08"),
    ("5 minutes", "2024-01-10 12:34:56.789", "2024-01-10 12:30"),
    ("1 day", "2024-01-10 12:34:56", "2024-01-10"),
    ("1 day", "2024-01-10", "2024-01-10"),
    ("24 hours", "2024-01-10 23:59:59.999999", "2024-01-10"),
    # 8766 days, which is a multiple of 3, lead from 2000-01-03 to 2024-01-03.
    ("3 days", "2024-01-10 12:34:56", "2024-01-09"),
    ("2 days -12:00", "2000-01-04 13:00", "2000-01-04 12:00"),
    ("00:00:00.000003", "2000-01-03 00:00:00.000007", "2000-01-03 00:00:00.000006"),
    # Before the origin.
    ("1 week", "1999-12-31 23:00", "1999-12-27"),
    ("1 day", "1969-12-31 23:59:59.999999", "1969-12-31"),
    ("1 hour", "0001-06-15 12:30 BC", "0001-06-15 12:00 BC"),
    # Months are counted from January 2000: 292 lead to May 2024, and 287 = 41 * 7.
    ("1 month", "2024-02-29 12:00", "2024-02-01"),
    ("1 month", "2024-03-01", "2024-03-01"),
    ("3 months", "2024-05-20", "2024-04-01"),
    ("7 months", "2024-05-20", "2023-12-01"),
    ("1 year", "2024-12-31 23:59:59.999999", "2024-01-01"),
    ("12 months", "2024-05-20", "2024-01-01"),
    ("18 months", "2004-01-01", "2003-01-01"),
    ("1 month", "1999-12-31", "1999-12-01"),
    ("5 months", "1999-12-31", "1999-08-01"),
    ("100 years", "1999-06-15", "1900-01-01"),
    # The year before 1 AD is 1 BC.
    ("1 year", "0001-06-15 BC", "0001-01-01 BC"),
    ("1 month", "0001-01-15", "0001-01-01"),
    ("2 years", "0001-06-15", "0001-01-01 BC"),
    # Leap days.
    ("1 day", "2024-02-29 06:00", "2024-02-29"),
    ("4 years", "2024-02-29", "2024-01-01"),
    ("1 day", "infinity", "infinity"),
    ("1 day", "-infinity", "-infinity"),
    ("1 month", "infinity", "infinity"),
    ("1 month", "-infinity", "-infinity"),
]
# Width, time, origin, start.
WITH_ORIGIN = [
    ("1 week", "2024-01-10 12:00", "2000-01-02", "2024-01-07"),
    ("1 day", "2024-01-10 05:59", "2030-06-01 06:00", "2024-01-09 06:00"),
    ("1 day", "2024-01-10 06:00", "2030-06-01 06:00", "2024-01-10 06:00"),
    ("1 month", "2024-02-14 23:59", "2020-01-15", "2024-01-15"),
    ("1 month", "2024-02-15", "2020-01-15", "2024-02-15"),
    ("2 months", "2019-12-31", "2020-02-01", "2019-12-01"),
    ("1 month", "2020-01-01 06:59", "2020-01-01 07:00", "2019-12-01 07:00"),
    # The last day of shorter months, counted from the origin.
    ("1 month", "2023-02-28", "2023-01-31", "2023-02-28"),
    ("1 month", "2023-03-30 12:00", "2023-01-31", "2023-02-28"),
    ("1 month", "2023-03-31", "2023-01-31", "2023-03-31"),
    ("1 year", "2023-02-28", "2000-02-29", "2023-02-28"),
    ("1 year", "2024-02-28 23:59", "2000-02-29", "2023-02-28"),
    ("1 year", "2024-02-29", "2000-02-29", "2024-02-29"),
    ("1 day", "infinity", "2000-01-03", "infinity"),
    ("1 month", "-infinity", "2000-01-03", "-infinity"),
]
# Width, time, offset, start.
WITH_OFFSET = [
    ("1 day", "2024-01-10 05:59", "6 hours", "2024-01-09 06:00"),
    ("1 day", "2024-01-10 06:00", "6 hours", "2024-01-10 06:00"),
    ("1 day", "2024-01-10 18:00", "-6 hours", "2024-01-10 18:00"),
    ("1 week", "2024-01-10 12:00", "-1 day", "2024-01-07"),
    ("1 week", "1999-12-26 12:00", "-1 day", "1999-12-26"),
    ("1 month", "2024-03-05 23:59", "5 days", "2024-02-06"),
    ("1 month", "2024-03-06", "5 days", "2024-03-06"),
    ("1 year", "2024-03-31", "3 months", "2023-04-01"),
    ("1 year", "2024-04-01", "3 months", "2024-04-01"),
]
# Width, time in UTC, zone, start in UTC.
IN_ZONE = [
    # In Berlin clocks went from 02:00 to 03:00 at 01:00 UTC on 2024-03-31, and back at 01:00 on 2024-10-27.
    ("1 day", "2024-03-31 12:00", BERLIN, "2024-03-30 23:00"),
    ("1 day", "2024-03-31 21:59", BERLIN, "2024-03-30 23:00"),
    ("1 day", "2024-03-31 22:00", BERLIN, "2024-03-31 22:00"),
    ("1 day", "2024-10-27 12:00", BERLIN, "2024-10-26 22:00"),
    ("1 day", "2024-10-27 22:59", BERLIN, "2024-10-26 22:00"),
    ("1 day", "2024-10-27 23:00", BERLIN, "2024-10-27 23:00"),
    ("24 hours", "2024-10-27 22:59", BERLIN, "2024-10-26 22:00"),
    ("1 week", "2024-03-31 12:00", BERLIN, "2024-03-24 23:00"),
    ("1 week", "2024-04-03 12:00", BERLIN, "2024-03-31 22:00"),
    ("1 month", "2024-03-31 21:59", BERLIN, "2024-02-29 23:00"),
    ("1 month", "2024-03-31 22:00", BERLIN, "2024-03-31 22:00"),
    ("1 month", "2024-10-31 12:00", BERLIN, "2024-09-30 22:00"),
    ("1 month", "2024-11-05 12:00", BERLIN, "2024-10-31 23:00"),
    ("1 year", "2024-07-01 12:00", BERLIN, "2023-12-31 23:00"),
    ("1 hour", "2024-03-31 00:30", BERLIN, "2024-03-31 00:00"),
    ("1 hour", "2024-03-31 01:30", BERLIN, "2024-03-31 01:00"),
    # The hour that clocks show twice.
    ("1 hour", "2024-10-26 23:30", BERLIN, "2024-10-26 23:00"),
    ("1 hour", "2024-10-27 00:30", BERLIN, "2024-10-27 00:00"),
    ("1 hour", "2024-10-27 01:30", BERLIN, "2024-10-27 01:00"),
    ("1 hour", "2024-10-27 02:30", BERLIN, "2024-10-27 02:00"),
    ("15 minutes", "2024-10-27 00:50", BERLIN, "2024-10-27 00:45"),
    ("15 minutes", "2024-10-27 01:05", BERLIN, "2024-10-27 01:00"),
    ("2 hours", "2024-10-27 00:30", BERLIN, "2024-10-27 00:00"),
    ("2 hours", "2024-10-27 02:30", BERLIN, "2024-10-27 01:00"),
    ("6 hours", "2024-10-27 00:30", BERLIN, "2024-10-26 22:00"),
    ("6 hours", "2024-10-27 04:59", BERLIN, "2024-10-26 22:00"),
    ("6 hours", "2024-10-27 05:00", BERLIN, "2024-10-27 05:00"),
    ("6 hours", "2024-03-31 03:59", BERLIN, "2024-03-30 23:00"),
    ("6 hours", "2024-03-31 04:00", BERLIN, "2024-03-31 04:00"),
    # A start at 02:00 that clocks skip.
    ("2 hours", "2024-03-31 01:30", BERLIN, "2024-03-31 01:00"),
    # In New York forward at 07:00 UTC on 2024-03-10, back at 06:00 UTC on 2024-11-03.
    ("1 day", "2024-03-10 20:00", NEW_YORK, "2024-03-10 05:00"),
    ("1 day", "2024-03-11 03:59", NEW_YORK, "2024-03-10 05:00"),
    ("1 day", "2024-03-11 04:00", NEW_YORK, "2024-03-11 04:00"),
    ("1 day", "2024-11-04 04:59", NEW_YORK, "2024-11-03 04:00"),
    ("1 day", "2024-11-04 05:00", NEW_YORK, "2024-11-04 05:00"),
    ("1 hour", "2024-11-03 05:30", NEW_YORK, "2024-11-03 05:00"),
    ("1 hour", "2024-11-03 06:30", NEW_YORK, "2024-11-03 06:00"),
    ("1 month", "2024-11-15", NEW_YORK, "2024-11-01 04:00"),
    # In Havana midnight came twice at 04:00 and 05:00 UTC on 2024-11-03, and not at all on 2024-03-10.
    ("1 day", "2024-11-03 03:59", HAVANA, "2024-11-02 04:00"),
    ("1 day", "2024-11-03 04:30", HAVANA, "2024-11-03 04:00"),
    ("1 day", "2024-11-03 05:30", HAVANA, "2024-11-03 04:00"),
    ("1 day", "2024-11-04 04:59", HAVANA, "2024-11-03 04:00"),
    ("1 hour", "2024-11-03 04:30", HAVANA, "2024-11-03 04:00"),
    ("1 hour", "2024-11-03 05:30", HAVANA, "2024-11-03 05:00"),
    ("1 day", "2024-03-10 04:59", HAVANA, "2024-03-09 05:00"),
    ("1 day", "2024-03-10 06:00", HAVANA, "2024-03-10 05:00"),
    # Before the zone had whole minutes: noon in Berlin was 53:28 before UTC's.
    ("1 day", "1850-01-01 12:00", BERLIN, "1849-12-31 23:06:32"),
    ("1 day", "infinity", BERLIN, "infinity"),
    ("1 month", "-infinity", BERLIN, "-infinity"),
    ("1 day", "2024-03-31 12:00", "UTC", "2024-03-31 00:00"),
    ("1 day", "2024-03-31 12:00", None, None),
]


def value(connection: psycopg.Connection, call: LiteralString, *values: Any) -> Any:
    """The text of the result in UTC."""
    statement = sql.SQL("select (" + call + ")::text")
    row = connection.execute(statement, values).fetchone()
    assert row is not None
    return row[0]


def same(connection: psycopg.Connection, told: str | None, expected: str | None, kind: LiteralString) -> bool:
    check = sql.SQL("select %s::{0} is not distinct from %s::{0}").format(sql.SQL(kind))
    return bool(connection.execute(check, [told, expected]).fetchall()[0][0])


@pytest.fixture(autouse=True)
def _in_utc(connection: psycopg.Connection) -> None:
    connection.execute("set timezone = 'UTC'")


KINDS: list[LiteralString] = ["timestamptz", "timestamp"]


@pytest.mark.parametrize("kind", KINDS)
def test_known_buckets(connection: psycopg.Connection, kind: LiteralString) -> None:
    for width, at, expected in PLAIN:
        told = value(connection, "tidemill.time_bucket(%s::interval, %s::" + kind + ")", width, at)
        assert same(connection, told, expected, kind), (width, at, told)


@pytest.mark.parametrize("kind", KINDS)
def test_an_origin(connection: psycopg.Connection, kind: LiteralString) -> None:
    call = "tidemill.time_bucket(%s::interval, %s::" + kind + ", %s::" + kind + ")"
    for width, at, origin, expected in WITH_ORIGIN:
        told = value(connection, call, width, at, origin)
        assert same(connection, told, expected, kind), (width, at, origin, told)


@pytest.mark.parametrize("kind", KINDS)
def test_an_offset(connection: psycopg.Connection, kind: LiteralString) -> None:
    call = "tidemill.time_bucket(%s::interval, %s::" + kind + ", %s::interval)"
    for width, at, offset, expected in WITH_OFFSET:
        told = value(connection, call, width, at, offset)
        assert same(connection, told, expected, kind), (width, at, offset, told)


def test_dates(connection: psycopg.Connection) -> None:
    days = [case for case in PLAIN if ":" not in "".join(case)]
    assert len(days) > 15
    for width, at, expected in days:
        told = value(connection, "tidemill.time_bucket(%s::interval, %s::date)", width, at)
        assert same(connection, told, expected, "date"), (width, at, told)
    for width, at, origin, expected in WITH_ORIGIN:
        if ":" not in at + origin:
            told = value(
                connection, "tidemill.time_bucket(%s::interval, %s::date, %s::date)", width, at, origin
            )
            assert same(connection, told, expected, "date"), (width, at, origin, told)
    for width, at, offset, expected in WITH_OFFSET:
        if ":" not in at and "hours" not in offset:
            told = value(
                connection, "tidemill.time_bucket(%s::interval, %s::date, %s::interval)", width, at, offset
            )
            assert same(connection, told, expected, "date"), (width, at, offset, told)


def test_time_zones(connection: psycopg.Connection) -> None:
    for width, at, zone, expected in IN_ZONE:
        told = value(
            connection, "tidemill.time_bucket(%s::interval, %s::timestamptz, %s::text)", width, at, zone
        )
        assert same(connection, told, expected, "timestamptz"), (width, at, zone, told)


@pytest.mark.parametrize(
    ("width", "at", "more", "expected"),
    [
        # A Sunday, from Sunday to Sunday.
        ("1 week", "2024-03-31 12:00", "origin => '2000-01-02 00:00+01'", "2024-03-30 23:00"),
        ("1 week", "2024-03-30 12:00", "origin => '2000-01-02 00:00+01'", "2024-03-23 23:00"),
        # From six to six by the clock, also on the day when clocks are turned.
        ("1 day", "2024-03-31 03:59", "\"offset\" => '6 hours'", "2024-03-30 05:00"),
        ("1 day", "2024-03-31 04:00", "\"offset\" => '6 hours'", "2024-03-31 04:00"),
        ("1 day", "2024-10-27 05:00", "\"offset\" => '6 hours'", "2024-10-27 05:00"),
        (
            "1 week",
            "2024-04-03 12:00",
            "origin => '2000-01-02 00:00+01', \"offset\" => '1 day'",
            "2024-03-31 22:00",
        ),
        ("1 month", "2024-04-14 12:00", "origin => '2024-01-15 00:00+01'", "2024-03-14 23:00"),
        ("1 month", "2024-04-15 12:00", "\"offset\" => '14 days'", "2024-04-14 22:00"),
        # A start at 02:30 that clocks skip: it is when they are turned, for the whole bucket.
        ("2 hours", "2024-03-31 01:10", "\"offset\" => '30 minutes'", "2024-03-31 01:00"),
        ("2 hours", "2024-03-31 02:20", "\"offset\" => '30 minutes'", "2024-03-31 01:00"),
        ("2 hours", "2024-03-31 02:30", "\"offset\" => '30 minutes'", "2024-03-31 02:30"),
    ],
)
def test_a_time_zone_with_origin_and_offset(
    connection: psycopg.Connection, width: str, at: str, more: LiteralString, expected: str
) -> None:
    call = "tidemill.time_bucket(%s, %s::timestamptz, 'Europe/Berlin', " + more + ")"
    told = value(connection, call, width, at)
    assert same(connection, told, expected, "timestamptz"), told


@pytest.mark.parametrize("kind", ["smallint", "integer", "bigint"])
@pytest.mark.parametrize(
    ("width", "at", "offset", "expected"),
    [
        (5, 7, None, 5),
        (5, 5, None, 5),
        (5, 0, None, 0),
        (5, -1, None, -5),
        (5, -5, None, -5),
        (1, -3, None, -3),
        (5, 7, 2, 7),
        (5, 6, 2, 2),
        (5, 1, 2, -3),
        (5, -3, 2, -3),
        (5, 6, -8, 2),
        (10, -32767, 3, -32767),
        (20000, 32767, None, 20000),
        (20000, 32767, -20000, 20000),
        (None, 1, None, None),
        (5, None, None, None),
    ],
)
def test_whole_numbers(
    connection: psycopg.Connection,
    kind: LiteralString,
    width: int | None,
    at: int | None,
    offset: int | None,
    expected: int | None,
) -> None:
    call: LiteralString = "tidemill.time_bucket(%s::" + kind + ", %s::" + kind
    if offset is None:
        told = value(connection, call + ")", width, at)
        assert told == value(connection, call + ", 0::" + kind + ")", width, at)
    else:
        told = value(connection, call + ", %s::" + kind + ")", width, at, offset)
    assert told == (None if expected is None else str(expected))


def test_whole_numbers_at_their_ends(connection: psycopg.Connection) -> None:
    # 2 ** 31 is 2 more than a multiple of 7, since 2 ** 3 is 1 more.
    assert value(connection, "tidemill.time_bucket(7, 2147483647)") == "2147483646"
    assert value(connection, "tidemill.time_bucket(2147483647, -1)") == "-2147483647"
    with pytest.raises(errors.NumericValueOutOfRange):
        value(connection, "tidemill.time_bucket(7, (-2147483648)::integer)")
    # The type of the time decides where widths are plain numbers.
    assert value(connection, "pg_typeof(tidemill.time_bucket(10, 5::bigint))") == "bigint"
    assert value(connection, "pg_typeof(tidemill.time_bucket(10, 5::smallint))") == "integer"


def test_natural_calls(connection: psycopg.Connection) -> None:
    connection.execute(
        "create temp table t (tz timestamptz, ts timestamp, d date, i int, b bigint, s smallint)"
    )
    connection.execute(
        "insert into t select x, x, x, 7, 7, 7 from (values ('2024-01-10 12:00+00'::timestamptz)) v (x)"
    )
    for call, kind, expected in [
        ("'1 day', tz", "timestamp with time zone", "2024-01-10 00:00:00+00"),
        ("'1 day', ts", "timestamp without time zone", "2024-01-10 00:00:00"),
        ("'1 week', d", "date", "2024-01-08"),
        ("5, i", "integer", "5"),
        ("5, b", "bigint", "5"),
        ("5::smallint, s", "smallint", "5"),
        ("bucket_width => '1 day', ts => tz", "timestamp with time zone", "2024-01-10 00:00:00+00"),
        ("'1 day', tz, 'Europe/Berlin'", "timestamp with time zone", "2024-01-09 23:00:00+00"),
        ("'1 day', tz, timezone => 'Europe/Berlin'", "timestamp with time zone", "2024-01-09 23:00:00+00"),
        (
            "'1 day', tz, origin => '2024-01-01 06:00+00'",
            "timestamp with time zone",
            "2024-01-10 06:00:00+00",
        ),
        (
            "'1 day', tz, '2024-01-01 06:00+00'::timestamptz",
            "timestamp with time zone",
            "2024-01-10 06:00:00+00",
        ),
        ("'1 day', tz, \"offset\" => '6 hours'", "timestamp with time zone", "2024-01-10 06:00:00+00"),
        ("'1 day', tz, interval '6 hours'", "timestamp with time zone", "2024-01-10 06:00:00+00"),
        ("'1 day', ts, \"offset\" => '6 hours'", "timestamp without time zone", "2024-01-10 06:00:00"),
        ("'1 day', ts, origin => '2024-01-01 06:00'", "timestamp without time zone", "2024-01-10 06:00:00"),
        ("'1 week', d, origin => '2024-01-02'", "date", "2024-01-09"),
        ("'1 week', d, \"offset\" => '1 day'", "date", "2024-01-09"),
        ('5, i, "offset" => 3', "integer", "3"),
    ]:
        (told,) = connection.execute(
            f"select pg_typeof(x)::text, x::text from (select tidemill.time_bucket({call}) x from t) q"
        ).fetchall()
        assert told == (kind, expected), call


def test_the_sessions_zone_changes_nothing(connection: psycopg.Connection) -> None:
    connection.execute("set timezone = 'America/New_York'")
    for width, expected in [("1 day", "2024-07-10 00:00+00"), ("1 month", "2024-07-01 00:00+00")]:
        told = value(connection, "tidemill.time_bucket(%s, '2024-07-10 02:00+00'::timestamptz)", width)
        assert same(connection, told, expected, "timestamptz")
        told = value(
            connection,
            "tidemill.time_bucket(%s, '2024-07-10 02:00+00'::timestamptz, \"offset\" => '0')",
            width,
        )
        assert same(connection, told, expected, "timestamptz")


def test_it_is_the_same_under_a_hostile_search_path(connection: psycopg.Connection) -> None:
    connection.execute(
        """
        create schema trap;
        create function trap.date_bin(interval, timestamptz, timestamptz) returns timestamptz language sql
          as $$ select 'epoch'::timestamptz $$;
        create function trap.wrong(timestamp, interval) returns timestamp language sql
          as $$ select 'epoch'::timestamp $$;
        create operator trap.- (function = trap.wrong, leftarg = timestamp, rightarg = interval);
        create operator trap.+ (function = trap.wrong, leftarg = timestamp, rightarg = interval);
        create function trap.not(interval, interval) returns boolean language sql as 'select false';
        create operator trap.> (function = trap.not, leftarg = interval, rightarg = interval);
        set search_path = trap, pg_catalog
        """
    )
    for width, at, zone, expected in IN_ZONE:
        call = "tidemill.time_bucket(%s::interval, %s::timestamptz, %s::text)"
        assert same(connection, value(connection, call, width, at, zone), expected, "timestamptz")
    told = value(connection, "tidemill.time_bucket('1 day', '2024-01-10 12:00'::timestamptz)")
    assert told == "2024-01-10 00:00:00+00"


@pytest.mark.parametrize("kind", ["timestamptz", "timestamp", "date"])
@pytest.mark.parametrize(
    ("width", "code", "message"),
    [
        ("1 month 1 day", "0A000", "month intervals cannot have day or time component"),
        ("1 month 1 hour", "0A000", "month intervals cannot have day or time component"),
        ("1 year 00:00:01", "0A000", "month intervals cannot have day or time component"),
        ("2 months 1 day -24 hours", "0A000", "month intervals cannot have day or time component"),
        ("0", "22023", "period must be greater than 0"),
        ("-1 day", "22023", "period must be greater than 0"),
        ("1 day -24 hours", "22023", "period must be greater than 0"),
        ("-1 month", "22023", "period must be greater than 0"),
        ("1 month -30 days", "22023", "period must be greater than 0"),
    ],
)
def test_refused_widths(
    connection: psycopg.Connection, kind: LiteralString, width: str, code: str, message: str
) -> None:
    if (kind == "date" and ":" in width) or (kind == "date" and width == "1 month 1 hour"):
        message, code = "interval must not have sub-day precision", "22023"
    calls: list[LiteralString] = ["tidemill.time_bucket(%s::interval, '2024-01-10'::" + kind]
    if kind == "timestamptz":
        calls.append(calls[0] + ", 'Europe/Berlin'")
    for call in calls:
        for more in ("", f", origin => '2000-01-01'::{kind}", ", \"offset\" => interval '0'"):
            with pytest.raises(errors.Error, match=message) as refused:
                value(connection, call + more + ")", width)
            assert refused.value.sqlstate == code
            assert refused.value.diag.message_hint


@pytest.mark.parametrize("kind", ["smallint", "integer", "bigint"])
@pytest.mark.parametrize("width", [0, -5])
def test_refused_whole_widths(connection: psycopg.Connection, kind: LiteralString, width: int) -> None:
    for more in ("", f", 1::{kind}"):
        with pytest.raises(errors.InvalidParameterValue, match="period must be greater than 0"):
            value(connection, f"tidemill.time_bucket(%s::{kind}, 1::{kind}{more})", width)


@pytest.mark.parametrize(
    "arguments",
    [
        "'1 hour', d",
        "'1 day 1 hour', d",
        "'1 day', d, \"offset\" => '6 hours'",
        "'1 month', d, \"offset\" => '6 hours'",
    ],
)
def test_dates_take_whole_days(connection: psycopg.Connection, arguments: LiteralString) -> None:
    with pytest.raises(errors.InvalidParameterValue, match="must not have sub-day precision") as refused:
        connection.execute(
            "select tidemill.time_bucket(" + arguments + ") from (values (date '2024-01-10')) v (d)"
        )
    assert refused.value.diag.message_hint


def test_an_unknown_time_zone(connection: psycopg.Connection) -> None:
    with pytest.raises(errors.InvalidParameterValue, match='time zone "Mars/Olympus" not recognized'):
        value(connection, "tidemill.time_bucket('1 day', now(), 'Mars/Olympus')")


@pytest.mark.parametrize("width", ["1 day", "1 month"])
def test_an_infinite_origin(connection: psycopg.Connection, width: str) -> None:
    with pytest.raises(errors.DatetimeFieldOverflow, match="origin out of range"):
        value(connection, "tidemill.time_bucket(%s, now(), 'infinity'::timestamptz)", width)


@pytest.mark.versions(18, 17)
def test_an_infinite_width(connection: psycopg.Connection) -> None:
    with pytest.raises(errors.InvalidParameterValue, match="period must be finite"):
        value(connection, "tidemill.time_bucket('infinity', now())")


@pytest.mark.parametrize("kind", ["timestamptz", "timestamp", "date"])
def test_null(connection: psycopg.Connection, kind: LiteralString) -> None:
    null: LiteralString = "null::" + kind
    at: LiteralString = "'2024-01-10'::" + kind
    for width in ("'1 day'", "'1 month'", "null::interval"):
        for call in (f"{width}, {null}", f"{width}, {at}, {null}", f"{width}, {at}, null::interval"):
            told = value(connection, "tidemill.time_bucket(" + call + ")")
            assert told is None, call
    assert value(connection, "tidemill.time_bucket(null::interval, " + at + ")") is None
    # With a time zone, origin and offset may be left out.
    both = "tidemill.time_bucket('1 day', '2024-01-10 12:00+00'::timestamptz, 'UTC', null, null)"
    assert value(connection, both) == "2024-01-10 00:00:00+00"


# A slow reference

TIMES = st.datetimes(datetime(1900, 1, 1), datetime(2099, 12, 31))
FIXED = st.timedeltas(timedelta(microseconds=1), timedelta(days=4000))


def later(origin: datetime, months: int) -> datetime:
    year, month = divmod(origin.year * 12 + origin.month - 1 + months, 12)
    return origin.replace(year=year, month=month + 1, day=min(origin.day, monthrange(year, month + 1)[1]))


def slow_months(months: int, at: datetime, origin: datetime) -> datetime:
    k = 0
    while later(origin, k * months) > at:
        k -= 1
    while later(origin, (k + 1) * months) <= at:
        k += 1
    return later(origin, k * months)


def slow_fixed(width: timedelta, at: datetime, origin: datetime) -> datetime:
    return at - (at - origin) % width


def first_instant(start: datetime, zone: ZoneInfo, at: datetime, days: bool) -> datetime:
    shown = [start.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)]
    real = sorted(instant for instant in set(shown) if instant.astimezone(zone).replace(tzinfo=None) == start)
    if not real:
        # Search the turn of the clocks second by second.
        instant = min(shown).replace(microsecond=0)
        while instant.astimezone(zone).replace(tzinfo=None) < start:
            instant += timedelta(seconds=1)
        return instant
    return real[0] if days else [instant for instant in real if instant <= at][-1]


PROPERTY = settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@PROPERTY
@given(FIXED, TIMES, TIMES)
def test_random_widths(
    connection: psycopg.Connection, width: timedelta, at: datetime, origin: datetime
) -> None:
    shift = origin - MONDAY
    (told,) = connection.execute(
        "select tidemill.time_bucket(%(w)s, %(t)s::timestamp), tidemill.time_bucket(%(w)s,"
        " %(t)s::timestamp, %(o)s::timestamp),"
        " tidemill.time_bucket(%(w)s, %(t)s::timestamp, %(s)s::interval),"
        " tidemill.time_bucket(%(w)s, %(u)s::timestamptz, %(v)s::timestamptz)",
        {
            "w": width,
            "t": at,
            "o": origin,
            "s": shift,
            "u": at.replace(tzinfo=UTC),
            "v": origin.replace(tzinfo=UTC),
        },
    ).fetchall()
    moved = slow_fixed(width, at, origin)
    assert told == (slow_fixed(width, at, MONDAY), moved, moved, moved.replace(tzinfo=UTC))


@PROPERTY
@given(st.integers(1, 500), TIMES, TIMES)
@example(1, datetime(2023, 2, 28), datetime(2024, 1, 31))
@example(12, datetime(2023, 3, 1), datetime(2024, 2, 29))
def test_random_months(connection: psycopg.Connection, months: int, at: datetime, origin: datetime) -> None:
    (told,) = connection.execute(
        "select tidemill.time_bucket(w, t), tidemill.time_bucket(w, t, o), tidemill.time_bucket(w,"
        " t::date, o::date)"
        " from (select make_interval(months => %s) w, %s::timestamp t, %s::timestamp o) g",
        [months, at, origin],
    ).fetchall()
    midnight = datetime(origin.year, origin.month, origin.day)
    days = slow_months(months, datetime(at.year, at.month, at.day), midnight).date()
    assert told == (slow_months(months, at, FIRST), slow_months(months, at, origin), days)


@PROPERTY
@given(
    st.one_of(
        st.sampled_from(
            [timedelta(minutes=m) for m in (1, 7, 15, 30, 45, 60, 90, 120, 360, 720, 1440, 10080)]
        ),
        st.integers(1, 24),
    ),
    # Around the days on which clocks are turned.
    st.sampled_from(["2024-03-31", "2024-10-27", "2024-03-10", "2024-11-03", "2024-04-07", "2024-10-06"]),
    st.integers(-2 * 86400, 2 * 86400),
    st.sampled_from([BERLIN, NEW_YORK, HAVANA, "Australia/Lord_Howe", "UTC", "Atlantic/Azores"]),
    st.sampled_from([timedelta(minutes=m) for m in (0, 0, 10, 30, 45, 120, -60)]),
)
def test_random_times_in_zones(
    connection: psycopg.Connection,
    width: timedelta | int,
    day: str,
    second: int,
    name: str,
    offset: timedelta,
) -> None:
    at = datetime.fromisoformat(day).replace(tzinfo=UTC) + timedelta(seconds=second)
    zone = ZoneInfo(name)
    clock = at.astimezone(zone).replace(tzinfo=None)
    if isinstance(width, int):
        start = slow_months(width, clock - offset, FIRST) + offset
    else:
        start = slow_fixed(width, clock, MONDAY + offset)
    days = isinstance(width, int) or width >= timedelta(days=1)
    (told,) = connection.execute(
        'select tidemill.time_bucket(%s::interval, %s::timestamptz, %s::text, "offset" => %s)',
        [f"{width} months" if isinstance(width, int) else width, at, name, offset],
    ).fetchone() or (None,)
    assert told == first_instant(start, zone, at, days)
    assert told <= at


# Plans


def plan(connection: psycopg.Connection, statement: LiteralString) -> str:
    rows = connection.execute("explain (verbose, costs off) " + statement).fetchall()
    return "\n".join(line for (line,) in rows)


def test_constant_widths_become_date_bin(connection: psycopg.Connection) -> None:
    connection.execute("create temp table t (tz timestamptz, ts timestamp, d date, i int)")
    calls: list[LiteralString] = [
        "'1 day', tz",
        "'30 days', tz",
        "'1 day', tz, origin => '2024-01-01'",
        "'1 day', tz, \"offset\" => '1 hour'",
        "'1 day', ts",
        "'1 day', ts, origin => '2024-01-01'",
        "'1 day', ts, \"offset\" => '1 hour'",
        "'1 day', d",
        "'1 day', d, origin => '2024-01-01'",
        "'1 day', d, \"offset\" => '1 day'",
    ]
    for call in calls:
        told = plan(connection, "select tidemill.time_bucket(" + call + ") from t")
        assert "date_bin('" in told
        assert "tidemill" not in told
        assert "CASE" not in told
    assert "tidemill" not in plan(
        connection, "select tidemill.time_bucket(5, i), tidemill.time_bucket(5, i, 2) from t"
    )
    told = plan(connection, "select tidemill.time_bucket('1 day', tz, 'Europe/Berlin') from t")
    assert "tidemill._bucket_instant(date_bin('" in told
    assert "_month_bucket" not in told
    told = plan(connection, "select tidemill.time_bucket('1 month', tz) from t")
    assert "tidemill._month_bucket('1 mon'" in told
    assert "CASE" not in told


def test_indexes_may_have_it(connection: psycopg.Connection) -> None:
    connection.execute("create temp table t (tz timestamptz)")
    connection.execute(
        "insert into t select '2024-01-01'::timestamptz + g * interval '1 minute' from"
        " generate_series(1, 5000) g"
    )
    connection.execute("create index on t (tidemill.time_bucket('1 hour', tz))")
    connection.execute("create index on t (tidemill.time_bucket('1 month', tz, 'Europe/Berlin'))")
    connection.execute("analyze t")
    told = plan(
        connection, "select count(*) from t where tidemill.time_bucket('1 hour', tz) = '2024-01-02 03:00+00'"
    )
    assert "Index" in told


@pytest.mark.parametrize(
    ("width", "offset"),
    [("7 minutes", "0"), ("45 minutes", "0"), ("30 seconds", "-15 s"), ("1 hour", "-15 min")],
)
def test_short_buckets_where_clocks_are_turned(
    connection: psycopg.Connection, width: str, offset: str
) -> None:
    """timescaledb#8851: each holds its times, and none comes before the one of an earlier time."""
    start = f"tidemill.time_bucket('{width}', at, 'Europe/Berlin', \"offset\" => '{offset}')"
    [(outside, backwards)] = connection.execute(
        f"""select count(*) filter (where at < start or at >= start + interval '{width}'),
               count(*) filter (where start < before)
        from (select at, start, lag(start, 1, start) over (order by at) as before
              from (select at, {start} as start
                    from unnest(array['2025-03-30 01:00Z', '2025-10-26 01:00Z']::timestamptz[]) turned,
                    generate_series(turned - interval '4 h', turned + interval '4 h', '10 s') at) b) o
        """.encode()
    ).fetchall()
    assert (outside, backwards) == (0, 0)
