"""tidemill actions: list, show, next, history, errors."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import psycopg
import pytest

from tests.cli.actions import add_action, add_run
from tests.support.commands import CommandLine

# Finding


@pytest.mark.slow
def test_names_and_ids_find_actions(cli: CommandLine, routines: psycopg.Connection) -> None:
    for name in ("one", "two", "two", "1000"):
        add_action(routines, name)
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


@pytest.mark.slow
def test_list_filters_and_limits(cli: CommandLine, routines: psycopg.Connection) -> None:
    add_action(routines, "one")
    add_action(routines, "two", scheduled=False)
    add_action(routines, None, initial_start=datetime(2031, 1, 1, tzinfo=UTC))
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


@pytest.mark.slow
def test_starts_at_no_time_are_words(cli: CommandLine, routines: psycopg.Connection) -> None:
    drifting, never = add_action(routines, fixed_schedule=False), add_action(routines)
    routines.execute("select tidemill.alter_action(%s, next_start => 'infinity')", [never])
    assert [row["next_start"] for row in cli.json("actions") if row["id"] >= 1000] == [
        None,
        "infinity",
    ]
    shown = cli.ok("actions").splitlines()
    assert "\tat once\t" in next(line for line in shown if line.startswith(f"{drifting}\t"))
    assert "\tnever\t" in next(line for line in shown if line.startswith(f"{never}\t"))
    assert cli.json("actions", "next", str(never)) == []


@pytest.mark.slow
def test_names_cannot_steer_the_terminal(cli: CommandLine, routines: psycopg.Connection) -> None:
    add_action(routines, "\x1b[31mred")
    assert "\\x1b[31mred" in cli.ok("actions")
    assert cli.ok("actions", "pause", "1000") == "Paused action 1000 (\\x1b[31mred).\n"


@pytest.mark.slow
def test_what_python_cannot_hold_is_shown(cli: CommandLine, routines: psycopg.Connection) -> None:
    digits = "9" * 5000
    add_action(routines, config=f'{{"n": {digits}}}')
    routines.execute("select tidemill.alter_action(1000, next_start => '20000-01-01 00:00+00')")
    routines.execute("update tidemill._actions set initial_start = '4000-01-01 00:00+00 BC' where id = 1000")
    add_run(routines, 1000, "success", "1 hour", config=f'{{"n": {digits}}}', slot="20000-01-01 00:00+00")
    shown = cli.ok("actions", "show", "1000", "--json")
    assert digits in shown
    assert '"next_start": "9999-12-30T00:00:00Z"' in shown
    assert digits in cli.ok("actions", "show", "1000")
    assert digits in cli.ok("actions", "history", "--json")
    assert "Sat 20000-01-01 00:00:00 UTC" in cli.ok("actions", "next", "1000", "-n", "1")


@pytest.mark.slow
def test_show_has_the_definition_and_the_last_runs(cli: CommandLine, routines: psycopg.Connection) -> None:
    action_id = add_action(routines, "greet", config='{"word": "hello"}', timezone="Europe/Berlin")
    for number in range(6):
        add_run(routines, action_id, "success", f"{10 - number} hours", output=f"NOTICE:  hello {number}")
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_next_tells_the_starts_of_an_action(cli: CommandLine, routines: psycopg.Connection) -> None:
    add_action(routines, "greet", initial_start=datetime(2031, 1, 1, 12, tzinfo=UTC), timezone="Asia/Kolkata")
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
        (["--cron", "0 5 * * *", "--timezone", "UTC+2"], "use Etc/GMT-2;"),
        ([], "give an action or --cron LINE"),
        (["x", "--cron", "* * * * *"], "give an action or --cron LINE"),
        (["x", "--timezone", "UTC"], "--timezone goes with --cron"),
        (["--cron", "* * *"], "* * *"),
        (["--cron", "* * * * *", "--timezone", "Mars/Base"], "Mars/Base"),
    ],
)
def test_next_refuses(cli: CommandLine, arguments: list[str], words: str) -> None:
    assert words in cli.refused("actions", "next", *arguments)


# History


@pytest.mark.slow
def test_history_filters_and_shows_outputs(cli: CommandLine, routines: psycopg.Connection) -> None:
    one, two = add_action(routines, "one"), add_action(routines, "two")
    old = add_run(routines, one, "success", "3 days", output="NOTICE:  long ago")
    failed = add_run(routines, one, "failure", "2 hours", message="no\nway", sqlstate="P0001")
    crashed = add_run(routines, two, "worker_lost", "1 hour", message="the worker w was lost")
    skipped = add_run(routines, two, "skipped", "30 minutes", message="slots were missed")

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


@pytest.mark.slow
def test_a_run_that_goes_on_is_listed(cli: CommandLine, routines: psycopg.Connection) -> None:
    action_id = add_action(routines, "one")
    routines.execute(
        "insert into tidemill._action_runs (action_id, application_name, owner, task, worker_id) "
        "values (%s, 'one [1000]', current_user::regrole, 't', 'w')",
        [action_id],
    )
    [run] = cli.json("actions", "history", "--outcome", "running")
    assert (run["outcome"], run["finished_at"], run["seconds"]) == ("running", None, None)
    assert cli.json("actions", "errors") == []


def test_actions_and_history_of_an_owner_that_was_dropped(
    cli: CommandLine, connection: psycopg.Connection, superuser_conninfo: str
) -> None:
    with psycopg.connect(superuser_conninfo, autocommit=True) as superuser:
        superuser.execute("create role leaver login")
        superuser.execute("select tidemill.grant_actions('leaver')")
        superuser.execute("set role leaver")
        superuser.execute(
            "select tidemill.add_action(task => 't', schedule_interval => '1 h', name => 'left')"
        )
        superuser.execute("reset role")
        connection.execute("select tidemill._enqueue_actions(9)")
        superuser.execute("drop owned by leaver")
        superuser.execute("drop role leaver")
    [run] = cli.json("actions", "history", "left")
    assert (run["outcome"], run["owner"].isdecimal()) == ("success", True)
    assert "left" in cli.ok("actions", "show", "left")
    connection.execute("select tidemill._sweep_runs()")
    [found] = [row for row in cli.json("actions") if row["name"] == "left"]
    assert (found["state"], found["owner"]) == ("paused", run["owner"])
    cli.ok("actions", "alter", "left", "--owner", connection.info.user)
    cli.ok("actions", "resume", "left")
    [found] = [row for row in cli.json("actions") if row["name"] == "left"]
    assert (found["state"], found["owner"]) == ("scheduled", connection.info.user)
