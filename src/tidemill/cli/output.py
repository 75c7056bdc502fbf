"""What commands print: tables for people, plain lines for pipes, JSON for scripts."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, NoReturn

import msgspec
import typer
from psycopg.rows import dict_row
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from tidemill.database.connect import Database, connect, find_database
from tidemill.database.migrate import migrate, require_schema

DatabaseOption = Annotated[
    str | None,
    typer.Option(
        "--database",
        "-d",
        metavar="URL",
        help="postgresql:// URL or libpq conninfo [default: DATABASE_URL, else an embedded PostgreSQL].",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]

console = Console()
errors = Console(stderr=True)

_COLOURS = {"ready": "cyan", "scheduled": "blue", "running": "green", "failed": "red", "lost": "red"}


def fail(message: object) -> NoReturn:
    """Prints an error as one paragraph, and ends."""
    errors.print(
        f"[red]Error:[/red] {escape(str(message))}", soft_wrap=not errors.is_terminal, highlight=False
    )
    sys.exit(1)


def open_database(url: str | None, *, needs_schema: bool = True) -> Database:
    """The database that a command works on, with its schema there; an embedded one is migrated."""
    database = find_database(url)
    if needs_schema and database.server is not None:
        migrate(database.conninfo)
    elif needs_schema:
        with connect(database.conninfo) as connection:
            require_schema(connection)
    return database


def print_json(value: object) -> None:
    """Prints a value as indented JSON."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")


def print_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, empty: str) -> None:
    """Prints rows as a table on a terminal, as tab-separated lines with a header elsewhere."""
    if not console.is_terminal:
        sys.stdout.write("\t".join(columns) + "\n")
        for row in rows:
            sys.stdout.write("\t".join(_plain(row[column]) for column in columns) + "\n")
        return
    if not rows:
        console.print(empty)
        return
    # Columns that say nothing are left out: a line shall fit the terminal.
    columns = [column for column in columns if any(row[column] not in (None, "", []) for row in rows)]
    table = Table(box=None, header_style="bold", pad_edge=False)
    numbers = {"id", "priority", "in_hand", "concurrency", "pid"}
    for column in columns:
        table.add_column(
            column.replace("_", " "),
            justify="right" if column in numbers else "left",
            no_wrap=column in ("id", "state", "identifier", "run_at", "attempts"),
        )
    for row in rows:
        table.add_row(*(_cell(column, row[column]) for column in columns))
    console.print(table)


def print_fields(row: Mapping[str, Any]) -> None:
    """Prints one row, a field a line."""
    width = max(map(len, row))
    for name, value in row.items():
        text = _plain(value) if not console.is_terminal else _text(value)
        first, *rest = text.splitlines() or [""]
        console.print(f"[bold]{name:<{width}}[/bold]  {escape(first)}", highlight=False, soft_wrap=True)
        for line in rest:
            console.print(" " * (width + 2) + escape(line), highlight=False, soft_wrap=True)


def _cell(column: str, value: Any) -> str:
    text = escape(_text(value))
    if column == "state" and text in _COLOURS:
        return f"[{_COLOURS[text]}]{text}[/]"
    return text


def _plain(value: Any) -> str:
    """A value on one line, without the tabs that part columns."""
    text = value.isoformat() if isinstance(value, datetime) else _text(value)
    return " ".join(text.split()) if "\t" in text or "\n" in text else text


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return ago(value)
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value)


def ago(moment: datetime) -> str:
    """A time near now as a distance, others as a local time."""
    distance = (moment - datetime.now(UTC)).total_seconds()
    size = abs(distance)
    if size < 1:
        return "now"
    for limit, unit, divisor in ((120, "s", 1), (7200, "min", 60), (172800, "h", 3600)):
        if size < limit:
            amount = f"{size / divisor:.0f} {unit}"
            return f"in {amount}" if distance > 0 else f"{amount} ago"
    return moment.astimezone().strftime("%Y-%m-%d %H:%M")


def progress_bar() -> Progress:
    """A bar on stderr, for a terminal alone."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=errors,
        transient=True,
        disable=not errors.is_terminal,
    )


def job_row(conninfo: str, job_id: int) -> dict[str, Any] | None:
    """A job as the view tidemill.jobs shows it; None where there is none."""
    with connect(conninfo) as connection, connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute("select * from tidemill.jobs where id = %s", [job_id]).fetchone()
