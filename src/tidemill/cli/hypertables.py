"""`tidemill hypertables`: tables cut by time, what their chunks hold, and packing them."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, Any, LiteralString

import psycopg
import typer
from psycopg.rows import dict_row

from tidemill.cli import hypertables_backfill, hypertables_change
from tidemill.cli.actions_find import action_rows, opened, say_if_nobody_works, shown_next
from tidemill.cli.groups import listing_group
from tidemill.cli.hypertables_find import (
    all_bytes,
    bar,
    count,
    displayed_chunk,
    find_chunks,
    find_hypertable,
    find_hypertables,
    legend,
    share,
    size,
    summed,
)
from tidemill.cli.hypertables_options import HypertableArgument
from tidemill.cli.lists import query_rows
from tidemill.cli.options import DatabaseOption, JsonOption, LimitOption
from tidemill.cli.output import console, note, print_fields, print_json, print_table, say, say_more

_LIST = (
    "hypertable",
    "owner",
    "chunks",
    "chunks_packed",
    "rows",
    "size",
    "rows_packed",
    "oldest_to_newest",
    "note",
)
_CHUNKS = ("chunk", "from", "until", "state", "rows", "beside", "size", "packed_size", "tablespace", "note")
_POLICIES = ("id", "name", "state", "schedule", "next_start", "last_outcome")
_PLAN = ("column", "type", "encoding", "before", "after", "ratio")

group = listing_group(
    "List and compress hypertables, tables that are cut by time. Without a command, list them; "
    "with a name, show that one."
)


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.add_typer(group, name="hypertables")


@group.command(
    "list",
    epilog="Examples:\n\n`tidemill hypertables`\n\n`tidemill hypertables event_data`",
)
def list_hypertables(
    hypertable: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="Show this one, with its chunks.", show_default=False),
    ] = None,
    limit: LimitOption = 50,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """List hypertables, or show one with its chunks, the newest ones last, and its policies."""
    with opened(database) as connection:
        if hypertable is not None:
            _show(connection, hypertable, limit, as_json)
            return
        found = find_hypertables(connection, limit=limit + 1)
        rows = [_looked_at(connection, row)[0] for row in found[:limit]]
    if as_json:
        print_json(rows)
        return
    print_table([_displayed(row) for row in rows], _LIST, empty="There is no hypertable.")
    if console.is_terminal and (states := {state for row in rows for state in row["states"] or ()}):
        note(legend(states))
    if len(found) > limit:
        say_more(limit)


@group.command(
    "plan",
    epilog="Examples:\n\n`tidemill hypertables plan event_data`\n\n"
    "`tidemill hypertables plan event_data --segmentby 'device_id' --orderby 'time desc'`",
)
def plan(
    hypertable: HypertableArgument,
    segmentby: Annotated[
        str | None,
        typer.Option(metavar="COLUMNS", help="Try these, separated by commas; else what is in force."),
    ] = None,
    orderby: Annotated[
        str | None,
        typer.Option(metavar="COLUMNS", help="Likewise, as 'time desc': the order in a segment."),
    ] = None,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show how the columns would be packed, and how small: a try on a sample, which changes nothing."""
    with opened(database, runs_users_code=True) as connection:
        found = find_hypertable(connection, hypertable)
        with connection.cursor(row_factory=dict_row) as cursor:
            columns = cursor.execute(
                _COMPRESSION_PLAN, {"name": found["name"], "segmentby": segmentby, "orderby": orderby}
            ).fetchall()
    if as_json:
        print_json(columns)
        return
    print_table([_planned(row) for row in columns], _PLAN, empty="It has no rows to try it with.")


_COMPRESSION_PLAN: LiteralString = """
select * from tidemill.compression_plan(
  %(name)s::pg_catalog.text::pg_catalog.regclass, segmentby => %(segmentby)s::pg_catalog.text,
  orderby => %(orderby)s::pg_catalog.text)
"""


def _looked_at(
    connection: psycopg.Connection[Any], hypertable: dict[str, Any]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A hypertable with the sums of its chunks, and these. What cannot be looked at is a note."""
    chunks: list[dict[str, Any]] = []
    remark = ""
    try:
        chunks = find_chunks(connection, hypertable["id"])
    except psycopg.errors.InsufficientPrivilege:
        remark = "no right to look at its chunks"
    except psycopg.Error as error:
        # It may vanish between two looks at the catalogs.
        if connection.broken:
            raise
        remark = error.diag.message_primary or "not known"
    return summed(hypertable, chunks, remark), chunks


def _displayed(row: dict[str, Any]) -> dict[str, Any]:
    """A hypertable as people read it; in a pipe with plain numbers."""
    everything = all_bytes(row)
    all_rows = None if row["rows"] is None or row["packed_rows"] is None else row["rows"] + row["packed_rows"]
    return {
        **row,
        "hypertable": row["name"],
        "chunks_packed": row["compressed_chunks"],
        "rows": count(all_rows, row["rows_estimated"]),
        "size": size(everything) if console.is_terminal else everything,
        "rows_packed": share(row["packed_rows"], row["rows"]) if row["compression_enabled"] else None,
        "oldest_to_newest": bar(row["states"] or (), _cells()),
    }


def _cells() -> int:
    """How many cells of a bar find a place beside the other columns."""
    return max(8, min(60, console.width - 82)) if console.is_terminal else 60


def _show(connection: psycopg.Connection[Any], word: str, limit: int, as_json: bool) -> None:
    commands = [command.name for command in group.registered_commands if command.name]
    row, chunks = _looked_at(connection, find_hypertable(connection, word, commands=commands))
    policies: list[dict[str, Any]] | None = None
    with suppress(psycopg.errors.InsufficientPrivilege):
        ids = [found["id"] for found in query_rows(connection, "hypertable_policies", id=row["id"])]
        policies = action_rows(connection, ids=ids)
    if as_json:
        print_json({**row, "chunk_list": chunks, "policies": policies})
        return
    # The default partition says something only while rows wait there.
    shown = [chunk for chunk in chunks if chunk["number"] is not None or chunk["has_rows"] is not False]
    more = len(shown) > limit
    whole = _displayed(row)
    packed = size(row["packed_bytes"]) if console.is_terminal else row["packed_bytes"]
    fields = {
        "name": row["name"],
        "owner": row["owner"],
        "time": f"{row['time_column']} ({row['time_type']}), in chunks of {row['chunk_width']}",
        "chunks": f"{row['chunks']}, of which {row['compressed_chunks']} are compressed"
        if row["compression_enabled"]
        else f"{row['chunks']}; compression is not enabled",
        "rows": whole["rows"]
        if whole["rows_packed"] is None
        else f"{whole['rows']}, {whole['rows_packed']} packed",
        "size": whole["size"] if not row["packed_bytes"] else f"{whole['size']}, {packed} of it packed",
        "note": row["note"],
    }
    print_fields({name: value for name, value in fields.items() if value not in (None, "")})
    say("")
    print_table([displayed_chunk(chunk) for chunk in shown[-limit:]], _CHUNKS, empty="It has no chunks.")
    if more:
        say_more(limit)
    say("")
    if policies is None:
        note("This role has no right to see its policies.")
        return
    print_table(
        [{**policy, "next_start": shown_next(policy)} for policy in policies],
        _POLICIES,
        empty="It has no policies.",
    )
    if policies:
        say_if_nobody_works(connection)


def _planned(row: dict[str, Any]) -> dict[str, Any]:
    before, after = row["bytes_before"], row["bytes_after"]
    plain = not console.is_terminal
    return {
        "column": row["column_name"] or "(all, with indexes)",
        "type": row["data_type"],
        "encoding": row["encoding"],
        "before": before if plain else size(before),
        "after": after if plain else size(after),
        "ratio": f"{before / after:.1f}" if before and after else None,
    }


hypertables_change.register(group)
hypertables_backfill.register(group)
