"""For `tidemill actions`: finding the actions that are meant, and putting refusals into words."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import msgspec
import psycopg
from psycopg.errors import InsufficientPrivilege

from tidemill.cli.lists import query_rows
from tidemill.cli.output import note, open_database
from tidemill.cli.visible import visible
from tidemill.database.connect import connect, explain
from tidemill.errors import ActionError, DatabaseUnavailableError, MissingRightsError, TidemillError

_OUR_FRAME = re.compile(r"\b_tidemill_run\(|\btidemill\._run_action\(")
_OUR_CALL = re.compile(r'SQL statement "(call|select) (?!.*\btidemill\._)', re.IGNORECASE)


def tell(diag: psycopg.errors.Diagnostic) -> None:
    """Shows a notice of the server on stderr."""
    note(sentences(diag.message_primary, diag.message_detail, diag.message_hint), label="Note:")


@contextmanager
def opened(
    database: str | None,
    *,
    on_notice: Callable[[psycopg.errors.Diagnostic], None] = tell,
    runs_users_code: bool = False,
) -> Iterator[psycopg.Connection[Any]]:
    """A connection in autocommit. Raises ActionError if the server refuses SQL inside of the block.

    `runs_users_code`: as for `connect`; for commands that run routines and checks, or find them by name.
    """
    found = open_database(database)
    with connect(found.conninfo, runs_users_code=runs_users_code) as connection, _refusals_in_words():
        connection.add_notice_handler(on_notice)
        yield connection


@contextmanager
def intervals_in_words(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """In the block PostgreSQL writes intervals so that it can read them back, whatever the role has set."""
    with connection.transaction():
        connection.execute("set local intervalstyle = 'postgres_verbose'")
        yield


def action_rows(connection: psycopg.Connection[Any], **filters: Any) -> list[dict[str, Any]]:
    """The actions that pass the filters, with all that is known of them."""
    wanted = dict.fromkeys(("ids", "state", "name", "limit")) | filters
    with intervals_in_words(connection):
        rows = query_rows(connection, "list_actions", **wanted)
    for row in rows:
        row["next_start"] = row.pop("next_word") or row["next_start"]
        as_written(row, "config", "job_options")
    return rows


def as_written(row: dict[str, Any], *columns: str) -> None:
    """Keeps JSON as text: Python cannot hold every JSON value."""
    for column in columns:
        row[column] = msgspec.Raw((row[column] or "null").encode())


def find_id(connection: psycopg.Connection[Any], word: str) -> int:
    """The id of the action that a word names. Raises ActionError."""
    return find_ids(connection, [word])[0]


def find_ids(
    connection: psycopg.Connection[Any], words: Sequence[str], *, or_gone: bool = False
) -> list[int]:
    """The ids of the actions that words name, each once. Raises ActionError.

    With `or_gone` a number may be the id of an action that was deleted.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for row in query_rows(connection, "find_actions", words=list(dict.fromkeys(words))):
        found.setdefault(row["word"], []).append(row)
    ids = dict[int, None]()
    for word in words:
        meant = found.get(word, [])
        # If a word is the id of one action and the name of another, the id counts; of names, one's own.
        named = [row for row in meant if row["by_name"]]
        same = named or meant
        counting = [row for row in meant if row["by_id"]] or [row for row in same if row["own"]] or same
        chosen = [row["id"] for row in counting]
        if not chosen and or_gone and word.isdecimal() and word.isascii() and len(word) < 10:
            chosen = [int(word)]
        if not chosen:
            raise ActionError(f"There is no action {word!r}; see them with: tidemill actions")
        if len(chosen) > 1:
            raise ActionError(
                f"{len(chosen)} actions {'have the name' if named else 'run'} {word!r}: give one of the ids "
                f"{', '.join(map(str, chosen))} instead."
            )
        ids[chosen[0]] = None
    return list(ids)


def name_actions(connection: psycopg.Connection[Any], ids: list[int]) -> dict[int, str]:
    """Actions by their ids, as sentences name them."""
    rows = query_rows(connection, "action_names", ids=ids)
    return {row["id"]: f"action {row['id']} ({visible(row['name'])})" for row in rows}


@contextmanager
def _refusals_in_words() -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        ours = _in_words(error)
        if ours is None:
            raise
        raise ours from error


def _in_words(error: psycopg.Error) -> TidemillError | None:
    diag = error.diag
    known = explain(error)
    # While connecting, 28000 is a refused login. Later it is a right that an action's owner lacks.
    if error.sqlstate is None or (isinstance(known, DatabaseUnavailableError) and error.sqlstate != "28000"):
        return known
    if isinstance(known, MissingRightsError) and not (diag.message_detail or diag.message_hint):
        return known
    said = sentences(diag.message_primary, diag.message_detail, diag.message_hint)
    return ActionError(said or f"It failed without a message (SQLSTATE {error.sqlstate}).", error.sqlstate)


@contextmanager
def naming_mistakes(*, intervals: Mapping[str, str | None], routines: Sequence[str | None]) -> Iterator[None]:
    """Says which option has a value that PostgreSQL cannot read. Raises ActionError.

    intervals  the options that take intervals, and their values
    routines   the names of routines that were given
    """
    try:
        yield
    except psycopg.DataError as error:
        said = error.diag.message_primary or ""
        for option, text in intervals.items():
            # PostgreSQL quotes the value. An error from inside of a function may quote another one.
            ours = "\n" not in (error.diag.context or "")
            if ours and text is not None and said.endswith(f'"{text}"'):
                raise ActionError(
                    f"{option}: {text!r} is not an interval; use for instance 90s, 10m or 1 day.",
                    error.sqlstate,
                ) from error
        raise
    except psycopg.errors.AmbiguousFunction as error:
        # With a context it comes from inside of a function, and says what to do.
        if error.diag.context:
            raise
        raise ActionError(
            f"{error.diag.message_primary}: give it with its arguments, for instance "
            "'purge(integer, jsonb)' or, for a check, 'check_purge(jsonb)'.",
            error.sqlstate,
        ) from error
    except psycopg.errors.InvalidName as error:
        given = " or ".join(repr(name) for name in routines if name is not None)
        raise ActionError(
            f"{given} is not the name of a routine; write it as in SQL: purge, app.purge or '\"Odd Name\"'.",
            error.sqlstate,
        ) from error


def sentences(*parts: str | None) -> str:
    """Joins the fields of a message by PostgreSQL to sentences."""
    said = (part.strip() for part in parts if part and part.strip())
    return " ".join(part if part.endswith((".", "!", "?", ";")) else f"{part}." for part in said)


def inside_of_routine(context: str) -> str:
    """Of the context of a failed run by hand, returns the lines from inside of the action's routine."""
    inside = [""]
    for line in context.split("\n"):
        if _OUR_FRAME.search(line):
            break
        inside.append(line)
    # If the last line is not our call of the routine, something else failed.
    return "\n".join(inside[1:-1]) if _OUR_CALL.match(inside[-1]) else ""


def shown_next(row: dict[str, Any]) -> Any:
    """When an action starts next, as people read it: None while it is paused, or not known yet."""
    if row["state"] != "scheduled" and (row["state"] == "paused" or row["next_start"] is None):
        return None
    return {None: "at once", "infinity": "never"}.get(row["next_start"], row["next_start"])


def say_if_nobody_works(connection: psycopg.Connection[Any]) -> None:
    """Says on stderr if no worker is running: then no action runs."""
    # A role that may use actions may lack the right to see workers.
    with suppress(InsufficientPrivilege):
        if not connection.execute("select from tidemill.workers limit 1").fetchall():
            note("No worker is running, so no action is; start one with: tidemill worker")
