"""For `tidemill top`: figures and times in a few characters."""

from __future__ import annotations

from datetime import datetime

NONE = "-"


def number(value: float, *, more: bool = False) -> str:
    """A count in five characters; with a plus if there may be more."""
    if value == 0 and not more:
        return NONE
    plus = "+" if more else ""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        # 9,999 is shorter as it is.
        if value >= max(size, 10_000):
            scaled = value / size
            return f"{scaled:.0f}{unit}{plus}" if scaled >= 100 or more else f"{scaled:.1f}{unit}"
    return f"{value:.0f}{plus}"


def rate(value: float) -> str:
    """A rate in five characters."""
    if value <= 0:
        return NONE
    if value < 0.1:
        return "<0.1"
    return f"{value:.1f}" if value < 9.95 else number(value)


def seconds(value: float | None) -> str:
    """How long something took, in five characters."""
    if value is None:
        return NONE
    if value < 0.0005:
        return "<1ms"
    if value < 0.9995:
        return f"{value * 1000:.0f}ms"
    if value < 9.95:
        return f"{value:.1f}s"
    return span(value)


def span(value: float) -> str:
    """How long something lasts, in whole units."""
    for limit, unit, divisor in ((120, "s", 1), (7200, "m", 60), (172_800, "h", 3600)):
        if value < limit:
            return f"{max(0.0, value) / divisor:.0f}{unit}"
    return f"{value / 86_400:.0f}d"


def since(moment: datetime | None, now: datetime | None) -> str:
    """How long ago a time was."""
    return NONE if moment is None or now is None else span((now - moment).total_seconds())


def until(moment: datetime, now: datetime) -> str:
    """When something is due."""
    left = (moment - now).total_seconds()
    return f"in {span(left)}" if left >= 1 else "now" if left > -2 else f"{span(-left)} late"
