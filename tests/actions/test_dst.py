"""Exact lists of what runs when clocks are turned, worked out by hand.

Clocks turn (UTC): Berlin 2024-03-31 01:00 and 2024-10-27 01:00, New York 2024-03-10 07:00
and 2024-11-03 06:00, both by an hour; Lord Howe by half an hour, forward 2024-10-05 15:30
and back 2024-04-06 15:00. Kolkata's stay at UTC+5:30.
"""

from __future__ import annotations

import psycopg

from tests.actions.fires import MICROSECOND, Grid, at, chain, cron_fires, utc

BERLIN = "Europe/Berlin"
NEW_YORK = "America/New_York"
LORD_HOWE = "Australia/Lord_Howe"
KOLKATA = "Asia/Kolkata"

DAY = (0, 1, 0)
WEEK = (0, 7, 0)
MONTH = (1, 0, 0)
QUARTER = (3, 0, 0)
YEAR = (12, 0, 0)

# Zone, what the clock shows at the first slot, interval, all slots in UTC.
GRIDS: dict[str, tuple[str | None, str, tuple[int, int, float], list[str]]] = {
    "Berlin, daily at midnight, spring": (
        BERLIN, "2024-03-30 00:00", DAY,
        ["2024-03-29 23:00", "2024-03-30 23:00", "2024-03-31 22:00", "2024-04-01 22:00"],
    ),
    "Berlin, daily in the skipped hour": (
        # On the 31st clocks show 03:30.
        BERLIN, "2024-03-29 02:30", DAY,
        ["2024-03-29 01:30", "2024-03-30 01:30", "2024-03-31 01:30", "2024-04-01 00:30", "2024-04-02 00:30"],
    ),
    "Berlin, daily at midnight, autumn": (
        BERLIN, "2024-10-26 00:00", DAY,
        ["2024-10-25 22:00", "2024-10-26 22:00", "2024-10-27 23:00", "2024-10-28 23:00"],
    ),
    "Berlin, daily in the repeated hour": (
        BERLIN, "2024-10-25 02:30", DAY,
        ["2024-10-25 00:30", "2024-10-26 00:30", "2024-10-27 01:30", "2024-10-28 01:30"],
    ),
    "Berlin, weekly, spring": (
        BERLIN, "2024-03-25 09:00", WEEK, ["2024-03-25 08:00", "2024-04-01 07:00", "2024-04-08 07:00"],
    ),
    "Berlin, weekly, autumn": (
        BERLIN, "2024-10-21 09:00", WEEK, ["2024-10-21 07:00", "2024-10-28 08:00", "2024-11-04 08:00"],
    ),
    "Berlin, month ends, spring": (
        BERLIN, "2024-01-31 02:30", MONTH,
        ["2024-01-31 01:30", "2024-02-29 01:30", "2024-03-31 01:30", "2024-04-30 00:30", "2024-05-31 00:30",
         "2024-06-30 00:30"],
    ),
    "Berlin, monthly, autumn": (
        BERLIN, "2024-08-27 02:30", MONTH,
        ["2024-08-27 00:30", "2024-09-27 00:30", "2024-10-27 01:30", "2024-11-27 01:30"],
    ),
    "Berlin, yearly": (
        # Clocks were turned on 27 March 2022, an hour later; 2023 on the 26th, then after the 27th.
        BERLIN, "2022-03-27 01:00", YEAR,
        ["2022-03-27 00:00", "2023-03-26 23:00", "2024-03-27 00:00", "2025-03-27 00:00"],
    ),
    "Berlin, yearly on 29 February": (
        BERLIN, "2024-02-29 12:00", YEAR,
        ["2024-02-29 11:00", "2025-02-28 11:00", "2026-02-28 11:00", "2027-02-28 11:00", "2028-02-29 11:00"],
    ),
    "Berlin, 24 hours are elapsed time": (
        BERLIN, "2024-03-30 00:00", (0, 0, 86400),
        ["2024-03-29 23:00", "2024-03-30 23:00", "2024-03-31 23:00", "2024-04-01 23:00"],
    ),
    "Berlin, every 30 minutes, autumn": (
        BERLIN, "2024-10-27 01:30", (0, 0, 1800),
        ["2024-10-26 23:30", "2024-10-27 00:00", "2024-10-27 00:30", "2024-10-27 01:00", "2024-10-27 01:30",
         "2024-10-27 02:00", "2024-10-27 02:30"],
    ),
    "Berlin, every 30 minutes, spring": (
        BERLIN, "2024-03-31 01:30", (0, 0, 1800),
        ["2024-03-31 00:30", "2024-03-31 01:00", "2024-03-31 01:30", "2024-03-31 02:00"],
    ),
    "New York, daily in the skipped hour": (
        NEW_YORK, "2024-03-09 02:30", DAY, ["2024-03-09 07:30", "2024-03-10 07:30", "2024-03-11 06:30"],
    ),
    "New York, daily in the repeated hour": (
        NEW_YORK, "2024-11-02 01:30", DAY, ["2024-11-02 05:30", "2024-11-03 06:30", "2024-11-04 06:30"],
    ),
    "New York, weekly, spring": (
        NEW_YORK, "2024-03-03 02:30", WEEK, ["2024-03-03 07:30", "2024-03-10 07:30", "2024-03-17 06:30"],
    ),
    "New York, weekly, autumn": (
        NEW_YORK, "2024-10-27 01:30", WEEK, ["2024-10-27 05:30", "2024-11-03 06:30", "2024-11-10 06:30"],
    ),
    "New York, month ends": (
        NEW_YORK, "2024-01-31 18:00", MONTH,
        ["2024-01-31 23:00", "2024-02-29 23:00", "2024-03-31 22:00", "2024-04-30 22:00"],
    ),
    "New York, quarterly month ends": (
        NEW_YORK, "2024-08-31 00:00", QUARTER,
        ["2024-08-31 04:00", "2024-11-30 05:00", "2025-02-28 05:00", "2025-05-31 04:00"],
    ),
    "New York, yearly": (
        # In 2021 clocks were turned on that very day.
        NEW_YORK, "2020-03-14 02:30", YEAR,
        ["2020-03-14 06:30", "2021-03-14 07:30", "2022-03-14 06:30", "2023-03-14 06:30"],
    ),
    "Lord Howe, daily in the skipped half hour": (
        LORD_HOWE, "2024-10-04 02:15", DAY,
        ["2024-10-03 15:45", "2024-10-04 15:45", "2024-10-05 15:45", "2024-10-06 15:15", "2024-10-07 15:15"],
    ),
    "Lord Howe, daily in the repeated half hour": (
        LORD_HOWE, "2024-04-05 01:45", DAY,
        ["2024-04-04 14:45", "2024-04-05 14:45", "2024-04-06 15:15", "2024-04-07 15:15"],
    ),
    "Lord Howe, weekly": (
        LORD_HOWE, "2024-03-31 01:45", WEEK, ["2024-03-30 14:45", "2024-04-06 15:15", "2024-04-13 15:15"],
    ),
    "Lord Howe, month ends": (
        LORD_HOWE, "2024-01-31 12:00", MONTH,
        ["2024-01-31 01:00", "2024-02-29 01:00", "2024-03-31 01:00", "2024-04-30 01:30", "2024-05-31 01:30"],
    ),
    "Lord Howe, yearly": (
        LORD_HOWE, "2023-10-06 02:15", YEAR, ["2023-10-05 15:15", "2024-10-05 15:45", "2025-10-05 15:15"],
    ),
    "Kolkata, daily": (
        KOLKATA, "2024-03-30 02:30", DAY, ["2024-03-29 21:00", "2024-03-30 21:00", "2024-03-31 21:00"],
    ),
    "Kolkata, weekly": (
        KOLKATA, "2024-10-26 02:30", WEEK, ["2024-10-25 21:00", "2024-11-01 21:00", "2024-11-08 21:00"],
    ),
    "Kolkata, month ends": (
        # The month's end there, not that of the slot in UTC.
        KOLKATA, "2023-12-31 02:30", MONTH,
        ["2023-12-30 21:00", "2024-01-30 21:00", "2024-02-28 21:00", "2024-03-30 21:00", "2024-04-29 21:00"],
    ),
    "Kolkata, yearly": (
        KOLKATA, "2024-02-29 00:00", YEAR, ["2024-02-28 18:30", "2025-02-27 18:30", "2026-02-27 18:30"],
    ),
    "UTC, daily": (
        "UTC", "2024-03-30 02:30", DAY, ["2024-03-30 02:30", "2024-03-31 02:30", "2024-04-01 02:30"],
    ),
    "no zone, daily": (
        None, "2024-03-30 02:30", DAY, ["2024-03-30 02:30", "2024-03-31 02:30", "2024-04-01 02:30"],
    ),
    "no zone, weekly": (
        None, "2024-10-24 02:30", WEEK, ["2024-10-24 02:30", "2024-10-31 02:30", "2024-11-07 02:30"],
    ),
    "no zone, month ends": (
        None, "2024-01-31 00:00", MONTH,
        ["2024-01-31 00:00", "2024-02-29 00:00", "2024-03-31 00:00", "2024-04-30 00:00", "2024-05-31 00:00"],
    ),
    "UTC, yearly": (
        "UTC", "2024-02-29 00:00", YEAR, ["2024-02-29 00:00", "2025-02-28 00:00", "2026-02-28 00:00"],
    ),
}  # fmt: skip

# Zone, line, the clock when it begins, all fires in UTC.
CRONS: dict[str, tuple[str | None, str, str, list[str]]] = {
    "Berlin, a fixed time that is skipped": (
        # Right at the turn.
        BERLIN, "30 2 * * *", "2024-03-30 00:00",
        ["2024-03-30 01:30", "2024-03-31 01:00", "2024-04-01 00:30"],
    ),
    "Berlin, two fixed times that are skipped": (
        BERLIN, "15,45 2 * * *", "2024-03-30 12:00",
        ["2024-03-31 01:00", "2024-04-01 00:15", "2024-04-01 00:45"],
    ),
    "Berlin, skipped and at the end of the gap": (
        BERLIN, "0 2,3 * * *", "2024-03-30 12:00",
        ["2024-03-31 01:00", "2024-04-01 00:00", "2024-04-01 01:00"],
    ),
    "Berlin, a fixed time that is repeated": (
        BERLIN, "30 2 * * *", "2024-10-26 00:00",
        ["2024-10-26 00:30", "2024-10-27 00:30", "2024-10-28 01:30"],
    ),
    "Berlin, fixed times around the repeated hour": (
        BERLIN, "0 1-3 * * *", "2024-10-27 00:00",
        ["2024-10-26 23:00", "2024-10-27 00:00", "2024-10-27 02:00", "2024-10-28 00:00"],
    ),
    "Berlin, each hour, spring": (
        BERLIN, "30 * * * *", "2024-03-31 00:00",
        ["2024-03-30 23:30", "2024-03-31 00:30", "2024-03-31 01:30"],
    ),
    "Berlin, each hour, autumn": (
        BERLIN, "30 * * * *", "2024-10-27 01:00",
        ["2024-10-26 23:30", "2024-10-27 00:30", "2024-10-27 01:30", "2024-10-27 02:30"],
    ),
    "Berlin, within the skipped hour": (
        BERLIN, "*/30 2 * * *", "2024-03-30 00:00",
        ["2024-03-30 01:00", "2024-03-30 01:30", "2024-04-01 00:00", "2024-04-01 00:30"],
    ),
    "Berlin, within the repeated hour": (
        BERLIN, "*/30 2 * * *", "2024-10-27 00:00",
        ["2024-10-27 00:00", "2024-10-27 00:30", "2024-10-27 01:00", "2024-10-27 01:30", "2024-10-28 01:00"],
    ),
    "Berlin, six fields, spring": (
        BERLIN, "15 30 2 * * *", "2024-03-30 00:00", ["2024-03-30 01:30:15", "2024-04-01 00:30:15"],
    ),
    "Berlin, six fields, autumn": (
        BERLIN, "15 30 2 * * *", "2024-10-27 00:00",
        ["2024-10-27 00:30:15", "2024-10-27 01:30:15", "2024-10-28 01:30:15"],
    ),
    "Berlin, six fields, on that day of the year": (
        # The first of the two, although both are a year away.
        BERLIN, "0 30 2 27 10 *", "2024-01-15 00:00",
        ["2024-10-27 00:30", "2024-10-27 01:30", "2025-10-27 01:30"],
    ),
    "Berlin, Mondays": (
        BERLIN, "30 4 * * MON", "2024-03-20 00:00",
        ["2024-03-25 03:30", "2024-04-01 02:30", "2024-04-08 02:30"],
    ),
    "Berlin, last days": (
        BERLIN, "0 0 L * *", "2024-02-01 00:00", ["2024-02-28 23:00", "2024-03-30 23:00", "2024-04-29 22:00"],
    ),
    "Berlin, yearly": (
        BERLIN, "@yearly", "2024-03-31 00:00", ["2024-12-31 23:00", "2025-12-31 23:00"],
    ),
    "New York, a fixed time that is skipped": (
        NEW_YORK, "30 2 * * *", "2024-03-09 00:00",
        ["2024-03-09 07:30", "2024-03-10 07:00", "2024-03-11 06:30"],
    ),
    "New York, a fixed time that is repeated": (
        NEW_YORK, "30 1 * * *", "2024-11-02 00:00",
        ["2024-11-02 05:30", "2024-11-03 05:30", "2024-11-04 06:30"],
    ),
    "New York, each hour, autumn": (
        NEW_YORK, "@hourly", "2024-11-03 00:00",
        ["2024-11-03 04:00", "2024-11-03 05:00", "2024-11-03 06:00", "2024-11-03 07:00"],
    ),
    "Lord Howe, a fixed time that is skipped": (
        LORD_HOWE, "15 2 * * *", "2024-10-05 00:00",
        ["2024-10-04 15:45", "2024-10-05 15:30", "2024-10-06 15:15"],
    ),
    "Lord Howe, a fixed time that is repeated": (
        LORD_HOWE, "45 1 * * *", "2024-04-06 00:00",
        ["2024-04-05 14:45", "2024-04-06 14:45", "2024-04-07 15:15"],
    ),
    "Lord Howe, quarters of the repeated hour": (
        # 01:30 and 01:45 come twice.
        LORD_HOWE, "*/15 1 * * *", "2024-04-07 00:00",
        ["2024-04-06 14:00", "2024-04-06 14:15", "2024-04-06 14:30", "2024-04-06 14:45",
         "2024-04-06 15:00", "2024-04-06 15:15", "2024-04-07 14:30"],
    ),
    "Lord Howe, quarters of the shortened hour": (
        LORD_HOWE, "*/15 2 * * *", "2024-10-06 00:00",
        ["2024-10-05 15:30", "2024-10-05 15:45", "2024-10-06 15:00", "2024-10-06 15:15"],
    ),
    "Lord Howe, full hours, spring": (
        # There is no 02:00: an hour and a half pass from 01:00 to 03:00.
        LORD_HOWE, "0 * * * *", "2024-10-06 00:30",
        ["2024-10-05 14:30", "2024-10-05 16:00", "2024-10-05 17:00"],
    ),
    "Kolkata, weekdays": (
        KOLKATA, "0 9 * * MON-FRI", "2024-03-29 00:00",
        ["2024-03-29 03:30", "2024-04-01 03:30", "2024-04-02 03:30"],
    ),
    "Kolkata, last weekday of the month": (
        KOLKATA, "0 0 LW * *", "2024-03-01 00:00",
        ["2024-03-28 18:30", "2024-04-29 18:30", "2024-05-30 18:30"],
    ),
    "UTC, daily": (
        "UTC", "30 2 * * *", "2024-03-30 03:00", ["2024-03-31 02:30", "2024-04-01 02:30"],
    ),
    "no zone, daily": (
        None, "30 2 * * *", "2024-03-30 03:00", ["2024-03-31 02:30", "2024-04-01 02:30"],
    ),
}  # fmt: skip


def test_slots_of_grids(connection: psycopg.Connection) -> None:
    found = {
        name: chain(
            connection, Grid(months, days, seconds, at(begins, zone or "UTC"), zone), count=len(expected)
        )
        for name, (zone, begins, (months, days, seconds), expected) in GRIDS.items()
    }

    assert found == {name: [utc(slot) for slot in expected] for name, (*_, expected) in GRIDS.items()}


def test_fires_of_cron_lines(connection: psycopg.Connection) -> None:
    found = {
        name: cron_fires(connection, [(line, zone, at(begins, zone or "UTC") - MICROSECOND)], len(expected))
        for name, (zone, line, begins, expected) in CRONS.items()
    }

    assert found == {name: [[utc(fire) for fire in expected]] for name, (*_, expected) in CRONS.items()}


def test_a_start_within_the_repeated_hour(connection: psycopg.Connection) -> None:
    # The second 02:10 in Berlin: the fixed time has been, the others come again.
    start = utc("2024-10-27 01:10")

    fires = cron_fires(
        connection,
        [("30 2 * * *", BERLIN, start), ("*/20 * * * *", BERLIN, start), ("5 30 2 * * *", BERLIN, start)],
        2,
    )

    assert fires == [
        [utc("2024-10-28 01:30"), utc("2024-10-29 01:30")],
        [utc("2024-10-27 01:20"), utc("2024-10-27 01:40")],
        [utc("2024-10-27 01:30:05"), utc("2024-10-28 01:30:05")],
    ]
