"""tidemill.alter_action: what changes, what stays, and when the action starts next."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from tests.actions.definitions import (
    ROUTINE,
    Row,
    add,
    add_at,
    alter,
    alter_at,
    definition,
    notices,
    ran,
    refused,
    row,
    rows,
    set_state,
    start,
    utc,
)
from tests.support.waiting import wait_until

pytestmark = pytest.mark.versions(18, 16)

NOON = "2026-03-10 12:00"  # A Tuesday.


@pytest.fixture
def connection(connection: psycopg.Connection) -> psycopg.Connection:
    """With a routine that actions can call."""
    connection.execute(ROUTINE)
    return connection


class TestWhatChanges:
    def test_nothing_given(self, connection: psycopg.Connection) -> None:
        number = add(connection, config={"a": 1}, timezone="Europe/Berlin", name="nightly", missed="skip")
        before = definition(connection, number)
        told = alter(connection, number)
        assert definition(connection, number) == before
        assert told == {
            "action_id": number,
            "schedule_interval": timedelta(hours=1),
            "max_runtime": timedelta(0),
            "max_retries": -1,
            "retry_period": timedelta(minutes=5),
            "scheduled": True,
            "config": {"a": 1},
            "next_start": before["next_start"],
            "check_config": None,
            "fixed_schedule": True,
            "initial_start": before["initial_start"],
            "timezone": "Europe/Berlin",
            "application_name": f"nightly [{number}]",
            "name": "nightly",
            "schedule": None,
            "missed": "skip",
            "backfill_period": None,
            "on_failure": None,
            "job_options": None,
        }

    @pytest.mark.parametrize(
        ("name", "given", "stored"),
        [
            ("schedule_interval", "2 hours", timedelta(hours=2)),
            ("max_runtime", "1 minute", timedelta(minutes=1)),
            ("max_retries", 0, 0),
            ("retry_period", "1 second", timedelta(seconds=1)),
            ("scheduled", False, False),
            ("config", {"b": 2}, {"b": 2}),
            ("config", [], []),
            ("initial_start", "2031-01-01Z", utc("2031-01-01 00:00")),
            ("timezone", "Asia/Kolkata", "Asia/Kolkata"),
            ("name", "other", "other"),
            ("schedule", "0 4 * * *", "0 4 * * *"),
            ("missed", "backfill", "backfill"),
            ("on_failure", "tell", "tell"),
            ("job_options", {"priority": 3}, {"priority": 3}),
        ],
    )
    def test_one_by_one(self, connection: psycopg.Connection, name: str, given: Any, stored: Any) -> None:
        number = add(connection, task="t", config={"a": 1})
        before = alter(connection, number)
        after = alter(connection, number, **{name: given})
        assert after[name] == stored
        may_follow = {"schedule": {"schedule_interval"}, "name": {"application_name"}}.get(name, set())
        changed = {column for column in after if after[column] != before[column]}
        assert changed - {"next_start"} == {name} | may_follow

    def test_unset(self, connection: psycopg.Connection) -> None:
        number = add(
            connection, task="t", timezone="UTC", name="n", on_failure="f", job_options={"priority": 1}
        )
        after = alter(connection, number, timezone="", name="", on_failure="", job_options={})
        unset = ("timezone", "name", "on_failure", "job_options")
        assert [after[name] for name in unset] == [None] * 4
        assert after["application_name"] == f"User-Defined Action [{number}]"

    @pytest.mark.parametrize(
        ("before", "merge", "after"),
        [
            ({"a": {"x": 1}, "b": 1}, {"a": {"y": 2}, "c": None}, {"a": {"y": 2}, "b": 1, "c": None}),
            (None, {"a": 1}, {"a": 1}),
            ({"a": 1}, {}, {"a": 1}),
        ],
    )
    def test_config_merge(self, connection: psycopg.Connection, before: Any, merge: Any, after: Any) -> None:
        number = add(connection, config=before)
        assert alter(connection, number, config_merge=merge)["config"] == after

    def test_another_missed_than_backfill_has_no_period(self, connection: psycopg.Connection) -> None:
        number = add(connection, missed="backfill", backfill_period="1 day")
        assert alter(connection, number, max_retries=1)["backfill_period"] == timedelta(days=1)
        assert alter(connection, number, missed="skip")["backfill_period"] is None


class TestRefused:
    @pytest.mark.parametrize(
        ("given", "sqlstate", "words"),
        [
            (
                {"config": {}, "config_merge": {}},
                "22023",
                [
                    'cannot specify both "config" and "config_merge"',
                    'Use "config" to replace the configuration or "config_merge" to merge into it.',
                ],
            ),
            ({"config_merge": "1"}, "22023", ["config_merge needs two objects", "Use config to replace"]),
            ({"next_start": "-infinity"}, "22023", ["cannot set next start to -infinity"]),
            ({"timezone": "Mars"}, "22023", ['time zone "Mars" not recognized']),
            ({"schedule_interval": "0"}, "22023", ["schedule interval must be positive"]),
            ({"schedule_interval": "1 month 1 day"}, "0A000", ["month intervals"]),
            ({"schedule_interval": "1 h", "schedule": "@daily"}, "22023", ["exclude each other"]),
            ({"schedule": "* * *"}, "22023", ["* * *"]),
            ({"schedule": "@daily", "fixed_schedule": False}, "22023", ["always a fixed schedule"]),
            ({"max_runtime": "-1 s"}, "22023", ["max_runtime"]),
            ({"max_retries": -5}, "22023", ["max_retries -5"]),
            ({"retry_period": "0"}, "22023", ["retry_period"]),
            ({"missed": "x"}, "22023", ['missed "x"']),
            ({"backfill_period": "1 day"}, "22023", ["backfill_period"]),
            ({"name": "x" * 57}, "42622", ["application name too long."]),
            ({"job_options": {"priority": 1}}, "22023", ["job_options"]),
            ({"check_config": 999999999}, "42704", ["function with OID 999999999 does not exist"]),
            ({"check_config": "app.work"}, "22023", ["app.work(config jsonb) not found"]),
        ],
        ids=str,
    )
    def test_arguments(
        self, connection: psycopg.Connection, given: Row, sqlstate: str, words: list[str]
    ) -> None:
        number = add(connection)
        before = definition(connection, number)
        with refused(sqlstate, *words):
            alter(connection, number, **given)
        assert definition(connection, number) == before

    def test_unknown(self, connection: psycopg.Connection) -> None:
        with refused("42704", "action 4711 not found"):
            alter(connection, 4711)
        with refused("22023", "action ID cannot be NULL"):
            alter(connection, None)

    @pytest.mark.parametrize(("number", "shown"), [(4711, 4711), (None, 0)])
    def test_if_exists(self, connection: psycopg.Connection, number: int | None, shown: int) -> None:
        with notices(connection) as told:
            after = alter(connection, number, if_exists=True, scheduled=False)
        assert set(after.values()) == {None}
        assert told == [f"NOTICE: action {shown} not found, skipping"]

    def test_one_that_is_deleted_meanwhile(self, database: str, connection: psycopg.Connection) -> None:
        number = add(connection)
        with ThreadPoolExecutor(1) as pool, psycopg.connect(database) as other:
            other.execute("select tidemill.delete_action(%s)", [number])
            altering = pool.submit(alter, connection, number, max_retries=1)
            wait_for_a_lock(other)
            other.commit()
            with refused("42704", f"action {number} not found"):
                altering.result()

    def test_if_exists_holds_for_one_that_is_deleted_meanwhile(
        self, database: str, connection: psycopg.Connection
    ) -> None:
        number = add(connection)
        with ThreadPoolExecutor(1) as pool, psycopg.connect(database) as other:
            other.execute("select tidemill.delete_action(%s)", [number])
            altering = pool.submit(alter, connection, number, if_exists=True)
            wait_for_a_lock(other)
            other.commit()
            assert set(altering.result().values()) == {None}


class TestChecking:
    @pytest.fixture
    def checked(self, connection: psycopg.Connection) -> int:
        connection.execute(
            "create table app.checks (config jsonb, path text);"
            "create function app.check_it(config jsonb) returns void language plpgsql as $$ begin"
            "  insert into checks values (config, current_setting('search_path'));"
            "  if config ? 'bad' then raise exception 'bad config' using errcode = 'TEST1'; end if; end $$"
        )
        number = add(connection, check_config="app.check_it", config={"a": 1})
        connection.execute("truncate app.checks")
        return number

    def test_at_every_alter(self, connection: psycopg.Connection, checked: int) -> None:
        connection.execute("set search_path = app, pg_temp")
        alter(connection, checked, max_retries=1)
        alter(connection, checked, config_merge={"b": 2})
        assert rows(connection, "select * from checks") == [
            {"config": {"a": 1}, "path": "app, pg_temp"},
            {"config": {"a": 1, "b": 2}, "path": "app, pg_temp"},
        ]

    def test_its_exception_undoes_all(self, connection: psycopg.Connection, checked: int) -> None:
        with refused("TEST1", "bad config"):
            alter(connection, checked, config={"bad": 1}, max_retries=7)
        found = definition(connection, checked)
        assert (found["config"], found["max_retries"]) == ({"a": 1}, -1)

    def test_a_new_one_looks_at_the_old_config(self, connection: psycopg.Connection) -> None:
        connection.execute("create function app.no(jsonb) returns int language sql as 'select 1/0'")
        number = add(connection, config={})
        with refused("22012"):
            alter(connection, number, check_config="app.no")
        # Without a config there is nothing to check.
        assert alter(connection, add(connection), check_config="app.no")["check_config"] == "app.no"

    def test_removed(self, connection: psycopg.Connection, checked: int) -> None:
        assert alter(connection, checked, check_config=0, config={"bad": 1})["check_config"] is None
        assert rows(connection, "select from app.checks") == []

    def test_one_that_is_gone(self, connection: psycopg.Connection, checked: int) -> None:
        connection.execute("drop function app.check_it")
        # Neither is another one that takes its place.
        connection.execute("create function app.check_it(json) returns int language sql as 'select 1/0'")
        with notices(connection) as told:
            assert alter(connection, checked, config={"bad": 1})["config"] == {"bad": 1}
        assert told == [
            "WARNING: function app.check_it(config jsonb) not found, "
            f"skipping config validation for action {checked}"
        ]


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


class TestPausing:
    def test_next_start_stays(self, connection: psycopg.Connection) -> None:
        number = add(connection)
        before = definition(connection, number)["next_start"]
        after = alter(connection, number, scheduled=False)
        assert (after["scheduled"], after["next_start"]) == (False, before)
        assert definition(connection, number)["state"] == "paused"
        assert (
            rows(
                connection,
                "select * from tidemill._start_actions('w', 9, '2100-01-01Z') where action_id = 1000",
            )
            == []
        )
        assert alter(connection, number, scheduled=True)["next_start"] == before
        assert definition(connection, number)["state"] == "scheduled"

    def test_the_reason_goes_when_it_is_resumed(self, connection: psycopg.Connection) -> None:
        number = add(connection)
        connection.execute("update tidemill._actions set scheduled = false, paused_because = 'failures'")
        alter(connection, number, max_retries=9)
        assert definition(connection, number)["paused_because"] == "failures"
        alter(connection, number, scheduled=True)
        assert definition(connection, number)["paused_because"] is None

    def test_a_run_is_to_be_stopped(self, connection: psycopg.Connection) -> None:
        number = add(connection)
        run = start(connection, number)
        alter(connection, number, max_retries=9)
        assert rows(connection, "select * from tidemill._stops_asked('w')") == []
        alter(connection, number, scheduled=False)
        assert rows(connection, "select * from tidemill._stops_asked('w')") == [
            {"run_id": run, "why": "paused"}
        ]

    def test_others_runs_are_not(self, connection: psycopg.Connection) -> None:
        number, other = add(connection), add(connection)
        start(connection, other)
        alter(connection, number, scheduled=False)
        assert rows(connection, "select * from tidemill._stops_asked('w')") == []

    def test_neither_is_one_by_hand_nor_the_one_that_does_it(self, connection: psycopg.Connection) -> None:
        number = add(connection)
        start(connection, number)
        connection.execute("update tidemill._action_runs set pid = pg_backend_pid()")
        alter(connection, number, scheduled=False)
        connection.execute("update tidemill._action_runs set pid = 0, by_hand = true")
        alter(connection, number, scheduled=False)
        assert rows(connection, "select * from tidemill._stops_asked('w')") == []


def wait_for_a_lock(onlooker: psycopg.Connection) -> None:
    """Waits until another session waits for a lock."""
    wait_until(
        lambda: rows(
            onlooker,
            "select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
        ),
        "the other to wait for a lock",
    )


class TestBesideWorkers:
    def test_a_run_that_begins_meanwhile_is_stopped(
        self, database: str, connection: psycopg.Connection
    ) -> None:
        number = add(connection)
        with ThreadPoolExecutor(1) as pool, psycopg.connect(database) as worker:
            run = start(worker, number)
            pausing = pool.submit(alter, connection, number, scheduled=False)
            wait_for_a_lock(worker)
            worker.commit()
            pausing.result()
        assert rows(connection, "select * from tidemill._stops_asked('w')") == [
            {"run_id": run, "why": "paused"}
        ]

    def test_a_run_that_ends_meanwhile(self, database: str, connection: psycopg.Connection) -> None:
        number = add(connection)
        run = start(connection, number)
        with ThreadPoolExecutor(1) as pool, psycopg.connect(database) as worker:
            # As _finish_run begins; then comes the action's row.
            worker.execute("select from tidemill._action_runs where id = %s for update", [run])
            pausing = pool.submit(alter, connection, number, scheduled=False)
            wait_for_a_lock(worker)
            row(worker, "select * from tidemill._finish_run(%s, 'success')", [run])
            worker.commit()
            pausing.result()
        found = row(connection, "select outcome, stop_asked from tidemill._action_runs")
        assert found == {"outcome": "success", "stop_asked": None}
        assert definition(connection, number)["scheduled"] is False
