"""`tidemill hypertables backfill`: moving late rows from a staging table into a hypertable."""

from __future__ import annotations

import re
import sys
import time
from typing import Annotated, Any, Literal, LiteralString

import psycopg
import typer

from tidemill.cli.actions_find import opened, sentences
from tidemill.cli.hypertables_find import find_hypertable
from tidemill.cli.hypertables_options import HypertableArgument
from tidemill.cli.lists import query_rows
from tidemill.cli.options import DatabaseOption, JsonOption
from tidemill.cli.output import note, print_json, say
from tidemill.cli.stops import interrupted_by_signals
from tidemill.cli.visible import visible
from tidemill.errors import TidemillError

_MOVED = re.compile(r"(\d+) rows moved in range ")
# Other levels are refused, and a role may have another default. Behind a pooler it would reach other clients.
_READ_COMMITTED: LiteralString = """
select pg_catalog.set_config('default_transaction_isolation', 'read committed', false)
where pg_catalog.pg_backend_pid() operator(pg_catalog.=) %(pid)s::integer
"""
_BACKFILL: LiteralString = """
call tidemill.decompress_backfill(
  %(staging)s::pg_catalog.oid::pg_catalog.regclass, %(name)s::pg_catalog.text::pg_catalog.regclass,
  on_conflict_action => %(on_conflict)s::pg_catalog.text, delete_from_staging => %(deletes)s,
  on_conflict_update_columns => %(columns)s::pg_catalog.text[],
  on_conflict_target => %(target)s::pg_catalog.text)
"""


def register(group: typer.Typer) -> None:
    """Adds the command."""
    group.command(
        "backfill",
        epilog="Examples:\n\n`tidemill hypertables backfill late_rows event_data`\n\n"
        "`tidemill hypertables backfill late_rows event_data --on-conflict update "
        "--update-columns value --target '(device_id, time)'`",
    )(backfill)


def backfill(
    staging: Annotated[
        str,
        typer.Argument(
            metavar="STAGING", help="A table with the columns of the hypertable.", show_default=False
        ),
    ],
    hypertable: HypertableArgument,
    on_conflict: Annotated[
        Literal["nothing", "update", "restrict"],
        typer.Option(
            help="A staged row whose key is there is dropped (nothing), changes that one, or is an error."
        ),
    ] = "nothing",
    update_columns: Annotated[
        str | None, typer.Option(metavar="COLUMNS", help="With update: the columns, separated by commas.")
    ] = None,
    target: Annotated[
        str | None, typer.Option(metavar="TARGET", help="With update: the key, as '(device_id, time)'.")
    ] = None,
    keep_staging: Annotated[
        bool, typer.Option("--keep-staging", help="Copy, and leave the staged rows where they are.")
    ] = False,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Move late rows into a hypertable, also where its chunks are compressed; each chunk is one transaction.

    Ctrl-C or SIGTERM takes the chunk in work back; those before it stay done.
    """
    columns = [name.strip() for name in (update_columns or "").split(",") if name.strip()]
    if on_conflict != "update" and (columns or target):
        raise typer.BadParameter("--update-columns and --target go with --on-conflict update.")
    if on_conflict == "update" and not (columns and target):
        raise typer.BadParameter("--on-conflict update needs --update-columns and --target.")
    moved: list[int] = []

    def told(diag: psycopg.errors.Diagnostic) -> None:
        said = diag.message_primary or ""
        if match := _MOVED.match(said):
            moved.append(int(match[1]))
            if as_json:
                note(said)
            else:
                say(said)
        else:
            note(sentences(said, diag.message_detail, diag.message_hint), label="Note:")

    started = time.monotonic()
    with opened(database, on_notice=told, runs_users_code=True) as connection:
        found = find_hypertable(connection, hypertable)
        table = _find_staging(connection, found, staging)
        connection.execute(_READ_COMMITTED, {"pid": connection.info.backend_pid})
        try:
            with interrupted_by_signals():
                connection.execute(
                    _BACKFILL,
                    {
                        "staging": table,
                        "name": found["name"],
                        "on_conflict": on_conflict.upper(),
                        "deletes": not keep_staging,
                        "columns": columns,
                        "target": target or "",
                    },
                )
        except KeyboardInterrupt:
            note(_stopped(len(moved), keep_staging))
            sys.exit(1)
    seconds = time.monotonic() - started
    if as_json:
        print_json(
            {
                "hypertable": found["name"],
                "staging": staging,
                "chunks": len(moved),
                "rows": sum(moved),
                "seconds": round(seconds, 3),
            }
        )
        return
    say(_summary(visible(found["name"]), moved, seconds, keep_staging))


def _find_staging(connection: psycopg.Connection[Any], hypertable: dict[str, Any], word: str) -> int:
    """The staging table that a word names; one that only stands beside the hypertable is told."""
    rows = query_rows(connection, "staging_table", id=hypertable["id"], staging=word)
    if not rows:
        raise TidemillError(f"The hypertable {hypertable['name']} was dropped just now.")
    [found] = rows
    if found["oid"] is None:
        schemas = " or ".join(dict.fromkeys(found["schemas"]))
        where = "" if "." in word else f" on the search path, nor in schema {schemas}"
        raise TidemillError(f"There is no table {word!r}{where}; name its schema, as in app.late_rows.")
    if found["elsewhere"]:
        note(f"{word} is not on the search path: taking {found['elsewhere']}.")
    return int(found["oid"])


def _summary(name: str, moved: list[int], seconds: float, keep_staging: bool) -> str:
    if not moved:
        return "Nothing to do: the staging table is empty."
    verb = "Copied" if keep_staging else "Moved"
    return f"{verb} {sum(moved):,} rows into {len(moved)} chunks of {name} in {seconds:.1f} s."


def _stopped(chunks: int, keep_staging: bool) -> str:
    rest = (
        "The staged rows are all there, so another call begins anew."
        if keep_staging
        else "What is left stands in the staging table; the same command goes on."
    )
    return f"Stopped in the middle, after some {chunks} chunks: the one in work was taken back. {rest}"
