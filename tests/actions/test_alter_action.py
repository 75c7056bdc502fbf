"""tidemill.alter_action: what changes, what stays, and what is refused."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from tests.actions.definitions import (
    Row,
    add,
    alter,
    definition,
    notices,
    refused,
    rows,
    utc,
    wait_for_a_lock,
)

pytestmark = [pytest.mark.versions(18, 16), pytest.mark.usefixtures("work")]


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
            ({"schedule_interval": "0.5 s"}, "22023", ["schedule interval must be at least 1 second"]),
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

    def test_when_the_config_changes(self, connection: psycopg.Connection, checked: int) -> None:
        connection.execute("set search_path = app, pg_temp")
        alter(connection, checked, max_retries=1)
        alter(connection, checked, config={"a": 1})
        alter(connection, checked, config_merge={"b": 2})
        assert rows(connection, "select * from checks") == [
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
