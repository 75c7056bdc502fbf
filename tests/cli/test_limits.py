"""tidemill limits: list, set, remove."""

from __future__ import annotations

import pytest

from tests.support.commands import CommandLine


@pytest.mark.slow
def test_limits_are_set_listed_and_removed(cli: CommandLine) -> None:
    assert cli.ok("limits", "set", "mailer", "--concurrency", "5") == "The limit mailer is set.\n"
    assert cli.json("limits", "set", "api", "--rate", "100/1m", "--burst", "7", "--per", "customer.id") == {
        "set": "api"
    }
    cli.ok("add", "send", "--limit", "mailer")
    rows = cli.json("limits")
    assert all(row.pop("changed_at") for row in rows)
    assert rows == [
        {"name": "api", "task": None, "concurrency": None, "rate": 100, "period": "00:01:00", "burst": 7}
        | {"per": "customer.id", "in_use": 0, "waiting": 0, "tasks": []},
        {"name": "mailer", "task": None, "concurrency": 5, "rate": None, "period": None, "burst": None}
        | {"per": None, "in_use": 0, "waiting": 1, "tasks": ["send"]},
    ]
    assert "mailer\t\t5\t\t\t0\t1\tsend" in cli.ok("limits")
    assert 'no limit "nobody\'s"' in cli.refused("add", "send", "--limit", "nobody's")
    assert "is no rate" in cli.run("limits", "set", "x", "--rate", "100").stderr
    assert "concurrency 0 of limit" in cli.refused("limits", "set", "x", "--concurrency", "0")
    assert "limits nothing" in cli.refused("limits", "set", "x")
    assert cli.ok("limits", "remove", "mailer") == "The limit mailer is removed.\n"
    assert 'there is no limit "mailer"' in cli.refused("limits", "remove", "mailer")
