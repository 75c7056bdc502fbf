"""Commands that change something tell it as JSON, too."""

from __future__ import annotations

import psycopg
import pytest

from tests.support.commands import CommandLine
from tests.support.servers import Server

pytestmark = pytest.mark.slow


def test_they_tell_what_they_did(cli: CommandLine, connection: psycopg.Connection, server: Server) -> None:
    connection.execute("select tidemill.add_job('x')")
    connection.execute("select tidemill._register_worker('w', 'host', 1, '0', 4, '{x}', '1 hour')")
    assert cli.json("pause", "task", "x") == {"kind": "task", "name": "x", "changed": True}
    assert cli.json("resume", "task", "x") == {"kind": "task", "name": "x", "changed": True}
    assert cli.json("resume", "task", "x")["changed"] is False
    assert cli.json("workers", "stop", "w") == {"stopping": "w"}
    connection.execute("select tidemill.begin_bulk_act('remove', '{\"task\": \"x\"}')")
    assert cli.json("bulk", "abort", "1") == {"bulk_act": 1, "changed": True}
    with server.role() as name:
        assert cli.json("grant", "operator", "TO", name) == {"role": "operator", "name": name}
        assert cli.json("revoke", "operator", "FROM", name) == {"role": "operator", "name": name}
        assert cli.ok("grant", "operator", "TO", name) == f"{name} is an operator now.\n"
        cli.ok("revoke", "operator", "FROM", name)
        refused = cli.refused("revoke", "operator", "FROM", name)
        assert "does not have the role operator; see them with: tidemill grants" in refused
        assert "HINT" not in refused
