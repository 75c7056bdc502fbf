"""Figures, as a table on the terminal and as JSON."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chaos.figures import Figures
from chaos.run import Measured

# The columns, with what stands above them.
COLUMNS = {
    "jobs": "jobs",
    "lost": "lost",
    "unrun": "unrun",
    "unstarted": "unstarted",
    "failed": "failed",
    "waiting": "waiting",
    "twice": "twice",
    "side_by_side": "beside",
    "stale": "stale",
    "past_lease": "past lease",
    "overlaps": "overlaps",
    "order": "order",
    "undone": "undone",
    "gap": "gap s",
    "orphan": "orphan s",
    "slots_missed": "slots missed",
    "slots_twice": "slots twice",
    "longest_add": "add s",
    "log_lines": "log",
    "alive": "alive",
    "back": "back s",
}
_NAME = 30


def head() -> str:
    """The line above all."""
    return " " * _NAME + "".join(f"{_short(name):>9}" for name in COLUMNS.values())


def line(measured: Measured) -> str:
    """One line of figures, and what was missed."""
    name = f"{measured.scenario} {measured.lane}"
    if measured.figures is None:
        return f"{name:{_NAME}} {'left out' if measured.left_out else 'FAILED'}: {measured.failure}"
    cells = "".join(f"{_short(cell(measured.figures, figure)):>9}" for figure in COLUMNS)
    return f"{name:{_NAME}}{cells}" + "".join(f"\n    MISSED {text}" for text in misses(measured))


def misses(measured: Measured) -> list[str]:
    """The targets that were missed, in words."""
    return [f"{m.figure}: {shown(m.found)}, allowed {shown(m.most)}" for m in measured.missed]


def cell(figures: Figures, name: str) -> str:
    """A figure as text."""
    value = getattr(figures, name)
    if name == "alive":
        return f"{value}/{figures.workers}"
    return shown(value)


def shown(value: float | None) -> str:
    """A number, one digit after the point if it is none of a count."""
    if value is None:
        return "-"
    if isinstance(value, int):
        return f"{value:,}"
    return "never" if math.isinf(value) else f"{value:,.1f}"


def as_data(all_measured: Sequence[Measured]) -> list[dict[str, Any]]:
    """The figures for JSON, which has no infinity: that is "never"."""
    return [
        {
            "scenario": measured.scenario,
            "lane": measured.lane,
            "seconds": round(measured.seconds, 1),
            "figures": None if measured.figures is None else _finite(dataclasses.asdict(measured.figures)),
            "missed": [_finite(missed._asdict()) for missed in measured.missed],
            "failure": measured.failure,
        }
        for measured in all_measured
    ]


def write_json(file: Path, about: dict[str, Any], all_measured: Sequence[Measured]) -> None:
    """Writes a run as JSON."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"about": about, "measured": as_data(all_measured)}, indent=1))


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: "never" if isinstance(value, float) and math.isinf(value) else value
        for name, value in values.items()
    }


def _short(text: str) -> str:
    """What fits into a column."""
    return text.replace("slots ", "s.").replace("past lease", "past")[:8]
