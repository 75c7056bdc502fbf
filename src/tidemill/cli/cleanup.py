"""`tidemill cleanup`: deleting what nobody will look at again."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

import psycopg
import typer

from tidemill.cli import parse
from tidemill.cli.bulk import require_somebody
from tidemill.cli.options import DatabaseOption, JsonOption, YesOption
from tidemill.cli.output import note, open_database, print_json, say
from tidemill.cli.stops import Stop, stop_between
from tidemill.database import sql
from tidemill.database.connect import connect

_COUNTED = 10_000


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("cleanup", epilog="Example: `tidemill cleanup --failed-after 1w --yes`")(cleanup)


def cleanup(
    failed_after: Annotated[
        str,
        typer.Option(metavar="DURATION", help="Delete jobs that failed or were cancelled longer ago."),
    ] = "30d",
    keep_failed: Annotated[bool, typer.Option("--keep-failed", help="Delete no jobs.")] = False,
    keep_queues: Annotated[
        bool, typer.Option("--keep-queues", help="Leave named queues without jobs.")
    ] = False,
    yes: YesOption = False,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete jobs that failed for good or were cancelled long ago, and named queues without jobs.

    As an action: tidemill actions add tidemill.cleanup --every '1 day' --check tidemill.check_cleanup
    """
    age = parse.age(failed_after)
    is_asked = not (keep_failed or yes)
    if is_asked:
        require_somebody("cleanup")
    with connect(open_database(database).conninfo) as connection:
        if is_asked:
            _ask(connection, age)
        with stop_between("batch") as stop:
            jobs = 0 if keep_failed else _delete_jobs(connection, age, stop)
            queues, because = (0, None) if keep_queues or stop.asked else _delete_queues(connection, stop)
    if as_json:
        print_json({"jobs": jobs, "queues": queues, "queues_left_because": because})
        return
    say(f"Deleted: {jobs} jobs that had failed or were cancelled, {queues} named queues without jobs.")
    if because:
        note(f"Other named queues stay: {because}.")


def _ask(connection: psycopg.Connection[Any], age: timedelta) -> None:
    row = connection.execute(sql.query("count_ended_jobs"), {"age": age, "most": _COUNTED + 1}).fetchone()
    assert row is not None
    if row[0]:
        count = f"over {_COUNTED:,}" if row[0] > _COUNTED else f"{row[0]:,}"
        typer.confirm(
            f"Delete {count} jobs that failed or were cancelled longer ago than {age}?", abort=True, err=True
        )


def _delete_jobs(connection: psycopg.Connection[Any], age: timedelta, stop: Stop) -> int:
    [(before,)] = connection.execute("select pg_catalog.now() operator(pg_catalog.-) %s::interval", [age])
    deleted = 0
    reached: int | None = 0
    while reached is not None and not stop.asked:
        [(some, reached)] = connection.execute(
            "select deleted, reached from tidemill._delete_ended_jobs(%s, %s)", [before, reached]
        )
        deleted += some
    return deleted


def _delete_queues(connection: psycopg.Connection[Any], stop: Stop) -> tuple[int, str | None]:
    deleted = 0
    # Behind a pooler the role's default may be another one, and an older snapshot would not do.
    connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
    while True:
        with connection.transaction():
            [(some, because)] = connection.execute(
                "select deleted, because from tidemill._delete_unused_queues()"
            )
        deleted += some
        if not some or stop.asked:
            return deleted, because
