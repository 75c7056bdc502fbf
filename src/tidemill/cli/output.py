"""What commands print: tables for people, plain lines for pipes, JSON for scripts."""

from __future__ import annotations

import contextlib
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec
from rich.console import Console
from rich.text import Text

from tidemill.cli.visible import visible, visible_json
from tidemill.cli.widths import fit
from tidemill.database.connect import connect
from tidemill.database.find import Database, find_database
from tidemill.database.migrate import migrate, require_schema
from tidemill.errors import MissingRightsError

if TYPE_CHECKING:
    from rich.progress import Progress

# Data may look like markup, so markup is off; styled text is a Text.
console = Console(markup=False, emoji=False, highlight=False)
errors = Console(stderr=True, markup=False, emoji=False, highlight=False)

_COLOURS = {
    "ready": "cyan",
    "scheduled": "blue",
    "running": "green",
    "failed": "red",
    "cancelled": "yellow",
    "lost": "red",
    "paused": "yellow",
    "success": "green",
    "skipped": "yellow",
    "stopped": "yellow",
    "failure": "red",
    "timeout": "red",
    "backend_terminated": "red",
    "worker_lost": "red",
    "server_restarted": "red",
    "packed": "green",
    "plain": "cyan",
    "partial": "yellow",
    "waiting": "red",
    "not known": "red",
}
_COLOURED = {"state", "outcome", "last_outcome"}
_NUMBERS = {
    "id",
    "priority",
    "in_hand",
    "concurrency",
    "at once",
    "in_use",
    "pid",
    "took",
    "chunks",
    "chunks_packed",
    "rows",
    "rows_packed",
    "beside",
    "size",
    "packed_size",
    "before",
    "after",
    "ratio",
    "workers",
    "ready",
    "running",
    "scheduled",
    "retrying",
    "failed",
    "cancelled",
    "changed",
    "passed over",
    "done",
}
_asked_as: list[str] = []
"""The role that the command's database knows it by, once that is known."""
# Of jobs by their state: one that is 0 in all rows is no news.
_COUNTS = {"ready", "running", "scheduled", "retrying", "failed", "cancelled"}


def say(text: object, *, label: str = "", style: str = "", to: Console = console) -> None:
    """Prints a text without styles, after a label with a style."""
    line = Text.assemble((label, style), " " if label else "", visible(str(text), lines=True))
    to.print(line, soft_wrap=not to.is_terminal)


def note(text: object, *, label: str = "", style: str = "") -> None:
    """Prints a remark, which is no result, on stderr."""
    say(text, label=label, style=style, to=errors)


def fail(message: object) -> NoReturn:
    """Prints an error as one paragraph, and exits with code 1."""
    note(message, label="Error:", style="red")
    sys.exit(1)


def open_database(url: str | None, *, needs_schema: bool = True) -> Database:
    """The database that a command works on, after a look at its schema; an embedded one is migrated.

    A role that may only add or read jobs cannot look at the schema. If it lacks more, its statements say so.
    """
    database = find_database(url)
    if needs_schema and database.server is not None:
        migrate(database.conninfo)
    elif needs_schema:
        with connect(database.conninfo) as connection, contextlib.suppress(MissingRightsError):
            _asked_as.append(connection.info.user)
            require_schema(connection)
    return database


def with_role(message: str) -> str:
    """A message about a missing grant, with the name of the role in place of ROLE."""
    named = f"TO {shlex.quote(_asked_as[-1])}" if _asked_as else "TO ROLE"
    return re.sub(r"\bTO ROLE\b", lambda _: named, message)


def print_json(value: object) -> None:
    """Prints a value as JSON, indented if possible."""
    sys.stdout.write(pretty_json(msgspec.json.encode(value).decode()) + "\n")


def pretty_json(text: str) -> str:
    """JSON with indents; unchanged if it is nested too deep or has half of a surrogate pair."""
    with contextlib.suppress(RecursionError, msgspec.DecodeError):
        text = msgspec.json.format(text, indent=2)
    return visible_json(text)


def print_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, empty: str) -> None:
    """Prints rows: as a table on a terminal, elsewhere as tab-separated lines with a header."""
    if not console.is_terminal:
        sys.stdout.write("\t".join(columns) + "\n")
        for row in rows:
            sys.stdout.write("\t".join(_plain(row[column]) for column in columns) + "\n")
        return
    if not rows:
        say(empty)
        return
    from rich.table import Table

    # Leave out columns that say nothing, so that a line fits the terminal.
    columns = [column for column in columns if any(not _says_nothing(column, row[column]) for row in rows)]
    cells = {column: [_cell(column, row[column]) for row in rows] for column in columns}
    texts = {
        column: [column.replace("_", " "), *(line for cell in some for line in cell.plain.split("\n"))]
        for column, some in cells.items()
    }
    widths, left_out = fit(texts, console.width)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column, width in widths.items():
        table.add_column(
            texts[column][0],
            justify="right" if column in _NUMBERS else "left",
            overflow="fold",
            width=width,
        )
    for number in range(len(rows)):
        table.add_row(*(cells[column][number] for column in widths))
    console.print(table)
    if left_out:
        note(f"Left out, as the terminal is narrow: {', '.join(left_out)}.")


def _says_nothing(column: str, value: Any) -> bool:
    return value in (None, "", []) or (column in _COUNTS and value == 0)


def print_fields(row: Mapping[str, Any]) -> None:
    """Prints one row, with a line for each field."""
    width = max(map(len, row))
    for name, value in row.items():
        text = value.isoformat() if isinstance(value, datetime) and not console.is_terminal else _text(value)
        first, *rest = text.split("\n")
        console.print(Text.assemble((f"{name:<{width}}", "bold"), "  ", visible(first)), soft_wrap=True)
        for line in rest:
            console.print(Text(" " * (width + 2) + visible(line)), soft_wrap=True)


def _cell(column: str, value: Any) -> Text:
    if isinstance(value, Text):
        return value
    text = _text(value)
    return Text(visible(text), style=_COLOURS.get(text, "") if column in _COLOURED else "")


def _plain(value: Any) -> str:
    """A value on one line. It has no tabs, which separate columns."""
    return visible(value.isoformat() if isinstance(value, datetime) else _text(value))


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return ago(value)
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value)


def ago(moment: datetime) -> str:
    """A time within two days as a distance from now, others as a local time."""
    distance = (moment - datetime.now(UTC)).total_seconds()
    size = abs(distance)
    if size < 1:
        return "now"
    for limit, unit, divisor in ((120, "s", 1), (7200, "min", 60), (172800, "h", 3600)):
        if size < limit:
            amount = f"{size / divisor:.0f} {unit}"
            return f"in {amount}" if distance > 0 else f"{amount} ago"
    return moment.astimezone().strftime("%Y-%m-%d %H:%M")


def in_units(seconds: float) -> str:
    """A duration as `parse.duration` reads it: `90` is `1m30s`, half a second `500ms`."""
    left, text = round(seconds * 1000), ""
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, left = divmod(left, size)
        text += f"{count}{unit}" if count else ""
    return text or "0s"


def progress_bar(*, shown: bool) -> Progress:
    """A progress bar on stderr, if that is a terminal; `shown` false hides it for short work."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=errors,
        transient=True,
        disable=not (shown and errors.is_terminal),
    )


def asks() -> bool:
    """Whether somebody is there to be asked."""
    return sys.stdin.isatty() and errors.is_terminal


def first_ids(ids: Sequence[int]) -> str:
    """Ids in a remark: the first 20."""
    return ", ".join(map(str, ids[:20])) + (" ..." if len(ids) > 20 else "")


def say_more(limit: int) -> None:
    """Says on stderr that a list was cut off."""
    note(f"There are more than these {limit}: raise --limit, or filter.")
