"""What commands that list have in common: the rows of a statement, and how they are printed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import psycopg
from psycopg.rows import dict_row

from tidemill.cli.output import print_json, print_table, say_more
from tidemill.database import sql
from tidemill.database.connect import connect

Row = dict[str, Any]


def query_rows(connection: psycopg.Connection[Any], statement: str, /, **params: Any) -> list[Row]:
    """The rows that a statement in `sql/queries` finds."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(sql.query(statement), params).fetchall()


def read_rows(conninfo: str, statement: str, /, **params: Any) -> list[Row]:
    """As `query_rows`, over a connection of its own."""
    with connect(conninfo) as connection:
        return query_rows(connection, statement, **params)


def print_list(
    rows: Sequence[Row],
    columns: Sequence[str],
    *,
    as_json: bool,
    empty: str,
    limit: int | None = None,
    shown: Callable[[Row], Mapping[str, Any]] = dict,
) -> None:
    """Prints up to `limit` rows, and says if there are more; `shown` makes a row as people read it."""
    more = rows[limit:] if limit is not None else ()
    if as_json:
        print_json(rows[:limit])
        return
    print_table([shown(row) for row in rows[:limit]], columns, empty=empty)
    if more and limit is not None:
        say_more(limit)
