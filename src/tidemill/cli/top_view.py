"""For `tidemill top`: what a frame says of each task, sorted and filtered, and as JSON."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any, Literal, get_args

from tidemill.cli.top_figures import COUNTED, Frame
from tidemill.cli.top_rates import NO_ENDS, Ends, Rates

Sort = Literal["busy", "failing", "ready", "wait", "run", "name"]
SORTS: tuple[Sort, ...] = get_args(Sort)
STATES = ("ready", "running", "scheduled", "retrying", "failed", "cancelled")
_TIMES = ("wait_p50", "wait_p99", "run_p50", "run_p99", "longest")


@dataclass
class Task:
    """What is known of one task."""

    name: str
    rate: Ends = NO_ENDS
    """Attempts that ended, a minute."""
    ends: Ends = NO_ENDS
    """Those of the window."""
    cancelled: int = 0
    run_time: float = 0.0
    times: dict[str, float | None] = field(default_factory=lambda: dict.fromkeys(_TIMES))
    """Seconds."""
    jobs: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STATES, 0))
    cut: set[str] = field(default_factory=set)
    """States of which there may be more jobs than were counted."""
    oldest_ready: datetime | None = None
    workers: int | None = 0
    """How many know it; None if that was not read."""
    is_paused: bool = False
    error: str | None = None

    @property
    def has_failed(self) -> float:
        """How many attempts of the window failed, for good or not."""
        return self.ends.retried + self.ends.failed

    @property
    def waits_in_vain(self) -> bool:
        """Whether jobs are ready, and no worker knows the task."""
        return self.workers == 0 and self.jobs["ready"] > 0


@dataclass
class View:
    """A frame, by task."""

    frame: Frame
    rates: Rates
    tasks: list[Task]
    """Those that pass the filter, sorted."""
    window: float
    """Seconds that times and failures are of."""
    sort: Sort

    @property
    def rate(self) -> Ends:
        """That of these tasks together."""
        total = NO_ENDS
        for task in self.tasks:
            total = total.plus(task.rate)
        return total

    def jobs(self, *states: str) -> tuple[int, bool]:
        """How many jobs of these tasks there are in some states, and whether there may be more."""
        return (
            sum(task.jobs[state] for task in self.tasks for state in states),
            any(state in task.cut for task in self.tasks for state in states),
        )

    def actions(self) -> dict[str, int]:
        """How many actions there are, and how many are failing or paused."""
        rows = self.frame.parts.get("actions")
        names = ("actions", "failing", "paused")
        return {name: rows[0][name] if rows else 0 for name in names}


def make(frame: Frame, rates: Rates, window: float, wanted: Sequence[str] = (), sort: Sort = "busy") -> View:
    """The view of a frame; `wanted` are names of tasks, or patterns with * and ?."""
    tasks = _Tasks()
    for row in frame.parts.get("tasks", ()):
        task = tasks[row["task"]]
        task.ends = Ends(row["done"], row["retried"], row["failed"])
        task.cancelled, task.run_time = row["cancelled"], row["run_time"]
        task.times = {name: row[name] for name in _TIMES}
        for name in ("run_p50", "run_p99"):
            # A histogram knows a time to a factor of two.
            if row[name] is not None:
                task.times[name] = min(row[name], row["longest"])
        task.rate = rates.tasks.get(task.name, NO_ENDS)
    for row in frame.parts.get("jobs", ()):
        task = tasks[row["task"]]
        task.jobs[row["state"]] = row["jobs"]
        if row["cut"]:
            task.cut.add(row["state"])
        if row["state"] == "ready":
            task.oldest_ready = row["oldest"]
    _note_workers(frame, tasks)
    _note_pauses(frame, tasks)
    for name, error in frame.errors.items():
        tasks[name].error = error
    shown = [task for task in tasks.values() if not wanted or any(_passes(task.name, one) for one in wanted)]
    shown.sort(key=lambda task: task.name)
    shown.sort(key=_KEYS[sort], reverse=sort != "name")
    return View(frame, rates, shown, window, sort)


class _Tasks(dict[str, Task]):
    def __missing__(self, name: str) -> Task:
        self[name] = made = Task(name)
        return made


def _note_workers(frame: Frame, tasks: _Tasks) -> None:
    for worker in frame.parts.get("workers", ()):
        if worker["state"] != "lost":
            for name in worker["tasks"]:
                tasks[name].workers = (tasks[name].workers or 0) + 1
    if "workers" in frame.not_read:
        for task in tasks.values():
            task.workers = None


def _note_pauses(frame: Frame, tasks: _Tasks) -> None:
    for pause in frame.parts.get("pauses", ()):
        if pause["kind"] == "task":
            tasks[pause["name"]].is_paused = True
        elif pause["kind"] == "all":
            for task in tasks.values():
                task.is_paused = True


def _passes(name: str, wanted: str) -> bool:
    # A name may have brackets of its own.
    return name == wanted or fnmatchcase(name, wanted)


_KEYS: dict[Sort, Callable[[Task], Any]] = {
    "busy": lambda task: (task.rate.all, task.jobs["running"], task.jobs["ready"], task.ends.all),
    "failing": lambda task: (task.rate.failed + task.rate.retried, task.has_failed, task.jobs["failed"]),
    "ready": lambda task: (task.jobs["ready"], task.jobs["scheduled"] + task.jobs["retrying"]),
    "wait": lambda task: (task.times["wait_p99"] or 0, task.jobs["ready"]),
    "run": lambda task: (task.times["run_p99"] or 0, task.run_time),
    "name": lambda task: task.name,
}


def as_json(view: View) -> dict[str, Any]:
    """The view for scripts: times in seconds, rates a minute."""
    frame = view.frame
    return {
        "at": frame.at,
        "lost": None
        if frame.lost_since is None
        else {"since": frame.lost_since, "because": " ".join(str(frame.lost_because).split())},
        "window": view.window,
        "rate_window": round(view.rates.seconds, 3),
        "jobs_counted": COUNTED,
        "per_minute": _rate(view.rate),
        "jobs": {state: view.jobs(state)[0] for state in STATES},
        "more_jobs": [state for state in STATES if view.jobs(state)[1]],
        "tasks": [_task_as_json(task) for task in view.tasks],
        "workers": [{**worker, "tasks": len(worker["tasks"])} for worker in frame.parts.get("workers", ())],
        "actions": [
            {key: value for key, value in action.items() if key not in ("actions", "paused", "failing")}
            for action in frame.parts.get("actions", ())
        ],
        "action_counts": view.actions(),
        "pauses": frame.parts.get("pauses", []),
        "not_read": frame.not_read,
    }


def _task_as_json(task: Task) -> dict[str, Any]:
    return {
        "task": task.name,
        "per_minute": _rate(task.rate),
        "attempts": {**task.ends._asdict(), "cancelled": task.cancelled},
        "wait": {"p50": task.times["wait_p50"], "p99": task.times["wait_p99"]},
        "run": {
            "p50": task.times["run_p50"],
            "p99": task.times["run_p99"],
            "longest": task.times["longest"],
            "sum": task.run_time,
        },
        "jobs": task.jobs,
        "more_jobs": [state for state in STATES if state in task.cut],
        "oldest_ready": task.oldest_ready,
        "workers": task.workers,
        "paused": task.is_paused,
        "error": task.error,
    }


def _rate(ends: Ends) -> dict[str, float]:
    return {name: round(value, 3) for name, value in ends._asdict().items()}
