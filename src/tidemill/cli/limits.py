"""`tidemill limits`: how many jobs run at once, or start in a time."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

import typer
from psycopg.rows import dict_row

from tidemill.cli import completion, parse
from tidemill.cli.groups import listing_group
from tidemill.cli.options import DatabaseOption, JsonOption
from tidemill.cli.output import open_database, print_json, print_table, say
from tidemill.cli.visible import visible
from tidemill.database.connect import connect, explained
from tidemill.database.sql import query

_COLUMNS = ("name", "task", "concurrency", "rate", "per", "in_use", "waiting", "tasks")

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
    found = open_database(database)
    with (
        connect(found.conninfo) as connection,
        connection.cursor(row_factory=dict_row) as cursor,
        explained(),
    ):
        rows = cursor.execute(query("list_limits")).fetchall()
    if as_json:
        print_json(rows)
        return
    print_table(
        [_displayed(row) for row in rows],
        _COLUMNS,
        empty="There is no limit; make one with: tidemill limits set NAME --concurrency 5",
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
        str | None, typer.Option(metavar="N/PERIOD", help="Starts in a time, for instance 100/1m.")
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
    """Make a limit, or change it; what is left out is not limited. Jobs name it with `limit_name`."""
    count, period = (None, None) if rate is None else _rate(rate)
    found = open_database(database)
    with connect(found.conninfo) as connection, explained():
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
    found = open_database(database)
    with connect(found.conninfo) as connection, explained():
        connection.execute("select tidemill.remove_limit(%s)", [name])
    if as_json:
        print_json({"removed": name})
    else:
        say(f"The limit {visible(name)} is removed.")


def _rate(text: str) -> tuple[int, timedelta]:
    count, slash, period = text.partition("/")
    if not slash or not count.strip().isascii() or not count.strip().isdigit():
        raise typer.BadParameter(f"--rate {text!r} is no rate; write how many in which time, as in 100/1m.")
    return int(count), parse.duration(period)


def _displayed(row: dict[str, Any]) -> dict[str, Any]:
    rate = None if row["rate"] is None else f"{row['rate']}/{row['period']}"
    return row | {"rate": rate, "tasks": ", ".join(row["tasks"])}
