"""For `tidemill hypertables`: finding the one that is meant, and what its chunks hold."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

import psycopg
from rich.text import Text

from tidemill.cli.actions_find import intervals_in_words
from tidemill.cli.lists import query_rows
from tidemill.cli.output import console
from tidemill.errors import TidemillError

# What a cell of the bar shows, the gravest last: where chunks share a cell, that one counts.
_STATES = ("empty", "packed", "plain", "partial", "not known", "waiting")
_CELLS = dict(zip(_STATES, "·█░▓?!", strict=True))
_ASCII = dict(zip(_STATES, ".#-+?!", strict=True))
_COLOURS = dict(zip(_STATES, ("dim", "green", "cyan", "yellow", "red", "red"), strict=True))
_LEGEND = {
    "packed": "packed",
    "partial": "packed, with rows beside",
    "plain": "plain",
    "empty": "no rows",
    "waiting": "rows in the default partition",
    "not known": "not known",
}


def find_hypertables(
    connection: psycopg.Connection[Any], word: str | None = None, *, limit: int | None = None
) -> list[dict[str, Any]]:
    """The hypertables that a word may mean, or all, as the catalogs have them."""
    with intervals_in_words(connection):
        return query_rows(connection, "list_hypertables", word=word, limit=limit)


def find_hypertable(
    connection: psycopg.Connection[Any], word: str, *, commands: Sequence[str] = ()
) -> dict[str, Any]:
    """The hypertable that a word names. Raises TidemillError.

    commands  what the word might have been meant for as well
    """
    found = find_hypertables(connection, word)
    if not found:
        said = f"There is no hypertable {word!r}; see them with: tidemill hypertables"
        if commands:
            said += ", and the commands with: tidemill hypertables --help"
        if close := get_close_matches(word, commands, 1):
            said += f" (did you mean {close[0]}?)"
        raise TidemillError(said)
    if len(found) > 1:
        names = ", ".join(row["name"] for row in found)
        raise TidemillError(f"{len(found)} hypertables have the name {word!r}: give one of {names} instead.")
    return found[0]


def find_chunks(connection: psycopg.Connection[Any], hypertable_id: int) -> list[dict[str, Any]]:
    """The chunks of a hypertable by their age, and its default partition; each with its state."""
    rows = query_rows(connection, "chunk_states", id=hypertable_id)
    return [{**row, "state": _state(row)} for row in rows]


def summed(hypertable: dict[str, Any], chunks: Sequence[dict[str, Any]] | None, note: str) -> dict[str, Any]:
    """A hypertable with the sums of its chunks; None for what is not known of them all."""
    if not chunks:
        return {
            **hypertable,
            **dict.fromkeys(("rows", "rows_estimated", "packed_rows", "bytes", "packed_bytes", "states")),
            "note": note or "dropped just now",
        }
    sums = {name: _sum(chunks, name) for name in ("rows", "packed_rows", "bytes", "packed_bytes")}
    notes = dict.fromkeys(chunk["note"] for chunk in chunks if chunk["note"])
    found = [f"{sum(chunk['note'] == note for chunk in chunks)} of its tables: {note}" for note in notes]
    return {
        **hypertable,
        **sums,
        "rows_estimated": any(chunk["rows_estimated"] for chunk in chunks),
        "states": [chunk["state"] for chunk in chunks if chunk["number"] is not None or chunk["has_rows"]],
        "note": "; ".join(found),
    }


def bar(states: Sequence[str], width: int) -> Text:
    """A cell for each chunk by age; where there are more of them than cells, several share one."""
    cells = min(width, len(states))
    text = Text()
    for n in range(cells):
        shared = states[n * len(states) // cells : max((n + 1) * len(states) // cells, 1)]
        state = max(shared, key=_STATES.index)
        text.append(_signs()[state], style=_COLOURS[state])
    return text


def legend(states: set[str]) -> str:
    """What the cells of these states mean."""
    return ", ".join(f"{_signs()[state]} {words}" for state, words in _LEGEND.items() if state in states)


def size(count: int | None) -> str | None:
    """Bytes as people read them."""
    if count is None:
        return None
    if count < 10_000:
        return f"{count} B"
    amount = float(count)
    for unit in ("kB", "MB", "GB", "TB"):
        amount /= 1024
        if amount < 1000 or unit == "TB":
            break
    return f"{amount:.1f} {unit}" if amount < 10 else f"{amount:.0f} {unit}"


def count(rows: int | None, estimated: bool | None) -> int | str | None:
    """A number of rows as people read it, an estimate rounded; in a pipe the plain number."""
    if rows is None or not console.is_terminal:
        return rows
    return f"~{round(rows, min(0, 3 - len(str(rows)))):,}" if estimated else f"{rows:,}"


def bound(text: str | None) -> str | None:
    """A bound of a chunk as people read it: a time without the zeros at its end."""
    return None if text is None else text.removesuffix(":00").removesuffix(" 00:00")


def share(packed: int | None, loose: int | None) -> str | None:
    """How many of all rows are packed."""
    if packed is None or loose is None or not packed + loose:
        return None
    percent = 100 * packed / (packed + loose)
    # Neither none nor all of them is rounded away.
    return f"{min(max(percent, 1), 99) if packed and loose else percent:.0f} %"


def displayed_chunk(row: dict[str, Any]) -> dict[str, Any]:
    """A chunk as people read it; in a pipe with plain numbers."""
    plain = not console.is_terminal
    known = row["rows"] is not None and row["packed_rows"] is not None
    counts = {
        "rows": row["rows"] + row["packed_rows"] if known else None,
        "beside": row["rows"] if row["state"] == "partial" else None,
    }
    return {
        **row,
        "from": row["range_start"] if plain else bound(row["range_start"]),
        "until": row["range_end"] if plain else bound(row["range_end"]),
        "size": row["bytes"] if plain else size(row["bytes"]),
        "packed_size": None
        if not row["packed_bytes"]
        else row["packed_bytes"]
        if plain
        else size(row["packed_bytes"]),
        **{name: count(rows, row["rows_estimated"]) for name, rows in counts.items()},
    }


def all_bytes(row: dict[str, Any]) -> int | None:
    """All bytes of a chunk or hypertable, as far as they are known."""
    if row["bytes"] is None or row["packed_bytes"] is None:
        return None
    return int(row["bytes"] + row["packed_bytes"])


def _state(row: dict[str, Any]) -> str:
    if row["has_rows"] is None or row["packed_rows"] is None:
        return "not known"
    if row["number"] is None:
        return "waiting" if row["has_rows"] else "empty"
    if row["is_compressed"] and row["packed_rows"]:
        return "partial" if row["has_rows"] else "packed"
    return "plain" if row["has_rows"] else "empty"


def _sum(chunks: Sequence[dict[str, Any]], name: str) -> int | None:
    values = [chunk[name] for chunk in chunks]
    return None if None in values else sum(values)


def _signs() -> dict[str, str]:
    return _CELLS if console.encoding.lower().startswith("utf") else _ASCII
