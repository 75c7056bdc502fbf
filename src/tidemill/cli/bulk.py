"""Changing many jobs at once: what `tidemill jobs` does with a filter, and `tidemill bulk`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Annotated, Any

import psycopg
import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from tidemill.cli import completion
from tidemill.cli.groups import listing_group
from tidemill.cli.jobs_find import JobFilter
from tidemill.cli.lists import print_list, read_rows
from tidemill.cli.options import DatabaseOption, JsonOption, LimitOption
from tidemill.cli.output import asks, errors, first_ids, note, open_database, print_json, say
from tidemill.cli.stops import stop_between
from tidemill.database import sql
from tidemill.database.connect import connect
from tidemill.errors import TidemillError

DOING = {"retry": "Retrying", "cancel": "Cancelling", "remove": "Removing", "reschedule": "Rescheduling"}
_COUNTED = 10_000
_COLUMNS = ("id", "act", "filter", "state", "done", "changed", "passed over", "asked_by", "created_at")
_WHY = {
    "running": "they run",
    "locked": "somebody else works on them",
    "gone": "they are done or were removed",
    "changed": "they have changed meanwhile",
    "failed": "they have failed already",
    "cancelled": "they are cancelled already",
}

group = listing_group(
    "Changes of many jobs by a filter, as `tidemill jobs retry --state failed` makes them; "
    "without a command, list them."
)

ActArgument = Annotated[
    int,
    typer.Argument(
        metavar="ID",
        help="Id of the bulk act.",
        min=1,
        max=2**63 - 1,
        show_default=False,
        autocompletion=completion.bulk_acts,
    ),
]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.add_typer(group, name="bulk")


@group.command("list", epilog="Example: `tidemill bulk --json`")
def list_acts(limit: LimitOption = 50, database: DatabaseOption = None, as_json: JsonOption = False) -> None:
    """List bulk acts of the last 90 days, newest first."""
    print_list(
        read_rows(open_database(database).conninfo, "list_bulk_acts", limit=limit + 1),
        _COLUMNS,
        as_json=as_json,
        empty="No jobs were changed by a filter in the last 90 days.",
        limit=limit,
        shown=_displayed,
    )


def _displayed(row: dict[str, Any]) -> dict[str, Any]:
    return row | {
        "done": f"{100 * row['progress']:.0f} %",
        "passed over": sum(reason["jobs"] for reason in row["passed_over"].values()),
        "filter": ", ".join(f"{name} {value}" for name, value in row["filter"].items()),
    }


@group.command("run", epilog="Example: `tidemill bulk run 7`")
def run(act: ActArgument, database: DatabaseOption = None, as_json: JsonOption = False) -> None:
    """Go on with a bulk act that was stopped, whoever began it."""
    with connect(open_database(database).conninfo) as connection:
        row = connection.execute(
            "select act, matching from tidemill.bulk_acts where id operator(pg_catalog.=) %s", [act]
        ).fetchone()
        if row is None:
            raise TidemillError(f"There is no bulk act {act}; see them with: tidemill bulk")
        carry_out(connection, act, DOING[row[0]], as_json=as_json)


@group.command("abort", epilog="Example: `tidemill bulk abort 7`")
def abort(act: ActArgument, database: DatabaseOption = None, as_json: JsonOption = False) -> None:
    """End a bulk act after the batch in work; what it has changed stays so."""
    with connect(open_database(database).conninfo) as connection, _refusals():
        row = connection.execute("select tidemill.abort_bulk_act(%s)", [act]).fetchone()
    assert row is not None
    if as_json:
        print_json({"bulk_act": act, "changed": row[0]})
        return
    say(f"The bulk act {act} {'is ended' if row[0] else 'had ended before'}.")


def change_by_filter(
    connection: psycopg.Connection[Any],
    act: str,
    jobs: JobFilter,
    options: Mapping[str, Any],
    *,
    yes: bool,
    as_json: bool,
) -> int:
    """Changes the jobs that pass a filter; asks first, unless `yes`.

    Returns how many there were, up to 10,001. Raises TidemillError where nobody can be asked.
    """
    if not yes:
        require_somebody(f"jobs {act} with a filter")
    with _refusals():
        row = connection.execute(
            sql.query("begin_bulk_act"),
            {"act": act, "filter": _json(as_filter(jobs)), "options": _json(_plain(options))},
        ).fetchone()
        assert row is not None
        [number] = row
        counted = connection.execute(
            "select matching from tidemill.bulk_acts where id operator(pg_catalog.=) %s", [number]
        ).fetchone()
    matching = 0 if counted is None else counted[0]
    if matching and not yes:
        count = (
            f"over {_COUNTED:,} jobs" if matching > _COUNTED else f"{matching:,} job{'s' * (matching > 1)}"
        )
        agreed = False
        try:
            agreed = typer.confirm(f"{act.capitalize()} {count}?", err=True)
        finally:
            # Also after Ctrl-C or the end of the input: nobody is to find it planned, and run it.
            if not agreed:
                connection.execute("select tidemill.abort_bulk_act(%s)", [number])
        if not agreed:
            raise typer.Abort
    carry_out(connection, number, DOING[act], as_json=as_json, shown=matching > _COUNTED // 10)
    return matching


def require_somebody(what: str) -> None:
    """Raises TidemillError where nobody is there to be asked: a pipe that says no would not be heard."""
    if not asks():
        raise TidemillError(f"{what} asks first, and there is no terminal to ask on; confirm with --yes.")


def carry_out(
    connection: psycopg.Connection[Any], number: int, title: str, *, as_json: bool, shown: bool = True
) -> None:
    """Makes the steps of a bulk act until it is done, with a bar if it is `shown`, and tells how it went."""
    changed = list[int]()
    passed_over = dict[str, list[int]]()
    state = "running"
    # Behind a pooler the role's default may be another one.
    connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
    with _refusals(), stop_between("batch") as stop, _bar(shown=shown) as progress:
        bar = progress.add_task(title, total=1.0, changed=0)
        while state == "running" and not stop.asked:
            with connection.transaction():
                row = connection.execute(
                    "select state, progress, changed, passed_over from tidemill.step_bulk_act(%s)", [number]
                ).fetchone()
            assert row is not None
            state, part, some, others = row
            changed += some
            for reason, ids in others.items():
                passed_over.setdefault(reason, []).extend(ids)
            progress.update(bar, completed=part, changed=len(changed))
    left = sorted(job_id for ids in passed_over.values() for job_id in ids)
    if as_json:
        print_json({"changed": changed, "passed_over": left, "bulk_act": number, "state": state})
    else:
        say(f"{title}: {len(changed)} of {len(changed) + len(left)} jobs changed.")
        for reason, ids in passed_over.items():
            note(f"Passed over, as {_WHY[reason]}: {first_ids(ids)}")
    if state == "aborted":
        note(f"Somebody has ended the bulk act {number}.")
        raise typer.Exit(1)
    if state == "running":
        note(f"Stopped. Go on with: tidemill bulk run {number}")
        raise typer.Exit(130)
    if left and not changed:
        raise typer.Exit(1)


def as_filter(jobs: JobFilter) -> dict[str, Any]:
    """A filter of the command line as the database takes it."""
    wanted = jobs.params
    times = {
        name: _plain_time(wanted[name] or wanted[within])
        for name, within in (("since", "within"), ("until", "until_within"))
        if wanted[name] or wanted[within] is not None
    }
    named = {name: wanted[name] for name in ("state", "task", "queue", "error") if wanted[name] is not None}
    return named | ({"retrying": True} if wanted["retrying"] else {}) | times


def _json(value: Mapping[str, Any]) -> str:
    # What is no UTF-8 is told as such, and not by its escape.
    return json.dumps(value, ensure_ascii=False)


def _plain(options: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _plain_time(value) if isinstance(value, datetime | timedelta) else value
        for name, value in options.items()
        if value is not None
    }


def _plain_time(value: datetime | timedelta) -> str:
    return value.isoformat() if isinstance(value, datetime) else f"{value.total_seconds()} seconds"


@contextmanager
def _refusals() -> Iterator[None]:
    """Tells what the functions of bulk acts refuse in one paragraph."""
    try:
        yield
    except psycopg.errors.UndefinedObject as error:
        if error.diag.context is None or "bulk_act" not in error.diag.context:
            raise
        raise TidemillError(f"{error.diag.message_primary}; see them with: tidemill bulk") from error


def _bar(*, shown: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[changed]:,} changed"),
        TimeElapsedColumn(),
        console=errors,
        transient=True,
        disable=not (shown and errors.is_terminal),
    )
