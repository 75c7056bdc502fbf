"""What must hold under every fault, and what a scenario asks for beside that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from chaos.figures import Figures

CAUTION = 60.0
"""Seconds for which all workers claim by lease alone, after one was lost."""
PACE = frozenset({"orphan", "back", "log_lines"})
"""Figures that get worse when the machine has too much to do."""


class Missed(NamedTuple):
    """A target that was not met."""

    figure: str
    most: float
    found: float


def limits(lane: str, lease: float, lost: int, concurrency: int, hits: int) -> dict[str, float]:
    """The most of each figure, by its name in `Figures`.

    A job that was about to start when its worker was lost counts as started, though its first line is
    not there: those of a group, and of the next one. `hits` is how often the fault struck.
    """
    return {
        "lost": 0,
        "unrun": 0,
        "unstarted": lost * concurrency * 2,
        "waiting": 0,
        "stale": 0,
        "past_lease": 0,
        "overlaps": 0,
        "order": 0,
        "orphan": lease + 5,
        "back": 5 if lane == "lease" else CAUTION + 5,
        "log_lines": 10 * hits,
        "undone": 0,
    }


def missed(found: Figures, most: Mapping[str, float], without: frozenset[str] = frozenset()) -> list[Missed]:
    """The targets that these figures miss; those of `without` cannot be asked of the scenario."""
    result = []
    for name, limit in most.items():
        value = getattr(found, name)
        if name not in without and value is not None and value > limit:
            result.append(Missed(name, limit, value))
    if found.alive < found.workers:
        result.append(Missed("alive", found.workers, found.alive))
    return result
