"""The tour, on the embedded server and with nothing set up."""

from __future__ import annotations

from pathlib import Path

from tests.support.commands import CommandLine


def test_demo_needs_nothing_and_leaves_nothing(directory: Path) -> None:
    cli = CommandLine(directory)
    told = cli.ok("demo")
    assert "sent mail to ann@example.com and bob@example.com." in told
    assert "attempt 2: the bank did not answer; it will be retried" in told
    assert "One row, job 4, changed 9 times." in told
    assert "The task ran 1 time, with {'n': 9}." in told
    assert "0 jobs of it are left" in told
    assert cli.json("jobs") == []
    assert cli.ok("psql", "-At", "-c", "select to_regnamespace('tidemill_demo') is null") == "t\n"
    # Its last user has gone.
    assert not list(directory.glob(".tidemill/data-*/postmaster.pid"))
