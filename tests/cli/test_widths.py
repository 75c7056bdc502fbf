"""Tables on a narrow terminal: what is left out, and that names stay whole."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import pytest
from rich.console import Console

from tidemill.cli import output


def printed(monkeypatch: pytest.MonkeyPatch, rows: list[dict[str, Any]], columns: Sequence[str]) -> str:
    """What a terminal of 80 columns shows."""
    shown = io.StringIO()
    for name in ("console", "errors"):
        narrow = Console(file=shown, width=80, force_terminal=True, color_system=None, legacy_windows=False)
        monkeypatch.setattr(output, name, narrow)
    output.print_table(rows, columns, empty="")
    assert max(map(len, shown.getvalue().splitlines())) <= 80
    return shown.getvalue()


COUNTS = ("ready", "running", "scheduled", "retrying", "failed", "cancelled")


def test_tasks_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"shop.orders.jobs.send_a_receipt_to_customer_{which}" for which in ("one", "two")]
    rows = [
        {"task": name, "workers": 1, **dict.fromkeys(COUNTS, 1), "oldest_ready": None, "scheduled": 0}
        for name in names
    ]
    shown = printed(monkeypatch, rows, ("task", "workers", *COUNTS, "oldest_ready"))
    assert all(name in shown for name in names)
    # What is 0 everywhere is no news; what gave way is told.
    assert "Left out, as the terminal is narrow: cancelled, retrying" in shown
    assert "scheduled" not in shown


def test_a_name_that_is_wider_than_the_terminal_is_folded(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "x" * 60 + "y" * 60
    shown = printed(
        monkeypatch, [{"id": 1, "identifier": name, "attempts": "1/25"}], ("id", "identifier", "attempts")
    )
    assert ("".join(shown.split()).count("x"), "".join(shown.split()).count("y")) == (60, 60)
    assert "\N{HORIZONTAL ELLIPSIS}" not in shown


def test_workers_keep_their_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    row: dict[str, Any] = {
        "id": "worker-0123456789abcdef", "state": "running", "in_hand": 0, "concurrency": 10,
        "tasks": [f"task_number_{n}" for n in range(20)], "hostname": "a-host.with.a.long.name", "pid": 4000,
        "started_at": "2 h ago", "heartbeat_at": "3 s ago",
    }  # fmt: skip
    shown = printed(monkeypatch, [row], tuple(row))
    assert "worker-0123456789abcdef" in shown
    assert all(f"task_number_{n}" in shown for n in range(20))


def test_actions_keep_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        {
            "id": 1000 + n, "name": f"nightly_report_warehouse_{n}", "state": "scheduled",
            "runs": "app.nightly", "schedule": "1 day", "next_start": "in 20 h",
            "last_start": "2030-01-30 04:00", "last_outcome": "success",
        }
        for n in range(2)
    ]  # fmt: skip
    shown = printed(monkeypatch, rows, tuple(rows[0]))
    assert "warehouse_0" in shown
    assert "warehouse_1" in shown
