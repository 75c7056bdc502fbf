"""Payloads and configs that no task could read are refused by the commands that take them."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from tests.support.commands import CommandLine

pytestmark = pytest.mark.versions(18)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": NaN}', "malformed"),
        ('{"a": 1e400}', "out of range"),
        ('{"a": "\\ud800"}', ""),
        ("[" * 5000 + "]" * 5000, "nested too deep"),
    ],
    ids=["NaN", "1e400", "surrogate", "deep"],
)
def test_json_that_no_task_can_read(
    cli: CommandLine, connection: psycopg.Connection, tmp_path: Path, text: str, words: str
) -> None:
    lines = tmp_path / "jobs.jsonl"
    lines.write_text(f'{{"identifier": "x"}}\n{{"identifier": "x", "payload": {text}}}\n')
    assert words in cli.refused("add", "x", text)
    assert words in cli.refused("actions", "add", "--task", "x", "--every", "1h", "--config", text)
    refused = cli.refused("add", "--from", str(lines))
    assert "Line 2: " in refused
    assert words in refused
    assert connection.execute("select count(*) from tidemill.jobs").fetchone() == (0,)
    assert connection.execute("select count(*) from tidemill.actions where task is not null").fetchone() == (
        0,
    )
