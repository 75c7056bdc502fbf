"""Arguments and options that several commands of `tidemill actions` take."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from tidemill.cli import completion

ActionArgument = Annotated[
    str,
    typer.Argument(
        metavar="ACTION",
        help="Id or name of the action.",
        show_default=False,
        autocompletion=completion.actions,
    ),
]
ActionsArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="ACTION...",
        help="Ids or names of actions.",
        show_default=False,
        autocompletion=completion.actions,
    ),
]
TaskOption = Annotated[
    str | None,
    typer.Option(
        "--task",
        metavar="TASK",
        help="Add a job of this task; the config is its payload.",
        autocompletion=completion.tasks,
    ),
]
EveryOption = Annotated[
    str | None, typer.Option(metavar="INTERVAL", help="An interval of PostgreSQL: 90s, 10m, 1 day, 1 month.")
]
CronOption = Annotated[
    str | None, typer.Option(metavar="LINE", help="Or a cron line of 5 or 6 fields, as '30 4 * * 1'.")
]
TimezoneOption = Annotated[
    str | None,
    typer.Option(metavar="ZONE", help="Whose days and hours count: Europe/Berlin [default: UTC]."),
]
ConfigOption = Annotated[str | None, typer.Option(metavar="JSON", help="Passed to the routine or task.")]
NameOption = Annotated[str | None, typer.Option(help="Goes into application_name, and finds the action.")]
InitialStartOption = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="First start, where a grid begins; without an offset in --timezone."),
]
MaxRuntimeOption = Annotated[
    str | None, typer.Option(metavar="INTERVAL", help="A run that takes longer is stopped; 0: no limit.")
]
MaxRetriesOption = Annotated[
    int | None,
    typer.Option(min=-1, max=2**31 - 1, help="Pause after so many failures in a row; -1: never."),
]
RetryPeriodOption = Annotated[
    str | None, typer.Option(metavar="INTERVAL", help="Wait after a failure, twice it after two, and so on.")
]
MissedOption = Annotated[
    Literal["run_once", "skip", "backfill"] | None,
    typer.Option(help="What to do about missed starts."),
]
BackfillOption = Annotated[
    str | None, typer.Option(metavar="INTERVAL", help="How far back --missed backfill goes.")
]
OnFailureOption = Annotated[
    str | None, typer.Option(metavar="TASK", help="Add a job of this task when a run fails.")
]
CheckOption = Annotated[
    str | None,
    typer.Option(metavar="FUNCTION", help="Called with each new config, to refuse it."),
]
JobOptionsOption = Annotated[
    str | None, typer.Option(metavar="JSON", help="With --task: the job's queue_name, priority, and so on.")
]
