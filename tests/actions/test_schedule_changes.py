"""Each change of a schedule, before the first run and after: when the action starts next."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.actions.definitions import add_at, alter_at, ran, set_state, utc

pytestmark = [pytest.mark.versions(18, 16), pytest.mark.usefixtures("work")]

YEARLY = {"cron": "0 0 1 1 *"}
GRID = {"schedule_interval": "6 hours", "initial_start": "2026-03-10 00:00Z"}
DRIFTING = {"schedule_interval": "6 hours", "fixed_schedule": False}
LATER = {"initial_start": "2026-03-20 00:00Z"}

TO_CRON = {"cron": "30 * * * *"}
TO_GRID = {"schedule_interval": "1 hour", "fixed_schedule": True}
TO_DRIFTING: dict[str, Any] = {"schedule_interval": "1 hour", "fixed_schedule": False}
TO_INTERVAL = {"schedule_interval": "1 hour"}
TO_ZONE: dict[str, Any] = {"timezone": "Asia/Kolkata"}
TO_LATER = {"initial_start": "2026-03-30 00:00Z"}
TO_EARLIER = {"initial_start": "2026-03-10 01:00Z"}
KEPT = "kept"
AT_ONCE = None

# Added on March 10 at noon and never run, altered at 12:10.
BEFORE: list[tuple[str, dict[str, Any], dict[str, Any], str | None]] = [
    ("cron to drifting", YEARLY, TO_DRIFTING, AT_ONCE),
    ("cron to grid", YEARLY, TO_GRID, "2026-03-10 13:10"),
    ("cron to interval", YEARLY, TO_INTERVAL, "2026-03-10 13:10"),
    ("cron to cron", YEARLY, TO_CRON, "2026-03-10 12:30"),
    ("cron to zone", YEARLY, TO_ZONE, "2026-12-31 18:30"),
    ("cron to later", TO_CRON, TO_LATER, "2026-03-30 00:30"),
    ("late cron to drifting", YEARLY | LATER, TO_DRIFTING, "2026-03-20 00:00"),
    ("late cron to grid", YEARLY | LATER, TO_GRID, "2026-03-20 00:00"),
    ("late cron to cron", YEARLY | LATER, TO_CRON, "2026-03-20 00:30"),
    ("grid to drifting", GRID, TO_DRIFTING, KEPT),
    ("grid to interval", GRID, TO_INTERVAL, KEPT),
    ("grid to zone", GRID, TO_ZONE, KEPT),
    ("grid to cron", GRID, TO_CRON, "2026-03-10 12:30"),
    ("grid to later", GRID, TO_LATER, "2026-03-30 00:00"),
    ("grid to earlier", GRID, TO_EARLIER, "2026-03-10 13:00"),
    ("late grid to drifting", GRID | LATER, TO_DRIFTING, KEPT),
    ("late grid to interval", GRID | LATER, TO_INTERVAL, KEPT),
    ("late grid to zone", GRID | LATER, TO_ZONE, KEPT),
    ("late grid to cron", GRID | LATER, TO_CRON, "2026-03-20 00:30"),
    ("drifting to grid", DRIFTING, TO_GRID, "2026-03-10 13:10"),
    ("drifting to interval", DRIFTING, TO_INTERVAL, KEPT),
    ("drifting to zone", DRIFTING, TO_ZONE, KEPT),
    ("drifting to cron", DRIFTING, TO_CRON, "2026-03-10 12:30"),
    ("drifting to later", DRIFTING, TO_LATER, "2026-03-30 00:00"),
    ("late drifting to grid", DRIFTING | LATER, TO_GRID, "2026-03-20 00:00"),
    ("late drifting to interval", DRIFTING | LATER, TO_INTERVAL, KEPT),
    ("late drifting to zone", DRIFTING | LATER, TO_ZONE, KEPT),
    ("late drifting to cron", DRIFTING | LATER, TO_CRON, "2026-03-20 00:30"),
]
# Its last run ended at 11:45, altered at 12:10.
AFTER: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("cron to drifting", YEARLY, TO_DRIFTING, "2026-03-10 12:45"),
    ("cron to grid", YEARLY, TO_GRID, "2026-03-10 13:10"),
    ("cron to interval", YEARLY, TO_INTERVAL, "2026-03-10 13:10"),
    ("cron to cron", YEARLY, TO_CRON, "2026-03-10 12:30"),
    ("cron to zone", YEARLY, TO_ZONE, "2026-12-31 18:30"),
    ("cron to later", TO_CRON, TO_LATER, "2026-03-30 00:30"),
    ("grid to drifting", GRID, TO_DRIFTING, "2026-03-10 12:45"),
    ("grid to interval", GRID, TO_INTERVAL, "2026-03-10 13:00"),
    ("grid to zone", GRID, TO_ZONE, "2026-03-10 18:00"),
    ("grid to cron", GRID, TO_CRON, "2026-03-10 12:30"),
    ("grid to later", GRID, TO_LATER, "2026-03-30 00:00"),
    ("grid to earlier", GRID, TO_EARLIER, "2026-03-10 13:00"),
    ("drifting to grid", DRIFTING, TO_GRID, "2026-03-10 13:10"),
    ("drifting to interval", DRIFTING, TO_INTERVAL, "2026-03-10 12:45"),
    ("drifting to zone", DRIFTING, TO_ZONE, "2026-03-10 17:45"),
    ("drifting to cron", DRIFTING, TO_CRON, "2026-03-10 12:30"),
    ("drifting to later", DRIFTING, TO_LATER, "2026-03-30 00:00"),
]


def first_start(connection: psycopg.Connection, number: int) -> Any:
    return connection.execute("select next_start from tidemill.actions where id = %s", [number]).fetchall()[
        0
    ][0]


@pytest.mark.parametrize(
    ("before", "change", "expected"), [row[1:] for row in BEFORE], ids=[row[0] for row in BEFORE]
)
def test_before_the_first_run(
    connection: psycopg.Connection, before: dict[str, Any], change: dict[str, Any], expected: str | None
) -> None:
    number = add_at(connection, "2026-03-10 12:00", **before)
    first = first_start(connection, number)
    after = alter_at(connection, number, "2026-03-10 12:10", **change)
    assert after["next_start"] == (first if expected is KEPT else expected and utc(expected))


@pytest.mark.parametrize(
    ("before", "change", "expected"), [row[1:] for row in AFTER], ids=[row[0] for row in AFTER]
)
def test_after_a_run(
    connection: psycopg.Connection, before: dict[str, Any], change: dict[str, Any], expected: str
) -> None:
    number = add_at(connection, "2026-03-10 00:00", **before)
    ran(connection, number, "2026-03-10 11:45", "2026-03-10 18:00")
    assert alter_at(connection, number, "2026-03-10 12:10", **change)["next_start"] == utc(expected)


@pytest.mark.parametrize("change", [TO_DRIFTING, TO_DRIFTING | TO_ZONE], ids=["interval", "and zone"])
def test_a_start_that_was_asked_for_outlives_a_change_to_drifting(
    connection: psycopg.Connection, change: dict[str, Any]
) -> None:
    number = add_at(connection, "2026-03-10 12:00", **YEARLY)
    alter_at(connection, number, "2026-03-10 12:05", next_start="2026-05-01 00:00")
    assert alter_at(connection, number, "2026-03-10 12:10", **change)["next_start"] == utc("2026-05-01 00:00")


def test_a_slot_that_was_passed_over_is_no_run(connection: psycopg.Connection) -> None:
    number = add_at(connection, "2026-03-10 12:00", missed="skip", **TO_CRON)
    connection.execute("select tidemill._skip_missed('2026-03-10 13:00Z')")
    set_state(connection, number, next_start="2026-03-10 13:30Z")
    assert alter_at(connection, number, "2026-03-10 13:10", **TO_DRIFTING)["next_start"] is AT_ONCE
