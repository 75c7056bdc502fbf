"""tidemill.add_action: what it refuses, what it lets a check function decide, and whom it trusts."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest

from tests.actions.definitions import add, alter, definition, refused, row, rows
from tests.support.servers import OWNER, Server

pytestmark = [pytest.mark.versions(18, 16), pytest.mark.usefixtures("work")]


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
            ({"schedule_interval": "0.999 s"}, "22023", ["must be at least 1 second", "It is 00:00:00.999."]),
            ({"schedule_interval": "1 day -23:59:59.5"}, "22023", ["must be at least 1 second"]),
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
            ({"flags": ["f" * 129]}, "22023", ["flags has one of 129 characters", "in job_options"]),
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
            "insert into tidemill._add_requests (a, if_not_exists, noun)"
            " values (jsonb_populate_record(null::tidemill._actions, %s), false, 'action')"
            " returning action_id",
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
