"""The tour: on the embedded server without any set-up, and on a database of the user's."""

from __future__ import annotations

import re
from pathlib import Path

import psycopg
import pytest

from tests.support.commands import CommandLine

pytestmark = pytest.mark.slow

_SAID = 'Executing job {} with config {{"hypertable": "metrics"}}'


def test_demo_needs_nothing_and_leaves_nothing(directory: Path) -> None:
    cli = CommandLine(directory)
    told = cli.ok("demo")
    assert "sent mail to ann@example.com and bob@example.com." in told
    assert "attempt 2: the bank did not answer; it will be retried" in told
    assert "One row, job 4, changed 9 times." in told
    assert "The task ran 1 time, with {'n': 9}." in told
    assert "0 jobs of it are left" in told
    assert "SELECT add_job('user_defined_action', '1h', config => '{\"hypertable\":\"metrics\"}');" in told
    assert "CALL run_job(1000);" in told
    _check_runs(told, 1000)
    _check_sensors(told)

    assert cli.json("jobs") == []
    assert [action["id"] for action in cli.json("actions") if action["id"] >= 1000] == []
    assert [run for run in cli.json("actions", "history") if run["action_id"] >= 1000] == []
    assert cli.json("hypertables") == []
    schemas = "select count(*) from pg_namespace where nspname ~ '^tidemill_demo'"
    assert cli.ok("psql", "-At", "-c", schemas) == "0\n"
    # Its last user has gone.
    assert not list(directory.glob(".tidemill/data-*/postmaster.pid"))


def test_demo_does_without_the_dialect_and_tidies_up(
    cli: CommandLine, connection: psycopg.Connection
) -> None:
    # As a tour leaves it that was killed.
    connection.execute("create schema tidemill_demo")
    connection.execute(
        "create function tidemill_demo.user_defined_action(integer, jsonb) returns void language sql as ''"
    )
    connection.execute(
        "select tidemill.add_action('tidemill_demo.user_defined_action', '1 hour', scheduled => false)"
    )
    connection.execute("call tidemill.run_action(1000)")
    connection.execute("create table tidemill_demo.readings (time timestamptz not null)")
    connection.execute("select tidemill.create_hypertable('tidemill_demo.readings', 'time')")
    connection.execute("select tidemill.enable_compression('tidemill_demo.readings')")
    told = cli.ok("demo")
    assert "SELECT tidemill.add_action('user_defined_action', '1h'," in told
    assert "CALL tidemill.run_action(1002);" in told
    _check_runs(told, 1002)
    _check_sensors(told)
    left = connection.execute(
        "select (select count(*) from pg_namespace where nspname ~ '^tidemill_demo'), "
        "(select count(*) from tidemill._hypertables), "
        "(select count(*) from tidemill._actions where id >= 1000), "
        "(select count(*) from tidemill._action_runs where action_id >= 1000)"
    ).fetchone()
    assert left == (0, 0, 0, 0)


def _check_runs(told: str, action_id: int) -> None:
    """By hand it is seen at once; on its schedule it is in the history."""
    said = _SAID.format(action_id)
    assert f"\nNOTICE: {said}\n" in told
    rows = [line.split("\t") for line in told.splitlines() if "\tsuccess\t" in line]
    scheduled = [output for _, _, by_hand, _, output in rows if not by_hand]
    # The first one is shown twice.
    assert len(scheduled) >= 1 + 3
    assert set(scheduled) == {f"NOTICE:  {said}"}
    assert [output for _, _, by_hand, _, output in rows if by_hand] == [""]
    assert "three times on its schedule and once by hand" in told


def _check_sensors(told: str) -> None:
    """Six of seven days are packed, and the late readings that were not there come in."""
    found = re.search(r"6 chunks in .* packed, ratio ([\d.]+)\.", told)
    assert found is not None
    assert float(found[1]) > 3
    assert told.count("Chunks by age: ██████░··") == 2
    assert "SELECT count(*) FROM readings says 100,800, and the checksum of all rows is unchanged." in told
    assert "4,392 late readings, of which 72 are there already." in told
    assert told.count("NOTICE:  1464 rows moved in range ") == 3
    assert "The table has 105,120, and 0 wait: nothing is lost." in told
