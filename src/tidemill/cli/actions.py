"""`tidemill actions`: what is scheduled, when it runs, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
import psycopg
import typer

from tidemill.cli import actions_change, actions_define, parse
from tidemill.cli.actions_find import (
    action_rows,
    as_written,
    find_id,
    find_ids,
    opened,
    say_if_nobody_works,
    sentences,
    shown_next,
)
from tidemill.cli.actions_options import ActionArgument
from tidemill.cli.groups import listing_group
from tidemill.cli.lists import query_rows
from tidemill.cli.options import DatabaseOption, JsonOption, LimitOption, spread
from tidemill.cli.output import note, pretty_json, print_fields, print_json, print_table, say, say_more
from tidemill.errors import ActionError

_LIST = ("id", "name", "state", "runs", "schedule", "next_start", "last_start", "last_outcome")
_RUNS = ("id", "action", "started_at", "took", "by_hand", "outcome", "message")
_ERRORS = ("id", "action", "started_at", "outcome", "sqlstate", "message")
_LAST = 5
_NULL = msgspec.Raw(b"null")

group = listing_group(
    "List and change actions: SQL procedures, functions and tasks on a schedule. "
    "Without a command, list them (for filters see `tidemill actions list -h`)."
)


@dataclass(frozen=True)
class _RunFilter:
    """The filters of both lists of runs. To add one, add a field here and a condition in action_runs.sql."""

    action: Annotated[
        str | None,
        typer.Argument(
            metavar="ACTION",
            help="Id or name of an action, or the id of one that was deleted [default: all].",
            show_default=False,
        ),
    ] = None
    since: Annotated[
        str | None,
        typer.Option(metavar="WHEN", help="Only runs that started since: a duration as 2h or 7d, or a time."),
    ] = None
    limit: LimitOption = 20


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.add_typer(group, name="actions")


@group.command("list", epilog="Example: `tidemill actions list --state paused`")
def list_actions(
    state: Annotated[
        Literal["scheduled", "running", "paused"] | None, typer.Option(help="Only actions in this state.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Only actions with this name.")] = None,
    limit: LimitOption = 50,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """List actions by their ids; built-in ones have ids below 1000."""
    with opened(database) as connection:
        rows = action_rows(connection, state=state, name=name, limit=limit + 1)
        more = len(rows) > limit
        rows = rows[:limit]
        if as_json:
            print_json(rows)
            return
        shown = [{**row, "next_start": shown_next(row)} for row in rows]
        print_table(shown, _LIST, empty="No such actions.")
        if rows:
            say_if_nobody_works(connection)
    if more:
        say_more(limit)


@group.command("show", epilog="Example: `tidemill actions show nightly`")
def show(action: ActionArgument, database: DatabaseOption = None, as_json: JsonOption = False) -> None:
    """Show an action: its definition, its state, its last runs and what they printed."""
    with opened(database) as connection:
        action_id = find_id(connection, action)
        rows = action_rows(connection, ids=[action_id], limit=1)
        runs = _runs(connection, ids=[action_id], limit=_LAST)
    if not rows:
        raise ActionError(f"The action {action_id} was deleted just now.")
    [row] = rows
    if as_json:
        print_json({**row, "last_runs": runs})
        return
    # An unset field says nothing; false and 0 say something.
    shown = {**row, "next_start": shown_next(row)}
    print_fields({name: _plain(value) for name, value in shown.items() if value not in (None, _NULL)})
    say("")
    print_table(_displayed(runs), _RUNS, empty="It has not run yet.")
    _print_outputs(runs)


@group.command(
    "next",
    epilog="Examples:\n\n`tidemill actions next nightly -n 10`\n\n"
    "`tidemill actions next --cron '30 4 * * 1' --timezone Europe/Berlin`",
)
def next_runs(
    action: Annotated[
        str | None, typer.Argument(metavar="ACTION", help="Id or name of the action.", show_default=False)
    ] = None,
    count: Annotated[
        int, typer.Option("--count", "-n", min=1, max=1000, help="How many starts to show.")
    ] = 5,
    cron: Annotated[
        str | None, typer.Option(metavar="LINE", help="Or those of a cron line, without an action.")
    ] = None,
    timezone: Annotated[
        str | None, typer.Option(metavar="ZONE", help="With --cron: its time zone [default: UTC].")
    ] = None,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show when an action starts next, if all goes well."""
    if (action is None) == (cron is None):
        raise typer.BadParameter("give an action or --cron LINE.")
    if timezone is not None and cron is None:
        raise typer.BadParameter("--timezone goes with --cron; an action has its own.")
    state = "scheduled"
    with opened(database) as connection:
        if action is None:
            rows = query_rows(connection, "preview_cron", cron=cron, timezone=timezone, count=count)
        else:
            action_id = find_id(connection, action)
            rows = query_rows(connection, "next_action_runs", id=action_id, count=count)
            state = next((row["state"] for row in action_rows(connection, ids=[action_id], limit=1)), state)
    if as_json:
        print_json([row["start"] for row in rows])
        return
    print_table(rows, ("start", "clock"), empty="It does not start again.")
    if state == "paused":
        note(f"It is paused. Have it start again with: tidemill actions resume {action}")


@group.command(
    "history",
    epilog="Examples:\n\n`tidemill actions history nightly --output`\n\n"
    "`tidemill actions history --outcome failure --since 7d`",
)
@spread
def history(
    *,
    outcome: Annotated[
        Literal[
            "running",
            "success",
            "failure",
            "timeout",
            "stopped",
            "skipped",
            "backend_terminated",
            "worker_lost",
            "server_restarted",
        ]
        | None,
        typer.Option(help="Only runs that ended so."),
    ] = None,
    runs: _RunFilter,
    output: Annotated[bool, typer.Option("--output", help="Show what each run printed, too.")] = False,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """List runs, newest first."""
    rows, more = _select(database, runs, outcome=outcome)
    if as_json:
        print_json(rows)
        return
    print_table(_displayed(rows), _RUNS, empty="No such runs.")
    if output:
        _print_outputs(rows)
    if more:
        say_more(runs.limit)


@group.command("errors", epilog="Example: `tidemill actions errors --since 1d`")
@spread
def errors(
    runs: _RunFilter,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """List failed runs with all details of the failure, newest first."""
    rows, more = _select(database, runs, failed=True)
    if as_json:
        print_json(rows)
        return
    print_table(_displayed(rows), _ERRORS, empty="No run has failed.")
    for run in rows:
        if run["detail"] or run["hint"] or run["context"]:
            say(sentences(run["detail"], run["hint"]), label=f"run {run['id']}:", style="bold")
            say(_indented(run["context"] or ""))
    if more:
        say_more(runs.limit)


def _select(
    database: str | None, runs: _RunFilter, *, outcome: str | None = None, failed: bool | None = None
) -> tuple[list[dict[str, Any]], bool]:
    """Returns runs, and whether there are more."""
    times = {} if runs.since is None else parse.since(runs.since)
    with opened(database) as connection:
        ids = None if runs.action is None else find_ids(connection, [runs.action], or_gone=True)
        rows = _runs(connection, ids=ids, limit=runs.limit + 1, outcome=outcome, failed=failed, **times)
    return rows[: runs.limit], len(rows) > runs.limit


def _runs(connection: psycopg.Connection[Any], **filters: Any) -> list[dict[str, Any]]:
    wanted = dict.fromkeys(("ids", "outcome", "failed", "since", "within", "limit")) | filters
    rows = query_rows(connection, "action_runs", **wanted)
    for row in rows:
        as_written(row, "config")
    return rows


def _displayed(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            **run,
            "took": _took(run["seconds"]),
            "by_hand": "yes" if run["by_hand"] else "",
            "message": (run["message"] or "").split("\n")[0][:120],
        }
        for run in runs
    ]


def _took(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _print_outputs(runs: list[dict[str, Any]]) -> None:
    for run in runs:
        if run["output"]:
            say(f"run {run['id']} printed:")
            say(_indented(run["output"].rstrip("\n")))


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())


def _plain(value: Any) -> Any:
    """A value as people read it."""
    if isinstance(value, msgspec.Raw):
        return pretty_json(bytes(value).decode())
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else value


actions_define.register(group)
actions_change.register(group)
