"""Reading a task's function: which arguments it takes, and how it is called with a payload."""

from __future__ import annotations

import functools
import inspect
import re
import sys
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from tidemill.context import JobContext, SyncJobContext
from tidemill.errors import TaskLoadError
from tidemill.jobs import JobOptions
from tidemill.payloads import Decoder, keywords_decoder, value_decoder
from tidemill.schemas import Shape

P = TypeVar("P")
TaskFunction = (
    Callable[[P], Any]
    | Callable[[P, JobContext], Any]
    | Callable[[P, SyncJobContext], Any]
    | Callable[..., Any]
)

RESERVED = frozenset((*JobOptions.__annotations__, "queue", "connection"))
"""Names that mean something else in `Task.add`, so keywords cannot have them."""

_Parameters = list[inspect.Parameter]


@dataclass(frozen=True, slots=True)
class Signature:
    """How a task's function is called."""

    call: Callable[..., Any]
    """Takes the decoded payload and, if `takes_job`, the job."""
    takes_job: bool
    decode: Decoder
    """Decodes a payload; raises PayloadError."""
    has_keywords: bool
    """The keys of the payload are keywords. Otherwise the payload is one argument."""
    shape: Shape
    """What a payload must be."""


def read_signature(function: Callable[..., Any], identifier: str) -> Signature:
    """Reads how a function is called: the one place that knows the rules.

    The job goes to a parameter that is called `job`, or annotated JobContext or SyncJobContext. If one
    parameter is left, it takes the payload; if there are more or none, the payload's keys are keywords.

    Raises TaskLoadError for a function that cannot be a task.
    """
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TaskLoadError(
            f"Task {identifier!r} is a generator (it has a `yield`), and nobody would run it."
        )
    try:
        parameters = list(_signature(function).parameters.values())
    except (TypeError, ValueError) as error:
        raise TaskLoadError(f"Task {identifier!r} has no signature to read: {error}.") from error
    scope = _scope(function)
    kinds = {p.name: _job_type(p, scope, identifier) for p in parameters}
    jobs = [p for p in parameters if kinds[p.name] is not None]
    others = [p for p in parameters if kinds[p.name] is None]
    if len(jobs) > 1:
        raise TaskLoadError(
            f"Task {identifier!r} takes the job twice: as {jobs[0].name!r} and as {jobs[1].name!r}. "
            "Leave one of them out."
        )
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        raise TaskLoadError(
            f"Task {identifier!r} takes *{_star(parameters)}, so Tidemill cannot tell how to call it. Name "
            "its parameters; if a decorator made the function, let the decorator use functools.wraps."
        )
    job = jobs[0] if jobs else None
    sync = job is not None and kinds[job.name] is SyncJobContext
    if len(others) == 1 and others[0].kind is not inspect.Parameter.VAR_KEYWORD:
        [payload] = others
        call = _call(function, parameters, payload, job, sync=sync)
        shape = Shape(_type_of(payload, scope, identifier))
        decode = value_decoder(shape.whole, identifier, payload.name)
        return Signature(call, job is not None, decode, False, shape)
    shape = _keywords(others, scope, identifier)
    decode = keywords_decoder(shape.keywords, shape.required, shape.rest, identifier)
    call = _call(function, parameters, None, job, sync=sync)
    return Signature(call, job is not None, decode, True, shape)


def _signature(function: Callable[..., Any]) -> inspect.Signature:
    if sys.version_info >= (3, 14):
        import annotationlib

        return inspect.signature(function, annotation_format=annotationlib.Format.FORWARDREF)
    return inspect.signature(function)


def _scope(function: Callable[..., Any]) -> Mapping[str, Any]:
    """The names that a function's annotations may use."""
    while isinstance(function, functools.partial):
        function = function.func
    function = inspect.unwrap(function)
    found = getattr(function, "__globals__", None) or getattr(type(function).__call__, "__globals__", {})
    return typing.cast(Mapping[str, Any], found)


def _star(parameters: _Parameters) -> str:
    return next(p.name for p in parameters if p.kind is p.VAR_POSITIONAL)


# The job


def _job_type(parameter: inspect.Parameter, scope: Mapping[str, Any], identifier: str) -> type | None:
    """JobContext or SyncJobContext for the parameter that takes the job, None for others."""
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        return None
    by_name = JobContext if parameter.name == "job" else None
    annotation = parameter.annotation
    if annotation is parameter.empty:
        return by_name
    try:
        members = list(_members(_resolved(annotation, scope)))
    except Exception:
        # The type of the job may be imported for type checkers only.
        names = set(re.findall(r"\w+", str(annotation)))
        return (
            SyncJobContext if "SyncJobContext" in names else JobContext if "JobContext" in names else by_name
        )
    for kind in (SyncJobContext, JobContext):
        if any(isinstance(member, type) and issubclass(member, kind) for member in members):
            return kind
    if by_name is None or any(_may_be_a_job(member) for member in members):
        return by_name
    raise TaskLoadError(
        f"The parameter job of task {identifier!r} is annotated {_spelled(annotation)}, but a parameter "
        "called `job` takes the job's JobContext. Give it another name, or annotate it with JobContext."
    )


def _members(hint: Any) -> Iterator[Any]:
    """The types of which a type is made by Annotated and by unions."""
    origin = typing.get_origin(hint)
    if origin is typing.Annotated:
        yield from _members(hint.__origin__)
    elif origin in (typing.Union, types.UnionType):
        for member in typing.get_args(hint):
            yield from _members(member)
    else:
        yield hint


def _may_be_a_job(hint: Any) -> bool:
    return hint in (Any, object) or getattr(hint, "_is_protocol", False) or isinstance(hint, TypeVar)


def _spelled(annotation: Any) -> str:
    return annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))


# The payload


def _type_of(parameter: inspect.Parameter, scope: Mapping[str, Any], identifier: str) -> Any:
    if parameter.annotation is parameter.empty:
        return Any
    try:
        return _resolved(parameter.annotation, scope)
    except Exception as error:
        # Not only NameError: an annotation may be any expression.
        raise TaskLoadError(
            f"The type of parameter {parameter.name!r} of task {identifier!r} cannot be read: {error}. "
            "Types of payloads must be importable where the task is defined."
        ) from error


def _resolved(annotation: Any, scope: Mapping[str, Any]) -> Any:
    """The type that one parameter's annotation means."""
    holder = types.SimpleNamespace(__annotations__={"it": annotation})
    return typing.get_type_hints(holder, dict(scope), include_extras=True)["it"]


def _keywords(parameters: _Parameters, scope: Mapping[str, Any], identifier: str) -> Shape:
    """A payload whose keys are the keywords of these parameters."""
    rest = next((p for p in parameters if p.kind is p.VAR_KEYWORD), None)
    named = [p for p in parameters if p is not rest]
    for parameter in named:
        refused = _why_no_keyword(parameter)
        if refused is not None:
            raise TaskLoadError(
                f"Task {identifier!r} has the parameters {', '.join(p.name for p in parameters)}, so each "
                f"takes one key of the payload. {refused}"
            )
    return Shape(
        keywords={p.name: _type_of(p, scope, identifier) for p in named},
        defaults={p.name: p.default for p in named if p.default is not p.empty},
        rest=None if rest is None else _type_of(rest, scope, identifier),
    )


def _why_no_keyword(parameter: inspect.Parameter) -> str | None:
    """Why a parameter cannot take one key of the payload, and what to do; None if it can."""
    name = parameter.name
    if parameter.kind is parameter.POSITIONAL_ONLY:
        return f"But {name} is positional-only: leave out the `/`."
    if name == "payload":
        return (
            "But `payload` is the whole payload: if the other parameter is for the job, call it `job` or "
            "annotate it with JobContext; if not, rename `payload`."
        )
    if name in ("self", "cls"):
        return (
            f"But {name} is no key: a task is a plain function, and a parameter called `job` takes the job."
        )
    if name in RESERVED:
        return (
            f"But {name} is an option of jobs, so task.add could not tell them apart: rename the parameter, "
            "or take the whole payload as one parameter, for instance a dataclass with this field."
        )
    return None


# The call


def _call(
    function: Callable[..., Any],
    parameters: _Parameters,
    payload: inspect.Parameter | None,
    job: inspect.Parameter | None,
    *,
    sync: bool,
) -> Callable[..., Any]:
    """Returns what takes the decoded payload and the job; without `payload`, the payload is keywords."""
    by_position = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if payload is not None and not sync and by_position == [payload, *([job] if job else [])]:
        # Most tasks: nothing comes between the worker and the function.
        return function
    places = [p.name for p in parameters if p.kind is p.POSITIONAL_ONLY]

    def call(given: Any, context: JobContext | None = None) -> Any:
        values: dict[str, Any] = given if payload is None else {payload.name: given}
        if job is not None and context is not None:
            values[job.name] = context.sync if sync else context
        return function(*[values.pop(name) for name in places], **values)

    return call
