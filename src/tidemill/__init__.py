"""Tidemill: a job system that lives inside PostgreSQL."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tidemill.app import App
    from tidemill.context import JobContext
    from tidemill.errors import TidemillError
    from tidemill.jobs import Cancel, Job, JobSpec, Retry
    from tidemill.limits import Limit, Rate
    from tidemill.middleware import Middleware
    from tidemill.tasks import Task, task
    from tidemill.worker import Worker, WorkerOptions

__all__ = [
    "App",
    "Cancel",
    "Job",
    "JobContext",
    "JobSpec",
    "Limit",
    "Middleware",
    "Rate",
    "Retry",
    "Task",
    "TidemillError",
    "Worker",
    "WorkerOptions",
    "task",
]

_HOMES = {
    "App": "app",
    "Cancel": "jobs",
    "Job": "jobs",
    "JobContext": "context",
    "JobSpec": "jobs",
    "Limit": "limits",
    "Middleware": "middleware",
    "Rate": "limits",
    "Retry": "jobs",
    "Task": "tasks",
    "TidemillError": "errors",
    "Worker": "worker",
    "WorkerOptions": "worker_options",
    "task": "tasks",
}
_MODULES = ("errors", "retry")


if not TYPE_CHECKING:  # Or a type checker would take any name for one of ours.

    def __getattr__(name: str) -> Any:
        # On first use: who adds jobs needs no worker, and the command line no driver to print its help.
        if name in _MODULES:
            return import_module(f"tidemill.{name}")
        if name not in _HOMES:
            raise AttributeError(f"module 'tidemill' has no attribute {name!r}")
        found = getattr(import_module(f"tidemill.{_HOMES[name]}"), name)
        globals()[name] = found
        return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})
