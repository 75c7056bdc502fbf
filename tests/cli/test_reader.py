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
        assert "can grant it: select tidemill.grant_role('operator', 'ROLE')" in refused
    for words in (["pauses"], ["acts"], ["grants"]):
        reader.ok(*words)
    assert "grant_role('operator', 'ROLE')" in reader.refused("pause", "all")


def test_each_step_names_the_grant_that_is_missing(
    reader: CommandLine, role: str, connection: psycopg.Connection
) -> None:
    """Granting what the message says, a role gets to where each command works."""
    granted: list[str] = []
    for words in [*JOBS, *WORKERS, *ACTIONS, ["add", "report"]]:
        while (done := reader.run(*words)).returncode != 0:
            message = " ".join(done.stderr.split())
            found = re.search(r"can grant it: (.*)", message)
            assert found is not None, message
            statement = found[1].replace("ROLE", role)
            assert statement not in granted, message
            connection.execute(statement.encode())
            granted.append(statement)
    assert [" ".join(statement.split()[:4]) for statement in granted[:3]] == [
        "grant usage on schema",
        "grant select on tidemill.jobs",
        "grant select on tidemill.workers",
    ]
