"""The job that `tidemill up` suggests: its payload must fit the task."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any, Literal
from uuid import UUID

import msgspec
import pytest

from tidemill import App
from tidemill.cli.welcome import example


@dataclass
class Address:
    street: str
    number: int = 1


@dataclass
class Order:
    id: UUID
    at: date
    to: Address
    items: list[str]
    pay: Literal["card", "cash"]
    gift: bool
    note: str = ""


class Small(msgspec.Struct):
    count: int | None


async def keywords(to: str, size: float, subject: str = "Hello") -> None: ...
async def typed(payload: Order) -> None: ...
async def struct(payload: Small) -> None: ...
async def anything(payload: Any) -> None: ...
async def nothing() -> None: ...


@pytest.mark.parametrize(
    ("function", "keys"),
    [
        (keywords, {"to", "size"}),
        (typed, {"id", "at", "to", "items", "pay", "gift"}),
        (struct, {"count"}),
        (anything, set()),
        (nothing, set()),
    ],
)
def test_it_has_what_is_required_and_fits(function: Any, keys: set[str]) -> None:
    task = App().task("t")(function)
    given = example(task._shape)
    assert set(given) == keys
    # It raises where a worker would refuse the payload.
    task.decode(msgspec.json.encode(given).decode())
