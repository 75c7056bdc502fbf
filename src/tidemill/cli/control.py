"""`tidemill pause`, `resume`, `pauses` and `acts`: what runs, and who decided so."""

from __future__ import annotations

from typing import Annotated, Any, LiteralString

import typer

from tidemill.cli import completion, parse
from tidemill.cli.lists import print_list, read_rows
from tidemill.cli.options import DatabaseOption, JsonOption, LimitOption
from tidemill.cli.output import open_database, print_json, say
from tidemill.database.connect import connect
from tidemill.jobs import PauseKind

_PAUSES = ("kind", "name", "paused_at", "paused_by", "acts_as", "reason")
_ACTS = ("id", "at", "who", "acts_as", "what", "subjects", "reason")

KindArgument = Annotated[PauseKind, typer.Argument(metavar="KIND", help="task, queue or all.")]
NameArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="NAME",
        help="Of the task or queue.",
        show_default=False,
        autocompletion=completion.pausable,
    ),
]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command(
        "pause",
        epilog='Examples:\n\n`tidemill pause task send_mail --reason "the provider is down"`\n\n'
        "`tidemill pause all`",
    )(pause)
    app.command("resume", epilog="Example: `tidemill resume task send_mail`")(resume)
    app.command("pauses", epilog="Example: `tidemill pauses --json`")(pauses)
    app.command("acts", epilog="Example: `tidemill acts --what cancel_jobs --since 1d`")(acts)


def pause(
    kind: KindArgument,
    name: NameArgument = None,
    reason: Annotated[str | None, typer.Option(help="Shown where jobs wait for it.")] = None,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let no job of a task or named queue start, or none at all, until it is resumed."""
    params = {"kind": kind, "name": name, "reason": reason}
    changed = _change(database, "select tidemill.pause(%(kind)s, %(name)s, %(reason)s)", params)
    if as_json:
        print_json({"kind": kind, "name": name, "changed": changed})
        return
    what = _what(kind, name)
    say(
        f"{what} paused; jobs that have started run on. End it with: tidemill resume {_words(kind, name)}"
        if changed
        else f"{what} paused already: see tidemill pauses."
    )


def resume(
    kind: KindArgument,
    name: NameArgument = None,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """End a pause; workers look for the jobs that waited at once."""
    params = {"kind": kind, "name": name}
    changed = _change(database, "select tidemill.resume(%(kind)s, %(name)s)", params)
    if as_json:
        print_json({"kind": kind, "name": name, "changed": changed})
        return
    say(f"{_what(kind, name)} {'resumed' if changed else 'not paused'}.")


def _change(database: str | None, statement: LiteralString, params: dict[str, Any]) -> bool:
    with connect(open_database(database).conninfo) as connection:
        row = connection.execute(statement, params).fetchone()
    assert row is not None
    return bool(row[0])


def _what(kind: PauseKind, name: str | None) -> str:
    return "Everything is" if kind == "all" else f"The {kind} {name} is"


def _words(kind: PauseKind, name: str | None) -> str:
    return kind if name is None else f"{kind} {name}"


def pauses(database: DatabaseOption = None, as_json: JsonOption = False) -> None:
    """List what is paused."""
    rows = read_rows(open_database(database).conninfo, "list_pauses")
    print_list(rows, _PAUSES, as_json=as_json, empty="Nothing is paused.")


def acts(
    what: Annotated[
        str | None, typer.Option("--what", metavar="FUNCTION", help="Only calls of this function.")
    ] = None,
    who: Annotated[str | None, typer.Option("--who", metavar="ROLE", help="Only those of this role.")] = None,
    subject: Annotated[
        str | None, typer.Option("--subject", help="Only those on this id or name, such as a job's.")
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="WHEN", help="Only those since: a time, or 2h, 7d (ago).")
    ] = None,
    limit: LimitOption = 50,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """List who did what: changes of jobs, queues, actions, workers, pauses and roles; newest first."""
    when: dict[str, Any] = parse.since(since) if since is not None else {}
    rows = read_rows(
        open_database(database).conninfo,
        "list_acts",
        what=what,
        who=who,
        subject=subject,
        since=when.get("since"),
        within=when.get("within"),
        limit=limit + 1,
    )
    print_list(rows, _ACTS, as_json=as_json, empty="Nobody did anything.", limit=limit, shown=_displayed)


def _displayed(row: dict[str, Any]) -> dict[str, Any]:
    shown = ", ".join(row["subjects"][:5])
    left = row["subject_count"] - min(5, len(row["subjects"]))
    return {**row, "subjects": f"{shown} and {left:,} more" if left > 0 else shown}
