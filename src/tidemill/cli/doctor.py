"""`tidemill doctor`: what is wrong with a database, and what to do about it."""

from __future__ import annotations

import sys
from typing import Annotated, NoReturn

import psycopg
import typer

from tidemill.cli import completion
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
        list[str] | None,
        typer.Option(
            metavar="CODE", help="Leave this check out; repeatable.", autocompletion=completion.checks
        ),
    ] = None,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look the database over, and tell what needs somebody, with a remedy for each finding.

    Exit code 0: nothing does; 1: something does; 2: it could not be looked at; 3: nothing was found, but the
    role lacks the right for some of the checks.
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
        print_json(
            {
                "ok": not (report.needs_somebody or report.lacking),
                "made": report.made,
                "all": report.all,
                "findings": report.findings,
                "not_checked": report.not_checked,
            }
        )
    else:
        _show(report)
    if report.needs_somebody:
        raise typer.Exit(1)
    if report.lacking:
        raise typer.Exit(3)


def _show(report: Report) -> None:
    for found in report.findings:
        say(f"{found.code}: {found.finding}", label=f"{found.severity:<7}", style=_STYLES[found.severity])
        say(f"        {found.remedy}")
    for check in report.not_checked:
        if not check.lacks_right:
            note(f"Not checked: {check.code}: {check.reason}")
    if report.lacking:
        note(f"Not checked, as {report.role} lacks the right: {', '.join(report.lacking)}")
    counts = {each: sum(found.severity == each for found in report.findings) for each in SEVERITIES}
    told = ", ".join(f"{count} {each}{'s' * (count > 1)}" for each, count in counts.items() if count)
    if told:
        say(f"{told}, in {_of_all(report)} checks{_lacking(report)}.")
    elif report.not_checked:
        say(f"{_of_all(report)} checks passed{_lacking(report)}.")
    else:
        say(f"All {report.all} checks passed.")


def _of_all(report: Report) -> str:
    return f"{report.made} of {report.all}" if report.not_checked else str(report.all)


def _lacking(report: Report) -> str:
    """How to make the checks that the role has no right for."""
    if not report.lacking:
        return ""
    grant = "" if report.is_reader else f"tidemill grant reader TO {report.role} adds some, "
    count = len(report.lacking)
    needs = "needs" if count == 1 else "need"
    return f"; {count} {needs} more rights: {grant}the role that ran tidemill migrate has all"


def _give_up(error: TidemillError | psycopg.Error, *, as_json: bool) -> NoReturn:
    ours = explain(error) if isinstance(error, psycopg.Error) else error
    message = words(error) if ours is None and isinstance(error, psycopg.Error) else str(ours)
    if as_json:
        print_json({"ok": False, "error": message})
    note(message, label="Error:", style="red")
    sys.exit(2)
