"""The JSON Schema of what a task takes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypedDict

import msgspec
import pydantic
import pytest

from tidemill.schemas import payload_schema
from tidemill.tasks import task


@dataclass
class Item:
    name: str
    count: int = 1


@dataclass
class Order:
    items: list[Item]
    note: str = field(default="", metadata={"unused": 1})


class Node(msgspec.Struct):
    value: int
    next: Node | None = None


class Mail(TypedDict, total=False):
    to: str


class Address(pydantic.BaseModel):
    street: str


class Person(pydantic.BaseModel):
    name: str
    address: Address


ITEM = {
    "title": "Item",
    "type": "object",
    "properties": {"name": {"type": "string"}, "count": {"type": "integer", "default": 1}},
    "required": ["name"],
}


def schema(function: Any) -> dict[str, Any]:
    return payload_schema(task("t")(function)._shape)


def test_one_parameter() -> None:
    def order(payload: Order) -> None: ...

    found = schema(order)
    assert found["$defs"] == {"Item": ITEM}
    assert found["properties"]["items"] == {"type": "array", "items": {"$ref": "#/$defs/Item"}}
    assert (found["type"], found["required"]) == ("object", ["items"])

    def anything(payload): ...  # type: ignore[no-untyped-def]

    def number(payload: int) -> None: ...

    def mail(payload: Mail) -> None: ...

    assert schema(anything) == {}
    assert schema(number) == {"type": "integer"}
    assert schema(mail)["properties"] == {"to": {"type": "string"}}


def test_a_type_that_holds_itself() -> None:
    def walk(payload: Node) -> None: ...

    found = schema(walk)
    assert found["properties"]["value"] == {"type": "integer"}
    assert found["$defs"]["Node"]["properties"] == found["properties"]


def test_keywords() -> None:
    def send(to: str, item: Item, times: int = 3, tags: set[str] = {"a"}, odd: Any = object()) -> None: ...  # noqa: B006, B008

    assert schema(send) == {
        "type": "object",
        "properties": {
            "to": {"type": "string"},
            "item": {"$ref": "#/$defs/Item"},
            "times": {"type": "integer", "default": 3},
            "tags": {"type": "array", "items": {"type": "string"}, "uniqueItems": True, "default": ["a"]},
            "odd": {},
        },
        "required": ["to", "item"],
        "additionalProperties": False,
        "$defs": {"Item": ITEM},
    }

    def rest(**others: int) -> None: ...

    assert schema(rest)["additionalProperties"] == {"type": "integer"}

    def nothing() -> None: ...

    assert schema(nothing)["properties"] == {}


def test_pydantic_models() -> None:
    def alone(payload: Person) -> None: ...

    def amid(person: Person, people: list[Person] | None = None) -> None: ...

    whole = schema(alone)
    assert whole["properties"]["address"] == {"$ref": "#/$defs/Address"}
    assert whole["$defs"]["Address"]["required"] == ["street"]
    found = schema(amid)
    assert found["properties"]["person"]["properties"]["address"] == {"$ref": "#/$defs/Address"}
    assert found["$defs"]["Address"] == whole["$defs"]["Address"]


def test_what_has_none() -> None:
    class Odd(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)
        thing: object = None

        @classmethod
        def model_json_schema(cls, *args: Any, **options: Any) -> dict[str, Any]:
            raise RuntimeError("no schema")

    def odd(payload: Any) -> None: ...

    odd.__annotations__["payload"] = Odd
    with pytest.raises(RuntimeError):
        schema(odd)
