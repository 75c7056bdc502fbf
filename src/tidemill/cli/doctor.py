"""`tidemill doctor`: what is wrong with a database, and what to do about it."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Annotated, NoReturn

import psycopg
import typer

from tidemill.cli.options import DatabaseOption, JsonOption
from tidemill.cli.output import note, open_database, print_json, say
from tidemill.database.connect import connect, explain
from tidemill.database.doctor import CHECKS, SEVERITIES, Report, examine
from tidemill.database.words import words
from tidemill.errors import TidemillError

_STYLES = {"error": "red", "warning": "yellow", "note": "cyan"}


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(
        "doctor", epilog="Examples:\n\n`tidemill doctor`\n\n`tidemill doctor --json --ignore paused_actions`"
    )(doctor)


def doctor(
    ignore: Annotated[
        list[str] | None, typer.Option(metavar="CODE", help="Leave this check out; repeatable.")
    ] = None,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look the database over, and tell what needs somebody, with a remedy for each finding.

    Exit code 0: nothing does; 1: something does; 2: it could not be looked at.
    """
    left_out = set(ignore or ())
    if unknown := sorted(left_out - set(CHECKS)):
        raise typer.BadParameter(f"there is no check {unknown[0]!r}. Known are: {', '.join(CHECKS)}.")
    try:
        with connect(open_database(database, needs_schema=False).conninfo) as connection:
            report = examine(connection, without=left_out)
    except (TidemillError, psycopg.Error) as error:
        _give_up(error, as_json=as_json)
    if as_json:
        print_json({"ok": not report.needs_somebody, **asdict(report)})
    else:
        _show(report)
    if report.needs_somebody:
        raise typer.Exit(1)


def _show(report: Report) -> None:
    for found in report.findings:
        say(f"{found.code}: {found.finding}", label=f"{found.severity:<7}", style=_STYLES[found.severity])
        say(f"        {found.remedy}")
    for check in report.not_checked:
        note(f"Not checked: {check.code}: {check.reason}")
    made = report.checks - len(report.not_checked)
    counts = {each: sum(found.severity == each for found in report.findings) for each in SEVERITIES}
    told = ", ".join(f"{count} {each}{'s' * (count > 1)}" for each, count in counts.items() if count)
    if not told:
        say(f"All {made} checks passed.")
    else:
        say(f"{told}, in {made} checks. About each: docs/how-to/doctor.md")


def _give_up(error: TidemillError | psycopg.Error, *, as_json: bool) -> NoReturn:
    ours = explain(error) if isinstance(error, psycopg.Error) else error
    message = words(error) if ours is None and isinstance(error, psycopg.Error) else str(ours)
    if as_json:
        print_json({"ok": False, "error": message})
    note(message, label="Error:", style="red")
    sys.exit(2)
