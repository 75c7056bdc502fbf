"""Tasks: the decorator, payload types, and the registry."""

from __future__ import annotations

import inspect
import sys
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

import msgspec

from tidemill.context import JobContext, Producer
from tidemill.errors import PayloadError, TaskLoadError
from tidemill.jobs import Job, JobKeyMode, JobSpec
from tidemill.retry import Delay, Strategy, seconds
from tidemill.schedule import Every, Missed, read_schedule

if TYPE_CHECKING:
    import psycopg

P = TypeVar("P")
PlainFunction = Callable[[P], Any]
JobFunction = Callable[[P, JobContext], Any]
TaskFunction = PlainFunction[P] | JobFunction[P]
Decoder = Callable[[str], Any]


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
        """See `task` for the options. Raises TaskLoadError for what cannot be a task."""
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
        self.takes_job, self.decode = _inspect(function, identifier)
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
        """A job of this task for `App.add_jobs`."""
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


class _Decorate(typing.Protocol):
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
) -> _Decorate: ...
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

    max_attempts  attempts before a job fails for good; the smaller of this and the job's own counts
    retry         a strategy from `tidemill.retry`; default exp(min(10, attempts)) seconds
    timeout       seconds or a timedelta for one attempt; default none. An async function is
                  cancelled, a plain one is told through `job.cancelled`
    every         run it by itself each 10 minutes: "10m", a timedelta, or seconds. The times lie on
                  a grid from Monday 2000-01-03 00:00 on, whenever workers start
    cron          or at the times of a cron line such as "30 4 * * 1"
    timezone      in which both count, for instance "Europe/Berlin"; default UTC
    missed        "run_once" (default) makes up for times that no worker ran at, "skip" does not

    A worker that starts makes an action of each schedule, which adds jobs with the payload {}.
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


def _inspect(function: TaskFunction[Any], identifier: str) -> tuple[bool, Decoder]:
    """Whether a function takes the job, and how its payload is decoded."""
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TaskLoadError(
            f"Task {identifier!r} is a generator (it has a `yield`), and nobody would run it."
        )
    try:
        parameters = list(_signature(function).parameters.values())
    except (TypeError, ValueError) as error:
        raise TaskLoadError(f"Task {identifier!r} has no signature to read: {error}.") from error
    positional = [
        p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.VAR_POSITIONAL)
    ]
    needed = [p for p in positional if p.default is p.empty and p.kind is not p.VAR_POSITIONAL]
    starred = any(p.kind is p.VAR_POSITIONAL for p in positional)
    if not positional or len(needed) > 2:
        raise TaskLoadError(
            f"Task {identifier!r} takes {len(needed)} arguments; it must take (payload) or (payload, job)."
        )
    try:
        hint = _payload_type(function, positional[0])
    except (NameError, TypeError) as error:
        raise TaskLoadError(
            f"The payload type of task {identifier!r} cannot be read: {error}. "
            "Types of payloads must be importable where the task is defined."
        ) from error
    return starred or len(positional) > 1, _decoder(hint, identifier)


def _signature(function: TaskFunction[P]) -> inspect.Signature:
    if sys.version_info >= (3, 14):
        import annotationlib

        return inspect.signature(function, annotation_format=annotationlib.Format.FORWARDREF)
    return inspect.signature(function)


def _payload_type(function: TaskFunction[P], parameter: inspect.Parameter) -> Any:
    """The type of one parameter; the others may be imported for type checkers alone."""
    if parameter.annotation is parameter.empty:
        return Any
    holder = types.SimpleNamespace(__annotations__={"payload": parameter.annotation})
    scope = getattr(inspect.unwrap(function), "__globals__", {})
    return typing.get_type_hints(holder, scope)["payload"]


def _decoder(hint: Any, identifier: str) -> Decoder:
    read: Decoder
    if hasattr(hint, "model_validate_json"):
        read = hint.model_validate_json
    else:
        try:
            read = msgspec.json.Decoder(hint, dec_hook=_read_model).decode
        except TypeError as error:
            raise TaskLoadError(
                f"The payload type of task {identifier!r} is not supported: {error}"
            ) from error
    name = getattr(hint, "__name__", str(hint))

    def decode(text: str) -> Any:
        try:
            return read(text)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise PayloadError(f"The payload does not fit {name}: {error}") from error

    return decode


def _read_model(hint: Any, value: Any) -> Any:
    """Reads what msgspec has no notion of: pydantic models inside of other types."""
    if hasattr(hint, "model_validate"):
        return hint.model_validate(value)
    raise TypeError(f"{hint!r} cannot be read from JSON")


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
