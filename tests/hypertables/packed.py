"""Hypertables for tests of compression, and what is in them."""

from __future__ import annotations

from typing import Any

import psycopg

DEVICES = """
    create table event_data (
      time timestamptz not null, device_id integer not null, value double precision, note text default 'none',
      primary key (device_id, time)
    );
    select tidemill.create_hypertable('event_data', 'time', chunk_time_interval => interval '1 day');
    insert into event_data (time, device_id, value)
      select t, d, case d when 3 then 'nan' else d * 1.5 end
      from generate_series(timestamptz '2026-01-01 00:00+00', '2026-01-04 23:50+00', '10 minutes') t,
           generate_series(1, 5) d;
    select tidemill.make_chunks('event_data');
"""
"""Four days of five devices, 720 rows a day."""
ROWS = 4 * 720


def compress(
    connection: psycopg.Connection, table: str = "event_data", before: str = "infinity"
) -> list[str]:
    """Compresses the chunks of a hypertable that end before a time, and returns their names."""
    done = connection.execute(
        "select tidemill.compress_chunk(c)::text from tidemill.show_chunks(%s::text::regclass) c"
        " join tidemill._chunks k on k.relation = c"
        " where k.range_end <= extract(epoch from least(%s, timestamptz '2100-01-01')) * 1000000",
        [table, before],
    )
    return [name for (name,) in done.fetchall()]


def images(connection: psycopg.Connection, table: str = "event_data") -> list[str]:
    """All rows of a table as text, in an order."""
    found = connection.execute(f"select r::text from {table} r order by 1".encode())
    return [text for (text,) in found.fetchall()]


def count(connection: psycopg.Connection, query: str) -> Any:
    [(number,)] = connection.execute(query.encode()).fetchall()
    return number
