"""TimescaleDB's names: signatures, columns, messages and their order, as the original has them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.actions.definitions import (
    ROUTINE,
    Row,
    call,
    notices,
    ran,
    refused,
    row,
    rows,
    set_state,
    start,
    utc,
)
from tests.support.dialects import lay_timescaledb
from tests.support.servers import OWNER, Server

pytestmark = pytest.mark.versions(18, 16)

ADD_JOB = (
    "proc regproc, schedule_interval interval, config jsonb DEFAULT NULL::jsonb,"
    " initial_start timestamptz DEFAULT NULL::timestamptz, scheduled boolean DEFAULT true,"
    " check_config regproc DEFAULT NULL::regproc, fixed_schedule boolean DEFAULT true,"
    " timezone text DEFAULT NULL::text, job_name text DEFAULT NULL::text"
)
ALTER_JOB = (
    "job_id integer, schedule_interval interval DEFAULT NULL::interval,"
    " max_runtime interval DEFAULT NULL::interval, max_retries integer DEFAULT NULL::integer,"
    " retry_period interval DEFAULT NULL::interval, scheduled boolean DEFAULT NULL::boolean,"
    " config jsonb DEFAULT NULL::jsonb, next_start timestamptz DEFAULT NULL::timestamptz,"
    " if_exists boolean DEFAULT false, check_config regproc DEFAULT NULL::regproc,"
    " fixed_schedule boolean DEFAULT NULL::boolean,"
    " initial_start timestamptz DEFAULT NULL::timestamptz, timezone text DEFAULT NULL::text,"
    " job_name text DEFAULT NULL::text, config_merge jsonb DEFAULT NULL::jsonb"
)
ALTERED = (
    "TABLE(job_id integer, schedule_interval interval, max_runtime interval, max_retries integer,"
    " retry_period interval, scheduled boolean, config jsonb, next_start timestamptz, check_config text,"
    " fixed_schedule boolean, initial_start timestamptz, timezone text, application_name name)"
)
ROUTINES = [
    ("add_job", "f", False, ADD_JOB, "integer"),
    ("alter_job", "f", False, ALTER_JOB, ALTERED),
    ("delete_job", "f", True, "job_id integer", "void"),
    ("run_job", "p", False, "IN job_id integer", None),
]
COLUMNS = {
    "timescaledb_information.jobs": (
        "job_id integer, application_name name, schedule_interval interval, max_runtime interval,"
        " max_retries integer, retry_period interval, proc_schema name, proc_name name, owner regrole,"
        " scheduled boolean, fixed_schedule boolean, config jsonb, next_start timestamptz,"
        " initial_start timestamptz, hypertable_schema name, hypertable_name name, check_schema name,"
        " check_name name"
    ),
    "timescaledb_information.job_stats": (
        "hypertable_schema name, hypertable_name name, job_id integer, last_run_started_at timestamptz,"
        " last_successful_finish timestamptz, last_run_status text, job_status text,"
        " last_run_duration interval, next_start timestamptz, total_runs bigint, total_successes bigint,"
        " total_failures bigint"
    ),
    "timescaledb_information.job_errors": (
        "job_id integer, proc_schema text, proc_name text, pid integer, start_time timestamptz,"
        " finish_time timestamptz, sqlerrcode text, err_message text"
    ),
    "timescaledb_information.job_history": (
        "id bigint, job_id integer, succeeded boolean, proc_schema text, proc_name text, pid integer,"
        " start_time timestamptz, finish_time timestamptz, config jsonb, sqlerrcode text, err_message text"
    ),
    "_timescaledb_config.bgw_job": (
        "id integer, application_name name, schedule_interval interval, max_runtime interval,"
        " max_retries integer, retry_period interval, proc_schema name, proc_name name, owner regrole,"
        " scheduled boolean, fixed_schedule boolean, initial_start timestamptz, hypertable_id integer,"
        " config jsonb, check_schema name, check_name name, timezone text"
    ),
}


@pytest.fixture
def connection(server: Server, connection: psycopg.Connection) -> psycopg.Connection:
    """In a database with the dialect, and a routine that jobs can call."""
    lay_timescaledb(server, connection.info.dsn)
    connection.execute(ROUTINE)
    return connection


def add_job(connection: psycopg.Connection, proc: str = "app.work", **named: Any) -> int:
    named.setdefault("schedule_interval", "1 hour")
    return int(row(connection, call("add_job", proc=proc, **named))["r"])


def alter_job(connection: psycopg.Connection, job: int | None, **named: Any) -> Row:
    return row(connection, call("alter_job", job, **named))


class TestSignatures:
    def test_routines(self, connection: psycopg.Connection) -> None:
        found = connection.execute(
            "select proname, prokind, proisstrict, pg_get_function_arguments(oid),"
            " pg_get_function_result(oid) from pg_proc"
            " where pronamespace = 'public'::regnamespace and proname ~ '_job$' order by 1"
        ).fetchall()
        long = "timestamp with time zone"
        told = [
            (*head, arguments.replace(long, "timestamptz"), result and result.replace(long, "timestamptz"))
            for *head, arguments, result in found
        ]
        assert told == ROUTINES

    @pytest.mark.parametrize("view", COLUMNS)
    def test_columns(self, connection: psycopg.Connection, view: str) -> None:
        found = row(
            connection,
            "select string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' order by attnum)"
            " from pg_attribute where attrelid = %s::regclass and attnum > 0",
            [view],
        )
        told = found["string_agg"].replace("timestamp with time zone", "timestamptz")
        assert told == COLUMNS[view]

    def test_rights_of_the_caller(self, connection: psycopg.Connection) -> None:
        found = rows(
            connection,
            "select prosecdef, proconfig, has_function_privilege('public', oid, 'execute') as open"
            " from pg_proc where pronamespace = 'public'::regnamespace",
        )
        assert len(found) > 4
        assert [each for each in found if each != {"prosecdef": False, "proconfig": None, "open": True}] == []

    def test_by_position(self, connection: psycopg.Connection) -> None:
        connection.execute("create function app.fine(jsonb) returns boolean language sql as 'select true'")
        connection.execute(
            "select add_job('app.work', '1h', '{}', '2031-01-01Z', false, 'app.fine', false, 'UTC', 'n')"
        )
        after = row(
            connection,
            "select * from alter_job(1000, '2h', '1m', 3, '1s', true, '{\"a\": 1}', '2032-01-01Z', false,"
            " 'app.fine', false, '2033-01-01Z', 'Europe/Berlin', 'm')",
        )
        assert after == {
            "job_id": 1000,
            "schedule_interval": timedelta(hours=2),
            "max_runtime": timedelta(minutes=1),
            "max_retries": 3,
            "retry_period": timedelta(seconds=1),
            "scheduled": True,
            "config": {"a": 1},
            "next_start": utc("2032-01-01 00:00"),
            "check_config": "app.fine",
            "fixed_schedule": False,
            "initial_start": utc("2033-01-01 00:00"),
            "timezone": "Europe/Berlin",
            "application_name": "m [1000]",
        }

    def test_run_job_is_a_procedure(self, connection: psycopg.Connection) -> None:
        with refused("42809", "run_job(integer) is a procedure"):
            connection.execute("select run_job(1000)")


class TestMessages:
    def test_add_job_validates_in_this_order(self, server: Server, connection: psycopg.Connection) -> None:
        """Everything is wrong at first; each error is repaired, and the next one shows."""
        for made in (
            "create function app.foreign_work() returns int language sql as 'select 1'",
            "create function app.foreign_check(text) returns int language sql as 'select 1'",
            "create procedure app.no_function(jsonb) language sql as 'select'",
            "create function app.fine(jsonb) returns int language sql as 'select 1'",
            "revoke execute on function app.foreign_work, app.foreign_check from public",
        ):
            connection.execute(made)
        given: Row = {
            "timezone": "Mars",
            "proc": None,
            "schedule_interval": None,
            "check_config": 999999999,
            "job_name": "x" * 60,
        }
        denied = 'permission denied for function "{}"'
        hint = "Job owner must have EXECUTE privilege on the function."
        steps: list[tuple[str, list[str], Row]] = [
            ("25006", ["cannot execute add_job() in a read-only transaction"], {"writable": True}),
            ("22023", ['time zone "Mars" not recognized'], {"timezone": None}),
            ("22023", ["function or procedure cannot be NULL"], {"proc": 999999999}),
            ("22023", ["schedule interval cannot be NULL"], {"schedule_interval": "1 month 1 day"}),
            (
                "0A000",
                [
                    "month intervals cannot have day or time component",
                    "Fixed schedule jobs do not support such schedule intervals.",
                    "Express the interval in terms of days or time instead.",
                ],
                {"schedule_interval": "1 day"},
            ),
            (
                "42704",
                ["function or procedure with OID 999999999 does not exist"],
                {"proc": "app.foreign_work"},
            ),
            ("42501", [denied.format("foreign_work"), hint], {"proc": "app.work"}),
            ("42704", ["function with OID 999999999 does not exist"], {"check_config": "app.foreign_check"}),
            ("42501", [denied.format("foreign_check"), hint], {"check_config": "app.work"}),
            (
                "22023",
                [
                    "function or procedure app.work(config jsonb) not found",
                    "The check function's signature must be (config jsonb).",
                ],
                {"check_config": "app.no_function"},
            ),
            (
                "0A000",
                [
                    "unsupported function type",
                    "Only functions are allowed as custom configuration checks",
                    "Use a FUNCTION instead",
                ],
                {"check_config": "app.fine"},
            ),
            (
                "28000",
                [
                    'permission denied to start background process as role "',
                    "Hypertable owner must have LOGIN permission to run background tasks.",
                ],
                {"login": True},
            ),
            ("42622", ["application name too long."], {"job_name": "fits"}),
        ]
        with server.role("nologin") as role:
            with server.superuser(connection.info.dbname) as superuser:
                superuser.execute(f"grant {role} to {OWNER}".encode())
                superuser.execute("grant execute on function app.foreign_work to public")
                superuser.execute("revoke execute on function app.foreign_work from public")
            connection.execute("select tidemill.grant_actions(%s::regrole)", [role])
            connection.execute(f"grant usage on schema app to {role}".encode())
            connection.execute(f"set role {role}".encode())
            connection.execute("set default_transaction_read_only = on")
            for sqlstate, words, repair in steps:
                with refused(sqlstate, *words):
                    add_job(connection, **given)
                if repair.pop("writable", False):
                    connection.execute("set default_transaction_read_only = off")
                if repair.pop("login", False):
                    with server.superuser() as superuser:
                        superuser.execute(f"alter role {role} login".encode())
                given |= repair
            job = add_job(connection, **given)
            connection.execute("select delete_job(%s)", [job])
            connection.execute("reset role")

    @pytest.mark.parametrize(
        ("statement", "sqlstate", "words"),
        [
            ("select alter_job(null)", "22023", ["job ID cannot be NULL"]),
            ("call run_job(null)", "22023", ["job ID cannot be NULL"]),
            ("select alter_job(4711)", "42704", ["job 4711 not found"]),
            ("call run_job(4711)", "42704", ["job 4711 not found"]),
            ("select delete_job(4711)", "42704", ["job 4711 not found"]),
            ("select add_job('absent', '1h')", "42883", ['function "absent" does not exist']),
            (
                "select alter_job(3, next_start => '-infinity')",
                "22023",
                ["cannot set next start to -infinity"],
            ),
            (
                "select alter_job(3, config => '{}', config_merge => '{}')",
                "22023",
                ['cannot specify both "config" and "config_merge"', 'Use "config" to replace the config'],
            ),
        ],
    )
    def test_of_the_others(
        self, connection: psycopg.Connection, statement: str, sqlstate: str, words: list[str]
    ) -> None:
        with refused(sqlstate, *words):
            connection.execute(statement.encode())

    def test_permissions(self, server: Server, connection: psycopg.Connection) -> None:
        job = add_job(connection)
        with server.role() as role:
            connection.execute("select tidemill.grant_actions(%s::regrole)", [role])
            detail = f'Job {job} is owned by role "{OWNER}" but user "{role}" does not belong to that role.'
            with psycopg.connect(connection.info.dsn, user=role, autocommit=True) as other:
                with refused("42501", f"insufficient permissions to alter job {job}", detail):
                    alter_job(other, job)
                with refused("42501", f"insufficient permissions to run job {job}", detail):
                    other.execute("call run_job(%s)", [job])
                with refused("42501", f'insufficient permissions to delete job owned by "{OWNER}"', detail):
                    other.execute("select delete_job(%s)", [job])

    @pytest.mark.parametrize(("job", "shown"), [(4711, 4711), (None, 0)])
    def test_if_exists(self, connection: psycopg.Connection, job: int | None, shown: int) -> None:
        with notices(connection) as told:
            after = alter_job(connection, job, if_exists=True)
        assert (set(after.values()), len(after)) == ({None}, 13)
        assert told == [f"NOTICE: job {shown} not found, skipping"]

    def test_a_check_that_is_gone(self, connection: psycopg.Connection) -> None:
        connection.execute("create function app.fine(jsonb) returns int language sql as 'select 1'")
        job = add_job(connection, check_config="app.fine", config={})
        connection.execute("drop function app.fine")
        with notices(connection) as told:
            alter_job(connection, job, max_retries=1)
        assert told == [
            f"WARNING: function app.fine(config jsonb) not found, skipping config validation for job {job}"
        ]

    def test_a_grid_that_begins_now(self, connection: psycopg.Connection) -> None:
        job = add_job(connection, fixed_schedule=False)
        with notices(connection) as told:
            alter_job(connection, job, fixed_schedule=True)
        assert len(told) == 1
        assert told[0].startswith("NOTICE: Using current time [")
        assert told[0].endswith(f"] as initial start for job {job}")

    def test_delete_job_of_null(self, connection: psycopg.Connection) -> None:
        assert connection.execute("select delete_job(null)").fetchall() == [(None,)]


def test_next_start_that_is_not_known(connection: psycopg.Connection) -> None:
    job = add_job(connection, fixed_schedule=False)
    found = row(
        connection, "select next_start = '-infinity' as unknown from alter_job(%s, max_retries => 1)", [job]
    )
    assert found == {"unknown": True}


class TestViews:
    def stats(self, connection: psycopg.Connection, job: int) -> Row:
        # Infinite times are not for Python.
        return row(
            connection,
            "select job_status, last_run_status, last_run_duration, next_start::text, total_failures,"
            " last_successful_finish::text, last_run_started_at::text"
            " from timescaledb_information.job_stats where job_id = %s",
            [job],
        )

    def test_before_the_first_run(self, connection: psycopg.Connection) -> None:
        at_once, fixed = add_job(connection, fixed_schedule=False), add_job(connection)
        jobs = "select next_start from timescaledb_information.jobs where job_id = %s"
        assert row(connection, jobs, [at_once])["next_start"] is None
        assert row(connection, jobs, [fixed])["next_start"] is not None
        found = self.stats(connection, at_once)
        assert (found["job_status"], found["last_successful_finish"]) == ("Scheduled", None)
        assert found["last_run_started_at"] is None
        found = self.stats(connection, fixed)
        assert (found["last_successful_finish"], found["last_run_started_at"]) == ("-infinity", "-infinity")

    def test_states(self, connection: psycopg.Connection) -> None:
        job = add_job(connection)
        ran(connection, job, "2026-03-10 11:30", "2026-03-10 12:30")
        connection.execute("update tidemill._action_states set last_run_success = false, total_failures = 1")
        found = self.stats(connection, job)
        assert (found["job_status"], found["last_run_status"]) == ("Scheduled", "Failed")
        assert found["last_run_duration"] == timedelta(seconds=10)
        assert found["next_start"] == "2026-03-10 12:30:00+00"
        start(connection, job)
        found = self.stats(connection, job)
        assert (found["job_status"], found["last_run_status"]) == ("Running", None)
        assert (found["last_run_duration"], found["next_start"]) == (None, "-infinity")
        set_state(connection, job, run_id=None, next_start=utc("2026-03-10 12:30"))
        connection.execute("update tidemill._action_states set last_run_success = true")
        alter_job(connection, job, scheduled=False)
        found = self.stats(connection, job)
        assert (found["job_status"], found["next_start"]) == ("Paused", None)
        assert found["last_run_status"] == "Success"

    @pytest.mark.parametrize(
        ("detail", "hint", "told"),
        [(None, None, "m"), ("d", None, "m d"), (None, "h", "m. h"), ("d", "h", "m. d. h")],
    )
    def test_errors(
        self, connection: psycopg.Connection, detail: str | None, hint: str | None, told: str
    ) -> None:
        job = add_job(connection, config={"a": 1})
        run = start(connection, job)
        # While it runs it is no error.
        assert rows(connection, "select from timescaledb_information.job_errors") == []
        assert row(connection, "select succeeded, finish_time from timescaledb_information.job_history") == {
            "succeeded": None,
            "finish_time": None,
        }
        connection.execute(
            "select * from tidemill._finish_run(%s, 'failure', sqlstate => 'P0001', message => 'm',"
            " detail => %s, hint => %s)",
            [run, detail, hint],
        )
        [error] = rows(connection, "select * from timescaledb_information.job_errors")
        assert (error["sqlerrcode"], error["err_message"]) == ("P0001", told)
        assert (error["job_id"], error["proc_schema"], error["proc_name"]) == (job, "app", "work")
        kept = row(connection, "select * from timescaledb_information.job_history")
        assert (kept["id"], kept["succeeded"], kept["config"]) == (run, False, {"a": 1})
        assert {name: kept[name] for name in error} == error

    def test_skipped_slots_are_no_runs(self, connection: psycopg.Connection) -> None:
        start(connection, add_job(connection))
        connection.execute("update tidemill._action_runs set outcome = 'skipped', finished_at = now()")
        assert rows(connection, "select from timescaledb_information.job_history") == []

    def test_actions_that_timescaledb_does_not_know(self, connection: psycopg.Connection) -> None:
        connection.execute("select tidemill.add_action(task => 'count', schedule => '@daily')")
        found = row(connection, "select * from timescaledb_information.jobs where job_id >= 1000")
        assert (found["schedule_interval"], found["proc_schema"], found["proc_name"]) == (None, None, "count")

    def test_anybody_may_read_the_definitions(self, server: Server, connection: psycopg.Connection) -> None:
        job = add_job(connection)
        run = start(connection, job)
        connection.execute("select * from tidemill._finish_run(%s, 'failure')", [run])
        with server.role() as role:
            conninfo = make_conninfo(connection.info.dsn, user=role)
            with psycopg.connect(conninfo, autocommit=True) as other:
                for view, count in (
                    ("timescaledb_information.jobs", 2),
                    ("timescaledb_information.job_stats", 2),
                    ("_timescaledb_config.bgw_job", 2),
                    # These are for the owner's members.
                    ("timescaledb_information.job_history", 0),
                    ("timescaledb_information.job_errors", 0),
                ):
                    assert len(rows(other, f"select from {view}")) == count, view
                with refused("42501", "permission denied"):
                    add_job(other)
                with refused("42501", "permission denied"):
                    other.execute("delete from _timescaledb_config.bgw_job")


def test_quirks_are_not_copied(connection: psycopg.Connection) -> None:
    job = add_job(connection, timezone="Europe/Berlin", initial_start="2026-03-01Z")
    # Without a time zone given the stored one stays.
    after = alter_job(connection, job, max_retries=1)
    assert after["timezone"] == "Europe/Berlin"
    # Neither is the grid begun anew where it was there.
    with notices(connection) as told:
        after = alter_job(connection, job, fixed_schedule=True)
    assert (after["initial_start"], told) == (utc("2026-03-01 00:00"), [])
    with refused("22023", "schedule interval must be positive"):
        add_job(connection, schedule_interval="0")
