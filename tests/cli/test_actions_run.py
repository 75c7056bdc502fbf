"""tidemill actions run."""

from __future__ import annotations

import subprocess

import psycopg
import pytest

from tests.cli.actions import add_action
from tests.support.commands import PROGRAM, CommandLine


@pytest.mark.slow
def test_run_shows_what_is_printed(cli: CommandLine, routines: psycopg.Connection) -> None:
    add_action(routines, "greet", config='{"word": "hello"}', scheduled=False)
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
    add_action(routines, "settings", "app.settings")
    assert cli.ok("actions", "run", "settings").startswith("NOTICE:  01:00:00\n")


def test_run_lets_a_procedure_commit(cli: CommandLine, routines: psycopg.Connection) -> None:
    add_action(routines, "steps", "app.in_steps")
    cli.ok("actions", "run", "steps")
    assert routines.execute("select count(*) from app.steps").fetchone() == (0,)


@pytest.mark.slow
def test_a_run_that_fails_ends_with_its_error(cli: CommandLine, routines: psycopg.Connection) -> None:
    add_action(routines, "fail", "app.fail")
    done = cli.run("actions", "run", "fail")
    assert done.returncode == 1
    assert done.stdout == "NOTICE:  about to fail\n"
    assert "Error: the shop is closed. It is Sunday. Come back on Monday." in " ".join(done.stderr.split())
    assert done.stderr.startswith("Context: PL/pgSQL function fail(integer,jsonb) line 4 at RAISE\nError: ")
    [run] = cli.json("actions", "errors", "fail")
    assert (run["outcome"], run["message"], run["sqlstate"]) == ("failure", "the shop is closed", "P0001")


def test_an_error_without_a_message_has_its_code(cli: CommandLine, routines: psycopg.Connection) -> None:
    add_action(routines, "mute", "app.say_nothing")
    assert "Error: It failed without a message (SQLSTATE P0001)." in cli.refused("actions", "run", "mute")


def test_a_run_whose_connection_ends_says_so(cli: CommandLine, routines: psycopg.Connection) -> None:
    action_id = add_action(routines, "rude", "app.hang_up")
    said = cli.refused("actions", "run", "rude")
    assert "The connection ended while the action ran: terminating connection" in said
    assert f"tidemill actions history {action_id}" in said
    assert "Cannot reach the database" not in said


def test_run_shows_notices_as_they_come(cli: CommandLine, routines: psycopg.Connection) -> None:
    add_action(routines, "wait", "app.wait")
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
