"""tidemill.alter_action: when the action starts next."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import psycopg
import pytest

from tests.actions.definitions import (
    add,
    add_at,
    alter,
    alter_at,
    definition,
    notices,
    ran,
    row,
    set_state,
    start,
    utc,
)

pytestmark = [pytest.mark.versions(18, 16), pytest.mark.usefixtures("work")]

NOON = "2026-03-10 12:00"  # A Tuesday.


class TestNextStart:
    """When an action starts next: altered at noon, after a run that ended at 11:30."""

    def drifting(self, connection: psycopg.Connection, **given: Any) -> int:
        number = add_at(
            connection, "2026-03-01 00:00", schedule_interval="1 hour", fixed_schedule=False, **given
        )
        ran(connection, number, "2026-03-10 11:30", "2026-03-10 12:30")
        return number

    def fixed(self, connection: psycopg.Connection, **given: Any) -> int:
        given = {"schedule_interval": "6 hours", "initial_start": "2026-03-10 00:00Z"} | given
        number = add_at(connection, "2026-03-10 00:00", **given)
        ran(connection, number, "2026-03-10 11:30", "2026-03-10 11:45")
        return number

    def test_another_interval_drifting(self, connection: psycopg.Connection) -> None:
        number = self.drifting(connection)
        after = alter_at(connection, number, NOON, schedule_interval="3 hours")
        assert after["next_start"] == utc("2026-03-10 14:30")
        # Even if that has passed: then it is due.
        after = alter_at(connection, number, NOON, schedule_interval="10 minutes")
        assert after["next_start"] == utc("2026-03-10 11:40")

    def test_another_interval_drifting_counts_days_on_local_clocks(
        self, connection: psycopg.Connection
    ) -> None:
        number = self.drifting(connection, timezone="Europe/Berlin")
        # Clocks go forward in the night: 13:00 after 13:00 is 23 hours.
        ran(connection, number, "2026-03-28 12:00", "2026-03-28 13:00")
        after = alter_at(connection, number, "2026-03-28 12:30", schedule_interval="1 day")
        assert after["next_start"] == utc("2026-03-29 11:00")

    def test_another_interval_fixed(self, connection: psycopg.Connection) -> None:
        number = self.fixed(connection)
        after = alter_at(connection, number, "2026-03-10 13:00", schedule_interval="4 hours")
        assert after["next_start"] == utc("2026-03-10 16:00")
        # The slot of just now does not count.
        after = alter_at(connection, number, NOON, schedule_interval="2 hours")
        assert after["next_start"] == utc("2026-03-10 14:00")

    def test_a_day_instead_of_24_hours(self, connection: psycopg.Connection) -> None:
        number = self.fixed(
            connection,
            schedule_interval="24:00",
            initial_start="2026-03-28 06:00Z",
            timezone="Europe/Berlin",
        )
        after = alter_at(connection, number, "2026-03-29 03:00", schedule_interval="1 day")
        assert after["next_start"] == utc("2026-03-29 05:00")

    def test_slots_that_were_run_are_not_run_again_when_the_clock_steps_back(
        self, connection: psycopg.Connection
    ) -> None:
        number = self.fixed(connection)
        set_state(connection, number, slot=utc("2026-03-10 18:00"))
        after = alter_at(connection, number, NOON, schedule_interval="3 hours")
        assert after["next_start"] == utc("2026-03-10 21:00")

    @pytest.mark.parametrize("fixed", [True, False])
    def test_before_the_first_run_the_interval_moves_nothing(
        self, connection: psycopg.Connection, fixed: bool
    ) -> None:
        now = add_at(connection, NOON, schedule_interval="1 hour", fixed_schedule=fixed)
        later = add_at(
            connection,
            NOON,
            schedule_interval="1 hour",
            fixed_schedule=fixed,
            initial_start="2026-03-20 00:00Z",
        )
        for number in (now, later):
            before = definition(connection, number)["next_start"]
            after = alter_at(connection, number, "2026-03-10 12:10", schedule_interval="2 hours")
            assert after["next_start"] == before

    def test_another_time_zone(self, connection: psycopg.Connection) -> None:
        number = self.fixed(connection, schedule_interval="1 day", initial_start="2026-03-01 00:00Z")
        after = alter_at(connection, number, "2026-04-01 12:00", timezone="Europe/Berlin")
        # 01:00 in Berlin, now in summer.
        assert after["next_start"] == utc("2026-04-01 23:00")

    @pytest.mark.parametrize(
        ("begin", "first"),
        [
            ("2026-03-10 01:00", "2026-03-10 13:00"),
            ("2026-03-10 12:00", "2026-03-10 18:00"),
            ("2026-03-15 01:00", "2026-03-15 01:00"),
        ],
    )
    def test_another_grid(self, connection: psycopg.Connection, begin: str, first: str) -> None:
        number = self.fixed(connection)
        after = alter_at(connection, number, NOON, initial_start=begin + "Z")
        assert (after["initial_start"], after["next_start"]) == (utc(begin), utc(first))

    def test_what_is_repeated_is_no_change(self, connection: psycopg.Connection) -> None:
        number = self.fixed(connection, timezone="UTC")
        after = alter_at(
            connection,
            number,
            NOON,
            schedule_interval="6 hours",
            initial_start="2026-03-10 00:00Z",
            timezone="UTC",
            fixed_schedule=True,
        )
        # It is due since 11:45, and stays so.
        assert after["next_start"] == utc("2026-03-10 11:45")

    def test_the_earliest_start_of_a_drifting_one(self, connection: psycopg.Connection) -> None:
        number = self.drifting(connection)
        after = alter_at(connection, number, NOON, initial_start="2026-03-20 00:00Z")
        assert after["next_start"] == utc("2026-03-20 00:00")
        fresh = add_at(connection, NOON, schedule_interval="1 hour", fixed_schedule=False)
        after = alter_at(connection, fresh, NOON, initial_start="2026-03-20 00:00Z")
        assert after["next_start"] == utc("2026-03-20 00:00")

    def test_from_drifting_to_fixed(self, connection: psycopg.Connection) -> None:
        number = self.drifting(connection)
        with notices(connection) as told:
            after = alter_at(connection, number, NOON, fixed_schedule=True)
        assert (after["initial_start"], after["next_start"]) == (utc(NOON), utc("2026-03-10 13:00"))
        assert told == [
            f"NOTICE: Using current time [2026-03-10 12:00:00+00] as initial start for action {number}"
        ]

    def test_from_drifting_to_a_given_grid(self, connection: psycopg.Connection) -> None:
        number = self.drifting(connection)
        with notices(connection) as told:
            after = alter_at(connection, number, NOON, fixed_schedule=True, initial_start="2026-03-10 00:20Z")
        assert (after["next_start"], told) == (utc("2026-03-10 12:20"), [])

    @pytest.mark.parametrize("infinite", ["infinity", "-infinity"])
    def test_an_infinite_grid_begins_now(self, connection: psycopg.Connection, infinite: str) -> None:
        number = self.fixed(connection)
        with notices(connection) as told:
            after = alter_at(connection, number, NOON, initial_start=infinite)
        assert (after["initial_start"], after["next_start"]) == (utc(NOON), utc("2026-03-10 18:00"))
        assert len(told) == 1

    def test_from_fixed_to_drifting(self, connection: psycopg.Connection) -> None:
        number = self.fixed(connection)
        after = alter_at(connection, number, NOON, fixed_schedule=False)
        assert (after["fixed_schedule"], after["next_start"]) == (False, utc("2026-03-10 17:30"))

    def test_to_a_cron_line_and_back(self, connection: psycopg.Connection) -> None:
        number = self.drifting(connection, timezone="Europe/Berlin")
        after = alter_at(connection, number, NOON, cron="30 4 * * 1")
        assert (after["schedule"], after["schedule_interval"]) == ("30 4 * * 1", None)
        assert (after["fixed_schedule"], after["next_start"]) == (True, utc("2026-03-16 03:30"))
        after = alter_at(connection, number, NOON, cron="0 6 * * *")
        assert after["next_start"] == utc("2026-03-11 05:00")
        with notices(connection) as told:
            after = alter_at(connection, number, NOON, schedule_interval="2 hours")
        assert (after["schedule"], after["initial_start"]) == ("02:00:00", utc(NOON))
        assert (after["fixed_schedule"], after["next_start"]) == (True, utc("2026-03-10 14:00"))
        assert len(told) == 1

    def test_the_same_cron_line_again(self, connection: psycopg.Connection) -> None:
        number = add_at(connection, NOON, cron="30 4 * * *")
        set_state(connection, number, next_start=utc("2026-03-10 09:00"))
        after = alter_at(connection, number, NOON, cron="30 4 * * *")
        assert (after["schedule"], after["next_start"]) == ("30 4 * * *", utc("2026-03-10 09:00"))
        # It is still known what it means.
        coming = row(
            connection, "select * from tidemill.next_runs(%s, 1, '2026-03-11 12:00Z') as at", [number]
        )
        assert coming["at"].strftime("%H:%M") == "04:30"

    def test_cron_in_another_time_zone(self, connection: psycopg.Connection) -> None:
        number = add_at(connection, NOON, cron="30 4 * * *")
        assert definition(connection, number)["next_start"] == utc("2026-03-11 04:30")
        after = alter_at(connection, number, NOON, timezone="America/New_York")
        assert after["next_start"] == utc("2026-03-11 08:30")

    def test_given_it_wins(self, connection: psycopg.Connection) -> None:
        number = self.fixed(connection)
        after = alter_at(
            connection, number, NOON, "2026-03-10 12:34", schedule_interval="1 hour", timezone="Asia/Kolkata"
        )
        assert after["next_start"] == utc("2026-03-10 12:34")

    def test_never(self, connection: psycopg.Connection) -> None:
        number = add(connection)
        connection.execute("select tidemill.alter_action(%s, next_start => 'infinity')", [number])
        found = row(
            connection, "select isfinite(next_start) as ends, state from tidemill.actions where id = 1000"
        )
        assert found == {"ends": False, "state": "scheduled"}

    def test_during_a_run_its_end_finds_out(self, connection: psycopg.Connection) -> None:
        number = add(connection)
        run = start(connection, number)
        assert alter(connection, number, schedule_interval="10 minutes")["next_start"] is None
        row(connection, "select * from tidemill._finish_run(%s, 'success')", [run])
        found = definition(connection, number)
        assert found["next_start"] - found["initial_start"] == timedelta(minutes=10)

    def test_what_is_set_during_a_run_holds(self, connection: psycopg.Connection) -> None:
        number = add(connection)
        run = start(connection, number)
        set_to = utc("2031-01-01 00:00")
        assert alter(connection, number, next_start="2031-01-01Z")["next_start"] == set_to
        assert alter(connection, number, schedule_interval="10 minutes")["next_start"] == set_to
        row(connection, "select * from tidemill._finish_run(%s, 'success')", [run])
        assert definition(connection, number)["next_start"] == set_to

    def test_a_run_by_hand_does_not_matter(self, connection: psycopg.Connection) -> None:
        number = self.fixed(connection)
        run = start(connection, number)
        connection.execute("update tidemill._action_runs set by_hand = true")
        set_state(connection, number, next_start=utc("2026-03-10 18:00"), run_id=run)
        set_state(connection, number, slot=utc("2026-03-10 06:00"))
        after = alter_at(connection, number, NOON, schedule_interval="5 hours")
        assert after["next_start"] == utc("2026-03-10 15:00")
