"""Reading a task's function: which arguments it takes, and how its payload is decoded."""

from __future__ import annotations

import inspect
import sys
import types
import typing
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from tidemill.context import JobContext
from tidemill.errors import PayloadError, TaskLoadError

P = TypeVar("P")
PlainFunction = Callable[[P], Any]
JobFunction = Callable[[P, JobContext], Any]
TaskFunction = PlainFunction[P] | JobFunction[P]
Decoder = Callable[[str], Any]


def read_function(function: TaskFunction[Any], identifier: str) -> tuple[bool, Decoder]:
    """Returns whether a function takes the job, and what decodes its payload.

    Raises TaskLoadError for a function that cannot be a task. The decoder raises PayloadError.
    """
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
    """The type of one parameter. Those of the others may be imported for type checkers only."""
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
    """Reads a type that msgspec does not know: a pydantic model inside of another type."""
    if hasattr(hint, "model_validate"):
        return hint.model_validate(value)
    raise TypeError(f"{hint!r} cannot be read from JSON")
