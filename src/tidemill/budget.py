"""The connections of a worker: what each part of it needs, and what is left for the tasks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tidemill.errors import TidemillError
from tidemill.tasks import Task
from tidemill.worker_options import WorkerOptions

_LEAST_POOL = 10


def pool_sizes(
    options: WorkerOptions, tasks: Iterable[Task[Any]], *, measured: bool = False
) -> tuple[int, int]:
    """How large a worker's pools are: the one for coroutines, the one for blocking code.

    Without `max_connections` each job may hold two connections: one for its SQL, and one to
    add a job beside it. `measured` says whether middleware reads figures of the database.

    Raises TidemillError if `max_connections` is too small for this worker.
    """
    if options.max_connections is None:
        size = max(_LEAST_POOL, 2 * options.concurrency)
        return size, size
    tasks = list(tasks)
    needs = _needs(options, tasks, measured)
    left = options.max_connections - sum(needs.values())
    if left < 2:
        listed = ", ".join(f"{count} for {name}" for name, count in needs.items())
        raise TidemillError(
            f"max_connections is {options.max_connections}; this worker needs at least "
            f"{sum(needs.values()) + 2}: {listed}, and 1 for each of the tasks' two pools. Raise it, or need "
            "fewer: action_concurrency, lane='lease', listen=False."
        )
    kinds = {task.is_async for task in tasks}
    blocking = left // 2 if kinds == {True, False} else 1 if kinds != {False} else left - 1
    return left - blocking, blocking


def _needs(options: WorkerOptions, tasks: Iterable[Task[Any]], measured: bool) -> dict[str, int]:
    """The connections that a worker holds whatever its tasks do."""
    needs = {
        "the express lane": 0 if options.lane == "lease" else 2,
        "leases": 1,
        "the starts of leased jobs": 1,
        "heartbeats": 1,
        "the progress of jobs": int(any(task.takes_job for task in tasks)),
        "metrics": int(measured or options.metrics is not None),
        "notifications": int(options.listen and not options.once),
        "actions": options.action_concurrency and 1 + options.action_concurrency,
        "the crontab": int(options.crontab is not None and not options.once),
    }
    return {name: count for name, count in needs.items() if count}
