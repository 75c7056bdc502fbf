"""What a task's payload must be, as JSON Schema."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec


@dataclass(frozen=True, slots=True)
class Shape:
    """What a payload must be: one value of a type, or an object with a key for each keyword of a function."""

    whole: Any = None
    """The type of the whole payload. None: it is keywords."""
    keywords: Mapping[str, Any] = field(default_factory=dict)
    """Their types."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    rest: Any = None
    """The type of all other keys; None if there may be none."""

    @property
    def required(self) -> set[str]:
        """The keywords that have no default."""
        return set(self.keywords) - set(self.defaults)


def payload_schema(shape: Shape) -> dict[str, Any]:
    """The JSON Schema of a payload. Raises what the type's own code raises, or TypeError, if it has none."""
    described: dict[str, Any] = {}

    def hook(kind: Any) -> dict[str, Any]:
        return _of_model(kind, described)

    def all_of(*kinds: Any) -> list[dict[str, Any]]:
        found, components = msgspec.json.schema_components(
            [Any if kind is object else kind for kind in kinds],
            schema_hook=hook,
            ref_template="#/$defs/{name}",
        )
        described.update(components)
        return list(found)

    if shape.whole is not None:
        [schema] = all_of(shape.whole)
    else:
        names = list(shape.keywords)
        *parts, rest = all_of(*shape.keywords.values(), Any if shape.rest is None else shape.rest)
        schema = {
            "type": "object",
            "properties": {
                name: part | _default(shape, name) for name, part in zip(names, parts, strict=True)
            },
            "required": [name for name in names if name in shape.required],
            "additionalProperties": False if shape.rest is None else rest,
        }
    reference = schema.get("$ref")
    if reference is not None and len(schema) == 1:
        # Who draws a form of it need not look further.
        schema = {**described[reference.removeprefix("#/$defs/")]}
        if f'"{reference}"' not in msgspec.json.encode(described).decode():
            del described[reference.removeprefix("#/$defs/")]
    return schema | {"$defs": described} if described else schema


def _of_model(kind: Any, described: dict[str, Any]) -> dict[str, Any]:
    """The schema of a pydantic model; those of the models in it are added to `described`."""
    make = getattr(kind, "model_json_schema", None)
    if make is None:
        raise NotImplementedError
    schema: dict[str, Any] = make(ref_template="#/$defs/{model}")
    for name, part in schema.pop("$defs", {}).items():
        described.setdefault(name, part)
    return schema


def _default(shape: Shape, name: str) -> dict[str, Any]:
    with contextlib.suppress(TypeError, ValueError, OverflowError, RecursionError, KeyError):
        return {"default": msgspec.to_builtins(shape.defaults[name], str_keys=True)}
    return {}
