"""Payloads: how they are written as JSON, and how a task's payload is decoded and checked."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from tidemill.errors import InvalidJobError, PayloadError, TaskLoadError
from tidemill.texts import shown

Decoder = Callable[[str], Any]

_HALF_PAIR = re.compile(r"\\u[dD][89abAB]..(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB]..)\\u[dD][c-fC-F]")


def encode_payload(payload: Any, identifier: str) -> msgspec.Raw | None:
    """A payload as JSON; None for None. Raises InvalidJobError if JSON cannot hold it."""
    if payload is None or isinstance(payload, msgspec.Raw):
        return payload
    try:
        dump = getattr(payload, "model_dump_json", None)
        text = dump().encode() if dump else _encoder.encode(payload)
        if (nothing := no_number(payload, text)) is not None:
            path, value = nothing
            raise InvalidJobError(
                f"payload{path} of job {identifier!r} is {value}: JSON has no such number. "
                "Use None or a string in its place, or leave it out."
            )
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        why = (
            "it has half of a surrogate pair, which is no character"
            if isinstance(error, UnicodeEncodeError)
            else error
        )
        raise InvalidJobError(
            f"The payload of job {identifier!r} cannot be written as JSON: {why}. "
            "Use plain dicts, lists, strings, numbers, dataclasses, msgspec Structs or pydantic models."
        ) from error
    return msgspec.Raw(text)


def no_number(value: Any, text: bytes) -> tuple[str, str] | None:
    """The path and name of a number in a value that JSON does not have; None if all are in its JSON text."""
    # msgspec and pydantic write NaN and infinity as null.
    if b"null" not in text:
        return None
    plain = msgspec.to_builtins(value, str_keys=True, enc_hook=_plain)
    return next(((path, _spelled(number)) for path, number in _nothings(plain)), None)


def _plain(value: Any) -> Any:
    """What a pydantic model inside of another value is written as."""
    dump = getattr(value, "model_dump", None)
    if dump is not None:
        return dump(mode="json")
    if isinstance(value, msgspec.Raw):
        # It is JSON already, which has no NaN.
        return None
    if isinstance(value, bool | tuple | None):
        # In values msgspec knows these.
        raise TypeError(f"{shown(value)} is the key of a dict, and keys of JSON are strings")
    raise TypeError(f"Encoding objects of type {type(value).__name__} is unsupported")


_encoder = msgspec.json.Encoder(enc_hook=_plain)


def _nothings(value: Any, path: str = "") -> Iterator[tuple[str, float]]:
    """The numbers in built-in values that JSON does not have, with their paths."""
    if isinstance(value, float):
        if not math.isfinite(value):
            yield path, value
    elif isinstance(value, dict):
        for key, item in value.items():
            plain = isinstance(key, str) and key.isidentifier()
            yield from _nothings(item, f"{path}.{key}" if plain else f"{path}[{key!r}]")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _nothings(item, f"{path}[{index}]")


def _spelled(value: float) -> str:
    return "NaN" if math.isnan(value) else "infinity" if value > 0 else "-infinity"


def value_decoder(hint: Any, identifier: str, parameter: str) -> Decoder:
    """What decodes the whole payload, for a task that takes it as one argument.

    Raises TaskLoadError for a type that cannot be read from JSON. The decoder raises PayloadError.
    """
    read = _reader(hint, identifier, parameter)
    name = getattr(hint, "__name__", str(hint))

    def decode(text: str) -> Any:
        try:
            return read(text)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise PayloadError(
                unreadable(text) or f"The payload does not fit {name}: {error}{advice(text)}"
            ) from error

    def advice(text: str) -> str:
        keys = _keys(text)
        if keys is None or list(keys) != [parameter]:
            return ""
        return (
            f". The task's only parameter takes the whole payload, so leave out the key {parameter!r} "
            "and give its value alone."
        )

    return decode


def keywords_decoder(hints: Mapping[str, Any], required: set[str], rest: Any, identifier: str) -> Decoder:
    """What decodes an object whose keys are the keywords of a function, into a dict.

    `rest` is the type of all other keys; None if there may be none. Raises and is as `value_decoder`.
    """
    for name, hint in hints.items():
        _reader(hint, identifier, name)
    # Crontabs add `_cron` to each payload.
    unasked = {"_cron": Any} if rest is None and "_cron" not in hints else {}
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = [
        (name, hint) if name in required else (name, hint, msgspec.UNSET)
        for name, hint in {**hints, **unasked}.items()
    ]
    known = msgspec.defstruct("Keywords", fields, kw_only=True, forbid_unknown_fields=rest is None)
    read = msgspec.json.Decoder(known, dec_hook=_read_model).decode
    read_rest = None if rest is None else msgspec.json.Decoder(dict[str, Any]).decode

    def decode(text: str) -> dict[str, Any]:
        try:
            found = read(text)
            given = {name: value for name in hints if (value := getattr(found, name)) is not msgspec.UNSET}
            if read_rest is not None:
                others = {name: value for name, value in read_rest(text).items() if name not in hints}
                given |= msgspec.convert(others, dict[str, rest], dec_hook=_read_model)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise PayloadError(
                unreadable(text) or f"The payload does not fit its task: {mistake(text) or error}. {takes}"
            ) from error
        return given

    def mistake(text: str) -> str:
        keys = _keys(text)
        if keys is None:
            return ""
        missing = [name for name in hints if name in required and name not in keys]
        unknown = [name for name in keys if name not in hints] if rest is None else []
        return ", ".join(
            [f"{name} is missing" for name in missing] + [f"{name} is unknown" for name in unknown]
        )

    takes = _what_it_takes(list(hints), required, any_others=rest is not None)
    return decode


def _what_it_takes(names: list[str], required: set[str], *, any_others: bool) -> str:
    if not names and not any_others:
        return "The task takes no payload, so the payload is {}."
    needed = [name for name in names if name in required]
    optional = [name for name in names if name not in required]
    if any_others:
        optional.append("any others")
    parts = ([", ".join(needed)] if needed else []) + (
        ["optionally " + ", ".join(optional)] if optional else []
    )
    return f"The payload is an object with a key for each parameter: {'; '.join(parts)}."


def _keys(text: str) -> Mapping[str, Any] | None:
    """The keys of a JSON object; None for any other text."""
    try:
        return msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None


def unreadable(text: str) -> str | None:
    """Why no task can read this JSON; None if it can be read."""
    try:
        msgspec.json.decode(text)
    except RecursionError:
        why = "its JSON is nested too deep"
    except msgspec.ValidationError as error:
        why = f"it has a number that Python cannot hold ({error})"
    except (msgspec.DecodeError, ValueError) as error:
        half = _HALF_PAIR.search(text) is not None
        why = "it has half of a surrogate pair, which is no character" if half else str(error)
    else:
        return None
    return f"The payload cannot be read: {why}."


def _reader(hint: Any, identifier: str, parameter: str) -> Decoder:
    """Decodes JSON into a type. Raises TaskLoadError if that cannot be done."""
    if hint is object:
        hint = Any
    if isinstance(hint, type) and hasattr(hint, "model_validate_json"):
        _complete(hint, identifier, parameter)
        read: Decoder = hint.model_validate_json
        return read
    try:
        decoder = msgspec.json.Decoder(hint, dec_hook=_read_model)
        for kind in _custom_types(hint):
            if not hasattr(kind, "model_validate"):
                raise TypeError(f"{kind!r} cannot be read from JSON")
            _complete(kind, identifier, parameter)
    except (TypeError, NameError, ValueError, AttributeError, RecursionError) as error:
        raise TaskLoadError(
            f"The type of parameter {parameter!r} of task {identifier!r} is not supported: {error}. "
            "Use built-in types, dataclasses, TypedDicts, msgspec Structs or pydantic models whose fields "
            "are such types, too."
        ) from error
    return decoder.decode


def _complete(model: Any, identifier: str, parameter: str) -> None:
    """Raises TaskLoadError for a pydantic model with a field whose type is not known."""
    try:
        if not getattr(model, "__pydantic_complete__", True):
            model.model_rebuild()
    except (NameError, RuntimeError) as error:
        raise TaskLoadError(
            f"The type of parameter {parameter!r} of task {identifier!r} is not complete: "
            f"{str(error).splitlines()[0]}. Define its fields' types before the task."
        ) from error


def _custom_types(hint: Any) -> Iterator[Any]:
    """The types in a type that msgspec itself cannot read."""
    if hint is Any or hint in (str, int, float, bool, dict, list):
        return
    from msgspec import inspect

    seen: set[int] = set()
    left: list[Any] = [inspect.type_info(hint)]
    while left:
        part = left.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        if isinstance(part, inspect.CustomType):
            yield part.cls
        elif isinstance(part, inspect.Type | inspect.Field):
            left += [getattr(part, name) for name in part.__struct_fields__ if name not in ("default", "cls")]
        elif isinstance(part, tuple):
            left += part


def _read_model(hint: Any, value: Any) -> Any:
    """Reads a type that msgspec does not know: a pydantic model inside of another type."""
    if hasattr(hint, "model_validate"):
        return hint.model_validate(value)
    raise TypeError(f"{hint!r} cannot be read from JSON")
