"""Measured values, and whether they meet the targets."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from bench.machine import About
from bench.systems.base import Can

OURS = "tidemill"


class Key(NamedTuple):
    """One line of a shape's result."""

    system: str
    variant: str
    metric: str


@dataclass(frozen=True)
class Cell:
    """One measurement of one system in one variant; run once each round."""

    system: str
    variant: str
    run: Callable[[], Mapping[str, float]]
    """Returns its values by metric, which ends with the unit: `jobs/s`, `p50 ms`."""


class Verdict(NamedTuple):
    """A target, and whether it was met; None if it was not measured."""

    target: str
    found: str
    met: bool | None


class Results:
    """The values of one shape: for each line a list, with one value for each round."""

    def __init__(self) -> None:
        self.values: dict[Key, list[float]] = {}

    def add(self, cell: Cell, found: Mapping[str, float]) -> None:
        for metric, value in found.items():
            self.values.setdefault(Key(cell.system, cell.variant, metric), []).append(value)

    def median(self, system: str, variant: str, metric: str) -> float | None:
        values = self.values.get(Key(system, variant, metric))
        return statistics.median(values) if values else None

    def ours(self, key: Key) -> float | None:
        """Our own value divided by this one."""
        mine, theirs = self.median(OURS, key.variant, key.metric), self.median(*key)
        return mine / theirs if mine is not None and theirs else None

    def best(self, system: str, metric: str) -> float | None:
        """The best median over all variants."""
        found = [
            statistics.median(values)
            for key, values in self.values.items()
            if key.system == system and key.metric == metric
        ]
        return max(found, default=None)

    def as_data(self) -> list[dict[str, Any]]:
        return [
            {
                **key._asdict(),
                "rounds": values,
                "median": statistics.median(values),
                "ours_over_this": self.ours(key),
            }
            for key, values in self.values.items()
        ]


@dataclass(frozen=True)
class Chart:
    """How a shape is drawn: bars of one metric, or with `x` lines over the numbers in the variants."""

    metric: str
    file: str
    title: str
    x: str = ""
    variant: str = ""
    """Only variants that begin with this."""


@dataclass(frozen=True)
class Shape:
    """A kind of load, with its targets."""

    name: str
    title: str
    how: str
    """What is measured, in a sentence or two."""
    cells: Callable[..., Sequence[Cell]]
    """Makes the cells for a `Bench`."""
    verdicts: Callable[[Results], Sequence[Verdict]] = field(default=lambda results: [])
    needs: frozenset[Can] = frozenset()
    """Systems that cannot do all of it are not measured."""
    charts: Sequence[Chart] = ()


def at_least(target: str, found: float | None, goal: float, unit: str = "") -> Verdict:
    """The verdict of a number that should be large."""
    return Verdict(target, shown(found, unit), None if found is None else found >= goal)


def at_most(target: str, found: float | None, goal: float, unit: str = "") -> Verdict:
    """The verdict of a number that should be small."""
    return Verdict(target, shown(found, unit), None if found is None else found <= goal)


def over(one: float | None, other: float | None) -> float | None:
    """One divided by the other; None if one is unknown, or the other is 0."""
    return one / other if one is not None and other else None


def shown(value: float | None, unit: str = "") -> str:
    """A number in about three digits, with its unit."""
    if value is None:
        return "not measured"
    digits = 0 if abs(value) >= 100 or value == 0 else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:,.{digits}f}{' ' if unit else ''}{unit}"


@dataclass(frozen=True)
class Measured:
    """A shape with its results."""

    shape: Shape
    results: Results
    failures: Mapping[str, str]
    """Why a measurement failed, by system and variant."""
    unsupported: Mapping[str, Sequence[str]]
    """The systems that lack something the shape needs, by what they lack."""
    seconds: float


@dataclass(frozen=True)
class Run:
    """All shapes that were measured, and on which machine."""

    about: About
    measured: Sequence[Measured]
