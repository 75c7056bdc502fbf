"""For `tidemill top`: a frame as lines for a terminal of a width and height."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rich.text import Text

from tidemill.cli.top_sections import actions, failing, slowest, tasks, workers
from tidemill.cli.top_table import fit
from tidemill.cli.top_view import View
from tidemill.cli.top_words import since, span
from tidemill.cli.visible import visible
from tidemill.database.words import in_short

_MOST_PAUSES = 3
# Room for the name of a section, and how much of it is shown.
_LEAST_NAME = 18


def lines(view: View, place: str, keys: str, interval: float, width: int, height: int | None) -> list[Text]:
    """What to show; `height` None: everything. `keys` says what can be typed."""
    top = [
        _title(view, place, keys, interval, width),
        *_trouble(view, interval),
        *_pauses(view),
        *_without_worker(view),
        _rates(view),
        *_counts(view, width),
    ]
    sections = [tasks(view, width), failing(view), slowest(view), workers(view, width), actions(view, width)]
    room = None if height is None else max(0, height - len(top))
    chosen = fit(sections, room, ("slowest", "actions", "workers", "failing"))
    first = max((section.needs for section in chosen), default=0)
    below = [section.lines(width, max(first, _LEAST_NAME)) for section in chosen]
    spare = 0 if room is None else room - sum(map(len, below))
    spaced: list[Text] = []
    for part in below:
        # An empty line before each, if there is room for all of them.
        spaced += [Text("")] if room is None or spare >= len(below) else []
        spaced += part
    shown = [
        *top,
        *(spaced or [Text(""), Text("Nothing has happened, and no job, worker or action is there.")]),
    ]
    for line in shown:
        line.truncate(width, overflow="ellipsis")
    return shown[:height]


def _title(view: View, place: str, keys: str, interval: float, width: int) -> Text:
    left = f"tidemill top  {visible(place)}"
    about = f"every {interval:g} s, figures of {span(view.window)}, {view.sort} first  {keys}".rstrip()
    name = Text(left, style="bold")
    name.truncate(max(10, width - len(about) - 2), overflow="ellipsis")
    gap = max(2, width - name.cell_len - len(about))
    return Text.assemble(name, (" " * gap + about, "dim"))


def _trouble(view: View, interval: float) -> list[Text]:
    frame = view.frame
    found = []
    if frame.lost_since is not None and frame.lost_because is not None:
        clock = frame.lost_since.astimezone().strftime("%H:%M:%S")
        lost = f"LOST since {clock}: the database does not answer; it is tried every {interval:g} s"
        told = "what is below is old. " if frame.at is not None else ""
        found += [
            Text(lost, style="bold red"),
            Text(f"  {told}{visible(in_short(frame.lost_because))}", style="red"),
        ]
    # One grant may be missing for several.
    reasons: dict[str, list[str]] = {}
    for part, reason in frame.not_read.items():
        reasons.setdefault(reason, []).append(part)
    found += [
        Text(f"not read: {', '.join(parts)}: {visible(reason)}", style="yellow")
        for reason, parts in reasons.items()
    ]
    return found


def _pauses(view: View) -> list[Text]:
    rows = view.frame.parts.get("pauses", [])
    # The pause of everything comes first.
    rows = sorted(rows, key=lambda row: row["kind"] != "all")
    found = [Text(_pause(row, view.frame.at), style="yellow") for row in rows[:_MOST_PAUSES]]
    if len(rows) > _MOST_PAUSES:
        found[-1].append(f"  and {len(rows) - _MOST_PAUSES} more: tidemill pauses")
    return found


def _pause(row: dict[str, Any], now: datetime | None) -> str:
    what = "everything" if row["kind"] == "all" else f"{row['kind']} {row['name']}"
    who = row["acts_as"] or row["paused_by"]
    reason = f": {row['reason']}" if row["reason"] else ""
    return visible(f"PAUSED {what}, {since(row['paused_at'], now)} ago by {who}{reason}")


def _without_worker(view: View) -> list[Text]:
    names = [task.name for task in view.tasks if task.waits_in_vain]
    if not names:
        return []
    named = ", ".join(map(visible, sorted(names)[:5])) + (" and others" if len(names) > 5 else "")
    return [Text(f"WAITING: no worker that runs knows {named}", style="bold red")]


def _rates(view: View) -> Text:
    rate = view.rate
    line = Text.assemble(("a minute  ", "dim"), _figure(rate.done, "done", "green"))
    if rate.done >= 60:
        line.append(f" ({rate.done / 60:,.0f}/s)")
    line.append("  ").append_text(_figure(rate.retried, "retried", "yellow"))
    line.append("  ").append_text(_figure(rate.failed, "failed", "red"))
    return line.append(f"   over {view.rates.seconds:.0f} s", style="dim")


def _figure(value: float, word: str, style: str, plus: str = "") -> Text:
    shown = f"{value:,.1f}" if 0.05 <= value < 10 and value != int(value) else f"{value:,.0f}"
    return Text.assemble((f"{shown}{plus}", f"bold {style}" if value else "dim"), f" {word}")


def _counts(view: View, width: int) -> list[Text]:
    """Jobs, workers and actions, on one line if they fit."""
    counts = _joined(
        _jobs(view, ("ready",), "ready", "cyan"),
        _jobs(view, ("running",), "running", "green"),
        _jobs(view, ("scheduled", "retrying"), "later", "blue"),
        _jobs(view, ("failed",), "failed", "red"),
        _jobs(view, ("cancelled",), "cancelled", "yellow"),
    )
    jobs = Text.assemble(("jobs  ", "dim"), counts)
    if any(task.cut for task in view.tasks):
        jobs.append("   +: or more", style="dim")
    rest = _joined(_workers(view), _actions(view))
    if jobs.cell_len + rest.cell_len + 4 <= width:
        return [Text.assemble(jobs, "    ", rest)]
    return [jobs, rest]


def _joined(*parts: Text) -> Text:
    return Text("  ").join([part for part in parts if part.plain])


def _jobs(view: View, states: Sequence[str], word: str, style: str) -> Text:
    if "jobs" in view.frame.not_read:
        return Text("")
    count, more = view.jobs(*states)
    # Cancelled ones are seldom there.
    if not count and word == "cancelled":
        return Text("")
    # Where there are more, hundreds say nothing.
    return _figure(
        count // 1000 * 1000 if more and count >= 1000 else count, word, style, "+" if more else ""
    )


def _workers(view: View) -> Text:
    rows = view.frame.parts.get("workers", [])
    if "workers" in view.frame.not_read or not view.frame.parts:
        return Text("")
    alive = [row for row in rows if row["state"] != "lost"]
    line = _figure(len(alive), "worker" if len(alive) == 1 else "workers", "green" if alive else "red")
    if alive:
        held, slots = (sum(row[column] for row in alive) for column in ("in_hand", "concurrency"))
        line.append(f" with {held:,} in hand, {slots:,} slots")
    if lost := len(rows) - len(alive):
        line.append("  ").append_text(_figure(lost, "lost", "red"))
    return line


def _actions(view: View) -> Text:
    counts = view.actions()
    if not counts["actions"]:
        return Text("")
    line = _figure(counts["actions"], "action" if counts["actions"] == 1 else "actions", "cyan")
    for name, style in (("failing", "red"), ("paused", "yellow")):
        if counts[name]:
            line.append("  ").append_text(_figure(counts[name], name, style))
    return line
