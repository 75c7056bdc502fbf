"""Durations: how long jobs take, which decides how they are claimed."""

from __future__ import annotations

# Weight of the newest attempt in the moving averages.
_NEWEST = 0.05
QUICK_SECONDS = 0.02
_INSTANT_SECONDS = 0.0001
# Only above this a quick task becomes slow, so that one near the limit does not go back and forth.
_SLOW_SECONDS = 0.04


class Durations:
    """Moving averages by task. The event loop writes, the engine reads."""

    def __init__(self) -> None:
        self._means: dict[str, float] = {}
        self._quick: dict[str, bool] = {}
        self.mean: float | None = None
        """The mean of leased jobs of all tasks; None before the first."""

    def add(self, identifier: str, seconds: float, *, leased: bool) -> None:
        """Counts an attempt that took so long."""
        mean = self._means.get(identifier, seconds)
        self._means[identifier] = mean + _NEWEST * (seconds - mean)
        if leased:
            mean = seconds if self.mean is None else self.mean
            self.mean = mean + _NEWEST * (seconds - mean)

    def add_streak(self, identifier: str, seconds: float, jobs: int) -> None:
        """Counts leased attempts that took so long together, as if each had taken as long as the others."""
        weight = 1 - (1 - _NEWEST) ** jobs
        each = seconds / jobs
        mean = self._means.get(identifier, each)
        self._means[identifier] = mean + weight * (each - mean)
        mean = each if self.mean is None else self.mean
        self.mean = mean + weight * (each - mean)

    def is_instant(self, identifier: str) -> bool:
        """Whether to start a further job of a task takes as long as one runs; True before the first one."""
        return self._means.get(identifier, 0.0) < _INSTANT_SECONDS

    def is_quick(self, identifier: str, *, unknown: bool) -> bool:
        """Whether jobs of a task take a few milliseconds; `unknown` is the answer before the first one."""
        mean = self._means.get(identifier)
        if mean is None:
            return unknown
        if mean < QUICK_SECONDS or mean > _SLOW_SECONDS:
            self._quick[identifier] = mean < QUICK_SECONDS
        return self._quick.get(identifier, False)
