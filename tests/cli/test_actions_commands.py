"""tidemill actions."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.support.commands import PROGRAM, CommandLine
from tests.support.servers import Server

pytestmark = pytest.mark.versions(18)

_ROUTINES = """
create procedure app.say(action_id integer, config jsonb) language plpgsql as $$
begin
  raise notice 'action % says %', action_id, config ->> 'word';
end
$$;
create procedure app.fail(action_id integer, config jsonb) language plpgsql as $$
begin
  raise notice 'about to fail';
  raise exception 'the shop is closed' using detail = 'It is Sunday.', hint = 'Come back on Monday.';
end
$$;
create procedure app.in_steps(action_id integer, config jsonb) language plpgsql as $$
begin
  create table app.steps (n integer);
  commit;
  insert into app.steps values (1);
  rollback;
end
$$;
create procedure app.wait(action_id integer, config jsonb) language plpgsql as $$
begin
  raise notice 'before';
  perform pg_advisory_xact_lock(4711);
  raise notice 'after';
end
$$;
create function app.check_word(config jsonb) returns void language plpgsql as $$
begin
  if config ->> 'word' is null then
    raise exception 'there is no word in the config' using hint = 'Give one.';
  end if;
end
$$;
create function app.check_interval(config jsonb) returns void language plpgsql as $$
begin
  raise invalid_datetime_format using message = 'invalid input syntax for type interval: "1h"';
end
$$;
create procedure app.say_nothing(action_id integer, config jsonb) language plpgsql as $$
begin
  raise exception using message = '';
end
$$;
create procedure app.hang_up(action_id integer, config jsonb) language plpgsql as $$
begin
  perform pg_terminate_backend(pg_backend_pid());
end
$$;
"""


@pytest.fixture
def routines(connection: psycopg.Connection) -> psycopg.Connection:
    connection.execute(_ROUTINES.encode())
    return connection


def _add(
    connection: psycopg.Connection, name: str | None = None, routine: str = "app.say", **more: Any
) -> int:
    options = "".join(f", {option} => %({option})s" for option in more)
    row = connection.execute(
        f"select tidemill.add_action(%(routine)s::text::regproc, '1 h', name => %(name)s{options})".encode(),
        {"routine": routine, "name": name, **more},
    ).fetchone()
    assert row is not None
    return int(row[0])


def _ended(connection: psycopg.Connection, action_id: int, outcome: str, ago: str, **more: Any) -> int:
    """Puts a run into the history."""
    columns = "".join(f", {column}" for column in more)
    values = "".join(f", %({column})s" for column in more)
    row = connection.execute(
        f"""
        insert into tidemill._action_runs
          (action_id, application_name, owner, proc_schema, proc_name, worker_id, outcome,
           started_at, finished_at{columns})
        values (%(id)s, 'User-Defined Action [' || %(id)s || ']', current_user::regrole, 'app', 'say', 'w',
          %(outcome)s, clock_timestamp() - %(ago)s::interval,
          clock_timestamp() - %(ago)s::interval + interval '1500 ms'{values})
        returning id
        """.encode(),
        {"id": action_id, "outcome": outcome, "ago": ago, **more},
    ).fetchone()
    assert row is not None
    return int(row[0])


# Adding


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


# Finding


def test_names_and_ids_find_actions(cli: CommandLine, routines: psycopg.Connection) -> None:
    for name in ("one", "two", "two", "1000"):
        _add(routines, name)
    assert cli.json("actions", "show", "one")["id"] == 1000
    # An id comes before a name.
    assert cli.json("actions", "show", "1000")["name"] == "one"
    assert "2 actions have the name 'two': give one of the ids 1001, 1002" in cli.refused(
        "actions", "pause", "one", "two"
    )
    assert "There is no action 'three'; see them with: tidemill actions" in cli.refused(
        "actions", "delete", "one", "three"
    )
    assert "There is no action '7'" in cli.refused("actions", "run", "7")
    assert {row["state"] for row in cli.json("actions", "--name", "one")} == {"scheduled"}


def test_list_filters_and_limits(cli: CommandLine, routines: psycopg.Connection) -> None:
    _add(routines, "one")
    _add(routines, "two", scheduled=False)
    _add(routines, None, initial_start=datetime(2031, 1, 1, tzinfo=UTC))
    mine = [row for row in cli.json("actions") if row["id"] >= 1000]
    assert [(row["id"], row["name"], row["state"]) for row in mine] == [
        (1000, "one", "scheduled"), (1001, "two", "paused"), (1002, None, "scheduled"),
    ]  # fmt: skip
    assert [row["next_start"] for row in mine[::2]] == [mine[0]["initial_start"], "2031-01-01T00:00:00Z"]
    assert [row["id"] for row in cli.json("actions", "--state", "paused")] == [1001]
    assert [row["id"] for row in cli.json("actions", "list", "--name", "one")] == [1000]
    limited = cli.run("actions", "--limit", "1")
    assert len(limited.stdout.splitlines()) == 2
    assert "more than these 1" in limited.stderr


def test_starts_at_no_time_are_words(cli: CommandLine, routines: psycopg.Connection) -> None:
    drifting, never = _add(routines, fixed_schedule=False), _add(routines)
    routines.execute("select tidemill.alter_action(%s, next_start => 'infinity')", [never])
    assert [row["next_start"] for row in cli.json("actions") if row["id"] >= 1000] == [
        None,
        "infinity",
    ]
    shown = cli.ok("actions").splitlines()
    assert "\tat once\t" in next(line for line in shown if line.startswith(f"{drifting}\t"))
    assert "\tnever\t" in next(line for line in shown if line.startswith(f"{never}\t"))
    assert cli.json("actions", "next", str(never)) == []


def test_names_cannot_steer_the_terminal(cli: CommandLine, routines: psycopg.Connection) -> None:
    _add(routines, "\x1b[31mred")
    assert "\\x1b[31mred" in cli.ok("actions")
    assert cli.ok("actions", "pause", "1000") == "Paused action 1000 (\\x1b[31mred).\n"


def test_what_python_cannot_hold_is_shown(cli: CommandLine, routines: psycopg.Connection) -> None:
    digits = "9" * 5000
    _add(routines, config=f'{{"n": {digits}}}')
    routines.execute("select tidemill.alter_action(1000, next_start => '20000-01-01 00:00+00')")
    routines.execute("update tidemill._actions set initial_start = '4000-01-01 00:00+00 BC' where id = 1000")
    _ended(routines, 1000, "success", "1 hour", config=f'{{"n": {digits}}}', slot="20000-01-01 00:00+00")
    shown = cli.ok("actions", "show", "1000", "--json")
    assert digits in shown
    assert '"next_start": "9999-12-30T00:00:00Z"' in shown
    assert digits in cli.ok("actions", "show", "1000")
    assert digits in cli.ok("actions", "history", "--json")
    assert "Sat 20000-01-01 00:00:00 UTC" in cli.ok("actions", "next", "1000", "-n", "1")


def test_show_has_the_definition_and_the_last_runs(cli: CommandLine, routines: psycopg.Connection) -> None:
    action_id = _add(routines, "greet", config='{"word": "hello"}', timezone="Europe/Berlin")
    for number in range(6):
        _ended(routines, action_id, "success", f"{10 - number} hours", output=f"NOTICE:  hello {number}")
    shown = cli.json("actions", "show", "greet")
    assert shown["config"] == {"word": "hello"}
    assert (shown["runs"], shown["schedule"], shown["timezone"]) == (
        "app.say",
        "every 1 hour",
        "Europe/Berlin",
    )
    assert [run["output"] for run in shown["last_runs"]] == [f"NOTICE:  hello {n}" for n in (5, 4, 3, 2, 1)]
    text = cli.ok("actions", "show", "greet")
    assert "every 1 hour" in text
    assert '"word": "hello"' in text
    assert "  NOTICE:  hello 5\n" in text


# Next


def test_next_tells_the_starts_of_a_cron_line(cli: CommandLine) -> None:
    berlin = ZoneInfo("Europe/Berlin")
    now = datetime.now(UTC)
    told = cli.json("actions", "next", "--cron", "30 4 * * 1", "--timezone", "Europe/Berlin", "-n", "60")
    starts = [datetime.fromisoformat(text).astimezone(berlin) for text in told]
    assert len(starts) == 60
    assert now < starts[0] <= now + timedelta(days=7, hours=1)
    assert {(start.weekday(), start.hour, start.minute, start.second) for start in starts} == {(0, 4, 30, 0)}
    assert {(b.date() - a.date()).days for a, b in pairwise(starts)} == {7}
    shown = cli.ok("actions", "next", "--cron", "30 4 * * 1", "--timezone", "Europe/Berlin").splitlines()
    assert shown[1] == f"{told[0].replace('Z', '+00:00')}\t{starts[0]:%a %Y-%m-%d} 04:30:00 Europe/Berlin"


def test_next_tells_the_starts_of_an_action(cli: CommandLine, routines: psycopg.Connection) -> None:
    _add(routines, "greet", initial_start=datetime(2031, 1, 1, 12, tzinfo=UTC), timezone="Asia/Kolkata")
    told = cli.json("actions", "next", "greet", "-n", "2")
    assert told == ["2031-01-01T12:00:00Z", "2031-01-01T13:00:00Z"]
    assert len(cli.json("actions", "next", "greet")) == 5
    assert "Wed 2031-01-01 17:30:00 Asia/Kolkata" in cli.ok("actions", "next", "greet")
    cli.ok("actions", "pause", "greet")
    paused = cli.run("actions", "next", "greet")
    assert "It is paused. Have it start again with: tidemill actions resume greet" in paused.stderr
    assert "Wed 2031-01-01 17:30:00 Asia/Kolkata" in paused.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give an action or --cron LINE"),
        (["x", "--cron", "* * * * *"], "give an action or --cron LINE"),
        (["x", "--timezone", "UTC"], "--timezone goes with --cron"),
        (["--cron", "* * *"], "* * *"),
        (["--cron", "* * * * *", "--timezone", "Mars/Base"], "Mars/Base"),
    ],
)
def test_next_refuses(cli: CommandLine, arguments: list[str], words: str) -> None:
    assert words in cli.refused("actions", "next", *arguments)


# Changing


def test_alter_changes_what_is_given_and_nothing_else(cli: CommandLine, routines: psycopg.Connection) -> None:
    _add(routines, "greet", config='{"word": "a", "n": 1}', timezone="Europe/Berlin", on_failure="page",
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
    _add(routines, "greet")
    assert words in cli.refused("actions", "alter", "greet", *arguments)


def test_several_are_changed_or_none(cli: CommandLine, routines: psycopg.Connection) -> None:
    _add(routines, "one")
    _add(routines, "two", check_config="app.check_word", config='{"word": "a"}')

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


def test_delete_keeps_the_history(cli: CommandLine, routines: psycopg.Connection) -> None:
    action_id = _add(routines, "greet")
    _add(routines, "other")
    run_id = _ended(routines, action_id, "success", "1 hour")
    assert (
        cli.ok("actions", "delete", "greet", "other") == "Deleted action 1000 (greet), action 1001 (other).\n"
    )
    assert cli.json("actions", "list", "--name", "greet") == []
    assert [run["id"] for run in cli.json("actions", "history", str(action_id))] == [run_id]
    assert "There is no action 'greet'" in cli.refused("actions", "history", "greet")


# Running


def test_run_shows_what_is_printed(cli: CommandLine, routines: psycopg.Connection) -> None:
    _add(routines, "greet", config='{"word": "hello"}', scheduled=False)
    first, second = cli.ok("actions", "run", "greet").splitlines()
    assert first == "NOTICE:  action 1000 says hello"
    assert second.startswith("Ran action 1000 (greet) in ")
    [run] = cli.json("actions", "history", "greet")
    assert (run["outcome"], run["by_hand"], run["action_id"]) == ("success", True, 1000)
    assert cli.json("actions", "run", "greet")["outcome"] == "success"


def test_a_run_has_the_settings_of_its_role(cli: CommandLine, routines: psycopg.Connection) -> None:
    routines.execute(
        "create procedure app.settings(integer, config jsonb) language plpgsql as "
        "$$ begin raise notice '%', interval '1 hour'; end $$"
    )
    _add(routines, "settings", "app.settings")
    assert cli.ok("actions", "run", "settings").startswith("NOTICE:  01:00:00\n")


def test_run_lets_a_procedure_commit(cli: CommandLine, routines: psycopg.Connection) -> None:
    _add(routines, "steps", "app.in_steps")
    cli.ok("actions", "run", "steps")
    assert routines.execute("select count(*) from app.steps").fetchone() == (0,)


def test_a_run_that_fails_ends_with_its_error(cli: CommandLine, routines: psycopg.Connection) -> None:
    _add(routines, "fail", "app.fail")
    done = cli.run("actions", "run", "fail")
    assert done.returncode == 1
    assert done.stdout == "NOTICE:  about to fail\n"
    assert "Error: the shop is closed. It is Sunday. Come back on Monday." in " ".join(done.stderr.split())
    assert done.stderr.startswith("Context: PL/pgSQL function fail(integer,jsonb) line 4 at RAISE\nError: ")
    [run] = cli.json("actions", "errors", "fail")
    assert (run["outcome"], run["message"], run["sqlstate"]) == ("failure", "the shop is closed", "P0001")


def test_an_error_without_a_message_has_its_code(cli: CommandLine, routines: psycopg.Connection) -> None:
    _add(routines, "mute", "app.say_nothing")
    assert "Error: It failed without a message (SQLSTATE P0001)." in cli.refused("actions", "run", "mute")


def test_a_run_whose_connection_ends_says_so(cli: CommandLine, routines: psycopg.Connection) -> None:
    action_id = _add(routines, "rude", "app.hang_up")
    said = cli.refused("actions", "run", "rude")
    assert "The connection ended while the action ran: terminating connection" in said
    assert f"tidemill actions history {action_id}" in said
    assert "Cannot reach the database" not in said


def test_run_shows_notices_as_they_come(cli: CommandLine, routines: psycopg.Connection) -> None:
    _add(routines, "wait", "app.wait")
    with routines.transaction():
        routines.execute("select pg_advisory_xact_lock(4711)")
        process = subprocess.Popen(
            [*PROGRAM, "actions", "run", "wait"],
            cwd=cli.directory,
            env=cli.environment(),
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "NOTICE:  before\n"
    shown, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert shown.startswith("NOTICE:  after\nRan action 1000 (wait) in ")


# History


def test_history_filters_and_shows_outputs(cli: CommandLine, routines: psycopg.Connection) -> None:
    one, two = _add(routines, "one"), _add(routines, "two")
    old = _ended(routines, one, "success", "3 days", output="NOTICE:  long ago")
    failed = _ended(routines, one, "failure", "2 hours", message="no\nway", sqlstate="P0001")
    crashed = _ended(routines, two, "worker_lost", "1 hour", message="the worker w was lost")
    skipped = _ended(routines, two, "skipped", "30 minutes", message="slots were missed")

    def ids(*arguments: str) -> list[int]:
        return [run["id"] for run in cli.json("actions", "history", *arguments)]

    assert ids() == [skipped, crashed, failed, old]
    assert ids("one") == [failed, old]
    assert ids("--outcome", "worker_lost") == [crashed]
    assert ids("--since", "1d") == [skipped, crashed, failed]
    assert ids("--since", (datetime.now(UTC) - timedelta(minutes=90)).isoformat()) == [skipped, crashed]
    assert ids("--limit", "1") == [skipped]
    assert "more than these 1" in cli.run("actions", "history", "--limit", "1").stderr
    assert "neither a duration nor a time" in cli.refused("actions", "history", "--since", "yore")
    assert [run["id"] for run in cli.json("actions", "errors")] == [crashed, failed]
    assert [run["id"] for run in cli.json("actions", "errors", "one", "--since", "1h")] == []

    table = cli.ok("actions", "history", "one")
    assert table.startswith("id\taction\tstarted_at\ttook\tby_hand\toutcome\tmessage\n")
    [line] = [line for line in table.splitlines() if line.startswith(f"{failed}\t")]
    assert line.startswith(f"{failed}\tapp.say [1000]\t")
    assert line.endswith("\t1.5 s\t\tfailure\tno")
    assert "long ago" not in table
    assert "  NOTICE:  long ago\n" in cli.ok("actions", "history", "one", "--output")


@pytest.mark.parametrize("command", ["list", "history", "errors"])
def test_a_limit_beyond_all_numbers_is_refused(cli: CommandLine, command: str) -> None:
    assert "less than or equal to 2147483647" in cli.refused("actions", command, "--limit", "9" * 20)


def test_a_run_that_goes_on_is_listed(cli: CommandLine, routines: psycopg.Connection) -> None:
    action_id = _add(routines, "one")
    routines.execute(
        "insert into tidemill._action_runs (action_id, application_name, owner, task, worker_id) "
        "values (%s, 'one [1000]', current_user::regrole, 't', 'w')",
        [action_id],
    )
    [run] = cli.json("actions", "history", "--outcome", "running")
    assert (run["outcome"], run["finished_at"], run["seconds"]) == ("running", None, None)
    assert cli.json("actions", "errors") == []


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


def test_others_are_told_whose_it_is(
    server: Server, database: str, routines: psycopg.Connection, tmp_path: Path
) -> None:
    _add(routines, "greet")
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
