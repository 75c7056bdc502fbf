"""Reading commands as a role with the grants that the manual names, and what they say without them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.support.commands import CommandLine
from tests.support.documents import ROOT
from tests.support.servers import Server

pytestmark = [pytest.mark.slow, pytest.mark.versions(18)]

JOBS = [["jobs"], ["jobs", "--state", "failed", "--error", "x", "--since", "1h"], ["jobs", "show", "1"]]
WORKERS = [["workers"]]
ACTIONS = [
    ["actions"],
    ["actions", "--state", "paused"],
    ["actions", "show", "3"],
    ["actions", "next", "3"],
    ["actions", "history"],
    ["actions", "errors"],
]
HYPERTABLES = [["hypertables"], ["hypertables", "measured"]]
PREVIEW = ["actions", "next", "--cron", "30 4 * * 1"]


def documented_grants() -> list[str]:
    """The statements under `-- Reads` in the manual."""
    page = (ROOT / "docs/how-to/roles.md").read_text()
    found = re.search(r"^-- Reads$(.*?)\n\n", page, re.MULTILINE | re.DOTALL)
    assert found is not None
    return [statement.strip() for statement in found[1].split(";") if statement.strip()]


@pytest.fixture
def role(server: Server) -> Iterator[str]:
    with server.role() as name:
        yield name


@pytest.fixture
def reader(role: str, database: str, connection: psycopg.Connection, tmp_path: Path) -> CommandLine:
    """The command line of a role that has been granted nothing."""
    connection.execute("select tidemill.add_job('report', '{\"n\": 1}')")
    return CommandLine(tmp_path, make_conninfo(database, user=role))


def test_a_reader_with_the_documented_grants_reads(
    reader: CommandLine, role: str, connection: psycopg.Connection
) -> None:
    for statement in documented_grants():
        connection.execute(re.sub(r"\breader\b", role, statement).encode())
    connection.execute("create table measured (at timestamptz not null)")
    connection.execute("select tidemill.create_hypertable('measured', 'at')")
    for words in [*JOBS, *WORKERS, *ACTIONS, *HYPERTABLES]:
        reader.ok(*words)
    assert reader.json("top", "--once")["not_read"] == {}
    [measured] = reader.json("hypertables")
    assert (measured["rows"], measured["note"]) == (None, "no right to look at its chunks")
    assert reader.json("jobs", "show", "1")["payload"] == {"n": 1}
    # It calls private functions.
    assert "Connect as the role that ran `tidemill migrate`" in reader.refused(*PREVIEW)
    for words in (["retry", "1"], ["cancel", "1"], ["remove", "1"], ["reschedule", "1", "--in", "1h"]):
        refused = reader.refused("jobs", *words)
        assert f"can grant it: tidemill grant operator TO {role}" in refused
    for words in (["pauses"], ["acts"], ["grants"]):
        reader.ok(*words)
    assert f"tidemill grant operator TO {role}" in reader.refused("pause", "all")


def test_one_grant_is_enough(reader: CommandLine, role: str, cli: CommandLine) -> None:
    """Granting what the first message says, a role reads all, and so for adding."""
    for commands, wanted in (
        ([*JOBS, *WORKERS, *ACTIONS], "reader"),
        ([["add", "report"]], "producer"),
    ):
        refused = reader.refused(*commands[0])
        found = re.search(r"can grant it: tidemill (grant \w+ TO \w+)", refused)
        assert found is not None, refused
        assert found[1] == f"grant {wanted} TO {role}"
        cli.ok(*found[1].split())
        for words in commands:
            reader.ok(*words)
