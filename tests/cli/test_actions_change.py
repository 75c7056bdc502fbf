"""tidemill actions: add, alter, pause, resume, delete, on-failure."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.cli.actions import add_action, add_run
from tests.support.commands import CommandLine
from tests.support.servers import Server

# Adding


@pytest.mark.slow
def test_add_takes_every_option_of_a_routine(cli: CommandLine, routines: psycopg.Connection) -> None:
    added = cli.json(
        "actions", "add", "app.say", "--every", "90m", "--timezone", "Europe/Berlin",
        "--config", '{"word": "hello", "n": 1.50}', "--name", "greet",
        "--initial-start", "2031-01-31T09:00:00+01:00", "--max-runtime", "10 min",
        "--max-retries", "3", "--retry-period", "30s", "--missed", "backfill",
        "--backfill-period", "2d", "--on-failure", "page", "--check", "app.check_word", "--paused",
    )  # fmt: skip
    assert added == {"id": 1000, "added": True}
    stored = routines.execute(
        """
        select proc_schema, proc_name, task, schedule_interval, fixed_schedule, cron, timezone, config::text,
          name, initial_start, max_runtime, max_retries, retry_period, missed, backfill_period, on_failure,
          check_schema, check_name, scheduled
        from tidemill._actions where id = 1000
        """
    ).fetchone()
    assert stored == (
        "app", "say", None, timedelta(minutes=90), True, None, "Europe/Berlin",
        '{"n": 1.50, "word": "hello"}', "greet",
        datetime(2031, 1, 31, 8, tzinfo=UTC), timedelta(minutes=10), 3, timedelta(seconds=30),
        "backfill", timedelta(days=2), "page", "app", "check_word", False,
    )  # fmt: skip


@pytest.mark.slow
def test_add_takes_a_task_and_a_cron_line(cli: CommandLine, connection: psycopg.Connection) -> None:
    cli.ok(
        "actions", "add", "--task", "report", "--cron", "30 4 * * 1", "--timezone", "Asia/Kolkata",
        "--job-options", '{"queue_name": "reports"}', "--name", "weekly",
    )  # fmt: skip
    stored = connection.execute(
        "select proc_name, task, cron, schedule_interval, timezone, config, job_options, missed, scheduled "
        "from tidemill._actions where id = 1000"
    ).fetchone()
    assert stored == (
        None, "report", "30 4 * * 1", None, "Asia/Kolkata", None, {"queue_name": "reports"}, "run_once", True,
    )  # fmt: skip


@pytest.mark.slow
def test_what_is_added_is_named_and_so_is_the_lack_of_a_worker(
    cli: CommandLine, routines: psycopg.Connection
) -> None:
    done = cli.run("actions", "add", "app.say", "--every", "1h", "--name", "greet")
    assert done.stdout == "Added action 1000 (greet).\n"
    assert "No worker is running" in done.stderr
    again = cli.run("actions", "add", "app.say", "--every", "2h", "--name", "greet", "--if-not-exists")
    assert again.stdout == "There is action 1000 (greet) already; it is left as it is.\n"
    assert cli.ok("actions", "add", "app.say", "--every", "1h") == "Added action 1001 (app.say).\n"
    assert routines.execute(
        "select id, schedule_interval from tidemill._actions where id >= 1000 order by id"
    ).fetchall() == [(1000, timedelta(hours=1)), (1001, timedelta(hours=1))]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--every", "1h"], "give either a routine or --task TASK"),
        (["app.say", "--task", "report", "--every", "1h"], "give either a routine or --task TASK"),
        (["app.say"], "give either --every INTERVAL or --cron LINE"),
        (["app.say", "--every", "1h", "--cron", "* * * * *"], "give either --every INTERVAL or --cron LINE"),
        (["app.nope", "--every", "1h"], 'function "app.nope" does not exist'),
        (["app.say", "--every", "soon"], "--every: 'soon' is not an interval; use for instance"),
        (["app.say", "--every", "1h", "--max-runtime", ""], "--max-runtime: '' is not an interval"),
        (["app.say", "--every", "1h", "--retry-period", "9999999999 years"], "--retry-period: '9999999999 y"),
        (["app.check_word", "--every", "1h"], "its parameters are not (integer, jsonb)"),
        (["app.twice", "--every", "1h"], "give it with its arguments, for instance 'purge(integer, jsonb)'"),
        (["app.twice(integer)", "--every", "1h"], "Give the one that has them: 'app.twice(integer,jsonb)'"),
        (["app.twice(text)", "--every", "1h"], 'function "app.twice(text)" does not exist'),
        (["say it", "--every", "1h"], "'say it' is not the name of a routine"),
        (["app.say", "--every", "1h", "--max-retries", "2147483648"], "less than or equal to 2147483647"),
        (
            ["app.say", "--every", "1h", "--config", "{}", "--check", "app.check_interval"],
            'invalid input syntax for type interval: "1h"',
        ),
        (["app.say", "--cron", "61 * * * *"], "61"),
        (
            ["app.say", "--every", "1h", "--timezone", "Europe/Atlantis"],
            'time zone "Europe/Atlantis" not recogn',
        ),
        (["app.say", "--cron", "0 5 * * *", "--timezone", "UTC+2"], "use Etc/GMT-2;"),
        (
            ["app.say", "--every", "1h", "--timezone", "Europe/Berln", "--initial-start", "2031-01-01"],
            'time zone "Europe/Berln" not recognized. The view pg_timezone_names has no such name. '
            "Is Europe/Berlin meant?",
        ),
        (["app.say", "--every", "1h", "--config", "{word}"], "--config is not JSON"),
        (["app.say", "--every", "1h", "--initial-start", "soon"], "--initial-start: 'soon' is not a time"),
        (["app.say", "--every", "1h", "--if-not-exists"], "needs a name"),
        (["app.say", "--every", "1h", "--missed", "forget"], "'forget' is not one of"),
        (["app.say", "--every", "1h", "--max-retries", "-2"], "should be greater than or equal to -1"),
        (
            ["app.say", "--every", "1h", "--config", "{}", "--check", "app.check_word"],
            "there is no word in the config. Give one.",
        ),
    ],
)
def test_add_refuses_in_plain_words(
    cli: CommandLine, routines: psycopg.Connection, arguments: list[str], words: str
) -> None:
    assert words in cli.refused("actions", "add", *arguments)
    assert routines.execute("select count(*) from tidemill._actions where id >= 1000").fetchone() == (0,)


def test_times_without_an_offset_are_on_the_actions_clocks(
    cli: CommandLine, routines: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    add = ("actions", "add", "app.say", "--every", "1d", "--initial-start", "2031-07-01T09:00")
    cli.ok(*add, "--timezone", "Europe/Berlin")
    cli.ok(*add)
    assert [
        row[0].hour
        for row in routines.execute(
            "select initial_start at time zone 'UTC' from tidemill._actions where id >= 1000 order by id"
        )
    ] == [7, 9]
    cli.ok("actions", "alter", "1000", "--next-start", "2031-12-01T09:00")
    cli.ok("actions", "alter", "1001", "--next-start", "2031-12-01", "--timezone", "Asia/Kolkata")
    cli.ok("actions", "alter", "1000", "--initial-start", "2031-12-01T09:00:00-01:00", "--timezone", "")
    assert routines.execute(
        "select a.initial_start at time zone 'UTC', a.next_start at time zone 'UTC', a.timezone"
        " from tidemill.actions a where id >= 1000 order by id"
    ).fetchall() == [
        (datetime(2031, 12, 1, 10), datetime(2031, 12, 1, 10), None),
        (datetime(2031, 7, 1, 9), datetime(2031, 11, 30, 18, 30), "Asia/Kolkata"),
    ]


def test_a_signature_tells_which_overload_is_meant(cli: CommandLine, routines: psycopg.Connection) -> None:
    routines.execute("create function app.check_word(integer) returns void language sql as 'select'")
    cli.ok(
        "actions", "add", "app.twice(int, jsonb)", "--every", "1h", "--check", "app.check_word(jsonb)",
        "--config", '{"word": "hello"}',
    )  # fmt: skip
    cli.ok("actions", "alter", "1000", "--check", "app.check_word(jsonb)", "--every", "2h")
    assert routines.execute(
        "select proc_oid::regprocedure::text, check_name from tidemill._actions where id = 1000"
    ).fetchone() == ("twice(integer,jsonb)", "check_word")


# Changing


@pytest.mark.slow
def test_alter_changes_what_is_given_and_nothing_else(cli: CommandLine, routines: psycopg.Connection) -> None:
    add_action(routines, "greet", config='{"word": "a", "n": 1}', timezone="Europe/Berlin", on_failure="page",
         check_config="app.check_word")  # fmt: skip

    def stored(columns: str) -> Any:
        return routines.execute(
            f"select {columns} from tidemill._actions where id = 1000".encode()
        ).fetchone()

    before = stored("*")
    assert cli.ok("actions", "alter", "greet", "--max-retries", "5") == "Changed action 1000 (greet).\n"
    changed = [(old, new) for old, new in zip(before, stored("*"), strict=True) if old != new]
    assert changed == [(-1, 5)]
    cli.ok(
        "actions", "alter", "1000", "--every", "2h", "--drifting", "--config-merge", '{"word": "b"}',
        "--name", "hail", "--missed", "skip", "--max-runtime", "1 min", "--retry-period", "2 min",
        "--next-start", "2031-01-01T00:00Z",
    )  # fmt: skip
    columns = "schedule_interval, fixed_schedule, config, name, missed, max_runtime, retry_period, timezone"
    assert stored(columns) == (
        timedelta(hours=2), False, {"word": "b", "n": 1}, "hail", "skip", timedelta(minutes=1),
        timedelta(minutes=2), "Europe/Berlin",
    )  # fmt: skip
    assert cli.json("actions", "show", "hail")["next_start"] == "2031-01-01T00:00:00Z"
    cli.ok("actions", "alter", "hail", "--timezone", "", "--on-failure", "", "--no-check", "--config", "{}")
    assert stored("timezone, on_failure, check_name, config") == (None, None, None, {})
    cli.ok("actions", "alter", "hail", "--cron", "0 12 * * *")
    assert stored("cron, schedule_interval, fixed_schedule") == ("0 12 * * *", None, True)
    cli.ok("actions", "alter", "hail", "--next-start", "infinity")
    assert cli.json("actions", "show", "hail")["next_start"] == "infinity"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "say what to change"),
        (["--check", "app.check_word", "--no-check"], "give --check or --no-check, not both"),
        (["--next-start", "soon"], "2027-01-31T09:00:00+01:00 or now or infinity"),
        (["--config", "{}", "--config-merge", "{}"], 'cannot specify both "config" and "config_merge"'),
        (["--config", "[1"], "--config is not JSON"),
        (["--every", "soon"], "--every: 'soon' is not an interval"),
        (["--check", "a b"], "'a b' is not the name of a routine"),
    ],
)
def test_alter_refuses(
    cli: CommandLine, routines: psycopg.Connection, arguments: list[str], words: str
) -> None:
    add_action(routines, "greet")
    assert words in cli.refused("actions", "alter", "greet", *arguments)


@pytest.mark.slow
def test_several_are_changed_or_none(cli: CommandLine, routines: psycopg.Connection) -> None:
    add_action(routines, "one")
    add_action(routines, "two", check_config="app.check_word", config='{"word": "a"}')

    def paused() -> list[int]:
        rows = routines.execute("select id from tidemill._actions where not scheduled order by id").fetchall()
        return [row[0] for row in rows]

    assert cli.json("actions", "pause", "one", "1001", "one", "1000") == {"changed": [1000, 1001]}
    assert paused() == [1000, 1001]
    assert cli.ok("actions", "resume", "two") == "Resumed action 1001 (two).\n"
    assert paused() == [1000]
    assert "There is no action 'three'" in cli.refused("actions", "resume", "one", "three")
    assert "there is no word" in cli.refused("actions", "alter", "one", "two", "--config", "{}")
    assert paused() == [1000]
    assert routines.execute("select config from tidemill._actions where id = 1000").fetchone() == (None,)


@pytest.mark.slow
def test_delete_keeps_the_history(cli: CommandLine, routines: psycopg.Connection) -> None:
    action_id = add_action(routines, "greet")
    add_action(routines, "other")
    run_id = add_run(routines, action_id, "success", "1 hour")
    assert (
        cli.ok("actions", "delete", "greet", "other") == "Deleted action 1000 (greet), action 1001 (other).\n"
    )
    assert cli.json("actions", "list", "--name", "greet") == []
    assert [run["id"] for run in cli.json("actions", "history", str(action_id))] == [run_id]
    assert "There is no action 'greet'" in cli.refused("actions", "history", "greet")


@pytest.mark.slow
def test_on_failure_names_a_task_for_all(cli: CommandLine, connection: psycopg.Connection) -> None:
    def stored() -> Any:
        return connection.execute("select on_failure from tidemill._action_settings").fetchone()

    assert "add a job of page_somebody" in cli.ok("actions", "on-failure", "page_somebody")
    assert stored() == ("page_somebody",)
    assert "add no job" in cli.ok("actions", "on-failure", "--none")
    assert stored() == (None,)
    cli.ok("actions", "on-failure", "page_somebody")
    assert "add no job" in cli.ok("actions", "on-failure", "")
    assert stored() == (None,)
    assert "give a task or --none" in cli.refused("actions", "on-failure")
    assert "give a task or --none" in cli.refused("actions", "on-failure", "x", "--none")


# Rights


@pytest.mark.slow
def test_others_are_told_whose_it_is(
    server: Server, database: str, routines: psycopg.Connection, tmp_path: Path
) -> None:
    add_action(routines, "greet")
    with server.role() as role:
        routines.execute("select tidemill.grant_actions(%s::regrole)", [role])
        routines.execute(f"grant usage on schema app to {role}".encode())
        other = CommandLine(tmp_path, make_conninfo(database, user=role))
        words = f'is owned by role "tidemill_owner" but user "{role}" does not belong to that role.'
        for command in (["pause"], ["run"], ["delete"], ["alter", "--every", "2h"]):
            refusal = other.refused("actions", command[0], "greet", *command[1:])
            assert words in refusal, command
            assert (
                f"insufficient permissions to {command[0].replace('pause', 'alter')} action 1000." in refusal
            )
        added = json.loads(other.ok("actions", "add", "app.say", "--every", "1h", "--name", "mine", "--json"))
        assert other.json("actions", "show", "mine")["owner"] == role
        assert other.json("actions", "history") == []
        other.ok("actions", "run", "mine")
        assert [run["action_id"] for run in other.json("actions", "history")] == [added["id"]]
        other.ok("actions", "delete", "mine")


def test_alter_gives_actions_to_another_role(
    cli: CommandLine, routines: psycopg.Connection, server: Server
) -> None:
    connection = routines
    number = add_action(connection)
    with server.role() as role, server.superuser(connection.info.dbname) as superuser:
        assert "must be able to SET ROLE" in cli.refused("actions", "alter", str(number), "--owner", role)
        superuser.execute(f"grant {role} to {connection.info.user}".encode())
        superuser.execute(f"grant usage on schema app to {role}".encode())
        assert f"Changed action {number}" in cli.ok("actions", "alter", str(number), "--owner", role)
        owner = connection.execute("select owner::text from tidemill.actions where id = %s", [number])
        assert owner.fetchone() == (role,)
        assert "does not exist" in cli.refused("actions", "alter", str(number), "--owner", "absent")
        connection.execute("select tidemill.delete_action(%s)", [number])
