"""Limits as tasks have them in their code: what cannot be meant is refused where it is written."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from tidemill import Limit, Rate, task
from tidemill.errors import InvalidJobError, TaskLoadError
from tidemill.queue import client

BAD: dict[str, Callable[[], Any]] = {
    "concurrency 0 of a Limit is out of range: 1 to": lambda: Limit(0),
    "concurrency -1 of a Limit": lambda: Limit(-1),
    "concurrency 'five' of a Limit is not an integer": lambda: Limit("five"),  # type: ignore[arg-type]
    "Limit() limits nothing: write Limit(5)": Limit,
    "rate 5 of a Limit is no Rate": lambda: Limit(rate=5),  # type: ignore[arg-type]
    "per 'a..b' of a Limit is not the name of a field": lambda: Limit(1, per="a..b"),
    "per of a Limit is a function; it must be": lambda: Limit(1, per=len),  # type: ignore[arg-type]
    "A Limit per 'a' has a Rate per 'b'": lambda: Limit(1, per="a", rate=Rate(1, 1, per="b")),
    "count 0 of a Rate": lambda: Rate(0, "1 minute"),
    "burst 0 of a Rate": lambda: Rate(1, "1 minute", burst=0),
    "period 'soon' of a Rate is no time": lambda: Rate(1, "soon"),
    "period 0 of a Rate": lambda: Rate(1, 0),
    "period None of a Rate": lambda: Rate(1, None),  # type: ignore[arg-type]
    "limit 5 of task 't' is no limit": lambda: task("t", limit=5)(print),  # type: ignore[call-overload]
    "a job has one limit: write": lambda: task("t", limit=[Limit(5)])(print),  # type: ignore[call-overload]
    "Task 't' has a limit and the queue 'q'": lambda: task("t", limit=Limit(5), queue="q")(print),
    "a limit per 'a', which that lacks": lambda: task("t", limit=Limit(1, per="a"), every="1m")(nothing),
}


def nothing() -> None: ...


@pytest.mark.parametrize("words", BAD)
def test_what_cannot_be_meant(words: str) -> None:
    with pytest.raises(TaskLoadError, match=re.escape(words)):
        BAD[words]()


def test_periods_may_be_written_in_many_ways() -> None:
    for period in ("1 minute", "60s", "1m", 60, timedelta(minutes=1), "60 seconds"):
        assert client.set_limit("l", Rate(5, period, per="a")).params == {
            "name": "l",
            "concurrency": None,
            "rate": 5,
            "period": timedelta(minutes=1),
            "burst": None,
            "per": "a",
        }
    with pytest.raises(InvalidJobError, match="is no limit: write Limit"):
        client.set_limit("l", "other")  # type: ignore[arg-type]
