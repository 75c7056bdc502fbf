"""The views tidemill.actions, action_stats, action_history and action_errors."""

from __future__ import annotations

from datetime import timedelta

import psycopg
import pytest

from tests.actions.definitions import ROUTINE, Row, add, alter, definition, row, rows, start, utc

pytestmark = pytest.mark.versions(18, 16)

VIEWS = ("actions", "action_stats", "action_history", "action_errors")


@pytest.fixture
def connection(connection: psycopg.Connection) -> psycopg.Connection:
    """With a routine that actions can call."""
    connection.execute(ROUTINE)
    return connection


def finish(connection: psycopg.Connection, run: int, outcome: str, **texts: str) -> None:
    """Ends a run ten seconds after its start."""
    connection.execute(
        "update tidemill._action_runs set started_at = '2026-03-10 12:00Z' where id = %s", [run]
    )
    connection.execute(
        "update tidemill._action_states set last_start = '2026-03-10 12:00Z' where run_id = %s", [run]
    )
    connection.execute(
        "select * from tidemill._finish_run(%s, %s, '2026-03-10 12:00:10Z', %s, %s, %s, %s, %s, %s)",
        [
            run,
            outcome,
            *(texts.get(name) for name in ("sqlstate", "message", "detail", "hint", "context", "output")),
        ],
    )


def stats(connection: psycopg.Connection, action: int) -> Row:
    return row(connection, "select * from tidemill.action_stats where action_id = %s", [action])


def test_the_built_in_action_is_listed(connection: psycopg.Connection) -> None:
    found = definition(connection, 3)
    assert found["application_name"] == "Action History Retention [3]"
    assert found["routine"] == "tidemill.prune_action_history"
    assert found["check_config"] == "tidemill.check_history_retention"
    assert found["schedule_interval"] == timedelta(hours=6)
    assert found["initial_start"] == utc("2000-01-01 00:00")


class TestState:
    def test_running(self, connection: psycopg.Connection) -> None:
        number = add(connection)
        start(connection, number)
        assert definition(connection, number)["state"] == "running"
        assert definition(connection, number)["next_start"] is None
        # One that was paused may run to its end.
        alter(connection, number, scheduled=False)
        found = definition(connection, number)
        assert (found["state"], found["scheduled"]) == ("running", False)
        assert stats(connection, number)["state"] == "running"

    def test_it_does_not_take_anothers_word_for_it(
        self, database: str, connection: psycopg.Connection
    ) -> None:
        number = add(connection)
        with psycopg.connect(database, application_name=f"User-Defined Action [{number}]") as other:
            other.execute("select 1")
            assert definition(connection, number)["state"] == "scheduled"


class TestStats:
    def test_before_the_first_run(self, connection: psycopg.Connection) -> None:
        number = add(connection, fixed_schedule=False, name="n")
        assert stats(connection, number) == {
            "action_id": number,
            "name": "n",
            "state": "scheduled",
            "run_id": None,
            "running_since": None,
            "last_start": None,
            "last_finish": None,
            "last_duration": None,
            "last_run_success": None,
            "last_successful_finish": None,
            "next_start": None,
            "total_runs": 0,
            "total_successes": 0,
            "total_failures": 0,
            "total_crashes": 0,
            "total_duration": timedelta(0),
            "total_duration_failures": timedelta(0),
            "consecutive_failures": 0,
            "consecutive_crashes": 0,
        }

    def test_during_the_second_run_and_after_it(self, connection: psycopg.Connection) -> None:
        number = add(connection)
        finish(connection, start(connection, number), "success")
        one = stats(connection, number)
        assert (one["last_duration"], one["last_run_success"]) == (timedelta(seconds=10), True)
        assert one["last_successful_finish"] == utc("2026-03-10 12:00:10")
        assert one["running_since"] is None

        run = start(connection, number)
        two = stats(connection, number)
        assert (two["run_id"], two["running_since"]) == (run, two["last_start"])
        assert two["running_since"] is not None
        # The last run's outcome would be taken for this run's.
        assert (two["last_finish"], two["last_duration"], two["last_run_success"]) == (None, None, None)
        assert two["last_successful_finish"] == utc("2026-03-10 12:00:10")

        finish(connection, run, "failure")
        three = stats(connection, number)
        assert (three["last_run_success"], three["last_duration"]) == (False, timedelta(seconds=10))
        assert (three["total_runs"], three["total_successes"], three["total_failures"]) == (2, 1, 1)
        assert three["total_duration_failures"] == timedelta(seconds=10)

    def test_paused_means_no_next_start(self, connection: psycopg.Connection) -> None:
        number = add(connection)
        alter(connection, number, scheduled=False)
        assert stats(connection, number)["next_start"] is None
        assert definition(connection, number)["next_start"] is not None


class TestHistory:
    def test_a_run(self, connection: psycopg.Connection) -> None:
        number = add(connection, name="nightly [a]", config={"a": 1})
        run = start(connection, number)
        texts = {
            "sqlstate": "XX000",
            "message": "m",
            "detail": "d",
            "hint": "h",
            "context": "c",
            "output": "o",
        }
        finish(connection, run, "failure", **texts)
        # The name that it had then.
        alter(connection, number, name="other")
        found = row(connection, "select * from tidemill.action_history")
        assert found.pop("slot") == utc("2000-01-01 00:00")
        assert found == texts | {
            "id": run,
            "action_id": number,
            "name": "nightly [a]",
            "outcome": "failure",
            "succeeded": False,
            "by_hand": False,
            "started_at": utc("2026-03-10 12:00"),
            "finished_at": utc("2026-03-10 12:00:10"),
            "duration": timedelta(seconds=10),
            "routine": "app.work",
            "task": None,
            "job_id": None,
            "owner": "tidemill_owner",
            "worker_id": "w",
            "pid": None,
            "config": {"a": 1},
        }

    def test_names(self, connection: psycopg.Connection) -> None:
        for name in (None, "x" * 56, "ü"):
            start(connection, add(connection, name=name))
            found = row(connection, "select name from tidemill.action_history order by id desc limit 1")
            assert found["name"] == name
            connection.execute("update tidemill._actions set scheduled = false")

    def test_one_that_goes_on(self, connection: psycopg.Connection) -> None:
        start(connection, add(connection))
        connection.execute("update tidemill._action_runs set started_at = now() - interval '1 hour'")
        found = row(connection, "select * from tidemill.action_history")
        assert (found["outcome"], found["succeeded"], found["finished_at"]) == (None, None, None)
        assert timedelta(hours=1) <= found["duration"] < timedelta(hours=2)
        assert rows(connection, "select from tidemill.action_errors") == []

    @pytest.mark.parametrize(
        ("outcome", "succeeded", "is_error"),
        [
            ("success", True, False),
            ("skipped", None, False),
            ("failure", False, True),
            ("timeout", False, True),
            ("stopped", False, True),
            ("backend_terminated", False, True),
            ("worker_lost", False, True),
            ("server_restarted", False, True),
        ],
    )
    def test_outcomes(
        self, connection: psycopg.Connection, outcome: str, succeeded: bool | None, is_error: bool
    ) -> None:
        run = start(connection, add(connection))
        finish(connection, run, "success")
        connection.execute("update tidemill._action_runs set outcome = %s", [outcome])
        found = row(connection, "select outcome, succeeded from tidemill.action_history")
        assert found == {"outcome": outcome, "succeeded": succeeded}
        errors = rows(connection, "select id from tidemill.action_errors")
        assert errors == ([{"id": run}] if is_error else [])

    def test_errors_have_what_history_has(self, connection: psycopg.Connection) -> None:
        finish(connection, start(connection, add(connection, config={})), "failure", message="m")
        whole = row(connection, "select * from tidemill.action_history")
        error = row(connection, "select * from tidemill.action_errors")
        assert error == {name: whole[name] for name in error}
        assert set(whole) - set(error) == {"succeeded", "job_id"}


def test_every_view_and_what_is_not_obvious_in_it_is_explained(connection: psycopg.Connection) -> None:
    plain = {
        "id", "action_id", "name", "task", "owner", "config", "created_at", "retry_period", "started_at",
        "finished_at", "routine", "sqlstate", "message", "detail", "hint", "context", "backfill_period",
        "total_successes", "total_crashes", "total_duration_failures", "consecutive_crashes", "running_since",
        "last_duration", "last_run_success", "last_successful_finish",
    }  # fmt: skip
    for view in VIEWS:
        columns = rows(
            connection,
            "select attname, col_description(attrelid, attnum) is not null as told, obj_description(attrelid)"
            " from pg_attribute where attrelid = %s::regclass and attnum > 0",
            [f"tidemill.{view}"],
        )
        assert columns[0]["obj_description"]
        if view != "action_errors":
            untold = {column["attname"] for column in columns if not column["told"]}
            assert untold <= plain, view


def test_a_definition_as_the_history_keeps_it(connection: psycopg.Connection) -> None:
    add(connection, initial_start="2026-03-10 13:00+01", config={"a": None})
    add(connection, task="count", schedule="@daily", timezone="Europe/Berlin", max_retries=2)
    connection.execute("set datestyle = german")
    one, other = (
        found["told"]
        for found in rows(
            connection,
            "select tidemill._action_summary(a) as told from tidemill._actions a"
            " where id >= 1000 order by id",
        )
    )
    both = {
        "owner": "tidemill_owner",
        "scheduled": True,
        "max_runtime": "00:00:00",
        "retry_period": "00:05:00",
        "fixed_schedule": True,
    }
    assert one == both | {
        "proc_schema": "app",
        "proc_name": "work",
        "max_retries": -1,
        "schedule_interval": "01:00:00",
        "initial_start": "2026-03-10T12:00:00+00:00",
        "config": {"a": None},
    }
    assert other == both | {
        "task": "count",
        "max_retries": 2,
        "schedule": "@daily",
        "timezone": "Europe/Berlin",
    }
