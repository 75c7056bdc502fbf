"""Cron lines: what they mean, what is refused, and agreement with cronsim and with zoneinfo."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import psycopg
import pytest
from cronsim import CronSim, CronSimError
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from psycopg import errors

from tests.actions.fires import MICROSECOND, cron_fires, utc

MINUTE = timedelta(minutes=1)

# What each line names from 2024-01-01 00:00 UTC on, a Monday, that time included.
LINES = {
    "30 4 * * 1": ["2024-01-01 04:30", "2024-01-08 04:30", "2024-01-15 04:30"],
    "  30\t4   * * mon ": ["2024-01-01 04:30", "2024-01-08 04:30"],
    "* * * * *": ["2024-01-01 00:00", "2024-01-01 00:01"],
    "*/20 * * * *": ["2024-01-01 00:00", "2024-01-01 00:20", "2024-01-01 00:40", "2024-01-01 01:00"],
    "5/25 0 * * *": ["2024-01-01 00:05", "2024-01-01 00:30", "2024-01-01 00:55", "2024-01-02 00:05"],
    "10-30/10,59 23 * * *": [
        "2024-01-01 23:10", "2024-01-01 23:20", "2024-01-01 23:30", "2024-01-01 23:59", "2024-01-02 23:10",
    ],
    "0 9-11/2 * * *": ["2024-01-01 09:00", "2024-01-01 11:00", "2024-01-02 09:00"],
    "*/25 30 1 * * *": [
        "2024-01-01 01:30:00", "2024-01-01 01:30:25", "2024-01-01 01:30:50", "2024-01-02 01:30",
    ],
    "59 59 23 31 12 *": ["2024-12-31 23:59:59", "2025-12-31 23:59:59"],
    # Sunday is 0 and 7.
    "0 0 * * 0": ["2024-01-07", "2024-01-14"],
    "0 0 * * 7": ["2024-01-07", "2024-01-14"],
    "0 0 * * sun": ["2024-01-07", "2024-01-14"],
    "0 0 * * 5-7": ["2024-01-05", "2024-01-06", "2024-01-07", "2024-01-12"],
    "0 0 * * Sat-Sun": ["2024-01-06", "2024-01-07", "2024-01-13"],
    "0 0 * * Sun-Mon": ["2024-01-01", "2024-01-07", "2024-01-08"],
    "0 0 * * 5/1": ["2024-01-05", "2024-01-06", "2024-01-07", "2024-01-12"],
    "0 0 * JUN,nov mon": ["2024-06-03", "2024-06-10", "2024-06-17", "2024-06-24", "2024-11-04"],
    # Either of two lists of days; but both where one begins with a star.
    "0 0 5 * MON": ["2024-01-01", "2024-01-05", "2024-01-08"],
    "0 0 */5 * MON": ["2024-01-01", "2024-02-26", "2024-03-11"],
    "0 0 1-7 * */7": ["2024-01-07", "2024-02-04", "2024-03-03"],
    "0 0 13 * */5": ["2024-09-13", "2024-10-13", "2024-12-13", "2025-04-13"],
    # Months' ends.
    "0 0 L * *": ["2024-01-31", "2024-02-29", "2024-03-31", "2024-04-30"],
    "0 0 15,L 2 *": ["2024-02-15", "2024-02-29", "2025-02-15", "2025-02-28"],
    "0 0 lw * *": ["2024-01-31", "2024-02-29", "2024-03-29", "2024-04-30", "2024-05-31", "2024-06-28"],
    "0 0 31 * *": ["2024-01-31", "2024-03-31", "2024-05-31"],
    "0 0 29 2 *": ["2024-02-29", "2028-02-29", "2032-02-29"],
    "0 0 29 2 */7": ["2032-02-29", "2060-02-29"],
    # The last and the n-th.
    "0 0 * * 5L": ["2024-01-26", "2024-02-23", "2024-03-29"],
    "0 0 * * FRIL": ["2024-01-26", "2024-02-23", "2024-03-29"],
    "0 0 * * 7L": ["2024-01-28", "2024-02-25", "2024-03-31"],
    "0 0 * * MON#2": ["2024-01-08", "2024-02-12", "2024-03-11"],
    "0 0 * * 0#5": ["2024-03-31", "2024-06-30", "2024-09-29"],
    "0 0 1 * 1#1,WED": ["2024-01-01", "2024-01-03", "2024-01-10"],
    # Nicknames.
    "@yearly": ["2024-01-01", "2025-01-01"],
    "@annually": ["2024-01-01", "2025-01-01"],
    "@monthly": ["2024-01-01", "2024-02-01"],
    "@weekly": ["2024-01-07", "2024-01-14"],
    "@Daily": ["2024-01-01", "2024-01-02"],
    "@midnight": ["2024-01-01", "2024-01-02"],
    "@hourly": ["2024-01-01 00:00", "2024-01-01 01:00"],
}  # fmt: skip

# Line, message after the line, how the hint begins.
REFUSED = [
    ("", "it has 0 fields", "Give minute, hour"),
    ("* * * *", "it has 4 fields", "Give minute, hour"),
    ("* * * * * * *", "it has 7 fields", "Give minute, hour"),
    ("@fortnightly", "this nickname is unknown", "Use @yearly"),
    ("@reboot", "this nickname is unknown", "Use @yearly"),
    ("60 * * * *", 'minute "60" is not between 0 and 59', "Use 0 to 59"),
    ("99999 * * * *", 'minute "99999" is not between 0 and 59', "Use 0 to 59"),
    ("x * * * *", 'minute "X" is not a number', "Use 0 to 59"),
    ("-1 * * * *", 'minute "-1": "" is not a number', "Use 0 to 59"),
    ("1,,2 * * * *", 'minute "" is not a number', "Use 0 to 59"),
    ("1. * * * *", 'minute "1." is not a number', "Use 0 to 59"),
    ("0 24 * * *", 'hour "24" is not between 0 and 23', "Use 0 to 23"),
    ("0 1-24 * * *", 'hour "1-24": "24" is not between 0 and 23', "Use 0 to 23"),
    ("0 1-2-3 * * *", 'hour "1-2-3": "2-3" is not a number', "Use 0 to 23"),
    ("0 22-2 * * *", 'hour "22-2": the range runs backwards', "Write it as two: 22-23,0-2."),
    ("*/0 * * * *", 'minute "*/0": the step "0" is not a number from 1 on', "Use 0 to 59"),
    ("*/ * * * *", 'minute "*/": the step "" is not a number from 1 on', "Use 0 to 59"),
    ("*/1/2 * * * *", 'minute "*/1/2": the step "1/2" is not a number from 1 on', "Use 0 to 59"),
    ("/5 * * * *", 'minute "/5": "" is not a number', "Use 0 to 59"),
    ("61 0 0 * * *", 'second "61" is not between 0 and 59', "Use 0 to 59"),
    ("0 0 0 * *", 'day-of-month "0" is not between 1 and 31', "Use 1 to 31, L for the last day"),
    ("0 0 ? * *", 'day-of-month "?" is not a number', "Use 1 to 31, L for the last day"),
    ("0 0 L/2 * *", 'day-of-month "L/2": "L" is not a number', "Use 1 to 31, L for the last day"),
    ("0 0 1 13 *", 'month "13" is not between 1 and 12', "Use 1 to 12, JAN to DEC"),
    ("0 0 1 JANUARY *", 'month "JANUARY" is not a number or a name', "Use 1 to 12, JAN to DEC"),
    ("0 0 1 MON *", 'month "MON" is not a number or a name', "Use 1 to 12, JAN to DEC"),
    ("0 0 1 NOV-FEB *", 'month "NOV-FEB": the range runs backwards', "Write it as two: NOV-12,1-FEB."),
    ("0 0 * * 8", 'day-of-week "8" is not between 0 and 7', "Use 0 to 7, SUN to SAT"),
    ("0 0 * * L", 'day-of-week "L" is not a number or a name', "Use 0 to 7, SUN to SAT"),
    ("0 0 * * 8L", 'day-of-week "8L": "8" is not between 0 and 7', "Use 0 to 7, SUN to SAT"),
    ("0 0 * * MON#6", 'day-of-week "MON#6": after # comes a number from 1 to 5', "Use 0 to 7, SUN to SAT"),
    ("0 0 * * #2", 'day-of-week "#2": "" is not a number or a name', "Use 0 to 7, SUN to SAT"),
    ("0 0 30 2 *", 'day-of-month "30", month "2" and day-of-week "*" never meet', "Give days"),
    ("0 0 31 feb,4-6/2 *", 'day-of-month "31", month "FEB,4-6/2" and day-of-week "*" never meet', "Give"),
    ("0 0 */16 * MON#2", 'day-of-month "*/16", month "*" and day-of-week "MON#2" never meet', "Give days"),
]  # fmt: skip


def test_what_lines_mean(connection: psycopg.Connection) -> None:
    start = utc("2024-01-01") - MICROSECOND
    found = {
        line: cron_fires(connection, [(line, "UTC", start)], len(expected))
        for line, expected in LINES.items()
    }

    assert found == {line: [[utc(fire) for fire in expected]] for line, expected in LINES.items()}


def test_lines_that_are_refused_say_why(connection: psycopg.Connection) -> None:
    for line, problem, hint in REFUSED:
        with pytest.raises(errors.InvalidParameterValue) as refused:
            connection.execute("select tidemill._read_cron(%s)", (line,))

        assert refused.value.diag.message_primary == f'cron "{line}": {problem}'
        assert (refused.value.diag.message_hint or "").startswith(hint), line


def test_a_line_without_end_is_shown_shortened(connection: psycopg.Connection) -> None:
    with pytest.raises(errors.InvalidParameterValue) as refused:
        connection.execute("select tidemill._read_cron(%s)", ("x" * 100_000,))

    assert len(refused.value.diag.message_primary or "") < 300


def test_null_and_infinite_times(connection: psycopg.Connection) -> None:
    row = connection.execute(
        """
        select tidemill._read_cron(null) is null,
               tidemill._next_cron(f, 'UTC', 'infinity'), tidemill._next_cron(f, 'Europe/Berlin', '-infinity')
        from tidemill._read_cron('@daily') f
        """
    ).fetchone()

    assert row == (True, None, None)


def test_the_session_does_not_matter(connection: psycopg.Connection) -> None:
    questions: list[tuple[str, str | None, datetime]] = [
        ("30 2 * * *", "Europe/Berlin", utc("2024-03-30 12:00")),
        ("*/30 2 * * *", "Australia/Lord_Howe", utc("2024-04-06 12:00")),
        ("0 12 * * *", None, utc("2024-03-30 12:00")),
    ]
    expected = [
        [utc("2024-03-31 01:00"), utc("2024-04-01 00:30")],
        [utc("2024-04-06 15:30"), utc("2024-04-06 16:00")],
        [utc("2024-03-31 12:00"), utc("2024-04-01 12:00")],
    ]
    for zone, style in (("America/New_York", "sql_standard"), ("Australia/Lord_Howe", "iso_8601")):
        connection.execute("select set_config('timezone', %s, false)", (zone,))
        connection.execute("select set_config('intervalstyle', %s, false)", (style,))
        connection.execute("set datestyle = 'SQL, DMY'")
        connection.execute("set datestyle = 'ISO, DMY'")

        assert cron_fires(connection, questions, 2) == expected


# Against cronsim


@st.composite
def terms(draw: st.DrawFn, low: int, high: int, names: tuple[str, ...] = ()) -> str:
    value = st.integers(low, high)
    kind = draw(st.sampled_from(["number", "number", "range", "step", "range step", "from", "name"]))
    if kind == "name" and names:
        return draw(st.sampled_from(names))
    if kind == "range" or kind == "range step":
        first, last = sorted([draw(value), draw(value)])
        # Where both are the same, cronsim steps on to the field's end.
        if kind == "range" or first == last:
            return f"{first}-{last}"
        return f"{first}-{last}/{draw(st.integers(1, 9))}"
    if kind == "step":
        return f"*/{draw(st.integers(1, high + 5))}"
    if kind == "from":
        return f"{draw(value)}/{draw(st.integers(1, 20))}"
    return str(draw(value))


def fields(
    low: int, high: int, names: tuple[str, ...] = (), more: st.SearchStrategy[str] | None = None
) -> st.SearchStrategy[str]:
    term = terms(low, high, names)
    term = st.one_of(term, term, more) if more is not None else term
    return st.one_of(st.just("*"), term, st.lists(term, min_size=2, max_size=3).map(",".join))


LAST_DAYS = st.sampled_from(["L", "LW", "l"])
NTH_WEEKDAYS = st.one_of(
    st.integers(0, 7).map("{}L".format),
    st.tuples(st.sampled_from(["mon", "SUN", "0", "7", "4"]), st.integers(1, 5)).map(
        lambda t: f"{t[0]}#{t[1]}"
    ),
)


@st.composite
def lines(draw: st.DrawFn) -> str:
    parts = [
        draw(fields(0, 59)),
        draw(fields(0, 23)),
        draw(st.one_of(st.just("*"), fields(1, 31, more=LAST_DAYS))),
        draw(st.one_of(st.just("*"), fields(1, 12, ("jan", "FEB", "Jul")))),
        draw(st.one_of(st.just("*"), fields(0, 7, ("sun", "MON", "Fri"), NTH_WEEKDAYS))),
    ]
    if draw(st.integers(0, 3)) == 0:
        parts.insert(0, draw(fields(0, 59)))
    return " ".join(parts)


@st.composite
def lines_of_the_night(draw: st.DrawFn) -> str:
    """Lines that are likely to meet a turn of the clock."""
    minute = st.one_of(st.sampled_from(["*", "*/10", "*/30"]), fields(0, 59))
    hour = st.one_of(st.sampled_from(["*", "*/2", "2", "1-3"]), fields(0, 4))
    return draw(st.sampled_from(["", "", "0 ", "*/20 "])) + f"{draw(minute)} {draw(hour)} * * *"


# Instants near which clocks are turned in one zone or another, and others.
STARTS = st.one_of(
    st.builds(
        lambda turn, minutes: turn + timedelta(minutes=minutes),
        st.sampled_from(
            [
                utc(turn)
                for turn in ("2024-03-31 01:00", "2024-10-27 01:00", "2024-03-10 07:00", "2024-11-03 06:00")
            ]
        ),
        st.integers(-180, 180),
    ),
    st.datetimes(datetime(1996, 1, 1), datetime(2034, 1, 1)).map(lambda start: start.replace(tzinfo=UTC)),
)
COUNT = 4


def by_cronsim(line: str, zone: str, start: datetime) -> Iterator[datetime]:
    """Cronsim's fires; from within a repeated hour it would begin before the start."""
    for fire in CronSim(line, start.astimezone(ZoneInfo(zone))):
        if (instant := fire.astimezone(UTC)) > start:
            yield instant


@pytest.mark.slow
@pytest.mark.versions(18, 16)
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    line=st.one_of(lines(), lines_of_the_night()),
    # Half an hour's turn is not what cronsim walks by: see the next test.
    zone=st.sampled_from(["Europe/Berlin", "America/New_York", "Asia/Kolkata", "UTC"]),
    start=STARTS,
)
@pytest.mark.versions(18)
def test_it_agrees_with_cronsim(
    connection: psycopg.Connection, line: str, zone: str, start: datetime
) -> None:
    try:
        expected = list(islice(by_cronsim(line, zone, start), COUNT))
    except CronSimError:
        expected = []
    if not expected:
        with pytest.raises(errors.InvalidParameterValue, match="never meet"):
            cron_fires(connection, [(line, zone, start)], COUNT)
        return
    assume(len(expected) == COUNT)

    assert cron_fires(connection, [(line, zone, start)], COUNT) == [expected]
    # And nothing is skipped: just before each fire, it is the next one.
    again = [(line, zone, fire - MICROSECOND) for fire in expected]
    assert cron_fires(connection, again, 1) == [[fire] for fire in expected]


# Against zoneinfo, minute by minute

# Turns by half an hour, at midnight, and by a whole day.
TURNS = {
    "Australia/Lord_Howe": ["2024-04-06 15:00", "2024-10-05 15:30"],
    "America/Havana": ["2024-03-10 05:00", "2024-11-03 05:00"],
    "America/Santiago": ["2023-04-02 03:00", "2023-09-03 04:00"],
    "Asia/Beirut": ["2024-03-30 22:00", "2024-10-26 21:00"],
    "Africa/Cairo": ["2024-04-25 22:00", "2024-10-31 21:00"],
    "Europe/Berlin": ["2024-03-31 01:00", "2024-10-27 01:00"],
    "America/St_Johns": ["2010-03-14 03:31", "2010-11-07 02:31"],
    "Pacific/Apia": ["2011-12-30 10:00"],
}


def in_real_time(
    minutes: set[int], hours: set[int], zone: ZoneInfo, start: datetime, end: datetime
) -> set[datetime]:
    """Every instant at which clocks show one of the times."""
    found = set()
    instant = start.replace(second=0, microsecond=0)
    while instant <= end:
        shown = instant.astimezone(zone)
        if instant > start and shown.minute in minutes and shown.hour in hours:
            found.add(instant)
        instant += MINUTE
    return found


def on_the_wall(
    minutes: set[int], hours: set[int], zone: ZoneInfo, start: datetime, end: datetime
) -> set[datetime]:
    """Every time of each day: the first time that clocks show it, or when they skip it."""
    found = set()
    shown = (start - timedelta(days=2)).astimezone(zone).replace(tzinfo=None, second=0, microsecond=0)
    while shown <= (end + timedelta(days=2)).astimezone(zone).replace(tzinfo=None):
        if shown.minute in minutes and shown.hour in hours:
            real = shown
            while (instant := real.replace(tzinfo=zone).astimezone(UTC)).astimezone(zone).replace(
                tzinfo=None
            ) != real:
                real += MINUTE
            if start < instant <= end:
                found.add(instant)
        shown += MINUTE
    return found


@pytest.mark.slow
@pytest.mark.versions(18, 16)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    turn=st.sampled_from([(zone, utc(turn)) for zone, turns in TURNS.items() for turn in turns]),
    before=st.integers(-100, 1600),
    minutes=st.one_of(
        st.just(set(range(60))), st.sets(st.sampled_from([0, 1, 15, 29, 30, 31, 45, 59]), min_size=1)
    ),
    hours=st.one_of(st.just(set(range(24))), st.sets(st.sampled_from([0, 1, 2, 3, 12, 23]), min_size=1)),
)
@pytest.mark.versions(18)
def test_it_agrees_with_the_clocks_on_walls(
    connection: psycopg.Connection,
    turn: tuple[str, datetime],
    before: int,
    minutes: set[int],
    hours: set[int],
) -> None:
    zone, turned = turn
    start = turned - timedelta(minutes=before, seconds=17)
    end = turned + timedelta(hours=27)
    minute = ",".join(map(str, sorted(minutes)))
    hour = ",".join(map(str, sorted(hours)))

    for line, oracle in ((f"{minute} {hour} * * *", on_the_wall), (f"0 {minute} {hour} * * *", in_real_time)):
        expected = sorted(oracle(minutes, hours, ZoneInfo(zone), start, end))
        [fires] = cron_fires(connection, [(line, zone, start)], len(expected) + 1)
        assert fires[:-1] == expected, line
        assert fires[-1] > end
