"""`tidemill limits`: how many jobs run at once, or start in a time."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

import typer

from tidemill.cli import completion, parse
from tidemill.cli.actions_find import tell
from tidemill.cli.groups import listing_group
from tidemill.cli.lists import print_list, read_rows
from tidemill.cli.options import DatabaseOption, JsonOption
from tidemill.cli.output import in_units, open_database, print_json, say
from tidemill.cli.visible import visible
from tidemill.database.connect import connect

_COLUMNS = ("name", "kind", "at once", "rate", "per", "in_use", "waiting", "tasks")

NameArgument = Annotated[
    str,
    typer.Argument(
        metavar="NAME", help="The name of the limit.", show_default=False, autocompletion=completion.limits
    ),
]

group = listing_group(
    "Limits: how many jobs run at once, or start in a time. Without a command, list them with what is in use."
)


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.add_typer(group, name="limits")


@group.command("list", epilog="Example: `tidemill limits`")
def list_limits(database: DatabaseOption = None, as_json: JsonOption = False) -> None:
    """List the limits, those of tasks' code too, with how many of their jobs run and wait (up to 1,000)."""
    rows = read_rows(open_database(database).conninfo, "list_limits")
    if as_json:
        rows = [{name: row[name] for name in row if name != "period_seconds"} for row in rows]
    print_list(
        rows,
        _COLUMNS,
        as_json=as_json,
        empty="There is no limit; make one with: tidemill limits set NAME --concurrency 5",
        shown=_displayed,
    )


@group.command(
    "set",
    epilog="Examples:\n\n`tidemill limits set mailer --concurrency 5`\n\n"
    "`tidemill limits set api --rate 100/1m --per customer_id`",
)
def set_limit(
    name: NameArgument,
    concurrency: Annotated[
        int | None, typer.Option("--concurrency", "-c", metavar="N", help="Jobs at once, over all workers.")
    ] = None,
    rate: Annotated[
        str | None,
        typer.Option(metavar="N/PERIOD", help="Starts in a time, for instance 100/1m or 100/minute."),
    ] = None,
    burst: Annotated[
        int | None,
        typer.Option(metavar="N", help="Starts at once after a pause [default: the N of the rate]."),
    ] = None,
    per: Annotated[
        str | None,
        typer.Option(metavar="FIELD", help="A field of the payload: each value has the limit for itself."),
    ] = None,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a limit, or change it; what is left out is not limited. Jobs name it with `limit_name`.

    The limit of a task is changed in its code.
    """
    count, period = (None, None) if rate is None else _rate(rate)
    with connect(open_database(database).conninfo) as connection:
        connection.add_notice_handler(tell)
        connection.execute(
            "select tidemill.set_limit(%s, %s::integer, %s::integer, %s::interval, %s::integer, %s)",
            [name, concurrency, count, period, burst, per],
        )
    if as_json:
        print_json({"set": name})
    else:
        say(f"The limit {visible(name)} is set.")


@group.command("remove", epilog="Example: `tidemill limits remove mailer`")
def remove_limit(name: NameArgument, database: DatabaseOption = None, as_json: JsonOption = False) -> None:
    """Remove a limit; its jobs that wait are free to run."""
    with connect(open_database(database).conninfo) as connection:
        connection.add_notice_handler(tell)
        connection.execute("select tidemill.remove_limit(%s)", [name])
    if as_json:
        print_json({"removed": name})
    else:
        say(f"The limit {visible(name)} is removed.")


def _rate(text: str) -> tuple[int, timedelta]:
    count, slash, period = text.partition("/")
    if not slash or not count.strip().isascii() or not count.strip().isdigit():
        raise typer.BadParameter(f"--rate {text!r} is no rate; write how many in which time, as in 100/1m.")
    # As people say it: 100/minute.
    one = period.strip().isalpha()
    return int(count), parse.duration(f"1 {period}" if one else period)


def _displayed(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the table, which fits 80 columns."""
    rate = None if row["rate"] is None else f"{row['rate']}/{in_units(row['period_seconds'])}"
    others = [task for task in row["tasks"] if task != row["task"]]
    kind = "named" if row["task"] is None else "task's own"
    return row | {"kind": kind, "at once": row["concurrency"], "rate": rate, "tasks": ", ".join(others)}
