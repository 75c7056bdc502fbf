"""A run as a page of the documentation, and as JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from bench.hypertables.measures import Section
from bench.machine import About
from bench.output import verdict_word
from bench.page import PAGE, table
from bench.results import shown

_INTRODUCTION = """# Benchmarks of hypertables

Hypertables beside plain tables with the same rows, in one run on one machine. PostgreSQL runs with the
settings that come by default, but for those that a section names. Pairs of statements are run by turns; the
tables show medians. `make bench-hypertables` measures it again. How hypertables are used:
[hypertables](../how-to/hypertables.md)."""


def markdown(about: About, sections: Sequence[Section]) -> str:
    """The page's text."""
    parts = [
        _INTRODUCTION,
        "## Targets",
        table(
            ["Where", "Target", "Found", ""],
            [
                [section.title, verdict.target, verdict.found, f"**{verdict_word(verdict)}**"]
                for section in sections
                for verdict in section.verdicts
            ],
        ),
    ]
    for section in sections:
        rows = [[*_label(label), shown(value)] for label, value in section.values.items()]
        parts += [f"## {section.title}", section.how]
        parts += [table(["Measured", "Unit", "Median"], rows)]
        parts += [section.limit] if section.limit and not all(v.met for v in section.verdicts) else []
    parts += [
        "## What was run",
        f"{about.date}, with `{about.command}`.",
        table(["Machine", ""], about.machine.items()),
        table(["PostgreSQL", ""], about.server.items()),
    ]
    return "\n\n".join(parts) + "\n"


def _label(label: str) -> tuple[str, str]:
    what, comma, unit = label.rpartition(", ")
    return (what, unit) if comma and unit in ("ms", "MB") else (label, "")


def as_json(about: About, sections: Sequence[Section]) -> str:
    """The run as JSON."""
    return json.dumps(
        {
            "about": {
                "date": about.date,
                "command": about.command,
                "machine": about.machine,
                "server": about.server,
            },
            "sections": [
                {
                    **dataclasses.asdict(section),
                    "verdicts": [verdict._asdict() for verdict in section.verdicts],
                }
                for section in sections
            ],
        },
        indent=1,
    )


def publish(about: About, sections: Sequence[Section], place: Path = PAGE) -> Path:
    """Replaces the page and the JSON beside it, and returns the page's path."""
    (place / "hypertables.json").write_text(as_json(about, sections) + "\n")
    page = place / "hypertables.md"
    page.write_text(markdown(about, sections))
    return page
