"""How fast workers finish the jobs in the table, as the database shows it.

A sample of the jobs, spread evenly over their order, is looked up by primary key again and again:
counting all jobs would take a good part of the machine from the workers. The clock runs from the
first look that sees a finished job to the last finished job, so that start-up is left out; jobs that
were finished by that first look do not count.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from bench.systems.base import System

_SAMPLES = 400
_BETWEEN_LOOKS = 0.004
_LOOKS_SHARE = 0.05
"""The largest share of the time that looks take, whatever one costs."""
_FIRST_SECONDS = 60


@dataclass(frozen=True)
class Drain:
    """Finished jobs over time: (seconds since the first look that found some, jobs finished)."""

    curve: Sequence[tuple[float, float]]

    @property
    def rate(self) -> float:
        """Jobs per second, without those of the first look."""
        return _rate(self.curve)

    @property
    def evenness(self) -> float:
        """The rate of the last fifth of the jobs over that of the first fifth."""
        first, last = self.curve[0][1], self.curve[-1][1]
        fifth = (last - first) / 5
        early = [point for point in self.curve if point[1] <= first + fifth]
        late = [point for point in self.curve if point[1] >= last - fifth]
        return _rate(late) / _rate(early) if len(early) > 1 and len(late) > 1 else 1.0


def _rate(curve: Sequence[tuple[float, float]]) -> float:
    (start, before), (end, after) = curve[0], curve[-1]
    return (after - before) / (end - start) if end > start else 0.0


class Watch:
    """Looks at jobs of one system until they are done; made before its workers start."""

    def __init__(
        self,
        connection: psycopg.Connection[Any],
        system: System,
        *,
        first: int | None = None,
        after: int | None = None,
    ) -> None:
        """Watches the jobs in the table: the `first` so many, and only those with ids above `after`."""
        self._connection = connection
        self._finished = system.finished
        self._among = f"select count(*) from ({system.pending}) p where id = any(%s)"
        statement = f"select id from ({system.pending}) p"
        if after is not None:
            statement += f" where id > {after}"
        statement += " order by id"
        if first is not None:
            statement += f" limit {first}"
        self._ids = [row[0] for row in connection.execute(statement.encode()).fetchall()]
        self._sample = self._ids if self._finished else sampled(self._ids, _SAMPLES)

    def until_done(self, cap: float, alive: Callable[[], None], *, from_now: bool = False) -> Drain:
        """Looks until all are done, or for `cap` seconds from the first one done (or `from_now`).

        A look that finds nothing new does not end it before twice that time: of a worker that asks
        for jobs every few seconds, this measures whole pauses.
        """
        size, of_all = len(self._sample), len(self._ids) / len(self._sample)
        waiting_since = began = time.perf_counter()
        curve: list[tuple[float, float]] = [(0.0, 0.0)] if from_now else []
        while True:
            asked = time.perf_counter()
            gone = size - self._left(self._sample)
            now = time.perf_counter()
            if gone and not curve:
                began = now
            moved = bool(gone) and (not curve or gone * of_all > curve[-1][1])
            if gone:
                curve.append((now - began, gone * of_all))
            if gone == size and len(curve) == 1:
                raise RuntimeError("all jobs were done before the first look; measure with more jobs")
            if curve and (gone == size or now - began > (cap if moved else 2 * cap)):
                break
            if not curve and now - waiting_since > _FIRST_SECONDS:
                raise RuntimeError(f"no job was done within {_FIRST_SECONDS} s")
            alive()
            time.sleep(max(_BETWEEN_LOOKS, (now - asked) / _LOOKS_SHARE))
        if gone == size and (left := self._left(self._ids)):
            # Some jobs outside the sample ended later. This is rare, so looks may be coarse here.
            while left:
                alive()
                time.sleep(_BETWEEN_LOOKS)
                left = self._left(self._ids)
            curve.append((time.perf_counter() - began, float(len(self._ids))))
        return Drain(curve)

    def _left(self, ids: list[Any]) -> int:
        if self._finished:
            return len(self._ids) - one_number(self._connection, self._finished)
        return one_number(self._connection, self._among, ids)


def one_number(connection: psycopg.Connection[Any], statement: str, *params: object) -> int:
    """The single number that a statement returns."""
    row = connection.execute(statement.encode(), params).fetchone()
    assert row is not None
    return int(row[0])


def sampled(values: Sequence[Any], count: int) -> list[Any]:
    """So many of the values, evenly spread, including the first and the last."""
    if len(values) <= count:
        return list(values)
    step = (len(values) - 1) / (count - 1)
    return [values[round(number * step)] for number in range(count)]


def wait_until_empty(connection: psycopg.Connection[Any], system: System, seconds: float = 10) -> int:
    """Waits up to `seconds` until no job is left; returns how many are left."""
    deadline = time.monotonic() + seconds
    while True:
        left = one_number(connection, f"select count(*) from ({system.pending}) p")
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.02)
