"""Payloads on their way in: written as JSON without a loss, or refused with the path to the value."""

from __future__ import annotations

import asyncio
import enum
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import psycopg
import pydantic
import pytest

from tidemill import App, JobSpec
from tidemill.actions.crontab import parse_crontab
from tidemill.errors import CrontabError, InvalidJobError
from tidemill.payloads import encode_payload, value_decoder

pytestmark = pytest.mark.versions(18)


@dataclass
class Order:
    price: float
    note: str | None = None


class Packed(msgspec.Struct):
    price: float


class Model(pydantic.BaseModel):
    price: float
    note: str | None = None


class Colour(enum.Enum):
    RED = "red"


NAN, INFINITY = math.nan, math.inf


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (NAN, "payload of job 'x' is NaN: JSON has no such number"),
        (-INFINITY, "payload of job 'x' is -infinity"),
        ({"items": [1, {"price": NAN, "note": None}]}, "payload.items[1].price of job 'x' is NaN"),
        ([None, (1, INFINITY)], "payload[1][1] of job 'x' is infinity"),
        ({"a b": {2: NAN}}, "payload['a b']['2'] of job 'x' is NaN"),
        ({INFINITY: NAN}, "is NaN"),
        ({"a": {NAN}}, "payload.a[0] of job 'x' is NaN"),
        (Order(NAN), "payload.price of job 'x' is NaN"),
        ([Order(1), Packed(INFINITY)], "payload[1].price of job 'x' is infinity"),
        (Model(price=NAN), "payload.price of job 'x' is NaN"),
        (
            {"models": [Model(price=1), Model(price=-INFINITY)]},
            "payload.models[1].price of job 'x' is -infinity",
        ),
        ("\ud800", "half of a surrogate pair"),
        ({"a": ["\udc00"]}, "half of a surrogate pair"),
        ({"\ud800": 1}, "half of a surrogate pair"),
        ({None: 1}, "None is the key of a dict"),
        ({True: 1}, "True is the key of a dict"),
        ({(1, 2): 1}, "(1, 2) is the key of a dict"),
        (object(), "object is unsupported"),
        ({"a": 1j}, "complex is unsupported"),
        (Order, "type is unsupported"),
        (range(3), "range is unsupported"),
        (msgspec.UNSET, "unsupported"),
    ],
)
def test_what_json_cannot_hold(payload: Any, words: str) -> None:
    with pytest.raises(InvalidJobError) as refused:
        encode_payload(payload, "x")
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("payload", "kind"),
    [
        (datetime(2030, 1, 31, 9, tzinfo=UTC), datetime),
        (date(2030, 1, 31), date),
        (timedelta(days=1, microseconds=1), timedelta),
        (Decimal("1.10"), Decimal),
        (UUID(int=7), UUID),
        (b"\x00\xff", bytes),
        ({1, 2}, set[int]),
        ((1, "a"), tuple[int, str]),
        ({1: "a", 2: "b"}, dict[int, str]),
        ({date(2030, 1, 31): 1.5}, dict[date, float]),
        (Colour.RED, Colour),
        (2**200, int),
        (5e-324, float),
        ({"null": None, "nan": "NaN"}, dict[str, str | None]),
        ("\0\N{PARTY POPPER}", str),
        (Order(1.5), Order),
        (Packed(1.5), Packed),
        (Model(price=1.5), Model),
        ([Model(price=1.5)], list[Model]),
    ],
)
def test_all_else_comes_out_as_it_went_in_where_the_task_says_its_type(payload: Any, kind: Any) -> None:
    text = encode_payload(payload, "x")
    assert text is not None
    assert value_decoder(kind, "x", "payload")(bytes(text).decode()) == payload


def test_none_means_the_default_and_raw_json_is_left_alone() -> None:
    assert encode_payload(None, "x") is None
    raw = msgspec.Raw(b"[1.0000, null]")
    assert encode_payload(raw, "x") is raw
    inside = encode_payload({"a": raw}, "x")
    assert inside is not None
    assert bytes(inside) == b'{"a":[1.0000, null]}'


def _ways(app: App, price: float) -> list[Callable[[], Any]]:
    @app.task
    async def sell(payload: Any) -> None: ...

    @app.task
    async def sell_by_keyword(price: float, note: str = "") -> None: ...

    order, spec = {"price": price}, JobSpec("sell", {"price": price})
    return [
        lambda: asyncio.run(app.add_job("sell", order)),
        lambda: asyncio.run(app.add_jobs([JobSpec("sell"), spec])),
        lambda: asyncio.run(sell.add(order)),
        lambda: asyncio.run(sell_by_keyword.add(price=price)),
        lambda: app.sync.add_job("sell", order),
        lambda: app.sync.add_jobs([sell.spec(order)]),
        lambda: sell.sync.add(order),
        lambda: sell_by_keyword.sync.add(price=price),
    ]


def test_every_way_to_add_refuses_nan(database: str, connection: psycopg.Connection) -> None:
    for way in _ways(App(database), NAN):
        with pytest.raises(InvalidJobError, match=r"payload\.price of job .* is NaN"):
            way()
    assert connection.execute("select count(*) from tidemill.jobs").fetchone() == (0,)
    for way in _ways(App(database), 1.5):
        way()
    payloads = connection.execute("select distinct payload::text from tidemill.jobs").fetchall()
    assert sorted(payloads) == [('{"price":1.5}',), ("{}",)]


@pytest.mark.parametrize("text", ['{"a": NaN}', '{"a": -Infinity}', '{"a": 1e400}', '{"a": "\\ud800"}'])
def test_a_crontab(text: str) -> None:
    with pytest.raises(CrontabError, match="line 1 of crontab"):
        parse_crontab(f"* * * * * task {text}")
