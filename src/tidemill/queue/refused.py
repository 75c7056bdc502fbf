"""What the database cannot hold of how a job ended: it is written in other words, or left out."""

from __future__ import annotations

import json
import re

import psycopg
from msgspec.structs import replace

from tidemill.queue.claimed import Record

REFUSALS = (
    psycopg.DataError,
    # Nested too deep to be read, for instance: by class an OperationalError, as a lost connection is.
    psycopg.errors.ProgramLimitExceeded,
    psycopg.errors.StatementTooComplex,
    OverflowError,
    # That of an encoding is one.
    ValueError,
)
"""A value is the cause: to send it once more would fail once more."""
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")


def storable_record(refused: Record) -> Record | None:
    """One that says the same in ASCII, or, if that was refused too, without result and progress.

    None if there is nothing left to leave out.
    """
    plain = _record_in_ascii(refused)
    if plain != refused:
        return plain
    if refused.result is None and refused.told is None:
        return None
    return replace(refused, result=None, told=None)


def _record_in_ascii(record: Record) -> Record:
    result, told = record.result, record.told
    if result is not None:
        # In JSON all else stands within strings.
        result = _NOT_ASCII.sub(lambda found: json.dumps(found[0])[1:-1], result)
    if told is not None and told[1] is not None:
        told = (told[0], in_ascii(told[1]))
    return replace(record, result=result, told=told)


def in_ascii(text: str) -> str:
    """A text that any database holds."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("ascii", "backslashreplace").decode()
