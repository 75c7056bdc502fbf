"""`tidemill actions add` and `alter`: defining actions."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from tidemill.cli import parse
from tidemill.cli.actions_change import change_actions
from tidemill.cli.actions_find import (
    name_actions,
    naming_mistakes,
    opened,
    say_if_nobody_works,
)
from tidemill.cli.actions_options import (
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
from tidemill.cli.lists import query_rows
from tidemill.cli.options import DatabaseOption, JsonOption
from tidemill.cli.output import print_json, say
from tidemill.database import sql


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


def add(
    routine: Annotated[
        str | None,
        typer.Argument(
            metavar="ROUTINE",
            help="A procedure or function; of several with the name: 'purge(integer, jsonb)'.",
            show_default=False,
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
    with opened(database, runs_users_code=True) as connection:
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
                **_time("initial_start", initial_start),
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
        [named] = name_actions(connection, [added["id"]]).values()
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
    no_check: Annotated[bool, typer.Option("--no-check", help="Stop checking the config.")] = False,
    job_options: JobOptionsOption = None,
    owner: Annotated[
        str | None, typer.Option(metavar="ROLE", help="Give them to this role, which then runs them.")
    ] = None,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Change actions; settings that are not given stay as they are."""
    changes: dict[str, Any] = {
        "every": every,
        "cron": cron,
        "fixed": fixed,
        "timezone": timezone,
        "config": parse.json_text(config, "--config"),
        "config_merge": parse.json_text(config_merge, "--config-merge"),
        "name": name,
        "max_runtime": max_runtime,
        "max_retries": max_retries,
        "retry_period": retry_period,
        "missed": missed,
        "backfill_period": backfill_period,
        "on_failure": on_failure,
        "check": check,
        "no_check": no_check or None,
        "job_options": parse.json_text(job_options, "--job-options"),
        "owner": owner,
        **_time("initial_start", initial_start),
        **_time("next_start", next_start, words=("now", "infinity")),
    }
    if all(value is None for value in changes.values()):
        raise typer.BadParameter("say what to change, for instance --every 2h (see -h).")
    if check is not None and no_check:
        raise typer.BadParameter("give --check or --no-check, not both.")
    intervals = _intervals(every, max_runtime, retry_period, backfill_period)
    named = naming_mistakes(intervals=intervals, routines=(check,))
    change_actions("Changed", actions, database, as_json, sql.query("alter_actions"), changes, named)


def _intervals(
    every: str | None, max_runtime: str | None, retry_period: str | None, backfill_period: str | None
) -> dict[str, str | None]:
    """The options that are intervals of PostgreSQL. Raises typer.BadParameter for one without a unit."""
    given = {
        "--every": every,
        "--max-runtime": max_runtime,
        "--retry-period": retry_period,
        "--backfill-period": backfill_period,
    }
    for option, text in given.items():
        if text is not None:
            parse.check_unit(option, text)
    return given


def _time(name: str, text: str | None, *, words: tuple[str, ...] = ()) -> dict[str, str | None]:
    """A time as parameters of a statement: with an offset, or on the clocks of the action's time zone."""
    given: dict[str, str | None] = {name: None, f"{name}_clock": None}
    if text is None:
        return given
    if text in words:
        return given | {name: text}
    try:
        time = datetime.fromisoformat(text)
        if time.tzinfo is None:
            return given | {f"{name}_clock": time.isoformat()}
        return given | {name: time.astimezone(UTC).isoformat()}
    except (ValueError, OverflowError):
        also = "".join(f" or {word}" for word in words)
        option = f"--{name.replace('_', '-')}"
        raise typer.BadParameter(
            f"{option}: {text!r} is not a time; use for instance 2027-01-31T09:00:00+01:00{also}."
        ) from None
