"""`tidemill actions pause`, `resume`, `run`, `delete` and `on-failure`: starting and stopping actions."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Annotated, Any, LiteralString

import psycopg
import typer

from tidemill.cli.actions_find import (
    find_id,
    find_ids,
    inside_of_routine,
    name_actions,
    opened,
    tell,
)
from tidemill.cli.actions_options import ActionArgument, ActionsArgument
from tidemill.cli.lists import query_rows
from tidemill.cli.options import DatabaseOption, JsonOption
from tidemill.cli.output import note, print_json, say
from tidemill.cli.visible import visible
from tidemill.errors import ActionError


def register(group: typer.Typer) -> None:
    """Adds the commands."""
    group.command("pause", epilog="Example: `tidemill actions pause nightly 1001`")(pause)
    group.command("resume", epilog="Example: `tidemill actions resume nightly`")(resume)
    group.command("run", epilog="Example: `tidemill actions run nightly`")(run)
    group.command("delete", epilog="Example: `tidemill actions delete nightly`")(delete)
    group.command("on-failure", epilog="Example: `tidemill actions on-failure page_somebody`")(on_failure)


def pause(actions: ActionsArgument, database: DatabaseOption = None, as_json: JsonOption = False) -> None:
    """Keep actions from starting; a run in progress is stopped."""
    change_actions("Paused", actions, database, as_json, _SCHEDULE, {"scheduled": False})


def resume(actions: ActionsArgument, database: DatabaseOption = None, as_json: JsonOption = False) -> None:
    """Let actions start again; one whose next start has passed runs at once."""
    change_actions("Resumed", actions, database, as_json, _SCHEDULE, {"scheduled": True})


def delete(actions: ActionsArgument, database: DatabaseOption = None, as_json: JsonOption = False) -> None:
    """Delete actions; a run in progress is stopped, and the history stays."""
    with opened(database) as connection:
        ids = find_ids(connection, actions)
        named = name_actions(connection, ids)
        connection.execute(
            "select tidemill.delete_action(id) from pg_catalog.unnest(%(ids)s::integer[]) as id", {"ids": ids}
        )
    if as_json:
        print_json({"deleted": ids})
    else:
        say(f"Deleted {', '.join(named.values())}.")


def run(action: ActionArgument, database: DatabaseOption = None, as_json: JsonOption = False) -> None:
    """Run an action now, here and as this role; what it prints is shown as it comes.

    The exit code is 1 if it fails. Its schedule stays as it is.
    """
    with opened(database, on_notice=tell if as_json else _print, runs_users_code=True) as connection:
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
        named = name_actions(connection, [action_id])
    if as_json:
        print_json(done[0] if done else None)
    elif done:
        say(f"Ran {named[action_id]} in {done[0]['seconds'] * 1000:.0f} ms: run {done[0]['id']}.")


def on_failure(
    task: Annotated[
        str | None,
        typer.Argument(
            metavar="TASK", help="A task; its payload describes the failed run.", show_default=False
        ),
    ] = None,
    none: Annotated[bool, typer.Option("--none", help="No task; actions may name one.")] = False,
    database: DatabaseOption = None,
) -> None:
    """Add a job of this task whenever an action fails that names no task of its own."""
    if (task is None) != none:
        raise typer.BadParameter("give a task or --none.")
    with opened(database) as connection:
        connection.execute("select tidemill.set_on_failure(%s)", [task])
    if not task:
        say("Failures of actions that name no task of their own add no job.")
    else:
        say(f"Failures of actions that name no task of their own add a job of {visible(task)}.")


_SCHEDULE: LiteralString = """
select tidemill.alter_action(id, scheduled => %(scheduled)s) from pg_catalog.unnest(%(ids)s::integer[]) as id
"""


def change_actions(
    done: str,
    words: list[str],
    database: str | None,
    as_json: bool,
    change: LiteralString,
    params: dict[str, Any],
    refusals: AbstractContextManager[None] | None = None,
) -> None:
    """Changes actions, all of them or none. `refusals` puts the database's errors into our words."""
    with opened(database, runs_users_code=True) as connection:
        ids = find_ids(connection, words)
        with refusals or nullcontext():
            connection.execute(change, {**params, "ids": ids})
        if as_json:
            print_json({"changed": ids})
        else:
            say(f"{done} {', '.join(name_actions(connection, ids).values())}.")


def _print(diag: psycopg.errors.Diagnostic) -> None:
    """Shows what an action prints, on stdout as psql does: it is a result."""
    say(diag.message_primary or "", label=f"{diag.severity}: ")
    for label, text in (("DETAIL: ", diag.message_detail), ("HINT: ", diag.message_hint)):
        if text:
            say(text, label=label)
