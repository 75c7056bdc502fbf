"""`tidemill tasks` and `tidemill queues`: what there is, and how many jobs wait for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import typer

from tidemill.cli import completion
from tidemill.cli.groups import listing_group
from tidemill.cli.jobs_find import say_unknown
from tidemill.cli.jobs_meant import say_unknown_names
from tidemill.cli.lists import read_rows
from tidemill.cli.options import DatabaseOption, JsonOption, LimitOption
from tidemill.cli.output import (
    note,
    open_database,
    pretty_json,
    print_fields,
    print_json,
    print_table,
    say_more,
)

# There may be millions of jobs: so many are counted.
_COUNTED = 100_000
_AS_JSON = ("options", "payload_schema", "paused")
_COUNTS = ("ready", "running", "scheduled", "retrying", "failed", "cancelled")


group = listing_group("The tasks that workers know or that have jobs.")


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.add_typer(group, name="tasks")
    app.command("queues", epilog="Example: `tidemill queues --json`")(queues)


@group.command("list", epilog="Example: `tidemill tasks --json`")
def list_tasks(database: DatabaseOption = None, as_json: JsonOption = False) -> None:
    """List the tasks that workers know or that have jobs, with how many jobs are in which state."""
    rows = read_rows(open_database(database).conninfo, "list_tasks", most=_COUNTED + 1)
    columns = ("task", "workers", *_COUNTS, "oldest_ready")
    _show(rows, columns, as_json, empty="There are no tasks and no jobs.")
    if not as_json:
        say_unknown(row["task"] for row in rows if row["ready"] and not row["workers"])


@group.command("show", epilog="Example: `tidemill tasks show send_mail`")
def show_task(
    task: Annotated[
        str,
        typer.Argument(metavar="TASK", help="The task.", show_default=False, autocompletion=completion.tasks),
    ],
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a task: its options and payload as its code has them, and what became of its attempts lately."""
    conninfo = open_database(database).conninfo
    rows = read_rows(conninfo, "show_task", task=task)
    if not rows:
        say_unknown_names(conninfo, task=task)
        raise typer.Exit(1)
    [row] = rows
    told = {name: None if row[name] is None else msgspec.Raw(row[name].encode()) for name in _AS_JSON}
    if as_json:
        print_json({**row, **told})
        return
    texts = {name: None if row[name] is None else pretty_json(row[name]) for name in _AS_JSON}
    print_fields({**row, **texts})


def queues(limit: LimitOption = 50, database: DatabaseOption = None, as_json: JsonOption = False) -> None:
    """List the named queues that have jobs, those with most jobs first."""
    rows = read_rows(open_database(database).conninfo, "list_queues", most=_COUNTED + 1, limit=limit + 1)
    more, rows = len(rows) > limit, rows[:limit]
    _show(rows, ("queue", *_COUNTS, "oldest_ready", "worker"), as_json, empty="No named queue has jobs.")
    if more and not as_json:
        say_more(limit)


def _show(rows: list[dict[str, Any]], columns: Sequence[str], as_json: bool, *, empty: str) -> None:
    is_partial = max([row.pop("counted") for row in rows], default=0) > _COUNTED
    if as_json:
        print_json({"jobs_counted": _COUNTED if is_partial else None, columns[0] + "s": rows})
        return
    print_table(rows, columns, empty=empty)
    if is_partial:
        note(f"There are more jobs than these: {_COUNTED:,} were counted.")
