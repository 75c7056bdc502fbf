"""What the database said of an error, for people: without the frames of our own functions."""

from __future__ import annotations

import re
from functools import cache

import psycopg

from tidemill.database import sql as files
from tidemill.texts import bounded

_FRAME = r"^(?=PL/\w+ |SQL |COPY |JSON |unnamed portal|while )"
_LONGEST = 1000
_OUR_ROUTINE = r"create or replace (?:function|procedure) (?:tidemill|graphile_worker|public)\.(\w+)"


def words(error: Exception) -> str:
    """The message, detail and hint of an error in one paragraph, and where in users' own code it arose.

    psycopg's text of it has the statement and all frames, ours too, which say nothing to a user.
    """
    diag = error.diag if isinstance(error, psycopg.Error) else None
    if diag is None or diag.message_primary is None:
        return _one_line(str(error)) or type(error).__name__
    parts = [diag.message_primary]
    frames = users_frames(diag.context or "")
    for label, text in (("DETAIL", diag.message_detail), ("HINT", diag.message_hint), ("CONTEXT", frames)):
        if text:
            parts.append(f"{label}: {text}")
    return " ".join(_one_line(part) for part in parts)


def in_short(error: Exception) -> str:
    """The message of an error of our own statements, in one line: what else it has is about our functions."""
    diag = error.diag if isinstance(error, psycopg.Error) else None
    said = diag.message_primary if diag is not None else None
    return bounded(_one_line(said or str(error)) or type(error).__name__, _LONGEST)


def users_frames(context: str) -> str:
    """The frames of a CONTEXT that are not of our functions; each of them may have many lines."""
    kept: list[str] = []
    statements: list[str] = []
    for frame in re.split(_FRAME, context, flags=re.MULTILINE):
        function = re.match(r'(?:PL/\w+|SQL) function "?([\w.]+)', frame)
        if function is None:
            # A statement comes before the function that executes it.
            statements.append(frame)
            continue
        schema, _, name = function[1].rpartition(".")
        if not _is_ours(schema, name):
            kept += [*statements, frame]
        statements = []
    # Those that no function has executed are the user's own.
    return "".join([*kept, *statements]).strip()


def _is_ours(schema: str, name: str) -> bool:
    # Frames of SQL functions, and of those on the search path, have no schema.
    return schema in ("tidemill", "graphile_worker") or (schema in ("", "public") and name in _our_routines())


@cache
def _our_routines() -> frozenset[str]:
    return frozenset(re.findall(_OUR_ROUTINE, "\n".join([files.functions(), *files.dialects().values()])))


def _one_line(text: str) -> str:
    return " ".join(text.split())
