"""`tidemill hypertables compress` and `decompress`: one chunk after the other, each in a transaction."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Annotated, Any, LiteralString

import psycopg
import typer

from tidemill.cli import parse
from tidemill.cli.actions_find import opened, sentences
from tidemill.cli.hypertables_find import displayed_chunk, find_chunks, find_hypertable, size
from tidemill.cli.hypertables_options import DryRunOption, HypertableArgument, NewerOption, OlderOption
from tidemill.cli.lists import query_rows
from tidemill.cli.options import DatabaseOption, JsonOption
from tidemill.cli.output import note, print_json, print_table, progress_bar, say
from tidemill.cli.stops import Stop, stop_between
from tidemill.cli.visible import visible
from tidemill.errors import TidemillError

_COLUMNS = ("chunk", "from", "until", "state", "rows", "beside", "size", "packed_size")
_COUNTED = ("smallint", "integer", "bigint")


def register(group: typer.Typer) -> None:
    """Adds the commands."""
    group.command(
        "compress",
        epilog="Examples:\n\n`tidemill hypertables compress event_data --older-than 7d`\n\n"
        "`tidemill hypertables compress event_data --dry-run`",
    )(compress)
    group.command(
        "decompress",
        epilog="Example: `tidemill hypertables decompress event_data --newer-than 2027-01-01`",
    )(decompress)


@dataclass
class _Done:
    """What has come of the chunks so far."""

    chunks: list[str] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    passed_over: dict[str, str] = field(default_factory=dict)
    rows: int = 0
    bytes_before: int = 0
    bytes_after: int = 0


def compress(
    hypertable: HypertableArgument,
    older_than: OlderOption = None,
    newer_than: NewerOption = None,
    recompress: Annotated[
        bool, typer.Option("--recompress", help="Pack anew what is packed, together with rows beside.")
    ] = False,
    dry_run: DryRunOption = False,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Pack the rows of chunks, the oldest first; chunks without rows to pack are left out.

    A first Ctrl-C or SIGTERM ends it after the chunk in work.
    """
    _change(
        "Compressed" if not recompress else "Recompressed",
        hypertable,
        (older_than, newer_than),
        lambda row: row["has_rows"] is not False or (recompress and row["is_compressed"]),
        _RECOMPRESS if recompress else _COMPRESS,
        dry_run=dry_run,
        database=database,
        as_json=as_json,
    )


def decompress(
    hypertable: HypertableArgument,
    older_than: OlderOption = None,
    newer_than: NewerOption = None,
    dry_run: DryRunOption = False,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bring packed rows back into their chunks, the oldest first.

    A first Ctrl-C or SIGTERM ends it after the chunk in work.
    """
    _change(
        "Decompressed",
        hypertable,
        (older_than, newer_than),
        lambda row: bool(row["is_compressed"]),
        _DECOMPRESS,
        dry_run=dry_run,
        database=database,
        as_json=as_json,
    )


_COMPRESS: LiteralString = "select tidemill.compress_chunk(%(chunk)s::pg_catalog.oid::pg_catalog.regclass)"
_RECOMPRESS: LiteralString = (
    "select tidemill.compress_chunk(%(chunk)s::pg_catalog.oid::pg_catalog.regclass, recompress => true)"
)
_DECOMPRESS: LiteralString = (
    "select tidemill.decompress_chunk(%(chunk)s::pg_catalog.oid::pg_catalog.regclass)"
)

_TIDY_UP: LiteralString = (
    "select tidemill._tidy_up(h) from tidemill._hypertables h where h.id operator(pg_catalog.=) %(id)s"
)


def _change(
    verb: str,
    word: str,
    limits: tuple[str | None, str | None],
    is_due: Callable[[dict[str, Any]], bool],
    statement: LiteralString,
    *,
    dry_run: bool,
    database: str | None,
    as_json: bool,
) -> None:
    with opened(database, on_notice=_keep_silent, runs_users_code=True) as connection:
        found = find_hypertable(connection, word)
        if statement != _DECOMPRESS and not found["compression_enabled"]:
            raise TidemillError(_how_to_enable(found["name"]))
        older, newer = (_limit(found["time_type"], limit) for limit in limits)
        chosen = query_rows(connection, "chosen_chunks", id=found["id"], older_than=older, newer_than=newer)
        oids = {row["oid"] for row in chosen}
        due = [row for row in find_chunks(connection, found["id"]) if row["oid"] in oids and is_due(row)]
        if dry_run:
            _print_plan(due, as_json)
            return
        started = time.monotonic()
        done = _Done()
        with suppress(KeyboardInterrupt), stop_between() as stop:
            _one_by_one(connection, found["id"], due, statement, stop, done)
        _measure(connection, found["id"], done)
        seconds = time.monotonic() - started
    left = len(due) - len(done.chunks) - len(done.passed_over)
    if as_json:
        print_json(
            {
                "hypertable": found["name"],
                "chunks": done.chunks,
                "passed_over": done.passed_over,
                "left": left,
                "rows": done.rows,
                "seconds": round(seconds, 3),
                "bytes_before": done.bytes_before,
                "bytes_after": done.bytes_after,
                "ratio": _ratio(done),
            }
        )
    else:
        say(_summary(verb, visible(found["name"]), done, len(due), seconds))
    if statement == _RECOMPRESS and done.bytes_after:
        note("The size has the space of the old segments, too; later ones will use it.")
    if left:
        note(f"Stopped with {left} chunks left, each as it was; the same command goes on.")
    if left or done.passed_over:
        sys.exit(1)


def _one_by_one(
    connection: psycopg.Connection[Any],
    hypertable_id: int,
    due: list[dict[str, Any]],
    statement: LiteralString,
    stop: Stop,
    done: _Done,
) -> None:
    # Other levels are refused: they might not see all rows. A role may have another default.
    connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
    with progress_bar(shown=bool(due)) as progress:
        task = progress.add_task("Chunks", total=len(due))
        for row in due:
            if stop.asked:
                break
            name = f"{row['chunk_schema']}.{row['chunk']}"
            progress.update(task, description=row["chunk"])
            try:
                with connection.transaction():
                    connection.execute(statement, {"chunk": row["oid"]})
                    rows = _rows_done(connection, hypertable_id, row, statement)
            except psycopg.Error as error:
                if error.sqlstate not in _PASSING:
                    note(f"At {name}, after {len(done.chunks)} of {len(due)} chunks, which stay done:")
                    raise
                reason = _PASSING[error.sqlstate]
                done.passed_over[name] = reason
                note(f"{name} is {reason}, and left as it is.")
            else:
                done.chunks.append(name)
                done.numbers.append(row["number"])
                done.rows += rows
            progress.advance(task)
    with connection.transaction():
        connection.execute(_TIDY_UP, {"id": hypertable_id})


# What others do meanwhile: they lock a chunk for longer than 5 seconds, or drop it.
_PASSING: dict[str | None, str] = {
    "55P03": "locked",
    "40P01": "locked",
    "42P01": "dropped",
    "42704": "dropped",
}


def _rows_done(
    connection: psycopg.Connection[Any], hypertable_id: int, row: dict[str, Any], statement: LiteralString
) -> int:
    """How many rows this transaction has packed or brought back, after what was seen before."""
    before = int(row["packed_rows"] or 0)
    if statement == _DECOMPRESS:
        return before
    for packed in query_rows(connection, "packed_rows", id=hypertable_id, number=row["number"]):
        return max(0, int(packed["rows"]) - (0 if statement == _RECOMPRESS else before))
    return 0


def _measure(connection: psycopg.Connection[Any], hypertable_id: int, done: _Done) -> None:
    """What the chunks took before and take now; nothing if others lock their segments."""
    try:
        with connection.transaction():
            connection.execute("set local lock_timeout = '5s'")
            [sizes] = query_rows(connection, "compressed_sizes", id=hypertable_id, numbers=done.numbers)
    except psycopg.Error as error:
        if error.sqlstate not in _PASSING:
            raise
    else:
        done.bytes_before = sizes["bytes_before"] or 0
        done.bytes_after = sizes["bytes_after"] or 0


def _ratio(done: _Done) -> float | None:
    return round(done.bytes_before / done.bytes_after, 2) if done.bytes_after else None


def _summary(verb: str, name: str, done: _Done, due: int, seconds: float) -> str:
    if not due:
        return f"Nothing to do: no chunk of {name} needs it."
    line = f"{verb} {len(done.chunks)} of {due} chunks of {name}: {done.rows:,} rows in {seconds:.1f} s"
    if done.bytes_after:
        line += f", {size(done.bytes_before)} to {size(done.bytes_after)}"
        line += f", ratio {done.bytes_before / done.bytes_after:.1f}"
    return f"{line}."


def _print_plan(due: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        print_json(due)
        return
    print_table([displayed_chunk(row) for row in due], _COLUMNS, empty="No chunk needs it.")


def _how_to_enable(name: str) -> str:
    literal = "'" + name.replace("'", "''") + "'"
    return (
        f"Compression is not enabled on {name}. First: "
        f"SELECT tidemill.enable_compression({literal}, segmentby => 'COLUMNS'); COLUMNS are those by which "
        "rows are looked for, such as a device. Try some: "
        f"tidemill hypertables plan {name} --segmentby COLUMNS"
    )


def _limit(time_type: str, text: str | None) -> str | None:
    """A limit as show_chunks reads it. Raises typer.BadParameter."""
    if text is None:
        return None
    if time_type in _COUNTED:
        with suppress(ValueError):
            return str(int(text))
        raise typer.BadParameter(f"{text!r} is no whole number, as the time of this hypertable is.")
    [limit] = parse.since(text).values()
    if isinstance(limit, timedelta):
        return f"{limit.total_seconds()} seconds"
    if time_type == "timestamp with time zone":
        return limit.isoformat()
    # A column without a zone has the clock that was meant.
    return datetime.fromisoformat(text).replace(tzinfo=None).isoformat()


def _keep_silent(diag: psycopg.errors.Diagnostic) -> None:
    """Warnings are shown; that a chunk was compressed already is no news."""
    if diag.severity_nonlocalized == "WARNING":
        note(sentences(diag.message_primary, diag.message_detail, diag.message_hint), label="Note:")
