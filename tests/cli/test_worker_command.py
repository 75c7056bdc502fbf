"""tidemill worker and tidemill workers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import psycopg
import pytest

from tests.support.commands import CommandLine
from tests.support.waiting import wait_until


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


def test_worker_without_tasks_says_what_to_do(cli: CommandLine) -> None:
    assert "The task directory 'tasks' does not exist" in cli.refused("worker", "--once")
    (cli.directory / "tasks").mkdir()
    assert "has no task that loads" in cli.refused("worker", "--once")
    assert "at least two heartbeats" not in cli.refused("worker", "--once", "--lease", "1")


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
