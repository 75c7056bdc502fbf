"""Tasks: the decorator and the registry."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Generic, Unpack, overload

from tidemill.context import JobContext, SyncJobContext
from tidemill.errors import InvalidJobError, PayloadError, TaskLoadError
from tidemill.jobs import Job, JobOptions, JobSpec
from tidemill.limits import Limit
from tidemill.payloads import encode_payload
from tidemill.producers import Producer
from tidemill.signatures import P, TaskFunction, read_signature
from tidemill.task_options import TaskOptions, read_options

if TYPE_CHECKING:
    import psycopg

_NONE_GIVEN: Any = object()


class Task(Generic[P]):
    """A named piece of work. Made by `@task` or `@app.task`; calling it calls the function."""

    def __init__(self, function: TaskFunction[P], identifier: str, **options: Unpack[TaskOptions]) -> None:
        """See `task` for the options. Raises TaskLoadError if this cannot be a task."""
        settings = read_options(identifier, options)
        self.function = function
        self.identifier = identifier
        self.max_attempts = settings.max_attempts
        self.retry = settings.retry
        self.timeout = settings.timeout
        self.queue = settings.queue
        self.priority = settings.priority
        self.keep = settings.keep
        self.keep_result = settings.keep_result
        self.keep_payload = settings.keep_payload
        self.schedule = settings.schedule
        self.limit = settings.limit
        self.is_async = inspect.iscoroutinefunction(function)
        signature = read_signature(function, identifier)
        self.call, self.takes_job, self.decode = signature.call, signature.takes_job, signature.decode
        self.has_keywords = signature.has_keywords
        self._shape = signature.shape
        self.app: Producer | None = None
        self.__doc__ = function.__doc__
        if self.schedule is not None:
            self._expect_empty_payload()

    def __repr__(self) -> str:
        return f"<Task {self.identifier}>"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the function directly, as in a unit test: no job, no database."""
        return self.function(*args, **kwargs)

    @overload
    def spec(self, payload: P, **options: Unpack[JobOptions]) -> JobSpec: ...
    @overload
    def spec(self, **keywords: Any) -> JobSpec: ...
    def spec(self, payload: Any = _NONE_GIVEN, **given: Any) -> JobSpec:
        """Returns a job of this task, to be added by `App.add_jobs`; arguments as for `add`."""
        options = {name: given.pop(name) for name in JobOptions.__annotations__ if name in given}
        if options.get("max_attempts") is None:
            options["max_attempts"] = self.max_attempts
        return self._complete(JobSpec(self.identifier, self._payload(payload, given), **options))

    @overload
    async def add(
        self,
        payload: P,
        *,
        connection: psycopg.AsyncConnection[Any] | None = None,
        **options: Unpack[JobOptions],
    ) -> Job: ...
    @overload
    async def add(self, **keywords: Any) -> Job: ...
    async def add(
        self,
        payload: Any = _NONE_GIVEN,
        *,
        connection: psycopg.AsyncConnection[Any] | None = None,
        **given: Any,
    ) -> Job:
        """Adds a job of this task, with the options of `App.add_job`.

        A task with one parameter takes the payload: `add(payload)`. One with several takes
        them as keywords, `add(order_id=5, email="ann@example.com")`, or as one dict.
        `task.sync.add` does the same in blocking code.

        Raises as `App.add_job`; InvalidJobError also for keywords that do not fit the function.
        """
        [job] = await self._producer.add_jobs([self.spec(payload, **given)], connection=connection)
        return job

    @property
    def sync(self) -> SyncTask[P]:
        """The blocking face: `task.sync.add(...)`."""
        return SyncTask(self)

    @property
    def _producer(self) -> Producer:
        if self.app is None:
            raise TaskLoadError(
                f"Task {self.identifier!r} belongs to no App yet: use @app.task, or app.register(task)."
            )
        return self.app

    def _complete(self, spec: JobSpec) -> JobSpec:
        """The job with the task's own queue and priority, if it leaves them open."""
        if self.queue is None and self.priority is None:
            return spec
        return replace(
            spec,
            queue_name=self.queue if spec.queue_name is None else spec.queue_name,
            priority=self.priority if spec.priority is None else spec.priority,
        )

    def _payload(self, payload: Any, keywords: Mapping[str, Any]) -> Any:
        """The payload of a job that was asked for in these words."""
        if not self.has_keywords:
            if payload is _NONE_GIVEN or keywords:
                what = f", and {min(keywords)!r} is no option of a job" if keywords else ""
                raise InvalidJobError(
                    f"Task {self.identifier!r} has one parameter, which takes the whole payload{what}: "
                    "call add(payload)."
                )
            return payload
        if payload is _NONE_GIVEN:
            payload = dict(keywords)
        elif keywords:
            raise InvalidJobError(
                f"Give task {self.identifier!r} either a payload or keywords; {min(keywords)!r} is a keyword."
            )
        # The worker would refuse it, too: say so where the mistake is made.
        text = encode_payload(payload, self.identifier)
        try:
            self.decode("{}" if text is None else bytes(text).decode())
        except PayloadError as error:
            raise InvalidJobError(f"Task {self.identifier!r}: {error}") from error
        return payload

    def _expect_empty_payload(self) -> None:
        if isinstance(self.limit, Limit) and self.limit.per is not None:
            raise TaskLoadError(
                f"Task {self.identifier!r} has a schedule, whose jobs have the payload {{}}, and a limit "
                f"per {self.limit.per!r}, which that lacks. Leave `per` out."
            )
        try:
            self.decode("{}")
        except PayloadError as error:
            advice = (
                "Give its parameters defaults."
                if self.has_keywords
                else "Its only parameter takes the whole payload, also if it has a default: give it a type "
                "that {} fits, for instance a dataclass whose fields have defaults, or leave it out."
            )
            raise TaskLoadError(
                f"Task {self.identifier!r} has a schedule, whose jobs have the payload {{}}. "
                f"{str(error).rstrip('.')}. {advice}"
            ) from error


class SyncTask(Generic[P]):
    """The blocking face of a task."""

    def __init__(self, task: Task[P]) -> None:
        self._task = task

    @overload
    def add(
        self, payload: P, *, connection: psycopg.Connection[Any] | None = None, **options: Unpack[JobOptions]
    ) -> Job: ...
    @overload
    def add(self, **keywords: Any) -> Job: ...
    def add(
        self, payload: Any = _NONE_GIVEN, *, connection: psycopg.Connection[Any] | None = None, **given: Any
    ) -> Job:
        """See `Task.add`."""
        spec = self._task.spec(payload, **given)
        [job] = self._task._producer.sync.add_jobs([spec], connection=connection)
        return job


class Decorate(typing.Protocol):
    """A decorator that makes a task of a function."""

    @overload
    def __call__(self, function: Callable[[P], Any]) -> Task[P]: ...
    @overload
    def __call__(self, function: Callable[[P, JobContext], Any]) -> Task[P]: ...
    @overload
    def __call__(self, function: Callable[[P, SyncJobContext], Any]) -> Task[P]: ...
    @overload
    def __call__(self, function: Callable[..., Any]) -> Task[Any]: ...


@overload
def task(function: Callable[[P], Any], /, **options: Unpack[TaskOptions]) -> Task[P]: ...
@overload
def task(function: Callable[[P, JobContext], Any], /, **options: Unpack[TaskOptions]) -> Task[P]: ...
@overload
def task(function: Callable[[P, SyncJobContext], Any], /, **options: Unpack[TaskOptions]) -> Task[P]: ...
@overload
def task(function: Callable[..., Any], /, **options: Unpack[TaskOptions]) -> Task[Any]: ...
@overload
def task(identifier: str | None = None, /, **options: Unpack[TaskOptions]) -> Decorate: ...
def task(first: Any = None, /, **options: Unpack[TaskOptions]) -> Any:
    """Makes a task of a function.

    `@task` names it like the function, `@task("users/verify")` as given. The parameter that is called
    `job`, or annotated JobContext, takes the job. If the function has one other parameter, that takes the
    payload. If it has several or none, the keys of the payload are its keywords. What is annotated is
    decoded and checked (dataclass, TypedDict, msgspec Struct, pydantic model, built-in types).

    max_attempts  attempts before a job fails for good; if the job has fewer itself, those count
    retry         a strategy from `tidemill.retry`; default exp(min(10, attempts)) seconds
    timeout       seconds, a timedelta or a text such as "30s" for one attempt; default none. An async
                  function is cancelled, a plain one can look at `job.cancelled`
    queue         named queue of the jobs that Python code adds and that name none; default none
    priority      priority of the jobs that Python code adds and that name none; default 0
    keep          how long tidemill.job_history has its jobs: a timedelta, or a text such as "1 week" or
                  "forever", rounded up to a day, a week, a month, a year or for ever. Default: what the
                  worker has, else "none"
    keep_result   keeps what it returns, as JSON, for `app.wait` and `tidemill.job_result`; without `keep`
                  for a day at least. A result that is not JSON fails the job for good
    keep_payload  False leaves the payload out of the history; default True
    limit         how many of its jobs run at once, or start in a time, over all workers, whoever adds them:
                  `Limit(5)`, `Limit(2, per="customer_id")`, `Rate(100, "1 minute")`,
                  `Limit(5, rate=Rate(100, "1 minute"))`, or the name of a limit of `tidemill.set_limit`.
                  It holds from the start of the first worker that has it. Default: none
    every         runs it on a schedule: "10m", a timedelta, or seconds. The times lie on a grid
                  from Monday 2000-01-03 00:00 on, whenever workers start
    cron          or at the times of a cron line such as "30 4 * * 1"
    timezone      the time zone of both, for instance "Europe/Berlin"; default UTC
    missed        "run_once" (default) runs once for all times at which no worker ran, "skip" not at all

    When a worker starts, it makes an action of each schedule, which adds jobs with the payload {}.
    Async functions run on the event loop, plain ones in threads.

    Raises TaskLoadError for a function that cannot be a task, and for wrong options.
    """
    for word in options.keys() & {"name", "identifier"}:
        raise TaskLoadError(
            f"The name of a task stands first, without a word before it: @app.task({options[word]!r}, ...) "  # type: ignore[literal-required]
            f"in place of {word}=..."
        )

    def decorate(function: TaskFunction[Any]) -> Task[Any]:
        name: Any = getattr(function, "__name__", None) if first is None or callable(first) else first
        return Task(function, name, **options)

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

    def complete(self, spec: JobSpec) -> JobSpec:
        """The job with its task's own queue and priority, if it leaves them open."""
        task = self._tasks.get(spec.identifier)
        return spec if task is None else task._complete(spec)

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
