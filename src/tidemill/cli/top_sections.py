"""For `tidemill top`: its tables."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from tidemill.cli.top_table import Cell, Column, Section
from tidemill.cli.top_view import Task, View
from tidemill.cli.top_words import NONE, number, rate, seconds, since, span, until

_WIDE = 120
# Of those that fail or are slow.
_MOST = 10


def tasks(view: View, width: int) -> Section:
    """All tasks: rates, jobs, times."""
    wide = width >= _WIDE
    room = 7 if wide else 5
    ends, jobs, waits, runs = "a minute", "jobs", "waited", "ran"
    columns = [
        Column("", left=True),
        *(Column(title, room, group=ends) for title in ("done", "retry", "fail")),
        Column("ready", room, group=jobs),
        *([Column("oldest", room, group=jobs)] if wide else []),
        Column("runs", room, group=jobs),
        *([Column("later", room, group=jobs)] if wide else []),
        Column("failed", max(6, room), group=jobs),
        *(Column(title, room, group=waits) for title in ("p50", "p99")),
        *(Column(title, room, group=runs) for title in ("p50", "p99")),
        *([Column("workers", 7)] if wide else []),
    ]
    rows = [_task(task, view.frame.at, wide) for task in view.tasks]
    return Section("tasks", "TASK", columns, rows, least=7)


def _task(task: Task, now: datetime | None, wide: bool) -> list[Cell]:
    times = [seconds(task.times[name]) for name in ("wait_p50", "wait_p99", "run_p50", "run_p99")]
    idle = not task.ends.all and not any(task.jobs.values())
    return [
        _name(task, "dim" if idle else ""),
        (rate(task.rate.done), "green"),
        (rate(task.rate.retried), "yellow"),
        (rate(task.rate.failed), "red"),
        (_jobs(task, "ready"), "bold red" if task.waits_in_vain else "cyan"),
        *([since(task.oldest_ready, now)] if wide else []),
        (_jobs(task, "running"), "green"),
        *([(_jobs(task, "scheduled", "retrying"), "blue")] if wide else []),
        (_jobs(task, "failed"), "red"),
        *times,
        *([_knowing(task)] if wide else []),
    ]


def _name(task: Task, style: str = "") -> Cell:
    if task.is_paused:
        return task.name, "yellow", " paused"
    if task.waits_in_vain:
        return task.name, "bold red", " no worker"
    return task.name, style


def _jobs(task: Task, *states: str) -> str:
    return number(sum(task.jobs[state] for state in states), more=not task.cut.isdisjoint(states))


def _knowing(task: Task) -> Cell:
    if task.workers is None:
        return "?"
    return (NONE, "bold red" if task.waits_in_vain else "dim") if task.workers == 0 else str(task.workers)


def failing(view: View) -> Section:
    """Tasks whose attempts have failed, those of most failures first."""
    found = sorted((task for task in view.tasks if task.has_failed), key=lambda task: -task.has_failed)
    columns = [
        Column("", left=True),
        Column("failed", 6),
        Column("of", 6),
        Column("share", 5),
        Column("a late error", left=True),
    ]
    rows: list[list[Cell]] = [
        [
            _name(task),
            (number(task.has_failed), "red"),
            number(task.ends.all),
            (f"{100 * task.has_failed / task.ends.all:.0f}%", "red"),
            (" ".join((task.error or "").split()), "dim"),
        ]
        for task in found[:_MOST]
    ]
    return Section("failing", "FAILING", columns, rows, of=len(found))


def slowest(view: View) -> Section:
    """Tasks by the time that their attempts take."""
    found = sorted(
        (task for task in view.tasks if task.times["run_p99"] is not None),
        key=lambda task: (-(task.times["run_p99"] or 0), -task.run_time),
    )
    total = sum(task.run_time for task in found) or 1.0
    columns = [
        Column("", left=True),
        Column("ran p50", 8),
        Column("p99", 6),
        Column("longest", 8),
        Column("attempts", 8),
        Column("share of time", 13),
    ]
    rows: list[list[Cell]] = [
        [
            _name(task),
            seconds(task.times["run_p50"]),
            seconds(task.times["run_p99"]),
            (seconds(task.times["longest"]), "yellow"),
            number(task.ends.all),
            f"{100 * task.run_time / total:.0f}%",
        ]
        for task in found[:_MOST]
    ]
    return Section("slowest", "SLOWEST", columns, rows, of=len(found))


def workers(view: View, width: int) -> Section:
    """Workers: where they run, what they hold, when they were heard."""
    wide = width >= _WIDE
    columns = [
        Column("", left=True),
        Column("pid", 7),
        *([Column("id", 23, left=True)] if wide else []),
        Column("version", 9, left=True),
        Column("state", 8, left=True),
        Column("in hand", 7),
        Column("slots", 5),
        Column("heartbeat", 9),
        Column("up", 4),
        *([Column("tasks", 5)] if wide else []),
    ]
    now = view.frame.at
    rows = [_worker(row, now, wide) for row in view.frame.parts.get("workers", ())]
    return Section("workers", "WORKER", columns, rows)


def _worker(row: dict[str, Any], now: datetime | None, wide: bool) -> list[Cell]:
    style = {"lost": "red", "stopping": "yellow"}.get(row["state"], "")
    return [
        (row["host"], style),
        str(row["pid"]),
        *([row["id"]] if wide else []),
        row["version"],
        (row["state"], style or "green"),
        number(row["in_hand"]),
        str(row["concurrency"]),
        (since(row["heartbeat_at"], now), style),
        since(row["started_at"], now),
        *([str(len(row["tasks"]))] if wide else []),
    ]


def actions(view: View, width: int) -> Section:
    """Actions: the failing and paused ones, those that run, and the next ones."""
    wide = width >= _WIDE
    columns = [
        Column("", left=True),
        Column("id", 6),
        Column("state", 9, left=True),
        Column("start", 9),
        Column("last run", 16, left=True),
        *([Column("why it is paused", left=True)] if wide else []),
    ]
    rows = [_action(row, view.frame.at, wide) for row in view.frame.parts.get("actions", ())]
    return Section("actions", "ACTION", columns, rows, of=view.actions()["actions"])


def _action(row: dict[str, Any], now: datetime | None, wide: bool) -> list[Cell]:
    fails = row["failures_in_a_row"] > 0
    state = {"running": "green", "paused": "yellow"}.get(row["state"], "")
    return [
        (row["name"], "red" if fails or row["paused_because"] else ""),
        str(row["id"]),
        (row["state"], state),
        _starts(row, now),
        _last(row, now),
        *([(row["paused_because"] or "", "yellow")] if wide else []),
    ]


def _starts(row: dict[str, Any], now: datetime | None) -> str:
    if row["state"] == "paused" or row["never"]:
        return NONE
    if row["running_since"] is not None:
        return f"{since(row['running_since'], now)} ago"
    if row["next_start"] is None or now is None:
        return "now"
    return until(row["next_start"], now)


def _last(row: dict[str, Any], now: datetime | None) -> Cell:
    if row["failures_in_a_row"] > 0:
        times = row["failures_in_a_row"]
        return "failed" if times == 1 else f"failed {times} times", "red"
    if row["last_finish"] is None or now is None:
        return NONE
    ago = span((now - row["last_finish"]).total_seconds())
    return (f"ok {ago} ago", "green") if row["last_run_success"] else (f"failed {ago} ago", "red")
