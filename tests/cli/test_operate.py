"""tidemill doctor, bulk, cleanup, tasks, queues and up, and names that the Tab key completes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
import typer
from psycopg.conninfo import make_conninfo

from tests.cli.actions import add_action
from tests.support.commands import PROGRAM, CommandLine
from tests.support.servers import Server
from tests.support.waiting import wait_until
from tidemill.cli import command_line, completion
from tidemill.database.doctor import CHECKS

_SPAWN = """
import os, pty, sys
code = pty.spawn([sys.executable, '-c', 'from tidemill.cli import main; main()', *sys.argv[1:]])
sys.exit(os.waitstatus_to_exitcode(code))
"""


@contextmanager
def running(cli: CommandLine, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A command that goes on, with its stderr in the file `told`."""
    with (cli.directory / "told").open("w") as told:
        process = subprocess.Popen(
            [*PROGRAM, *arguments], cwd=cli.directory, env=cli.environment(), stderr=told, text=True
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def answered(cli: CommandLine, answer: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs a command on a terminal where somebody answers."""
    (cli.directory / "spawn.py").write_text(_SPAWN)
    return cli.shell(f"echo {answer} | TERM=xterm {sys.executable} spawn.py {' '.join(arguments)}")


@pytest.mark.slow
def test_the_doctors_exit_code_is_for_monitors(cli: CommandLine, database: str) -> None:
    assert cli.ok("doctor") == f"All {len(CHECKS)} checks passed.\n"
    cli.ok("add", "x")
    done = cli.run("doctor", "--json")
    assert (done.returncode, [each["code"] for each in json.loads(done.stdout)["findings"]]) == (
        1,
        ["no_worker"],
    )
    assert cli.json("doctor", "--ignore", "no_worker")["ok"] is True
    assert "there is no check 'no-worker'" in cli.refused("doctor", "--ignore", "no-worker")

    nowhere = CommandLine(cli.directory, database.replace("port=", "port=1"))
    gone = nowhere.run("doctor", "--json")
    assert (gone.returncode, json.loads(gone.stdout)["ok"]) == (2, False)
    assert "Cannot reach the database" in gone.stderr


@pytest.mark.slow
def test_a_doctor_who_may_not_see_all_is_not_green(
    server: Server, database: str, connection: psycopg.Connection, tmp_path: Path
) -> None:
    with server.role() as name:
        connection.execute("select tidemill.grant_role('producer', %s::regrole)", [name])
        reader = CommandLine(tmp_path, make_conninfo(database, user=name))
        told = reader.run("doctor")
        assert told.returncode == 3
        assert f" of {len(CHECKS)} checks passed; " in told.stdout
        assert f"tidemill grant reader TO {name} adds some" in told.stdout
        assert f"Not checked, as {name} lacks the right: " in told.stderr
        connection.execute("select tidemill.grant_role('reader', %s::regrole)", [name])
        report = json.loads(reader.run("doctor", "--json").stdout)
        assert (report["ok"], report["all"]) == (False, len(CHECKS))
        assert report["made"] == len(CHECKS) - len(report["not_checked"]) > 8
        # A monitor leaves out what it means to.
        ignored = [word for check in report["not_checked"] for word in ("--ignore", check["code"])]
        assert "checks passed" in reader.ok("doctor", *ignored)


@pytest.mark.slow
def test_an_operator_needs_not_be_the_owner(
    server: Server, database: str, connection: psycopg.Connection, tmp_path: Path
) -> None:
    connection.execute("select tidemill.add_job('x') from generate_series(1, 3)")
    with server.role() as name:
        operator = CommandLine(tmp_path, make_conninfo(database, user=name))
        connection.execute("select tidemill.grant_role('reader', %s::regrole)", [name])
        commands = (
            ["jobs", "cancel", "--task", "x", "--yes"],
            ["bulk", "run", "1"],
            ["cleanup", "--failed-after", "0s", "--yes"],
            ["limits", "set", "mailer", "--concurrency", "3"],
        )
        assert operator.json("bulk") == []
        connection.execute("select tidemill.begin_bulk_act('remove', '{\"task\": \"none\"}')")
        for command in commands:
            assert f"tidemill grant operator TO {name}" in operator.refused(*command)
        connection.execute("select tidemill.grant_role('operator', %s::regrole)", [name])
        for command, words in zip(
            commands, ("3 of 3 jobs changed", "0 of 0 jobs", "3 jobs that had", "mailer is set"), strict=True
        ):
            assert words in operator.ok(*command)
        assert {row["asked_by"] for row in operator.json("bulk")} == {"tidemill_owner", name}


@pytest.mark.slow
def test_a_filter_asks_on_a_terminal(cli: CommandLine, connection: psycopg.Connection) -> None:
    cli.ok("add", "x")
    declined = answered(cli, "n", "jobs", "remove", "--task", "x")
    assert (declined.returncode, "Remove 1 job? [y/N]" in declined.stdout) == (1, True)
    assert cli.json("bulk")[0]["state"] == "aborted"
    assert "Removing: 1 of 1 jobs changed." in answered(cli, "y", "jobs", "remove", "--task", "x").stdout
    assert cli.json("jobs") == []
    # There is nothing to ask.
    assert "0 of 0 jobs" in answered(cli, "", "jobs", "remove", "--task", "x").stdout


@pytest.mark.slow
@pytest.mark.parametrize("also", ["", "--json"])
def test_without_a_terminal_it_takes_yes(cli: CommandLine, connection: psycopg.Connection, also: str) -> None:
    """Whatever a pipe says."""
    connection.execute("select tidemill.add_job('x')")
    for command in ("jobs cancel --task x", "cleanup --failed-after 0s"):
        done = cli.shell(f'echo y | "$@" {command} {also}')
        assert (done.returncode, done.stdout) == (1, "")
        assert "there is no terminal to ask on; confirm with --yes" in " ".join(done.stderr.split())
    assert cli.json("bulk") == []
    assert [job["state"] for job in cli.json("jobs")] == ["ready"]


@pytest.mark.slow
@pytest.mark.parametrize("also", ["", " --json"])
def test_a_question_without_an_answer_leaves_no_plan(
    cli: CommandLine, connection: psycopg.Connection, also: str
) -> None:
    connection.execute("select tidemill.add_job('x')")
    # The end of the input, as Ctrl-D sends it.
    ended = answered(cli, "-ne '\\004'", "jobs", "remove", "--task", f"x{also}")
    assert (ended.returncode, "Remove 1 job? [y/N]" in ended.stdout) == (1, True)
    assert [act["state"] for act in cli.json("bulk")] == ["aborted"]


@pytest.mark.slow
def test_a_typo_in_a_filter_is_told(cli: CommandLine, connection: psycopg.Connection) -> None:
    connection.execute("select tidemill.add_job('send_mail', queue_name => 'letters')")
    for words in ("list", "cancel --yes", "history"):
        told = cli.run("jobs", *words.split(), "--task", "send_mial")
        assert told.returncode == 0
        assert 'No task has the name "send_mial". Is send_mail meant?' in told.stderr
    told = cli.run("jobs", "list", "--queue", "lettres")
    assert 'No job is in a queue of the name "lettres". Is letters meant?' in told.stderr
    # One that is known has none just now, which is no mistake.
    assert "has the name" not in cli.run("jobs", "--task", "send_mail", "--state", "failed").stderr


@pytest.mark.slow
def test_a_bulk_act_is_stopped_and_gone_on_with(cli: CommandLine, connection: psycopg.Connection) -> None:
    connection.execute(
        "select count(*) from tidemill.add_jobs(array("
        "select row('x', null, null, null, null, null, null, null)::tidemill.job_spec"
        " from generate_series(1, 3000)))"
    )
    # A gate between its plan and its first step.
    connection.execute(
        "create function tidemill.wait() returns trigger language plpgsql"
        " as $$ begin perform pg_catalog.pg_advisory_xact_lock(7); return new; end $$;"
        "create trigger wait before update on tidemill._bulk_acts"
        " for each row execute function tidemill.wait()"
    )
    with running(cli, "jobs", "cancel", "--task", "x", "--yes") as process:
        with connection.transaction():
            connection.execute("select pg_advisory_xact_lock(7)")
            wait_until(
                lambda: connection.execute("select from pg_locks where not granted").fetchall(),
                "the first step",
            )
            process.send_signal(signal.SIGINT)
            told = cli.directory / "told"
            wait_until(lambda: "Stopping after the batch in work" in told.read_text(), "the note")
        assert process.wait(30) == 130
    assert "Stopped. Go on with: tidemill bulk run 1" in told.read_text()
    [act] = cli.json("bulk")
    assert (act["state"], act["changed"]) == ("running", 1000)
    assert len(cli.json("bulk", "run", "1")["changed"]) == 2000
    assert "There is no bulk act 7" in cli.refused("bulk", "run", "7")
    assert "there is no bulk act 7; see them with" in cli.refused("bulk", "abort", "7")


@pytest.mark.slow
def test_tasks_queues_and_cleanup(cli: CommandLine, connection: psycopg.Connection) -> None:
    cli.ok("add", "x", "--queue", "q")
    cli.ok("add", "x", "--in", "1h")
    connection.execute("select tidemill._register_worker('w', 'host', 1, '0', 4, '{x,y}', '1 hour')")
    tasks = cli.json("tasks")
    assert [(row["task"], row["workers"], row["ready"], row["scheduled"]) for row in tasks["tasks"]] == [
        ("x", 1, 1, 1),
        ("y", 1, 0, 0),
    ]
    assert (tasks["jobs_counted"], tasks["tasks"][1]["oldest_ready"]) == (None, None)
    [queue] = cli.json("queues")["queues"]
    assert (queue["queue"], queue["ready"], queue["worker"]) == ("q", 1, None)

    cli.ok("jobs", "cancel", "--queue", "q", "--yes")
    assert "Aborted" in answered(cli, "n", "cleanup", "--failed-after", "0s").stdout
    done = cli.json("cleanup", "--failed-after", "0s", "--yes")
    assert done == {"jobs": 1, "queues": 1, "queues_left_because": None}


@pytest.mark.slow
def test_an_action_is_found_by_what_it_runs(cli: CommandLine, routines: psycopg.Connection) -> None:
    first = add_action(routines)
    named = add_action(routines, "say", "app.fail")
    assert cli.json("actions", "show", "app.say")["id"] == first
    assert cli.json("actions", "show", "fail")["id"] == named
    # Names come before routines.
    assert cli.json("actions", "show", "say")["id"] == named
    add_action(routines)
    assert f"2 actions run 'app.say': give one of the ids {first}" in cli.refused(
        "actions", "pause", "app.say"
    )


def test_names_are_completed(database: str, routines: psycopg.Connection) -> None:
    context = typer.Context(typer.main.get_command(command_line(["doctor"])))
    top = typer.main.get_command(command_line(["top"])).commands["top"]  # type: ignore[attr-defined]
    context.params = {"database": database}
    routines.execute(
        "select tidemill.add_job('send_mail', queue_name => 'mail'), tidemill.add_job('with space')"
    )
    routines.execute("select tidemill._register_worker('w', 'host', 1, '0', 4, '{send_fax}', '1 hour')")
    add_action(routines, "nightly")
    add_action(routines)
    assert completion.tasks(context, "") == ["send_fax", "send_mail"]
    assert completion.tasks(context, "send_m") == ["send_mail"]
    [named] = [option for option in top.params if option.name == "task"]
    assert [item.value for item in named.shell_complete(context, "send_m")] == ["send_mail"]
    assert completion.queues(context, "") == ["mail"]
    assert completion.actions(context, "") == ["app.say", "nightly"]
    routines.execute(
        "select tidemill.set_limit('mailer', 5), tidemill.begin_bulk_act('remove', '{\"task\": \"x\"}')"
    )
    assert completion.workers(context, "") == ["w"]
    assert completion.limits(context, "m") == ["mailer"]
    assert completion.bulk_acts(context, "") == ["1"]
    assert completion.checks("no_w") == ["no_worker"]
    for kind, names in (("task", ["send_fax", "send_mail"]), ("queue", ["mail"]), ("all", [])):
        context.params["kind"] = kind
        assert completion.pausable(context, "") == names


def test_nothing_is_started_to_complete_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DATABASE_URL", raising=False)
    context = typer.Context(typer.main.get_command(command_line(["doctor"])))
    assert completion.tasks(context, "") == []
    assert list(tmp_path.iterdir()) == []
    context.params = {"database": "host=/nowhere"}
    assert completion.tasks(context, "") == []


@pytest.mark.slow
def test_up_welcomes_once(cli: CommandLine, connection: psycopg.Connection) -> None:
    (cli.directory / "tasks").mkdir()
    task = cli.directory / "tasks/hello.py"
    task.write_text("def task(to: str, copies: int, note: str = ''): pass\n")
    with running(cli, "up", "--reload") as process:
        told = cli.directory / "told"
        wait_until(lambda: "It ends by Ctrl-C." in told.read_text(), "the welcome")
        assert """ add hello '{"to": "you", "copies": 1}'\n""" in told.read_text()
        task.write_text("def task(payload:\n")
        wait_until(lambda: "SyntaxError" in told.read_text(), "the mistake to be told")
        cli.ok("add", "hello", '{"to": "you", "copies": 1}')
        task.write_text("def task(payload): pass\n")
        wait_until(lambda: not connection.execute("select from tidemill.jobs").fetchall(), "the job")
        assert told.read_text().count("It ends by Ctrl-C.") == 1
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


@pytest.mark.slow
def test_up_brings_everything_up(cli: CommandLine, connection: psycopg.Connection) -> None:
    (cli.directory / "tasks").mkdir()
    (cli.directory / "tasks/hello.py").write_text("def task(payload): pass\n")
    with running(cli, "up") as process:
        told = cli.directory / "told"
        wait_until(lambda: "It ends by Ctrl-C." in told.read_text(), "the welcome")
        assert " add hello '{}'\n" in told.read_text()
        cli.ok("add", "hello")
        wait_until(lambda: not connection.execute("select from tidemill.jobs").fetchall(), "the job")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
