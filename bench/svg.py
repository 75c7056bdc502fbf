"""Plots, as SVG written by hand: a few bars or a line need no library."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

from bench.results import shown

_WIDTH = 760
_OURS, _OTHERS = "#0f766e", "#94a3b8"
_LINES = ("#0f766e", "#64748b", "#b45309", "#7c3aed", "#be123c", "#0369a1", "#4d7c0f", "#a21caf")
_INK, _PALE = "#1e293b", "#64748b"
_ROW, _LEFT, _RIGHT, _TOP = 26, 170, 120, 58


class Bar(NamedTuple):
    """One bar: bars of one group stand together under its name."""

    group: str
    name: str
    value: float
    ours: bool


def bars(title: str, content: Sequence[Bar]) -> str:
    """Horizontal bars, each with its value at its end."""
    longest = max(bar.value for bar in content) or 1
    parts, y, group = [_text(24, 34, title, size=17, weight=600)], _TOP, ""
    for bar in content:
        if bar.group != group:
            group = bar.group
            y += 8
            parts.append(_text(24, y + 14, group, size=13, weight=600, color=_PALE))
            y += _ROW - 2
        width = max(2.0, bar.value / longest * (_WIDTH - _LEFT - _RIGHT))
        color = _OURS if bar.ours else _OTHERS
        weight = 600 if bar.ours else 400
        parts.append(_text(_LEFT - 10, y + 15, bar.name, anchor="end", weight=weight))
        parts.append(f'<rect x="{_LEFT}" y="{y}" width="{width:.1f}" height="20" rx="3" fill="{color}"/>')
        parts.append(_text(_LEFT + width + 8, y + 15, shown(bar.value), weight=weight))
        y += _ROW
    return _document(title, y + 20, parts)


def lines(title: str, x_name: str, series: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """Lines over a logarithmic x and a y that begins at zero."""
    left, right, top, bottom = 90, _WIDTH - 130, _TOP + 10, 330
    xs = sorted({x for points in series.values() for x, _ in points})
    low, high = math.log10(xs[0]), math.log10(xs[-1]) if len(xs) > 1 else math.log10(xs[0]) + 1
    step = _step(max(y for points in series.values() for _, y in points))
    ceiling = step * math.ceil(max(y for points in series.values() for _, y in points) / step)

    def place(x: float, y: float) -> tuple[float, float]:
        across = (math.log10(x) - low) / (high - low)
        return left + across * (right - left), bottom - y / ceiling * (bottom - top)

    parts = [_text(24, 34, title, size=17, weight=600)]
    for tick in range(round(ceiling / step) + 1):
        _, y = place(xs[0], tick * step)
        parts.append(f'<line x1="{left}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}" stroke="#e2e8f0"/>')
        parts.append(_text(left - 10, y + 4, f"{tick * step:,.0f}", anchor="end", color=_PALE))
    for value in xs:
        x, _ = place(value, 0)
        parts.append(_text(x, bottom + 20, _short(value), anchor="middle", color=_PALE))
    parts.append(_text((left + right) / 2, bottom + 42, x_name, anchor="middle", color=_PALE))
    for color, (name, points) in zip(_LINES, series.items(), strict=False):
        places = [place(*point) for point in points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2.5"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{color}"/>' for x, y in places]
        x, y = places[-1]
        parts.append(_text(x + 10, y + 4, name, color=color, weight=600))
    return _document(title, bottom + 60, parts)


def _step(largest: float) -> float:
    """A round distance between ticks, for four to eight of them."""
    power: float = 10 ** math.floor(math.log10(largest or 1))
    return next(power * part for part in (0.2, 0.5, 1, 2) if largest / (power * part) <= 8)


def _short(value: float) -> str:
    for size, letter in ((1_000_000, "M"), (1000, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def _text(
    x: float,
    y: float,
    content: str,
    *,
    size: int = 13,
    anchor: str = "start",
    weight: int = 400,
    color: str = _INK,
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" '
        f'font-weight="{weight}" fill="{color}">{escape(content)}</text>'
    )


def _document(title: str, height: float, parts: Sequence[str]) -> str:
    # A white background, because the page around it may be dark.
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:.0f}" width="{_WIDTH}" '
            f'height="{height:.0f}" role="img" aria-label="{escape(title)}" '
            'font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif">',
            f'<rect width="{_WIDTH}" height="{height:.0f}" rx="8" fill="#ffffff"/>',
            *parts,
            "</svg>\n",
        ]
    )
