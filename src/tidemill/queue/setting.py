"""What all attempts of one worker share."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any

from tidemill.context import Board, JobContext
from tidemill.middleware import Hooks
from tidemill.producers import Producer
from tidemill.queue.claimed import ClaimedJob
from tidemill.queue.cutter import Cutter
from tidemill.queue.outcome import is_batch, to_the_end, to_the_end_in_thread
from tidemill.queue.record import Keeper
from tidemill.queue.threads import Threads
from tidemill.tasks import Task


@dataclass(frozen=True, slots=True)
class Setting:
    """What all attempts of one worker share."""

    producer: Producer
    worker_id: str
    hooks: Hooks
    threads: Threads
    cutter: Cutter
    keeper: Keeper
    board: Board | None = None

    def context(self, job: ClaimedJob, task: Task[Any]) -> JobContext:
        """Makes the context that a task is handed."""
        return JobContext(self.producer, self.worker_id, job, task.max_attempts, self.board)

    def wrapped(
        self, task: Task[Any], payload: Any, context: JobContext
    ) -> Callable[[], Coroutine[Any, Any, Any]]:
        """An async task's call, with its batch's entries, and middleware around it."""
        call = partial(to_the_end, task.call, context) if is_batch(context.raw_payload) else task.call
        return self.hooks.wrapped(call, context, *((payload, context) if task.takes_job else (payload,)))

    def wrapped_sync(self, task: Task[Any], payload: Any, context: JobContext) -> Callable[[], Any]:
        """The same of a plain function."""
        call = (
            partial(to_the_end_in_thread, task.call, context) if is_batch(context.raw_payload) else task.call
        )
        return self.hooks.wrapped_sync(call, context, *((payload, context) if task.takes_job else (payload,)))
