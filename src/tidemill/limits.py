"""Limits of tasks: how many of their jobs run at once, and how many start in a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tidemill.errors import TaskLoadError
from tidemill.retry import Delay, seconds
from tidemill.texts import shown

_MOST = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Rate:
    """How many jobs may start in a period: `Rate(100, "1 minute")`.

    count   from 1 on
    period  seconds, a timedelta or a text such as "1 minute"; a millisecond to 100 years
    per     a field of the payload, as in `Limit`: each of its values has the rate for itself
    burst   how many may start at once after a pause; default `count`. In any time t at most
            burst + count * t / period start

    Raises TaskLoadError for what cannot be meant.
    """

    count: int
    period: Delay
    per: str | None = None
    burst: int | None = None

    def __post_init__(self) -> None:
        _check_number("count", self.count, self)
        if self.burst is not None:
            _check_number("burst", self.burst, self)
        try:
            length = seconds(self.period)
        except (ValueError, TypeError):
            length = 0.0
        if not length >= 0.001:
            raise TaskLoadError(
                f"period {shown(self.period)} of a Rate is no time from a millisecond on: use seconds, a "
                "timedelta, or for instance '1 minute' or '30s'."
            )
        _check_field(self.per, self)


@dataclass(frozen=True, slots=True)
class Limit:
    """How many jobs may run at once, over all workers: `Limit(5)`, `Limit(2, per="customer_id")`.

    concurrency  from 1 on; None with a `rate` alone
    per          a field of the payload: each of its values has the limit for itself. Dots lead deeper
                 ("customer.id"). The value must be a text, a number or a boolean; a job whose payload
                 lacks it is refused when it is added
    rate         a `Rate`, which holds as well

    Raises TaskLoadError for what cannot be meant.
    """

    concurrency: int | None = None
    per: str | None = None
    rate: Rate | None = None

    def __post_init__(self) -> None:
        given: Any = self.rate
        if self.concurrency is not None:
            _check_number("concurrency", self.concurrency, self)
        elif given is None:
            raise TaskLoadError("Limit() limits nothing: write Limit(5), or Rate(100, '1 minute').")
        if given is not None and not isinstance(given, Rate):
            raise TaskLoadError(
                f"rate {shown(given)} of a Limit is no Rate: write rate=Rate(100, '1 minute')."
            )
        _check_field(self.per, self)
        if self.rate is not None and self.rate.per not in (None, self.per):
            raise TaskLoadError(
                f"A Limit per {self.per!r} has a Rate per {self.rate.per!r}; both count by the same field: "
                "give `per` to the Limit alone."
            )


TaskLimit = Limit | Rate | str
"""A limit of a task's own, or the name of one that `tidemill.set_limit` has made."""


def read_limit(identifier: str, value: Any) -> Limit | str | None:
    """The limit of a task. Raises TaskLoadError for a value that is none."""
    if isinstance(value, Rate):
        # Bare, it has the field that it counts by itself.
        return Limit(per=value.per, rate=value)
    if isinstance(value, str) and 1 <= len(value) <= 128:
        return value
    if value is None or isinstance(value, Limit):
        return value
    remedy = (
        "a job has one limit: write Limit(5, rate=Rate(100, '1 minute'))"
        if isinstance(value, list | tuple)
        else "write Limit(5), Rate(100, '1 minute'), or the name of a limit that tidemill.set_limit has made"
    )
    raise TaskLoadError(f"limit {shown(value)} of task {identifier!r} is no limit: {remedy}.")


def _check_number(name: str, value: Any, of: object) -> None:
    kind = type(of).__name__
    if not isinstance(value, int) or isinstance(value, bool):
        raise TaskLoadError(f"{name} {shown(value)} of a {kind} is not an integer.")
    if not 1 <= value <= _MOST:
        raise TaskLoadError(f"{name} {value} of a {kind} is out of range: 1 to {_MOST}.")


def _check_field(per: Any, of: object) -> None:
    if per is None or (isinstance(per, str) and all(per.split("."))):
        return
    kind = type(of).__name__
    if callable(per):
        raise TaskLoadError(
            f"per of a {kind} is a function; it must be the name of a field of the payload, since jobs that "
            "SQL adds have the limit, too. Put what the function computes into the payload."
        )
    raise TaskLoadError(
        f"per {shown(per)} of a {kind} is not the name of a field of the payload: write for instance "
        "per='customer_id', or per='customer.id' for one that lies deeper."
    )
