"""`tidemill jobs history`: jobs that are done, and attempts that ended otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
import typer
from psycopg.rows import dict_row

from tidemill.cli import completion, parse
from tidemill.cli.jobs_meant import say_unknown_names
from tidemill.cli.options import DatabaseOption, JsonOption, LimitOption
from tidemill.cli.output import (
    console,
    note,
    open_database,
    pretty_json,
    print_fields,
    print_json,
    print_table,
    say_more,
)
from tidemill.database import sql
from tidemill.database.connect import connect

_COLUMNS = ("id", "outcome", "identifier", "finished_at", "took", "attempts", "error")
_ATTEMPTS = ("outcome", "started_at", "took", "attempts", "worker_id", "error")
Ending = Literal["done", "retried", "failed", "cancelled", "removed"]


def register(group: typer.Typer) -> None:
    """Adds the command to `tidemill jobs`."""
    group.command(
        "history",
        epilog="Examples:\n\n`tidemill jobs history --outcome failed --since 1d`\n\n"
        '`tidemill jobs history --task send_email --error "timed out"`',
    )(history)


def history(
    outcome: Annotated[Ending | None, typer.Option(help="Only those that ended so.")] = None,
    task: Annotated[
        str | None, typer.Option("--task", help="Only jobs of this task.", autocompletion=completion.tasks)
    ] = None,
    error: Annotated[
        str | None,
        typer.Option(
            "--error", metavar="TEXT", help="Only those with this text in their error, in any case."
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="WHEN", help="Only those that ended since: a time, or 2h, 7d (ago)."),
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="WHEN", help="Only those of before; as --since.")
    ] = None,
    limit: LimitOption = 50,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """List jobs that are done, and attempts that failed, newest first.

    History is kept of tasks with the option `keep`, and of all with `tidemill worker --keep 1d`.
    """
    start = parse.since(since) if since is not None else {}
    end = parse.since(until) if until is not None else {}
    conninfo = open_database(database).conninfo
    rows = rows_of(
        conninfo,
        task=task,
        outcome=outcome,
        error=error,
        since=start.get("since"),
        within=start.get("within"),
        until=end.get("since"),
        until_within=end.get("within"),
        limit=limit + 1,
    )
    more = len(rows) > limit
    rows = rows[:limit]
    if not rows:
        say_unknown_names(conninfo, task=task)
    if as_json:
        print_json([_told(row) for row in rows])
        return
    print_table(list(map(displayed, rows)), _with_progress(_COLUMNS, rows), empty="Nothing that was kept.")
    if not rows:
        note("History is kept of tasks with keep=..., and of all by `tidemill worker --keep 1d`.")
    if more:
        say_more(limit)


def rows_of(conninfo: str, *, whole: bool = False, **wanted: Any) -> list[dict[str, Any]]:
    """Rows of the view tidemill.job_history, newest first; `whole`: with payload, result and traceback."""
    names = ("id", "task", "outcome", "error", "since", "within", "until", "until_within", "limit")
    params = dict.fromkeys(names) | wanted | {"whole": whole}
    with connect(conninfo) as connection, connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(sql.query("job_history"), params).fetchall()
    for row in rows:
        for name in ("payload", "result"):
            row[name] = msgspec.Raw((row[name] or "null").encode())
    return rows


def print_attempts(rows: Sequence[dict[str, Any]]) -> None:
    """The ended attempts of one job, below what it is now."""
    if rows:
        print_table(list(map(displayed, rows)), _with_progress(_ATTEMPTS, rows), empty="")


def print_ended(rows: Sequence[dict[str, Any]]) -> None:
    """A job that is in history alone: how it ended, and its other attempts."""
    last = displayed(rows[0])
    del last["reached"]
    for name in ("payload", "result"):
        last[name] = pretty_json(bytes(rows[0][name]).decode())
    print_fields({**last, "error": rows[0]["error"]})
    print_attempts(rows[1:])


def displayed(row: dict[str, Any]) -> dict[str, Any]:
    """An end as people read it."""
    return {
        **row,
        "took": _took(row["seconds"]),
        "attempts": f"{row['attempt']}/{row['max_attempts']}",
        "error": (row["error"] or "").split("\n")[0][:120],
        "reached": " ".join(
            [
                *([] if row["progress"] is None else [f"{100 * row['progress']:.0f} %"]),
                *([] if row["progress_message"] is None else [row["progress_message"].split("\n")[0][:60]]),
            ]
        ),
    }


def _with_progress(columns: tuple[str, ...], rows: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    """With a column for progress, if any attempt has told of some."""
    told = any(row["progress"] is not None or row["progress_message"] is not None for row in rows)
    return (*columns[:-1], "reached", columns[-1]) if told else columns


def _took(seconds: float | None) -> str | None:
    """A duration as people read it; in a pipe the seconds."""
    if seconds is None:
        return None
    if not console.is_terminal:
        # Never with an exponent, as 5e-05.
        return f"{seconds:.6f}".rstrip("0").removesuffix(".") or "0"
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _told(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the list: what was not read is left out, since it would look as if there were nothing."""
    return {name: value for name, value in row.items() if name not in ("payload", "result", "traceback")}
