"""The figures of a run, as a part of the documentation's page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from chaos.output import COLUMNS, cell, misses
from chaos.run import Measured
from chaos.scenarios import SCENARIOS

PAGE = Path(__file__).parents[1] / "docs" / "reliability.md"
_BEGIN, _END = "<!-- the figures: make chaos ARGS=--publish -->", "<!-- the end of the figures -->"


def publish(about: Mapping[str, str], measured: Sequence[Measured], page: Path = PAGE) -> Path:
    """Replaces the figures on the page, between its two comments; returns its path."""
    text = page.read_text()
    before, _, rest = text.partition(_BEGIN)
    after = rest.partition(_END)[2]
    page.write_text(f"{before}{_BEGIN}\n\n{markdown(about, measured)}\n\n{_END}{after}")
    return page


def markdown(about: Mapping[str, str], measured: Sequence[Measured]) -> str:
    """The tables: what was run, what was missed, and all figures."""
    ours = [one for one in measured if not one.peer]
    peers = [one for one in measured if one.peer]
    jobs = sum(one.figures.jobs for one in ours if one.figures is not None)
    wrong = [one for one in ours if not one.passed]
    parts = [
        "; ".join(f"{name}: {value}" for name, value in about.items()) + ".",
        f"Runs: {len(ours)}, with {jobs:,} jobs; {len(ours) - len(wrong)} of them met all targets.",
    ]
    if wrong:
        parts.append("\n".join(f"- {_name(one)}: {one.failure or '; '.join(misses(one))}" for one in wrong))
    parts.append(_figures(ours))
    if peers:
        parts += ["### Beside it", _figures(peers)]
    return "\n\n".join(parts)


def _figures(measured: Sequence[Measured]) -> str:
    rows = [
        [SCENARIOS[one.scenario].what, one.lane, *_cells(one)] for one in measured if one.figures is not None
    ]
    return _table(["what happens", "", *COLUMNS.values()], rows)


def _cells(one: Measured) -> list[str]:
    assert one.figures is not None
    return [cell(one.figures, name) for name in COLUMNS]


def _name(one: Measured) -> str:
    return f"{SCENARIOS[one.scenario].what} ({one.lane})"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(text.replace("|", "\\|") for text in line) + " |" for line in lines)
