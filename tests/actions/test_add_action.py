"""tidemill.add_action: what it stores, when that starts first, and all that it refuses."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from tests.actions.definitions import (
    ROUTINE,
    add,
    add_at,
    alter,
    definition,
    notices,
    refused,
    row,
    rows,
    utc,
)
from tests.support.servers import OWNER, Server
from tests.support.waiting import wait_until

pytestmark = pytest.mark.versions(18, 16)

HOUR = timedelta(hours=1)


@pytest.fixture
def connection(connection: psycopg.Connection) -> psycopg.Connection:
    """With a routine that actions can call."""
    connection.execute(ROUTINE)
    return connection


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

    def test_what_takes_no_such_arguments_is_not_looked_at(self, connection: psycopg.Connection) -> None:
        connection.execute("create function app.none() returns int language sql as 'select 1'")
        assert add(connection, proc="app.none") == 1000

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


class TestRefused:
    @pytest.mark.parametrize(
        ("given", "sqlstate", "words"),
        [
            ({"timezone": "Mars/Olympus"}, "22023", ['time zone "Mars/Olympus" not recognized']),
            ({"timezone": ""}, "22023", ['time zone "" not recognized']),
            ({"proc": None}, "22023", ["function or procedure cannot be NULL"]),
            ({"task": "t", "proc": "app.work"}, "22023", ["proc and task exclude each other"]),
            ({"proc": "app.absent"}, "42883", ['function "app.absent" does not exist']),
            ({"proc": "app.twice"}, "42725", ['more than one function named "app.twice"']),
            ({"proc": 0}, "42704", ["function or procedure with OID 0 does not exist"]),
            ({"proc": 999999999}, "42704", ["function or procedure with OID 999999999 does not exist"]),
            ({"schedule_interval": None}, "22023", ["schedule_interval and schedule cannot both be NULL"]),
            (
                {"schedule_interval": "1 h", "schedule": "@daily"},
                "22023",
                ["schedule_interval and schedule exclude each other"],
            ),
            ({"schedule_interval": "0"}, "22023", ["schedule interval must be positive", "00:00:00"]),
            ({"schedule_interval": "-1 s"}, "22023", ["schedule interval must be positive"]),
            ({"schedule_interval": "0", "fixed_schedule": False}, "22023", ["must be positive"]),
            (
                {"schedule_interval": "1 month -29 days", "fixed_schedule": False},
                "22023",
                ["mixes months and negative days or times", "not positive in every month"],
            ),
            (
                {"schedule_interval": "-1 month 40 days", "fixed_schedule": False},
                "22023",
                ["mixes months and negative days or times"],
            ),
            (
                {"schedule_interval": "1 month 1 day"},
                "0A000",
                [
                    "month intervals cannot have day or time component",
                    "Fixed schedule actions do not support such schedule intervals.",
                    "Express the interval in terms of days or time instead.",
                ],
            ),
            ({"schedule_interval": "1 year 1 s"}, "0A000", ["month intervals"]),
            ({"schedule_interval": "1 month 1 day -24:00"}, "0A000", ["month intervals"]),
            ({"schedule": "99 * * * *"}, "22023", ["99"]),
            (
                {"schedule": "@daily", "fixed_schedule": False},
                "22023",
                ["a cron line is always a fixed schedule"],
            ),
            ({"missed": "never"}, "22023", ['missed "never" is unknown', "run_once, skip or backfill"]),
            ({"missed": "backfill", "fixed_schedule": False}, "22023", ["needs a fixed schedule"]),
            ({"backfill_period": "1 day"}, "22023", ["has no meaning with missed => 'run_once'"]),
            (
                {"missed": "backfill", "backfill_period": "-1 s"},
                "22023",
                ["backfill_period must be positive"],
            ),
            ({"max_runtime": "-1 s"}, "22023", ["max_runtime cannot be negative", "Use 0"]),
            ({"max_retries": -2}, "22023", ["max_retries -2 is below -1"]),
            ({"retry_period": "0"}, "22023", ["retry_period must be positive"]),
            ({"task": ""}, "22023", ["task cannot be empty"]),
            ({"task": "x" * 129}, "23514", ["129"]),
            ({"on_failure": ""}, "22023", ["on_failure cannot be empty"]),
            ({"on_failure": "x" * 129}, "23514", ["129", "in on_failure"]),
            ({"name": ""}, "22023", ["name cannot be empty"]),
            ({"name": "x" * 57}, "42622", ["application name too long.", "64 bytes"]),
            ({"name": "ü" * 29}, "42622", ["application name too long."]),
            ({"if_not_exists": True}, "22023", ["if_not_exists needs a name"]),
            ({"job_options": {}}, "22023", ["job_options have no meaning without task"]),
            ({"check_config": "app.absent"}, "42883", ["app.absent"]),
            ({"check_config": 999999999}, "42704", ["function with OID 999999999 does not exist"]),
            (
                {"check_config": "app.of_json"},
                "22023",
                [
                    "function or procedure app.of_json(config jsonb) not found",
                    "The check function's signature must be (config jsonb).",
                ],
            ),
            ({"check_config": "app.of_more"}, "22023", ["app.of_more(config jsonb) not found"]),
            (
                {"check_config": "app.by_procedure"},
                "0A000",
                [
                    "unsupported function type",
                    "Only functions are allowed as custom configuration checks",
                    "Use a FUNCTION instead",
                ],
            ),
            ({"check_config": "app.aggregated"}, "0A000", ["unsupported function type"]),
        ],
        ids=str,
    )
    def test_arguments(
        self, connection: psycopg.Connection, given: dict[str, Any], sqlstate: str, words: list[str]
    ) -> None:
        for made in (
            "create function app.twice(int) returns int language sql as 'select 1'",
            "create function app.twice(text) returns int language sql as 'select 1'",
            "create function app.of_json(json) returns int language sql as 'select 1'",
            "create function app.of_more(jsonb, int = 1) returns int language sql as 'select 1'",
            "create procedure app.by_procedure(jsonb) language sql as 'select'",
            "create aggregate app.aggregated(jsonb) (sfunc = jsonb_concat, stype = jsonb)",
        ):
            connection.execute(made)
        with refused(sqlstate, *words):
            add(connection, **given)
        assert rows(connection, "select from tidemill.actions where id >= 1000") == []

    @pytest.mark.parametrize(
        ("options", "sqlstate", "words"),
        [
            ([1], "22023", ["job_options must be an object, not array"]),
            ({"colour": 1}, "22023", ['unknown key "colour"', "job_key_mode, priority and flags"]),
            ({"priority": "high"}, "22023", ['priority must be a whole number, not "high"']),
            ({"priority": 1.5}, "22023", ["priority must be a whole number, not 1.5"]),
            ({"priority": 40000}, "22003", ["priority 40000 is out of range in job_options"]),
            ({"priority": 10**12}, "22003", ["out of range"]),
            ({"max_attempts": -(10**30)}, "22003", ["out of range in job_options"]),
            ({"max_attempts": 0}, "23514", ["max_attempts 0 is below 1 in job_options"]),
            ({"queue_name": 5}, "22023", ["queue_name must be a text, not 5"]),
            ({"queue_name": "q" * 129}, "23514", ["129", "in job_options"]),
            ({"job_key": ""}, "23514", ["in job_options"]),
            ({"job_key_mode": "sometimes"}, "GWBKM", ["sometimes", "in job_options"]),
            ({"flags": "a"}, "22023", ['flags must be an array of texts, not "a"']),
            ({"flags": ["a", 1]}, "22023", ["flags must be an array of texts"]),
        ],
        ids=str,
    )
    def test_job_options(
        self, connection: psycopg.Connection, options: Any, sqlstate: str, words: list[str]
    ) -> None:
        with refused(sqlstate, *words):
            add(connection, task="t", job_options=options)

    def test_an_interval_of_months_and_days_is_for_drifting_schedules(
        self, connection: psycopg.Connection
    ) -> None:
        add(connection, schedule_interval="1 month 1 day", fixed_schedule=False)
        add(connection, schedule_interval="1 year 2 months")

    def test_the_longest_name(self, connection: psycopg.Connection) -> None:
        number = add(connection, name="x" * 56)
        assert len(definition(connection, number)["application_name"]) == 63

    def test_in_a_read_only_transaction(self, connection: psycopg.Connection) -> None:
        connection.execute("set default_transaction_read_only = on")
        with refused("25006", "cannot execute add_action() in a read-only transaction"):
            add(connection, proc=None)
        with refused("25006", "cannot execute alter_action() in a read-only transaction"):
            alter(connection, 3)
        with refused("25006", "cannot execute delete_action() in a read-only transaction"):
            connection.execute("select tidemill.delete_action(3)")

    def test_without_execute(self, server: Server, connection: psycopg.Connection) -> None:
        with server.superuser(connection.info.dbname) as superuser:
            for kind in ("app.foreign(integer, jsonb)", "app.foreign_check(jsonb)"):
                superuser.execute(f"create function {kind} returns int language sql as 'select 1'".encode())
                superuser.execute(f"revoke execute on function {kind} from public".encode())
        hint = "Action owner must have EXECUTE privilege on the function."
        with refused("42501", 'permission denied for function "foreign"', hint):
            add(connection, proc="app.foreign")
        with refused("42501", 'permission denied for function "foreign_check"', hint):
            add(connection, check_config="app.foreign_check")

    def test_a_role_that_may_not_log_in(self, server: Server, connection: psycopg.Connection) -> None:
        with server.role("nologin") as role:
            with server.superuser(connection.info.dbname) as superuser:
                superuser.execute(f"grant {role} to {OWNER}".encode())
            connection.execute(b"select tidemill.grant_actions(%s::regrole)" % repr(role).encode())
            connection.execute(f"grant usage on schema app to {role}".encode())
            connection.execute(f"set role {role}".encode())
            message = f'permission denied to start background process as role "{role}"'
            with refused("28000", message, "must be a role with LOGIN"):
                add(connection)
            connection.execute("reset role")


class TestChecking:
    @pytest.fixture
    def checked(self, connection: psycopg.Connection) -> psycopg.Connection:
        connection.execute(
            "create table app.checks (config jsonb, checker text, path text, times serial);"
            # Unqualified: it is found by the caller's search_path.
            "create function app.check_it(config jsonb) returns boolean language plpgsql as $$ begin"
            "  insert into checks values (config, current_user, current_setting('search_path'));"
            "  if config ? 'bad' then raise exception 'bad config' using errcode = 'TEST1'; end if;"
            "  return false; end $$"
        )
        return connection

    def test_it_is_called_as_the_caller(self, checked: psycopg.Connection) -> None:
        checked.execute("set search_path = app, pg_temp")
        add(checked, check_config="app.check_it", config={"a": 1})
        assert rows(checked, "select * from checks") == [
            {"config": {"a": 1}, "checker": OWNER, "path": "app, pg_temp", "times": 1}
        ]

    def test_also_without_a_config(self, checked: psycopg.Connection) -> None:
        add(checked, check_config="app.check_it")
        assert rows(checked, "select config from app.checks") == [{"config": None}]

    def test_its_exception_is_the_callers(self, checked: psycopg.Connection) -> None:
        with refused("TEST1", "bad config"):
            add(checked, check_config="app.check_it", config={"bad": 1})
        assert rows(checked, "select from tidemill.actions where id >= 1000") == []

    def test_an_overload_beside_it_is_not_called(self, checked: psycopg.Connection) -> None:
        checked.execute("create function app.lone(config jsonb) returns int language sql as 'select 1/0'")
        checked.execute("create function app.other(text) returns int language sql as 'select 1'")
        with refused("22012"):
            add(checked, check_config="app.lone", config={})


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
            waiting = "select from pg_locks where locktype = 'advisory' and not granted"
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


class TestTrust:
    def test_the_definer_function_takes_only_what_add_action_would_give(
        self, connection: psycopg.Connection
    ) -> None:
        forged = {
            "id": 5,
            "owner": "postgres",
            "declared": True,
            "paused_because": "me",
            "proc_schema": "pg_catalog",
            "proc_name": "pg_reload_conf",
            "check_schema": "pg_catalog",
            "check_name": "now",
            "task": "t",
            "cron": "@daily",
            "cron_fields": None,
            "created_at": "2000-01-01Z",
        }
        row(
            connection,
            "select * from tidemill._insert_action("
            "jsonb_populate_record(null::tidemill._actions, %s), null, false, 'action')",
            [json.dumps(forged)],
        )
        stored = row(connection, "select * from tidemill._actions where id >= 1000")
        assert (stored["id"], stored["owner"], stored["declared"]) == (1000, OWNER, False)
        assert stored["paused_because"] is None
        assert (stored["proc_schema"], stored["proc_name"], stored["check_name"]) == (None, None, None)
        assert stored["cron_fields"] is not None
        assert stored["created_at"].year > 2000

    def test_decoys_are_not_called(self, connection: psycopg.Connection) -> None:
        trap = "language plpgsql as $$ begin raise exception 'a decoy was called'; end $$"
        for head, result in {
            "format(text, text, text)": "text",
            "format(text, text)": "text",
            "pg_notify(text, text)": "void",
            "hashtextextended(text, integer)": "bigint",
            "octet_length(varchar)": "integer",
            "isfinite(timestamptz)": "boolean",
            "clock_timestamp()": "timestamptz",
            "same(timestamptz, timestamptz)": "boolean",
            "joined(name, text)": "text",
            "current_setting(text)": "text",
        }.items():
            connection.execute(f"create function app.{head} returns {result} {trap}".encode())
        for operator in ("=", "<>", ">"):
            connection.execute(
                f"create operator app.{operator} "
                "(leftarg = timestamptz, rightarg = timestamptz, function = app.same)".encode()
            )
        connection.execute("create operator app.|| (leftarg = name, rightarg = text, function = app.joined)")
        connection.execute("create function app.fine(jsonb) returns int language sql as 'select 1'")
        connection.execute("set search_path = app, pg_catalog")
        number = add(connection, name="n", if_not_exists=True, check_config="app.fine", config={})
        alter(connection, number, schedule="@daily", config={"a": 1})
        connection.execute("select tidemill.delete_action(%s)", [number])


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
