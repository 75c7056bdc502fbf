"""`tidemill jobs`: finding and changing jobs."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any, LiteralString

import psycopg
import typer
from psycopg.errors import InsufficientPrivilege

from tidemill.cli import jobs_history, parse
from tidemill.cli.bulk import DOING, change_by_filter
from tidemill.cli.groups import listing_group
from tidemill.cli.jobs_find import JobFilter, job_row, job_rows, say_what_waits, why_waiting
from tidemill.cli.jobs_meant import say_unknown_names
from tidemill.cli.options import DatabaseOption, JsonOption, LimitOption, YesOption, spread
from tidemill.cli.output import (
    first_ids,
    note,
    open_database,
    pretty_json,
    print_fields,
    print_json,
    print_table,
    progress_bar,
    say,
    say_more,
)
from tidemill.database import sql
from tidemill.database.connect import connect
from tidemill.errors import InvalidJobError

_BATCH = 2000
_GREATEST_ID = 2**63 - 1
_COLUMNS = ("id", "state", "identifier", "queue_name", "priority", "run_at", "attempts", "last_error")
# For any other reason it waits.
_NOT_WAITING = {"gone", "running", "cancelled", "failed"}


group = listing_group(
    "List and change jobs; without a command, list them (for filters see `tidemill jobs list -h`)."
)

_CHANGES: dict[str, LiteralString] = {
    "retry": "select id from tidemill.reschedule_jobs("
    "%(ids)s::bigint[], run_at => pg_catalog.now(), attempts => 0)",
    "cancel": "select id from tidemill.cancel_jobs(%(ids)s::bigint[], %(reason)s)",
    "reschedule": sql.query("reschedule_jobs"),
    "remove": "select id from tidemill.complete_jobs(%(ids)s::bigint[])",
}

jobs_history.register(group)

IdsArgument = Annotated[
    list[int] | None,
    typer.Argument(metavar="ID", help="Ids of jobs.", show_default=False, min=1, max=_GREATEST_ID),
]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.add_typer(group, name="jobs")


@group.command("list", epilog="Example: `tidemill jobs list --state failed --task send_email`")
@spread
def list_jobs(
    jobs: JobFilter,
    key: Annotated[str | None, typer.Option("--key", help="Only the job with this key.")] = None,
    limit: LimitOption = 50,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """List jobs that are not done, newest first. For those that are: `tidemill jobs history`."""
    found = open_database(database)
    rows = job_rows(found.conninfo, jobs, payloads=as_json, key=key, limit=limit + 1)
    more = len(rows) > limit
    rows = rows[:limit]
    if not rows:
        say_unknown_names(found.conninfo, task=jobs.task, queue=jobs.queue)
    if as_json:
        print_json(rows)
        return
    print_table([{**row, **_display(row)} for row in rows], _COLUMNS, empty="No such jobs.")
    say_what_waits(found.conninfo, rows)
    if more:
        say_more(limit)


@group.command("show", epilog="Example: `tidemill jobs show 42 --json`")
def show(
    job_id: Annotated[int, typer.Argument(metavar="ID", help="Id of the job.", min=1, max=_GREATEST_ID)],
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one job with its payload and error, and what history has of it."""
    conninfo = open_database(database).conninfo
    row = job_row(conninfo, job_id)
    ends = _ends(conninfo, job_id)
    if row is None and not ends:
        raise InvalidJobError(
            f"There is no job {job_id}: it is done and no history of it is kept, was removed, or never was."
        )
    why = None if row is None else why_waiting(conninfo, job_id)
    if as_json:
        known = {**ends[0], "state": ends[0]["outcome"]} if row is None else {**row, "waiting": why}
        print_json({**known, "history": ends})
        return
    if row is None:
        jobs_history.print_ended(ends)
        return
    payload = pretty_json(bytes(row["payload"]).decode())
    shown = {**row, **_display(row), "last_error": row["last_error"], "payload": payload}
    if row["state"] == "failed":
        # Its attempts are all spent then, however many there were.
        was_last = bool(ends) and ends[0]["outcome"] == "failed"
        shown["attempts"] = jobs_history.displayed(ends[0])["attempts"] if was_last else None
    print_fields(shown)
    jobs_history.print_attempts(ends)
    if why is None:
        say_what_waits(conninfo, [row])
    else:
        note(why["message"], label="" if why["reason"] in _NOT_WAITING else "Waiting:")
        if why["remedy"] is not None:
            note(why["remedy"])


def _ends(conninfo: str, job_id: int) -> list[dict[str, Any]]:
    """What history has of a job; nothing for a role that may not read it."""
    try:
        return jobs_history.rows_of(conninfo, whole=True, id=job_id)
    except InsufficientPrivilege:
        return []


@group.command(
    "retry",
    epilog="Examples:\n\n`tidemill jobs retry 42 43`\n\n`tidemill jobs retry --state failed --since 1d`",
)
@spread
def retry(
    jobs: JobFilter,
    ids: IdsArgument = None,
    yes: YesOption = False,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run jobs again, now and with all attempts."""
    _change("retry", ids, jobs, {}, database, yes=yes, as_json=as_json)


@group.command("cancel", epilog='Example: `tidemill jobs cancel 42 --reason "sent by hand"`')
@spread
def cancel(
    jobs: JobFilter,
    ids: IdsArgument = None,
    reason: Annotated[str | None, typer.Option(help="Goes to last_error and to the log.")] = None,
    yes: YesOption = False,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Cancel jobs: they are not tried again; running ones are asked to stop."""
    _change("cancel", ids, jobs, {"reason": reason}, database, yes=yes, as_json=as_json)


@group.command("reschedule", epilog="Example: `tidemill jobs reschedule 42 --in 1h --priority -5`")
@spread
def reschedule(
    jobs: JobFilter,
    ids: IdsArgument = None,
    run_at: Annotated[str | None, typer.Option(metavar="TIME", help="Earliest start, ISO 8601.")] = None,
    wait: Annotated[
        str | None, typer.Option("--in", metavar="DURATION", help="Or a wait: 90s, 10m, 2d.")
    ] = None,
    priority: Annotated[int | None, typer.Option(help="Smaller runs first.")] = None,
    attempts: Annotated[int | None, typer.Option(help="Attempts used up; 0 gives all again.")] = None,
    max_attempts: Annotated[
        int | None, typer.Option(min=1, max=32767, help="Attempts before it fails for good.")
    ] = None,
    yes: YesOption = False,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Change when and how jobs run."""
    options = {
        "run_at": parse.start(run_at, wait),
        "priority": priority,
        "attempts": attempts,
        "max_attempts": max_attempts,
    }
    if all(value is None for value in options.values()):
        raise typer.BadParameter(
            "say what to change: --run-at, --in, --priority, --attempts or --max-attempts."
        )
    _change("reschedule", ids, jobs, options, database, yes=yes, as_json=as_json)


@group.command("remove", epilog="Example: `tidemill jobs remove 42`")
@spread
def remove(
    jobs: JobFilter,
    ids: IdsArgument = None,
    yes: YesOption = False,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete jobs that are not running, as if they were done."""
    _change("remove", ids, jobs, {}, database, yes=yes, as_json=as_json)


def _change(
    act: str,
    ids: list[int] | None,
    jobs: JobFilter,
    options: dict[str, Any],
    database: str | None,
    *,
    yes: bool,
    as_json: bool,
) -> None:
    """Changes jobs by id, or those that pass a filter."""
    if bool(ids) == bool(jobs):
        raise typer.BadParameter("give the ids of jobs, or a filter such as --state failed, but not both.")
    found = open_database(database)
    with connect(found.conninfo) as connection:
        if ids:
            _change_some(connection, act, ids, options, as_json=as_json)
        elif not change_by_filter(connection, act, jobs, options, yes=yes, as_json=as_json):
            say_unknown_names(found.conninfo, task=jobs.task, queue=jobs.queue)


def _change_some(
    connection: psycopg.Connection[Any], act: str, ids: list[int], options: dict[str, Any], *, as_json: bool
) -> None:
    changed = list[int]()
    with progress_bar(shown=len(ids) > _BATCH) as progress:
        bar = progress.add_task(DOING[act], total=len(ids))
        for start in range(0, len(ids), _BATCH):
            some = ids[start : start + _BATCH]
            done = connection.execute(_CHANGES[act], {**_times(options), "ids": some}).fetchall()
            changed += [row[0] for row in done]
            progress.update(bar, advance=len(some))
    passed_over = sorted(set(ids) - set(changed))
    if as_json:
        print_json({"changed": sorted(changed), "passed_over": passed_over})
    else:
        say(f"{DOING[act]}: {len(changed)} of {len(ids)} jobs changed.")
        for reason, some in _reasons(connection, passed_over, cancelling=act == "cancel").items():
            note(f"Passed over, as {reason}: {first_ids(some)}")
    if passed_over and not changed:
        raise typer.Exit(1)


def _times(options: dict[str, Any]) -> dict[str, Any]:
    """A wait is counted on the database's clock."""
    when = options.get("run_at")
    return options | {
        "run_at": when if isinstance(when, datetime) else None,
        "run_in": when if isinstance(when, timedelta) else None,
    }


def _reasons(
    connection: psycopg.Connection[Any], ids: list[int], *, cancelling: bool
) -> dict[str, list[int]]:
    """The reasons why jobs were passed over, each with its jobs."""
    if not ids:
        return {}
    states = dict(connection.execute(sql.query("job_states"), {"ids": ids}).fetchall())
    reasons = dict[str, list[int]]()
    for job_id in ids:
        match states.get(job_id):
            case None:
                reason = "there is no such job"
            case "failed" if cancelling:
                reason = "it has failed already"
            case "cancelled" if cancelling:
                reason = "it is cancelled already"
            case "running":
                reason = "it runs"
            case _:
                reason = "somebody else works on it"
        reasons.setdefault(reason, []).append(job_id)
    return reasons


def _display(row: dict[str, Any]) -> dict[str, Any]:
    return {
        # These will not start again.
        "run_at": None if row["state"] in ("failed", "cancelled") else row["run_at"],
        "attempts": f"{row['attempts']}/{row['max_attempts']}",
        "last_error": (row["last_error"] or "").split("\n")[0][:120],
        "progress": None if row["progress"] is None else f"{100 * row['progress']:.0f} %",
    }
