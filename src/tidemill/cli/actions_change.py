"""`tidemill actions add`, `alter`, `pause`, `resume`, `run`, `delete`, `on-failure`: what changes actions."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Annotated, Any, LiteralString

import psycopg
import typer

from tidemill.cli import parse
from tidemill.cli.actions_find import (
    find_id,
    find_ids,
    inside_of_routine,
    naming_mistakes,
    opened,
    query_rows,
    say_if_nobody_works,
    tell,
)
from tidemill.cli.actions_options import (
    ActionArgument,
    ActionsArgument,
    BackfillOption,
    CheckOption,
    ConfigOption,
    CronOption,
    EveryOption,
    InitialStartOption,
    JobOptionsOption,
    MaxRetriesOption,
    MaxRuntimeOption,
    MissedOption,
    NameOption,
    OnFailureOption,
    RetryPeriodOption,
    TaskOption,
    TimezoneOption,
)
from tidemill.cli.options import DatabaseOption, JsonOption
from tidemill.cli.output import note, print_json, say
from tidemill.cli.visible import visible
from tidemill.database import sql
from tidemill.errors import ActionError


def register(group: typer.Typer) -> None:
    """Adds the commands."""
    group.command(
        "add",
        epilog="Examples:\n\n`tidemill actions add nightly --cron '30 4 * * *' --timezone Europe/Berlin`\n\n"
        "`tidemill actions add --task report --every 1h --name hourly --if-not-exists`",
    )(add)
    group.command(
        "alter", epilog="Example: `tidemill actions alter nightly --every 2h --config-merge '{\"days\": 7}'`"
    )(alter)
    group.command("pause", epilog="Example: `tidemill actions pause nightly 1001`")(pause)
    group.command("resume", epilog="Example: `tidemill actions resume nightly`")(resume)
    group.command("run", epilog="Example: `tidemill actions run nightly`")(run)
    group.command("delete", epilog="Example: `tidemill actions delete nightly`")(delete)
    group.command("on-failure", epilog="Example: `tidemill actions on-failure page_somebody`")(on_failure)


def add(
    routine: Annotated[
        str | None,
        typer.Argument(
            metavar="ROUTINE", help="A procedure or function (integer, jsonb).", show_default=False
        ),
    ] = None,
    task: TaskOption = None,
    every: EveryOption = None,
    cron: CronOption = None,
    drifting: Annotated[
        bool, typer.Option("--drifting", help="Count --every from the end of each run, not on a grid.")
    ] = False,
    timezone: TimezoneOption = None,
    config: ConfigOption = None,
    name: NameOption = None,
    initial_start: InitialStartOption = None,
    max_runtime: MaxRuntimeOption = None,
    max_retries: MaxRetriesOption = None,
    retry_period: RetryPeriodOption = None,
    missed: MissedOption = None,
    backfill_period: BackfillOption = None,
    on_failure: OnFailureOption = None,
    check: CheckOption = None,
    job_options: JobOptionsOption = None,
    paused: Annotated[bool, typer.Option("--paused", help="Do not start it before `resume`.")] = False,
    if_not_exists: Annotated[
        bool, typer.Option("--if-not-exists", help="Leave an action of this name as it is.")
    ] = False,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Have a routine or a task run on a schedule."""
    if (routine is None) == (task is None):
        raise typer.BadParameter("give either a routine or --task TASK.")
    if (every is None) == (cron is None):
        raise typer.BadParameter("give either --every INTERVAL or --cron LINE.")
    intervals = _intervals(every, max_runtime, retry_period, backfill_period)
    with opened(database) as connection:
        with naming_mistakes(intervals=intervals, routines=(routine, check)):
            [added] = query_rows(
                connection,
                "add_action",
                routine=routine,
                task=task,
                every=every,
                cron=cron,
                fixed=not drifting,
                timezone=timezone,
                config=parse.json_text(config, "--config"),
                name=name,
                initial_start=_time(initial_start, "--initial-start"),
                max_runtime=max_runtime,
                max_retries=max_retries,
                retry_period=retry_period,
                missed=missed or "run_once",
                backfill_period=backfill_period,
                on_failure=on_failure,
                check=check,
                job_options=parse.json_text(job_options, "--job-options"),
                scheduled=not paused,
                if_not_exists=if_not_exists,
            )
        if as_json:
            print_json(added)
            return
        [named] = _named(connection, [added["id"]]).values()
        say(f"Added {named}." if added["added"] else f"There is {named} already; it is left as it is.")
        say_if_nobody_works(connection)


def alter(
    actions: ActionsArgument,
    every: EveryOption = None,
    cron: CronOption = None,
    fixed: Annotated[
        bool | None,
        typer.Option("--fixed/--drifting", help="Count --every on a grid, or from the end of each run."),
    ] = None,
    timezone: Annotated[
        str | None, typer.Option(metavar="ZONE", help="Whose days and hours count; '' for UTC.")
    ] = None,
    config: ConfigOption = None,
    config_merge: Annotated[
        str | None, typer.Option(metavar="JSON", help="Or keys to set in the config; the others stay.")
    ] = None,
    name: NameOption = None,
    initial_start: InitialStartOption = None,
    next_start: Annotated[
        str | None, typer.Option(metavar="TIME", help="Start next then; `now`, or `infinity` for never.")
    ] = None,
    max_runtime: MaxRuntimeOption = None,
    max_retries: MaxRetriesOption = None,
    retry_period: RetryPeriodOption = None,
    missed: MissedOption = None,
    backfill_period: BackfillOption = None,
    on_failure: Annotated[
        str | None, typer.Option(metavar="TASK", help="Add a job of this task when a run fails; '' for none.")
    ] = None,
    check: CheckOption = None,
    no_check: Annotated[bool, typer.Option("--no-check", help="Check the config no more.")] = False,
    job_options: JobOptionsOption = None,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Change actions; what is not given stays as it is."""
    changes: dict[str, Any] = {
        "every": every,
        "cron": cron,
        "fixed": fixed,
        "timezone": timezone,
        "config": parse.json_text(config, "--config"),
        "config_merge": parse.json_text(config_merge, "--config-merge"),
        "name": name,
        "initial_start": _time(initial_start, "--initial-start"),
        "next_start": _time(next_start, "--next-start", words=("now", "infinity")),
        "max_runtime": max_runtime,
        "max_retries": max_retries,
        "retry_period": retry_period,
        "missed": missed,
        "backfill_period": backfill_period,
        "on_failure": on_failure,
        "check": check,
        "no_check": no_check or None,
        "job_options": parse.json_text(job_options, "--job-options"),
    }
    if all(value is None for value in changes.values()):
        raise typer.BadParameter("say what to change, for instance --every 2h (see -h).")
    if check is not None and no_check:
        raise typer.BadParameter("give --check or --no-check, not both.")
    intervals = _intervals(every, max_runtime, retry_period, backfill_period)
    named = naming_mistakes(intervals=intervals, routines=(check,))
    _change("Changed", actions, database, as_json, sql.query("alter_actions"), changes, named)


def pause(actions: ActionsArgument, database: DatabaseOption = None, as_json: JsonOption = False) -> None:
    """Let actions not start any more; a run that goes on is stopped."""
    _change("Paused", actions, database, as_json, _SCHEDULE, {"scheduled": False})


def resume(actions: ActionsArgument, database: DatabaseOption = None, as_json: JsonOption = False) -> None:
    """Let actions start again; one whose next start has passed runs at once."""
    _change("Resumed", actions, database, as_json, _SCHEDULE, {"scheduled": True})


def delete(actions: ActionsArgument, database: DatabaseOption = None, as_json: JsonOption = False) -> None:
    """Delete actions; a run that goes on is stopped, and the history stays."""
    with opened(database) as connection:
        ids = find_ids(connection, actions)
        named = _named(connection, ids)
        connection.execute(
            "select tidemill.delete_action(id) from unnest(%(ids)s::integer[]) as id", {"ids": ids}
        )
    if as_json:
        print_json({"deleted": ids})
    else:
        say(f"Deleted {', '.join(named.values())}.")


def run(action: ActionArgument, database: DatabaseOption = None, as_json: JsonOption = False) -> None:
    """Run an action now, here and as this role; what it prints is shown as it comes.

    The exit code is 1 if it fails. Its schedule stays as it is.
    """
    with opened(database, on_notice=tell if as_json else _print) as connection:
        action_id = find_id(connection, action)
        try:
            connection.execute("call tidemill.run_action(%s)", [action_id])
        except psycopg.Error as error:
            if connection.broken:
                said = error.diag.message_primary or "it was lost"
                raise ActionError(
                    f"The connection ended while the action ran: {said}. "
                    f"See what came of it with: tidemill actions history {action_id}",
                    error.sqlstate,
                ) from error
            if place := inside_of_routine(error.diag.context or ""):
                note(place, label="Context:", style="bold")
            raise
        done = query_rows(connection, "last_run_here", id=action_id)
        named = _named(connection, [action_id])
    if as_json:
        print_json(done[0] if done else None)
    elif done:
        say(f"Ran {named[action_id]} in {done[0]['seconds'] * 1000:.0f} ms: run {done[0]['id']}.")


def on_failure(
    task: Annotated[
        str | None,
        typer.Argument(metavar="TASK", help="The payload tells the run.", show_default=False),
    ] = None,
    none: Annotated[bool, typer.Option("--none", help="No task; actions may name one.")] = False,
    database: DatabaseOption = None,
) -> None:
    """Add a job of this task whenever a run of any action fails that names no task of its own."""
    if (task is None) != none:
        raise typer.BadParameter("give a task or --none.")
    with opened(database) as connection:
        connection.execute("select tidemill.set_on_failure(%s)", [task])
    if not task:
        say("Failures of actions that name no task of their own add no job.")
    else:
        say(f"Failures of actions that name no task of their own add a job of {visible(task)}.")


_SCHEDULE: LiteralString = """
select tidemill.alter_action(id, scheduled => %(scheduled)s) from unnest(%(ids)s::integer[]) as id
"""


def _change(
    done: str,
    words: list[str],
    database: str | None,
    as_json: bool,
    change: LiteralString,
    params: dict[str, Any],
    refusals: AbstractContextManager[None] | None = None,
) -> None:
    """Changes actions, all of them or none; `refusals` puts the database's into words."""
    with opened(database) as connection:
        ids = find_ids(connection, words)
        with refusals or nullcontext():
            connection.execute(change, {**params, "ids": ids})
        _report(connection, done, ids, as_json=as_json)


def _report(connection: psycopg.Connection[Any], done: str, ids: list[int], *, as_json: bool) -> None:
    if as_json:
        print_json({"changed": ids})
    else:
        say(f"{done} {', '.join(_named(connection, ids).values())}.")


def _print(diag: psycopg.errors.Diagnostic) -> None:
    """Shows what an action prints, as psql does: it is a result."""
    say(diag.message_primary or "", label=f"{diag.severity}: ")
    for label, text in (("DETAIL: ", diag.message_detail), ("HINT: ", diag.message_hint)):
        if text:
            say(text, label=label)


def _named(connection: psycopg.Connection[Any], ids: list[int]) -> dict[int, str]:
    """Actions as sentences name them."""
    rows = query_rows(connection, "action_names", ids=ids)
    return {row["id"]: f"action {row['id']} ({visible(row['name'])})" for row in rows}


def _intervals(
    every: str | None, max_runtime: str | None, retry_period: str | None, backfill_period: str | None
) -> dict[str, str | None]:
    return {
        "--every": every,
        "--max-runtime": max_runtime,
        "--retry-period": retry_period,
        "--backfill-period": backfill_period,
    }


def _time(text: str | None, option: str, *, words: tuple[str, ...] = ()) -> str | None:
    if text is None or text in words:
        return text
    try:
        return parse.moment(text).isoformat()
    except typer.BadParameter:
        also = "".join(f" or {word}" for word in words)
        raise typer.BadParameter(
            f"{option}: {text!r} is not a time; use for instance 2027-01-31T09:00:00+01:00{also}."
        ) from None
