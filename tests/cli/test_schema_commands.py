"""tidemill migrate, dialect, uninstall, psql; and what everybody meets first."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from tests.support.commands import CommandLine

pytestmark = pytest.mark.slow


def test_migrate_twice_and_dry(empty_database: str, tmp_path: Path) -> None:
    cli = CommandLine(tmp_path, empty_database)
    assert "has no Tidemill schema yet. Run `tidemill migrate`" in cli.refused("jobs")

    dry = cli.ok("migrate", "--dry-run")
    assert "create table tidemill._jobs" in dry
    with psycopg.connect(empty_database) as connection:
        assert connection.execute("select to_regnamespace('tidemill')").fetchone() == (None,)

    first = cli.ok("migrate")
    assert "Migration 0001 queue" in first
    assert "Dialect graphile_worker" in first
    assert cli.ok("migrate") == "The schema is up to date.\n"
    again = cli.json("migrate")
    assert (again["changed"], again["migrations"], again["statements"]) == (False, [], None)


def test_dialects_can_be_left_out_dropped_and_added(empty_database: str, tmp_path: Path) -> None:
    cli = CommandLine(tmp_path, empty_database)
    assert "Dialect" not in cli.ok("migrate", "--no-dialects")
    cli.ok("dialect", "add", "graphile_worker")
    assert cli.ok("dialect", "list").splitlines() == [
        "dialect\tlaid\tnames of",
        "graphile_worker\tyes\tTidemill",
        "timescaledb\tno\t",
    ]
    assert cli.json("dialect", "list") == {"graphile_worker": True, "timescaledb": False}
    cli.ok("dialect", "drop", "graphile_worker")
    assert "dropped on request" in " ".join(cli.run("migrate").stderr.split())
    assert 'There is no dialect "oban"' in cli.refused("dialect", "add", "oban")


def test_uninstall_asks_first(cli: CommandLine, connection: psycopg.Connection) -> None:
    cli.ok("add", "x")
    assert "would drop 1 jobs" in cli.refused("uninstall")
    assert connection.execute("select count(*) from tidemill.jobs").fetchone() == (1,)
    assert set(cli.json("uninstall", "--yes")) == {"uninstalled"}
    assert connection.execute("select to_regnamespace('tidemill')").fetchone() == (None,)
    assert "there is nothing to drop" in cli.refused("uninstall", "--yes")


def test_psql_reaches_the_database_with_its_arguments(cli: CommandLine) -> None:
    assert cli.ok("psql", "-At", "-c", "select (tidemill.add_job('hello')).identifier") == "hello\n"
    assert cli.run("psql", "-c", "select 1/0").returncode == 1


def test_a_database_that_is_not_there(tmp_path: Path) -> None:
    message = CommandLine(tmp_path).refused("jobs", "--database", "host=/nowhere dbname=x")
    assert "Cannot reach the database" in message
    assert "is not a PostgreSQL connection string" in CommandLine(tmp_path).refused("jobs", "-d", "x=1=y")
    assert "Traceback" in CommandLine(tmp_path).run("jobs", "--debug", "-d", "host=/nowhere").stderr


def test_help_names_every_command(cli: CommandLine) -> None:
    shown = cli.ok("--help")
    for command in ("demo", "worker", "workers", "add", "jobs", "migrate", "uninstall", "psql", "dialect"):
        assert f" {command} " in shown
    assert cli.ok("--version").startswith("tidemill ")
