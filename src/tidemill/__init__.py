"""Tidemill: a job system that lives inside PostgreSQL."""

from tidemill.app import App
from tidemill.errors import TidemillError
from tidemill.jobs import Cancel, Job, JobContext, JobSpec, Retry
from tidemill.middleware import Middleware
from tidemill.tasks import Task, task
from tidemill.worker import Worker, WorkerOptions

__all__ = [
    "App",
    "Cancel",
    "Job",
    "JobContext",
    "JobSpec",
    "Middleware",
    "Retry",
    "Task",
    "TidemillError",
    "Worker",
    "WorkerOptions",
    "task",
]
