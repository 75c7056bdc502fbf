"""A run as a page of the documentation, with plots."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from bench import svg
from bench.output import unsupported, verdict_word
from bench.results import OURS, Chart, Measured, Results, Run, shown
from bench.systems.base import HERE

PAGE = HERE.parent / "docs" / "benchmarks"
_INTRODUCTION = """# Benchmarks

All systems were measured in one run on one machine, interleaved, {rounds}; the tables show medians.
PostgreSQL runs with its durable defaults (`fsync` and `synchronous_commit` are on). A job counts once it is
done in the database; a call of its handler is not enough. A rate is measured from the first finished job,
which leaves out start-up, and for a few seconds at most. "Ratio" is Tidemill's value divided by the row's.
All systems are tuned, each with the best settings in its documentation, except in the rows that say "as it
comes". The commands of both are [below](#what-was-run). A system that would take minutes has fewer jobs.
Hypertables are measured on [a page of their own](hypertables.md)."""


def publish(run: Run, place: Path = PAGE) -> Path:
    """Replaces the page and its plots, and returns the page's path."""
    place.mkdir(parents=True, exist_ok=True)
    for old in place.glob("*.svg"):
        old.unlink()
    for measured in run.measured:
        for chart in measured.shape.charts:
            if drawing := draw(chart, measured.results):
                (place / f"{chart.file}.svg").write_text(drawing)
    page = place / "README.md"
    page.write_text(markdown(run))
    return page.relative_to(HERE.parent) if page.is_relative_to(HERE.parent) else page


def draw(chart: Chart, results: Results) -> str:
    """The plot of a chart; empty if none of it was measured."""
    keys = [
        key for key in results.values if key.metric == chart.metric and key.variant.startswith(chart.variant)
    ]
    if not keys:
        return ""
    if not chart.x:
        order = list(dict.fromkeys(key.variant for key in keys))
        bars = [
            svg.Bar(key.variant, key.system, results.median(*key) or 0, key.system == OURS)
            for key in sorted(keys, key=lambda key: order.index(key.variant))
        ]
        return svg.bars(chart.title, bars)
    series: dict[str, list[tuple[float, float]]] = {}
    for key in keys:
        x = float(key.variant.rsplit(" ", 1)[-1])
        series.setdefault(key.system, []).append((x, results.median(*key) or 0))
    return svg.lines(chart.title, chart.x, {name: sorted(points) for name, points in series.items()})


def markdown(run: Run) -> str:
    """The page's text."""
    about = run.about
    rounds = max((len(v) for m in run.measured for v in m.results.values.values()), default=0)
    parts = [
        _INTRODUCTION.format(rounds=f"{rounds} round{'s' if rounds != 1 else ''}"),
        *(
            f"Some shapes were measured again, whole, since other work had disturbed them, or what they "
            f"measure was mended, {again}."
            for again in about.again
        ),
        "## Targets",
        table(
            ["Shape", "Target", "Found", ""],
            [
                [measured.shape.title, verdict.target, verdict.found, f"**{verdict_word(verdict)}**"]
                for measured in run.measured
                for verdict in measured.shape.verdicts(measured.results)
            ],
        ),
        *(part for measured in run.measured for part in _section(measured)),
        "## What was run",
        f"{about.date}, with `{about.command}`.",
        table(["Machine", ""], about.machine.items()),
        table(["PostgreSQL", ""], about.server.items()),
        table(
            ["System", "Version", "As it comes", "Tuned", "Jobs at most", "A job is done when"],
            [
                [used.name, used.version, used.as_it_comes, used.tuned, used.most_jobs, used.done]
                for used in about.systems
            ],
        ),
        *(f"{name} is left out: {reason}." for name, reason in about.left_out.items()),
    ]
    return "\n\n".join(parts) + "\n"


def _section(measured: Measured) -> list[str]:
    results = measured.results
    rows = []
    for key in results.values:
        ratio = results.ours(key)
        beside = f"{ratio:.2f}" if ratio is not None and key.system != OURS else ""
        rows.append([key.system, key.variant, f"{shown(results.median(*key))} {key.metric}", beside])
    notes = [f"{label} failed: {reason}." for label, reason in measured.failures.items()]
    notes += unsupported(measured)
    plots = [
        f"![{chart.title}]({chart.file}.svg)"
        for chart in measured.shape.charts
        if draw(chart, measured.results)
    ]
    medians = table(["System", "", "Median", "Ratio"], rows) if rows else ""
    return [
        part for part in (f"## {measured.shape.title}", measured.shape.how, *plots, medians, *notes) if part
    ]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
