"""A worker that is stopped while it starts: exit code 0, at once, and nothing is left half-done."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import LiteralString

import psycopg
import pytest

from tests.support.commands import PROGRAM, CommandLine
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

# A module that tells that it is being imported, and then takes its time.
SLOW = """
import time
from pathlib import Path

Path("importing").touch()
try:
    time.sleep(60)
except {caught}:
    pass
Path("imported").touch()

def task(payload): ...
"""


WAITING: LiteralString = """
select from pg_stat_activity
where datname = current_database() and wait_event_type = 'Lock' and pid <> pg_backend_pid()
"""


@contextmanager
def worker(cli: CommandLine, *options: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [*PROGRAM, "worker", *options],
        cwd=cli.directory,
        env=cli.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def until_it_imports(process: subprocess.Popen[str], cli: CommandLine) -> None:
    wait_until(lambda: (cli.directory / "importing").exists() or process.poll() is not None, "the import")


def until_it_waits(process: subprocess.Popen[str], connection: psycopg.Connection) -> None:
    """Waits until it waits for a lock."""
    wait_until(lambda: connection.execute(WAITING).rowcount or process.poll() is not None, "its statement")


def ends_well(process: subprocess.Popen[str]) -> str:
    """Stops it; returns what it said."""
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert "Traceback" not in said
    return said


# The second way is that of the full command line: a rare spelling.
@pytest.mark.parametrize("options", [["--once"], ["--once", "--concurrency", "010"]], ids=["plain", "typer"])
@pytest.mark.parametrize("caught", ["ZeroDivisionError", "BaseException"], ids=["heeded", "swallowed"])
def test_while_tasks_are_imported(cli: CommandLine, options: list[str], caught: str) -> None:
    (cli.directory / "tasks").mkdir()
    (cli.directory / "tasks" / "slow.py").write_text(SLOW.format(caught=caught))
    with worker(cli, *options) as process:
        until_it_imports(process, cli)
        ends_well(process)
    assert (cli.directory / "imported").exists() == (caught == "BaseException")


def test_while_an_app_is_imported(cli: CommandLine) -> None:
    (cli.directory / "shop.py").write_text(SLOW.format(caught="ZeroDivisionError"))
    with worker(cli, "--app", "shop:app") as process:
        until_it_imports(process, cli)
        ends_well(process)


def test_while_it_waits_to_migrate(cli: CommandLine, connection: psycopg.Connection, database: str) -> None:
    (cli.directory / "tasks").mkdir()
    (cli.directory / "tasks" / "hello.py").write_text("def task(payload): ...\n")
    # Its version is gone from the record: so it is to be laid again.
    connection.execute("update tidemill._installed set hash = 'other' where part = 'functions'")
    before = connection.execute("select * from tidemill._installed").fetchall()
    with psycopg.connect(database) as holder, worker(cli) as process:
        holder.execute("lock tidemill._migrations in share update exclusive mode")
        wait_until(
            lambda: connection.execute(WAITING).rowcount or process.poll() is not None, "the migration"
        )
        assert "stopped before it began" in ends_well(process)
    wait_until(lambda: connection.execute(WAITING).rowcount == 0, "its session to end")
    assert connection.execute("select * from tidemill._installed").fetchall() == before
    assert connection.execute("select from tidemill._workers").rowcount == 0


def test_while_it_registers(cli: CommandLine, connection: psycopg.Connection, database: str) -> None:
    (cli.directory / "tasks").mkdir()
    (cli.directory / "tasks" / "hello.py").write_text("def task(payload): ...\n")
    with psycopg.connect(database) as holder, worker(cli) as process:
        holder.execute("lock tidemill._workers in access exclusive mode")
        wait_until(
            lambda: connection.execute(WAITING).rowcount or process.poll() is not None, "it to register"
        )
        process.send_signal(signal.SIGTERM)
        holder.rollback()
        _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert "Traceback" not in said
    assert connection.execute("select from tidemill._workers").rowcount == 0
