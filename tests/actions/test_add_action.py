"""tidemill.add_action: what it stores, when that starts first, and who is told."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from tests.actions.definitions import add, add_at, alter, definition, notices, refused, row, rows, utc
from tests.support.servers import OWNER
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.versions(18, 16), pytest.mark.usefixtures("work")]

HOUR = timedelta(hours=1)


class TestWhatIsStored:
    def test_the_least(self, connection: psycopg.Connection) -> None:
        assert add(connection) == 1000
        found = definition(connection, 1000)
        now = row(connection, "select clock_timestamp() as now")["now"]
        assert timedelta(0) <= now - found["created_at"] < timedelta(seconds=30)
        assert found == {
            "id": 1000,
            "name": None,
            "application_name": "User-Defined Action [1000]",
            "kind": "routine",
            "routine": "app.work",
            "task": None,
            "schedule": "01:00:00",
            "schedule_interval": HOUR,
            "fixed_schedule": True,
            "initial_start": found["created_at"],
            "timezone": None,
            "next_start": found["created_at"],
            "state": "scheduled",
            "scheduled": True,
            "paused_because": None,
            "owner": OWNER,
            "config": None,
            "check_config": None,
            "max_runtime": timedelta(0),
            "max_retries": -1,
            "retry_period": timedelta(minutes=5),
            "missed": "run_once",
            "backfill_period": None,
            "on_failure": None,
            "job_options": None,
            "declared": False,
            "created_at": found["created_at"],
        }

    def test_all_that_can_be_said(self, connection: psycopg.Connection) -> None:
        connection.execute("create function app.checked(jsonb) returns void language sql as 'select'")
        given: dict[str, Any] = {
            "config": {"a": [1, None]},
            "scheduled": False,
            "timezone": "Europe/Berlin",
            "name": "nightly",
            "max_retries": 3,
            "missed": "backfill",
            "on_failure": "tell",
            "job_options": {"priority": -5, "queue_name": "q", "flags": ["a"], "job_key_mode": None},
        }
        number = add(
            connection,
            task="count",
            schedule="30 4 * * 1",
            check_config="app.checked",
            max_runtime="2 minutes",
            retry_period="10 s",
            backfill_period="2 days",
            initial_start="2031-01-01Z",
            **given,
        )
        found = definition(connection, number)
        assert {name: found[name] for name in given} == given
        assert (found["kind"], found["task"], found["routine"]) == ("task", "count", None)
        assert (found["schedule"], found["schedule_interval"]) == ("30 4 * * 1", None)
        assert (found["check_config"], found["application_name"]) == ("app.checked", f"nightly [{number}]")
        assert (found["max_runtime"], found["retry_period"]) == (
            timedelta(minutes=2),
            timedelta(seconds=10),
        )
        assert (found["backfill_period"], found["state"]) == (timedelta(days=2), "paused")
        # Monday 2031-01-06 04:30 in Berlin's winter.
        assert found["next_start"] == utc("2031-01-06 03:30")

    def test_names_that_need_quotes(self, connection: psycopg.Connection) -> None:
        connection.execute('create schema "My App"')
        connection.execute('create procedure "My App"."It\'s"(integer, jsonb) language sql as \'select\'')
        number = add(connection, proc='"My App"."It\'s"')
        assert definition(connection, number)["routine"] == '"My App"."It\'s"'

    def test_nulls_stand_for_defaults(self, connection: psycopg.Connection) -> None:
        nulls = dict.fromkeys(
            ("scheduled", "fixed_schedule", "max_runtime", "max_retries", "retry_period", "missed")
        )
        one, other = (definition(connection, add(connection, **given)) for given in ({}, nulls))
        differs = {"id", "application_name", "initial_start", "next_start", "created_at"}
        assert {name for name in one if one[name] != other[name]} == differs

    def test_ids_begin_at_1000(self, connection: psycopg.Connection) -> None:
        assert [add(connection) for _ in range(3)] == [1000, 1001, 1002]


class TestFirstStart:
    AT = "2026-03-10 12:00"  # A Tuesday.

    def start_of(self, connection: psycopg.Connection, **given: Any) -> tuple[Any, Any]:
        found = definition(connection, add_at(connection, self.AT, **given))
        return found["next_start"], found["initial_start"]

    def test_fixed(self, connection: psycopg.Connection) -> None:
        now = utc(self.AT)
        assert self.start_of(connection, schedule_interval="1 day") == (now, now)

    @pytest.mark.parametrize("fixed", [True, False])
    @pytest.mark.parametrize("begin", ["2026-03-11 01:30", "2020-02-29 01:30"])
    def test_initial_start(self, connection: psycopg.Connection, fixed: bool, begin: str) -> None:
        given = {"schedule_interval": "1 day", "fixed_schedule": fixed, "initial_start": begin + "Z"}
        assert self.start_of(connection, **given) == (utc(begin), utc(begin))

    def test_drifting(self, connection: psycopg.Connection) -> None:
        assert self.start_of(connection, schedule_interval="1 day", fixed_schedule=False) == (None, None)
        assert row(
            connection,
            "select next_start = '-infinity' as at_once from tidemill._action_states where action_id = 1000",
        ) == {"at_once": True}

    @pytest.mark.parametrize("begin", ["infinity", "-infinity"])
    def test_infinite_is_not_given(self, connection: psycopg.Connection, begin: str) -> None:
        now = utc(self.AT)
        with notices(connection) as told:
            found = self.start_of(connection, schedule_interval="1 day", initial_start=begin)
        assert found == (now, now)
        assert told == [
            "NOTICE: Using current time [2026-03-10 12:00:00+00] as initial start for action 1000"
        ]

    @pytest.mark.parametrize(
        ("given", "first"),
        [
            ({}, "2026-03-16 03:30"),
            # Not before then; clocks have gone forward on the 29th.
            ({"initial_start": "2026-04-01Z"}, "2026-04-06 02:30"),
            ({"initial_start": "2026-04-06 02:30Z"}, "2026-04-06 02:30"),
            ({"initial_start": "2026-03-01Z"}, "2026-03-16 03:30"),
            ({"initial_start": "2026-03-01Z", "missed": "skip"}, "2026-03-16 03:30"),
            # From then on nothing is left out.
            ({"initial_start": "2026-03-01Z", "missed": "backfill"}, "2026-03-02 03:30"),
            ({"initial_start": "2026-03-02 03:30Z", "missed": "backfill"}, "2026-03-02 03:30"),
            ({"missed": "backfill"}, "2026-03-16 03:30"),
        ],
    )
    def test_cron(self, connection: psycopg.Connection, given: dict[str, str], first: str) -> None:
        start, _ = self.start_of(connection, cron="30 4 * * 1", timezone="Europe/Berlin", **given)
        assert start == utc(first)


class TestIfNotExists:
    def test_the_second_time(self, connection: psycopg.Connection) -> None:
        first = add(connection, name="nightly", if_not_exists=True)
        before = definition(connection, first)
        with notices(connection) as told:
            again = add(
                connection, name="nightly", schedule_interval="1 day", config={"a": 1}, if_not_exists=True
            )
        assert (again, definition(connection, first)) == (first, before)
        assert told == [f'NOTICE: action "nightly" already exists as number {first}, skipping']

    def test_what_it_would_refuse_does_not_matter_then(self, connection: psycopg.Connection) -> None:
        first = add(connection, name="nightly")
        connection.execute("create function app.no(jsonb) returns int language sql as 'select 1/0'")
        given = {"proc": None, "schedule_interval": "0", "check_config": "app.no"}
        assert add(connection, name="nightly", if_not_exists=True, **given) == first

    def test_without_it_names_repeat(self, connection: psycopg.Connection) -> None:
        assert add(connection, name="nightly") != add(connection, name="nightly")

    def test_after_it_was_deleted(self, connection: psycopg.Connection) -> None:
        first = add(connection, name="nightly", if_not_exists=True)
        connection.execute("select tidemill.delete_action(%s)", [first])
        assert add(connection, name="nightly", if_not_exists=True) > first

    def test_migrations_at_the_same_time(self, database: str, connection: psycopg.Connection) -> None:
        def migrate(_: int) -> int:
            with psycopg.connect(database) as another:
                return add(another, name="nightly", if_not_exists=True)

        with ThreadPoolExecutor(8) as pool, psycopg.connect(database) as first:
            number = add(first, name="nightly", if_not_exists=True)
            others = [pool.submit(migrate, turn) for turn in range(8)]
            waiting = "select from pg_locks where locktype in ('transactionid', 'tuple') and not granted"
            wait_until(lambda: len(rows(connection, waiting)) == 8, "all to wait for the first")
            # Another name does not wait.
            add(connection, name="daily", if_not_exists=True)
            first.commit()
            assert {other.result() for other in others} == {number}
        assert len(rows(connection, "select from tidemill.actions where name = 'nightly'")) == 1

    def test_one_that_was_rolled_back_is_not_there(
        self, database: str, connection: psycopg.Connection
    ) -> None:
        with psycopg.connect(database) as first:
            number = add(first, name="nightly", if_not_exists=True)
            first.rollback()
        assert add(connection, name="nightly", if_not_exists=True) != number


def test_workers_are_told(database: str, connection: psycopg.Connection) -> None:
    connection.execute('listen "tidemill:actions"')

    def told() -> list[str]:
        return [note.channel for note in connection.notifies(timeout=10, stop_after=1)]

    with psycopg.connect(database) as other:
        number = add(other)
        other.commit()
        assert told() == ["tidemill:actions"]
        alter(other, number, max_retries=1)
        other.commit()
        assert told() == ["tidemill:actions"]
        other.execute("select tidemill.delete_action(%s)", [number])
        other.commit()
        assert told() == ["tidemill:actions"]


def test_it_is_part_of_the_transaction(connection: psycopg.Connection) -> None:
    with connection.transaction(force_rollback=True):
        add(connection)
    assert rows(connection, "select from tidemill.actions where id >= 1000") == []


def test_abbreviations_of_the_session_alone_are_no_time_zones(connection: psycopg.Connection) -> None:
    # In the set for Australia SAT is a zone; a worker's session has the default set.
    connection.execute("set timezone_abbreviations = 'Australia'")
    with refused("22023", 'time zone "SAT" not recognized'):
        add(connection, timezone="SAT")


def test_whole_numbers_may_be_written_in_any_way(connection: psycopg.Connection) -> None:
    connection.execute(
        "select tidemill.add_action(task => 't', schedule_interval => '1 day',"
        ' job_options => \'{"priority": 1.0, "max_attempts": 1e2}\')'
    )
    connection.execute("select tidemill._enqueue_actions(1)")
    [job] = rows(connection, "select priority, max_attempts from tidemill.jobs")
    assert job == {"priority": 1, "max_attempts": 100}
