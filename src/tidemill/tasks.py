"""Tasks: the decorator and the registry."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Generic, overload

from tidemill.context import JobContext, Producer
from tidemill.errors import TaskLoadError
from tidemill.jobs import Job, JobKeyMode, JobSpec
from tidemill.payloads import P, TaskFunction, read_function
from tidemill.retry import Delay, Strategy, seconds
from tidemill.schedule import Every, Missed, read_schedule

if TYPE_CHECKING:
    import psycopg


class Task(Generic[P]):
    """A named piece of work. Made by `@task` or `@app.task`; calling it calls the function."""

    def __init__(
        self,
        function: TaskFunction[P],
        identifier: str,
        *,
        max_attempts: int | None = None,
        retry: Strategy | None = None,
        timeout: Delay | None = None,
        every: Every | None = None,
        cron: str | None = None,
        timezone: str | None = None,
        missed: Missed | None = None,
    ) -> None:
        """See `task` for the options. Raises TaskLoadError if this cannot be a task."""
        if not 1 <= len(identifier) <= 128:
            raise TaskLoadError(
                f"The task name {identifier[:40]!r} has {len(identifier)} characters; 1 to 128 are allowed."
            )
        if max_attempts is not None and not 1 <= max_attempts <= 32767:
            raise TaskLoadError(
                f"max_attempts {max_attempts} of task {identifier!r} is out of range: 1 to 32767."
            )
        if timeout is not None and seconds(timeout) <= 0:
            raise TaskLoadError(f"timeout {timeout} of task {identifier!r} must be more than 0 seconds.")
        self.function = function
        self.identifier = identifier
        self.max_attempts = max_attempts
        self.retry = retry
        self.timeout = None if timeout is None else seconds(timeout)
        self.schedule = read_schedule(identifier, every=every, cron=cron, timezone=timezone, missed=missed)
        self.is_async = inspect.iscoroutinefunction(function)
        self.takes_job, self.decode = read_function(function, identifier)
        self.app: Producer | None = None
        self.__doc__ = function.__doc__

    def __repr__(self) -> str:
        return f"<Task {self.identifier}>"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the function directly, as in a unit test: no job, no database."""
        return self.function(*args, **kwargs)

    def spec(
        self,
        payload: P,
        *,
        queue_name: str | None = None,
        run_at: datetime | timedelta | None = None,
        max_attempts: int | None = None,
        job_key: str | None = None,
        priority: int | None = None,
        flags: list[str] | None = None,
        job_key_mode: JobKeyMode | None = None,
    ) -> JobSpec:
        """Returns a job of this task, to be added by `App.add_jobs`."""
        return JobSpec(
            self.identifier,
            payload,
            queue_name=queue_name,
            run_at=run_at,
            max_attempts=max_attempts or self.max_attempts,
            job_key=job_key,
            priority=priority,
            flags=flags,
            job_key_mode=job_key_mode,
        )

    async def add(
        self,
        payload: P,
        *,
        queue_name: str | None = None,
        run_at: datetime | timedelta | None = None,
        max_attempts: int | None = None,
        job_key: str | None = None,
        priority: int | None = None,
        flags: list[str] | None = None,
        job_key_mode: JobKeyMode | None = None,
        connection: psycopg.AsyncConnection[Any] | None = None,
    ) -> Job:
        """Adds a job of this task; the payload is typed by the task's signature.

        Options as for `App.add_job`. For blocking code:
        `app.sync.add_jobs([task.spec(payload)])`.
        """
        if self.app is None:
            raise TaskLoadError(
                f"Task {self.identifier!r} belongs to no App yet: use @app.task, or app.register(task)."
            )
        spec = self.spec(
            payload,
            queue_name=queue_name,
            run_at=run_at,
            max_attempts=max_attempts,
            job_key=job_key,
            priority=priority,
            flags=flags,
            job_key_mode=job_key_mode,
        )
        [job] = await self.app.add_jobs([spec], connection=connection)
        return job


class Decorate(typing.Protocol):
    """A decorator that makes a task of a function."""

    @overload
    def __call__(self, function: Callable[[P], Any]) -> Task[P]: ...
    @overload
    def __call__(self, function: Callable[[P, JobContext], Any]) -> Task[P]: ...


@overload
def task(function: Callable[[P], Any], /) -> Task[P]: ...
@overload
def task(function: Callable[[P, JobContext], Any], /) -> Task[P]: ...
@overload
def task(
    identifier: str | None = None,
    /,
    *,
    max_attempts: int | None = None,
    retry: Strategy | None = None,
    timeout: Delay | None = None,
    every: Every | None = None,
    cron: str | None = None,
    timezone: str | None = None,
    missed: Missed | None = None,
) -> Decorate: ...
def task(
    first: Any = None,
    /,
    *,
    max_attempts: int | None = None,
    retry: Strategy | None = None,
    timeout: Delay | None = None,
    every: Every | None = None,
    cron: str | None = None,
    timezone: str | None = None,
    missed: Missed | None = None,
) -> Any:
    """Makes a task of a function that takes `(payload)` or `(payload, job)`.

    `@task` names it like the function, `@task("users/verify")` as given.

    max_attempts  attempts before a job fails for good; if the job has fewer itself, those count
    retry         a strategy from `tidemill.retry`; default exp(min(10, attempts)) seconds
    timeout       seconds or a timedelta for one attempt; default none. An async function is
                  cancelled, a plain one can look at `job.cancelled`
    every         runs it on a schedule: "10m", a timedelta, or seconds. The times lie on a grid
                  from Monday 2000-01-03 00:00 on, whenever workers start
    cron          or at the times of a cron line such as "30 4 * * 1"
    timezone      the time zone of both, for instance "Europe/Berlin"; default UTC
    missed        "run_once" (default) runs once for all times at which no worker ran, "skip" not at all

    When a worker starts, it makes an action of each schedule, which adds jobs with the payload {}.
    Async functions run on the event loop, plain ones in threads. An annotated payload
    (dataclass, TypedDict, msgspec Struct, pydantic model) is decoded and checked.
    """

    def decorate(function: TaskFunction[Any]) -> Task[Any]:
        name = first if isinstance(first, str) else function.__name__
        return Task(
            function,
            name,
            max_attempts=max_attempts,
            retry=retry,
            timeout=timeout,
            every=every,
            cron=cron,
            timezone=timezone,
            missed=missed,
        )

    return decorate(first) if callable(first) else decorate


class TaskRegistry(Mapping[str, Task[Any]]):
    """Tasks by identifier."""

    def __init__(self) -> None:
        self._tasks: dict[str, Task[Any]] = {}

    def add(self, task: Task[Any]) -> None:
        """Adds a task. Raises TaskLoadError if the name is taken by another one."""
        taken = self._tasks.setdefault(task.identifier, task)
        if taken is not task:
            raise TaskLoadError(
                f"Two tasks are named {task.identifier!r}: {_origin(taken)} and {_origin(task)}. Rename one."
            )

    def __getitem__(self, identifier: str) -> Task[Any]:
        return self._tasks[identifier]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tasks)

    def __len__(self) -> int:
        return len(self._tasks)


def _origin(task: Task[Any]) -> str:
    module = getattr(task.function, "__module__", "?")
    name = getattr(task.function, "__qualname__", repr(task.function))
    return f"{module}.{name}"
