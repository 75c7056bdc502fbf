"""tidemill.next_runs: the preview."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg import errors

from tests.actions.fires import utc

pytestmark = pytest.mark.versions(18, 16)


def action(connection: psycopg.Connection, next_start: str | None, **columns: Any) -> int:
    """Stores an action as it stands, past all checks."""
    values = {
        "schedule_interval": None,
        "cron": None,
        "fixed_schedule": True,
        "initial_start": None,
        "timezone": None,
        "missed": "run_once",
        "scheduled": True,
        **columns,
    }
    row = connection.execute(
        """
        insert into tidemill._actions (task, owner, schedule_interval, cron, cron_fields, fixed_schedule,
                                       initial_start, timezone, missed, scheduled)
        values ('t', current_user::regrole, %(schedule_interval)s, %(cron)s, tidemill._read_cron(%(cron)s),
                %(fixed_schedule)s, %(initial_start)s, %(timezone)s, %(missed)s, %(scheduled)s)
        returning id
        """,
        values,
    ).fetchone()
    assert row is not None
    if next_start is not None:
        connection.execute(
            "insert into tidemill._action_states (action_id, next_start) values (%s, %s)",
            (row[0], next_start),
        )
    return int(row[0])


def runs(connection: psycopg.Connection, *arguments: Any) -> list[datetime]:
    places = ", ".join(["%s"] * len(arguments))
    rows = connection.execute(f"select tidemill.next_runs({places})".encode(), arguments).fetchall()
    return [run.astimezone(UTC) for (run,) in rows]


HOURLY = {"schedule_interval": "1 hour", "initial_start": utc("2100-01-01")}
DAILY_SINCE_2000 = {"schedule_interval": "1 day", "initial_start": utc("2000-01-01")}


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (HOURLY, ["2100-01-01 00:20", "2100-01-01 01:00", "2100-01-01 02:00"]),
        ({**HOURLY, "scheduled": False}, ["2100-01-01 00:20", "2100-01-01 01:00", "2100-01-01 02:00"]),
        (
            {"schedule_interval": "1 hour", "fixed_schedule": False},
            ["2100-01-01 00:20", "2100-01-01 01:20", "2100-01-01 02:20"],
        ),
        (
            {"cron": "0 0 1 * *", "timezone": "Asia/Kolkata"},
            ["2100-01-01 00:20", "2100-01-31 18:30", "2100-02-28 18:30"],
        ),
    ],
)
def test_it_begins_with_the_next_start(
    connection: psycopg.Connection, columns: dict[str, Any], expected: list[str]
) -> None:
    found = runs(connection, action(connection, "2100-01-01 00:20+00", **columns), 3)

    assert found == [utc(run) for run in expected]


def test_how_many(connection: psycopg.Connection) -> None:
    action_id = action(connection, "2100-01-01 00:00+00", **HOURLY)

    assert runs(connection, action_id) == [utc(f"2100-01-01 0{hour}:00") for hour in range(5)]
    assert runs(connection, action_id, None) == runs(connection, action_id)
    assert runs(connection, action_id, 1) == [utc("2100-01-01")]
    assert runs(connection, action_id, 0) == []
    with pytest.raises(errors.InvalidParameterValue, match="n -1 is not between 0 and 10000"):
        runs(connection, action_id, -1)


def test_after_a_time(connection: psycopg.Connection) -> None:
    action_id = action(connection, "2100-01-01 00:20+00", **HOURLY)

    assert runs(connection, action_id, 2, utc("2099-01-01")) == [
        utc("2100-01-01 00:20"),
        utc("2100-01-01 01:00"),
    ]
    assert runs(connection, action_id, 2, utc("2100-01-01 00:20")) == [
        utc("2100-01-01 01:00"),
        utc("2100-01-01 02:00"),
    ]
    assert runs(connection, action_id, 1, utc("2100-06-01 01:00")) == [utc("2100-06-01 02:00")]


def test_never(connection: psycopg.Connection) -> None:
    assert runs(connection, action(connection, "infinity", **HOURLY)) == []


@pytest.mark.parametrize("next_start", [None, "-infinity"])
def test_at_once(connection: psycopg.Connection, next_start: str | None) -> None:
    action_id = action(connection, next_start, schedule_interval="1 hour", fixed_schedule=False)

    before = datetime.now(UTC)
    first, second = runs(connection, action_id, 2)

    assert before <= first <= datetime.now(UTC)
    assert second - first == timedelta(hours=1)


def test_while_a_run_goes_on(connection: psycopg.Connection) -> None:
    action_id = action(connection, "-infinity", **DAILY_SINCE_2000)
    connection.execute("update tidemill._action_states set run_id = 1 where action_id = %s", (action_id,))

    before = datetime.now(UTC)
    [run] = runs(connection, action_id, 1)

    assert before < run <= datetime.now(UTC) + timedelta(days=1)
    assert run.timetz() == utc("2000-01-01").timetz()
    # The clock may have been turned back: the slot that runs does not come again.
    connection.execute(
        "update tidemill._action_states set slot = '2100-01-01 00:00+00' where action_id = %s", (action_id,)
    )
    assert runs(connection, action_id, 1) == [utc("2100-01-02")]


def test_a_late_start_is_followed_by_the_next_slot_to_come(connection: psycopg.Connection) -> None:
    before = datetime.now(UTC)

    late, following = runs(connection, action(connection, "2000-01-01 00:00+00", **DAILY_SINCE_2000), 2)

    assert late == utc("2000-01-01")
    assert before < following <= datetime.now(UTC) + timedelta(days=1)


def test_a_backfill_takes_slot_after_slot(connection: psycopg.Connection) -> None:
    action_id = action(connection, "2000-01-01 00:00+00", **DAILY_SINCE_2000, missed="backfill")

    assert runs(connection, action_id, 3) == [utc("2000-01-01"), utc("2000-01-02"), utc("2000-01-03")]


def test_an_unknown_action(connection: psycopg.Connection) -> None:
    with pytest.raises(errors.UndefinedObject, match="action 999 not found"):
        runs(connection, 999)
    with pytest.raises(errors.InvalidParameterValue, match="action ID cannot be NULL"):
        runs(connection, None)


def test_what_is_still_to_be_made_up_for(connection: psycopg.Connection) -> None:
    made_up = action(
        connection, "-infinity", **HOURLY | {"initial_start": utc("2026-01-01")}, missed="backfill"
    )
    connection.execute(
        "update tidemill._action_states set slot = '2026-01-01 05:00Z', run_id = 1 where action_id = %s",
        [made_up],
    )
    assert runs(connection, made_up, 2) == [utc("2026-01-01 06:00"), utc("2026-01-01 07:00")]
