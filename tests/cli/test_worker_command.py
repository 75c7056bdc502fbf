"""tidemill worker and tidemill workers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import psycopg
import pytest

from tests.support.commands import CommandLine
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

# Runs `tidemill worker` with a worker that only prints its crontab.
_TELL_THE_CRONTAB = """
import sys
import tidemill.worker
from tidemill.cli import worker_words
from tidemill.cli.run_worker import run_worker

class Worker:
    def __init__(self, app, options):
        self.options = options

    async def run(self, *, handle_signals):
        print(self.options.crontab)

tidemill.worker.Worker = Worker
run_worker(**worker_words.read(sys.argv[1:]))
"""


@pytest.fixture
def tasks(cli: CommandLine) -> CommandLine:
    """A task directory with a task that works, one in a folder, an executable, and a broken one."""
    folder = cli.directory / "tasks" / "users"
    folder.mkdir(parents=True)
    (cli.directory / "tasks" / "hello.py").write_text(
        "from pathlib import Path\n\ndef task(payload):\n    Path('said').write_text(payload['name'])\n"
    )
    (folder / "verify.py").write_text(
        "async def verify(payload, job):\n    job.logger.info('verified %s', job.id)\n"
    )
    (cli.directory / "tasks" / "broken.py").write_text("import not_there\n")
    program = cli.directory / "tasks" / "shout"
    program.write_text('#!/bin/sh\necho "cannot shout" >&2\nexit 3\n')
    program.chmod(0o755)
    return cli


def test_once_runs_what_is_ready_and_ends(tasks: CommandLine, connection: psycopg.Connection) -> None:
    tasks.ok("add", "hello", '{"name": "Ann"}')
    tasks.ok("add", "users/verify")
    tasks.ok("add", "shout")
    tasks.ok("add", "broken")
    done = tasks.run("worker", "--once", "--log-format", "json")
    assert done.returncode == 0
    assert (tasks.directory / "said").read_text() == "Ann"
    assert "broken.py does not import: ModuleNotFoundError: No module named 'not_there'" in " ".join(
        done.stderr.split()
    )
    logged = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    assert any(line.get("task") == "users/verify" and line["message"] == "verified 2" for line in logged)
    left = connection.execute(
        "select identifier, state, last_error from tidemill.jobs order by id"
    ).fetchall()
    assert left == [
        ("shout", "scheduled", "shout ended with exit code 3: cannot shout"),
        ("broken", "ready", None),
    ]


def test_an_app_in_a_module(cli: CommandLine, connection: psycopg.Connection) -> None:
    (cli.directory / "shop.py").write_text(
        "from tidemill import App\n\njobs = App()\n\n@jobs.task\nasync def ship(payload): ...\n"
    )
    cli.ok("add", "ship")
    cli.ok("worker", "--app", "shop:jobs", "--once")
    assert connection.execute("select count(*) from tidemill.jobs").fetchone() == (0,)
    assert "has no App called 'app'" in cli.refused("worker", "--app", "shop", "--once")
    assert "does not import" in cli.refused("worker", "--app", "shopp", "--once")


@pytest.mark.skipif(find_spec("uvloop") is None, reason="uvloop is not installed")
def test_it_runs_on_uvloop(cli: CommandLine) -> None:
    (cli.directory / "shop.py").write_text(
        "import asyncio\nimport uvloop\nfrom tidemill import App\n\napp = App()\n\n"
        "@app.task\nasync def tell(payload):\n"
        "    print(type(asyncio.get_running_loop()).__module__, flush=True)\n\n"
        "if __name__ == '__main__':\n    uvloop.run(app.run_until_empty())\n"
    )
    cli.ok("add", "tell")
    assert cli.ok("worker", "--app", "shop", "--once") == "uvloop\n"
    cli.ok("add", "tell")
    own = [sys.executable, "shop.py"]
    done = subprocess.run(own, cwd=cli.directory, env=cli.environment(), capture_output=True, check=True)
    assert done.stdout == b"uvloop\n"


def test_a_worker_without_tasks_runs_actions_alone(cli: CommandLine, connection: psycopg.Connection) -> None:
    connection.execute("create table seen (config jsonb)")
    connection.execute(
        "create procedure note(action_id integer, config jsonb) language sql"
        " as 'insert into seen values (config)'"
    )
    connection.execute("select tidemill.add_action('note', '1 hour', '{\"a\": 1}')")
    done = cli.run("worker", "--once")
    assert done.returncode == 0
    assert "there are no tasks: this worker runs actions alone. Make a directory ./tasks" in done.stderr
    assert connection.execute("select config from seen").fetchall() == [({"a": 1},)]


def test_what_has_no_task_and_should(cli: CommandLine) -> None:
    assert "The task directory 'jobs' does not exist" in cli.refused("worker", "--once", "--tasks", "jobs")
    assert "There are no tasks, and with --action-concurrency 0" in cli.refused(
        "worker", "--once", "--action-concurrency", "0"
    )
    (cli.directory / "tasks").mkdir()
    assert "has no task that loads" in cli.refused("worker", "--once")
    assert "at least two heartbeats" not in cli.refused("worker", "--once", "--lease", "1")


def test_a_crontab_that_cannot_be_read(tasks: CommandLine) -> None:
    assert "'nowhere' cannot be read: No such file or directory." in tasks.refused(
        "worker", "--crontab", "nowhere"
    )
    (tasks.directory / "crontab").write_text("# none\n* * * * hello\n")
    assert "crontab: Could not process line '2' of crontab: '* * * * hello'" in tasks.refused("worker")
    # It has no minutes to wait for.
    tasks.ok("worker", "--once")
    assert "--crontab has no effect with --once" in tasks.refused("worker", "--once", "--crontab", "crontab")


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("", "crontab"),
        ("--tasks tasks", "crontab"),
        ("--tasks deep/tasks", "deep/crontab"),
        ("--tasks deep/tasks --app shop", "deep/crontab"),
        ("--app shop", "crontab"),
        ("--app shop --crontab mine", "mine"),
        ("--tasks other/tasks", None),
    ],
)
def test_where_the_crontab_is(tmp_path: Path, words: str, found: str | None) -> None:
    for place in ("tasks", "deep/tasks", "other/tasks"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "hello.py").write_text("def task(payload): ...\n")
    (tmp_path / "crontab").touch()
    (tmp_path / "deep/crontab").touch()
    (tmp_path / "other/crontab").mkdir()
    (tmp_path / "shop.py").write_text("from tidemill import App\napp = App()\n")
    told = subprocess.run(
        [sys.executable, "-c", _TELL_THE_CRONTAB, *words.split()],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert told.stdout == f"{found}\n"


def test_files_that_everybody_can_write_are_not_obeyed(tmp_path: Path) -> None:
    cli = CommandLine(tmp_path, "dbname=never_reached")
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks/hello.py").write_text("raise SystemExit('it was run')\n")
    (tmp_path / "tasks").chmod(0o777)
    assert "tasks can be written by every user of this machine" in cli.refused("worker")
    (tmp_path / "tasks").chmod(0o755)
    (tmp_path / "tasks/hello.py").write_text("def task(payload): ...\n")
    (tmp_path / "crontab").touch()
    (tmp_path / "crontab").chmod(0o666)
    refused = cli.refused("worker")
    assert "chmod o-w crontab, or name it: --crontab crontab" in refused


@pytest.mark.parametrize("words", [(), ("--app", "shop")])
def test_modules_in_a_directory_that_everybody_can_write(cli: CommandLine, words: tuple[str, ...]) -> None:
    (cli.directory / "hello.py").write_text("raise SystemExit('imported')\n")
    (cli.directory / "shop.py").write_text("from tidemill import App\napp = App()\n")
    tasks = cli.directory / "own" / "tasks"
    tasks.mkdir(parents=True)
    (tasks / "greet.py").write_text("import hello\ndef task(payload): ...\n")
    cli.directory.chmod(0o1777)
    done = cli.run("worker", "--once", "--tasks", "own/tasks", *words)
    # A named app is looked for there all the same.
    assert (f"{cli.directory} can be written by every user of this machine" in done.stderr) != bool(words)
    assert ("imported" in done.stderr) == bool(words)
    assert ("No module named 'hello'" in done.stderr) != bool(words)


def test_tasks_with_schedules_become_actions(cli: CommandLine, connection: psycopg.Connection) -> None:
    folder = cli.directory / "tasks"
    folder.mkdir()
    source = "from tidemill import task\n@task({})\ndef rollup(payload): ...\n"
    (folder / "rollup.py").write_text(source.format("cron='30 4 * * 1', timezone='Europe/Berlin'"))
    cli.ok("worker", "--once")
    declared = "select name, task, schedule, timezone from tidemill.actions where task is not null"
    assert connection.execute(declared).fetchall() == [("rollup", "rollup", "30 4 * * 1", "Europe/Berlin")]
    (folder / "rollup.py").write_text(source.format("cron='30 4 * * 1', timezone='Mars'"))
    assert "The schedule of task 'rollup' is refused: time zone \"Mars\"" in cli.refused("worker", "--once")
    (folder / "rollup.py").write_text(source.format(""))
    cli.ok("worker", "--once")
    assert connection.execute(declared).fetchall() == []


@pytest.fixture
def running(tasks: CommandLine) -> Iterator[subprocess.Popen[str]]:
    assert tasks.database is not None
    process = subprocess.Popen(
        [sys.executable, "-c", "from tidemill.cli import main; main()", "worker"],
        cwd=tasks.directory,
        env={**os.environ, "DATABASE_URL": tasks.database},
        stderr=subprocess.PIPE,
        text=True,
    )
    yield process
    process.kill()
    process.communicate()


def test_workers_are_listed_and_stop_on_sigterm(
    tasks: CommandLine, connection: psycopg.Connection, running: subprocess.Popen[str]
) -> None:
    wait_until(lambda: connection.execute("select from tidemill.workers").fetchall(), "the worker")
    [worker] = tasks.json("workers")
    assert (worker["state"], worker["pid"]) == ("running", running.pid)
    assert worker["tasks"] == ["hello", "shout", "users/verify"]
    assert "running" in tasks.ok("workers")

    tasks.ok("add", "hello", '{"name": "Bob"}')
    wait_until(
        lambda: connection.execute("select count(*) = 0 from tidemill.jobs").fetchone() == (True,), "the job"
    )
    running.send_signal(signal.SIGTERM)
    assert running.wait(30) == 0
    assert tasks.json("workers") == []
