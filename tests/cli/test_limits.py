"""tidemill limits: list, set, remove."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import psycopg
import pytest

from tests.support.commands import CommandLine
from tests.support.terminal import Terminal
from tidemill.cli.output import in_units
from tidemill.retry import in_seconds


@pytest.mark.slow
def test_limits_are_set_listed_and_removed(cli: CommandLine) -> None:
    assert cli.ok("limits", "set", "mailer", "--concurrency", "5") == "The limit mailer is set.\n"
    assert cli.json("limits", "set", "api", "--rate", "100/1m", "--burst", "7", "--per", "customer.id") == {
        "set": "api"
    }
    cli.ok("add", "send", "--limit", "mailer")
    rows = cli.json("limits")
    assert all(row.pop("changed_at") for row in rows)
    assert rows == [
        {"name": "api", "task": None, "concurrency": None, "rate": 100, "period": "00:01:00", "burst": 7}
        | {"per": "customer.id", "in_use": 0, "waiting": 0, "tasks": []},
        {"name": "mailer", "task": None, "concurrency": 5, "rate": None, "period": None, "burst": None}
        | {"per": None, "in_use": 0, "waiting": 1, "tasks": ["send"]},
    ]
    assert cli.ok("limits").splitlines() == [
        "name\tkind\tat once\trate\tper\tin_use\twaiting\ttasks",
        "api\tnamed\t\t100/1m\tcustomer.id\t0\t0\t",
        "mailer\tnamed\t5\t\t\t0\t1\tsend",
    ]
    assert 'no limit "nobody\'s"' in cli.refused("add", "send", "--limit", "nobody's")
    assert "is no rate" in cli.run("limits", "set", "x", "--rate", "100").stderr
    assert "concurrency 0 of limit" in cli.refused("limits", "set", "x", "--concurrency", "0")
    assert "limits nothing" in cli.refused("limits", "set", "x")
    assert cli.ok("limits", "remove", "mailer") == "The limit mailer is removed.\n"
    assert 'there is no limit "mailer"' in cli.refused("limits", "remove", "mailer")


@pytest.mark.slow
def test_the_limit_of_a_tasks_code(cli: CommandLine, connection: psycopg.Connection) -> None:
    """It is told from those with a name, and the table fits a terminal."""
    cli.ok("limits", "set", "export", "--rate", "100/minute")
    code = {"export": {"rate": 30, "period": "90 seconds", "field": "customer.id"}}
    connection.execute("select from tidemill._declare_limits(%s)", [json.dumps(code)])
    told = cli.run("limits", "set", "export", "--concurrency", "3", "--rate", "1000/hour")
    assert told.stdout == "The limit export is set.\n"
    assert told.stderr.startswith('Note: task "export" has a limit of its own')
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    terminal = Terminal(cli.directory, {**cli.environment(), "PATH": programs})
    assert [line.split() for line in terminal.run("COLUMNS=80 tidemill limits").splitlines()] == [
        ["name", "kind", "at", "once", "rate", "per", "in", "use", "waiting"],
        ["export", "named", "3", "1000/1h", "0", "0"],
        ["export", "task's", "own", "30/1m30s", "customer.id", "0", "0"],
    ]
    cli.ok("limits", "remove", "export")
    assert "in its code" in cli.refused("limits", "set", "export", "--concurrency", "3")
    assert "@app.task(limit=...)" in cli.refused("limits", "remove", "export")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.5, "500ms"), (1, "1s"), (60, "1m"), (5430.25, "1h30m30s250ms"), (604800, "7d")],
)
def test_times_in_short(seconds: float, text: str) -> None:
    assert in_units(seconds) == text
    assert in_seconds(text) == seconds
