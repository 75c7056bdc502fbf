"""Hypertables that the tests of the command line ask for."""

from __future__ import annotations

import psycopg

from tests.hypertables.packed import DEVICES


def add_event_data(connection: psycopg.Connection, *, compressed: int = 0) -> list[str]:
    """Four days of five devices, 720 rows a day; the oldest days compressed. Returns the chunks' names."""
    connection.execute(DEVICES.encode())
    connection.execute("select tidemill.enable_compression('event_data', 'device_id')")
    # The chunks of today and tomorrow are there, too.
    found = connection.execute("select s::text from tidemill.show_chunks('event_data') s").fetchall()
    names = [name for (name,) in found]
    for name in names[:compressed]:
        connection.execute("select tidemill.compress_chunk(%s::text::regclass)", [name])
    return names


def packed(connection: psycopg.Connection) -> list[int]:
    """The numbers of rows in the segments, by chunk in the order of time."""
    found = connection.execute(
        "select coalesce(p.rows, 0)"
        " from tidemill._hypertables h join tidemill._chunks c on c.hypertable_id = h.id"
        " left join tidemill._packed_bytes(h) p on p.number = c.number"
        " order by h.id, c.range_start"
    ).fetchall()
    return [int(rows) for (rows,) in found]


def loose(connection: psycopg.Connection, table: str) -> int:
    """How many rows a table has by itself."""
    [(count,)] = connection.execute(f"select count(*) from only {table}".encode()).fetchall()
    return int(count)
