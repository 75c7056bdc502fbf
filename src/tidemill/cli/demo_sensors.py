"""The part of the tour that shows hypertables: old readings of sensors are packed, and late ones come in."""

from __future__ import annotations

import time
from typing import Any

import psycopg

from tidemill.cli.demo_actions import execute, history, wait_for_runs
from tidemill.cli.demo_words import title
from tidemill.cli.hypertables_find import bar, find_chunks, find_hypertable, legend, size
from tidemill.cli.output import console, say
from tidemill.database import sql


async def tour(connection: psycopg.Connection) -> str:
    """Loads, packs and backfills the readings of sensors; returns a line for the summary."""
    title("9. A table of readings becomes a hypertable, with a chunk for each day")
    create, insert, convert, _ = sql.query("demo_sensors").split(";\n")
    execute(connection, f"{create};")
    execute(connection, f"{insert};")
    execute(connection, f"{convert};")
    rows = _value(connection, "select count(*) from readings")
    digest = _digest(connection)
    say(f"{rows:,} readings of ten sensors in a week.")
    _print_bar(connection)

    title("10. Days that are over are compressed")
    execute(connection, "SELECT tidemill.enable_compression('readings', segmentby => 'sensor');")
    before = {chunk["number"]: chunk["bytes"] for chunk in _chunks(connection)}
    started = time.perf_counter()
    packed = execute(
        connection,
        "SELECT count(tidemill.compress_chunk(c))\n"
        "FROM tidemill.show_chunks('readings', older_than => interval '1 day') c;",
    )
    seconds = time.perf_counter() - started
    chunks = [chunk for chunk in _chunks(connection) if chunk["is_compressed"]]
    large, small = sum(before[chunk["number"]] for chunk in chunks), sum(c["packed_bytes"] for c in chunks)
    ratio = large / small
    say(f"{packed} chunks in {seconds:.1f} s: {size(large)} before, {size(small)} packed, ratio {ratio:.1f}.")
    _print_bar(connection)
    same = "unchanged" if _digest(connection) == digest else "CHANGED"
    count = _value(connection, "select count(*) from readings")
    say(f"SELECT count(*) FROM readings says {count:,}, and the checksum of all rows is {same}.")

    title("11. Late readings: an action moves them in, also where it is compressed")
    *statements, _ = sql.query("demo_sensors_late").split(";\n")
    for statement in statements:
        execute(connection, f"{statement};")
    late = _value(connection, "select count(*) from late_readings")
    new = _value(
        connection,
        "select count(*) from late_readings l where not exists"
        " (select from readings r where r.sensor = l.sensor and r.time = l.time)",
    )
    say(f"{late:,} late readings, of which {late - new:,} are there already.")
    execute(connection, sql.query("demo_sensors_backfill"))
    action_id = execute(connection, "SELECT tidemill.add_action('backfill_readings', '10 days');")
    await wait_for_runs(connection, action_id, scheduled=1)
    [run] = history(connection, action_id)
    say(run["output"])
    now = _value(connection, "select count(*) from readings")
    left = _value(connection, "select count(*) from late_readings")
    verdict = "nothing is lost" if (now, left) == (rows + new, 0) else "THIS IS WRONG"
    say(
        f"{rows:,} readings and {new:,} new ones are {rows + new:,}. "
        f"The table has {now:,}, and {left} wait: {verdict}."
    )
    _print_bar(connection)
    return f"and {now:,} readings, most of them packed to 1/{ratio:.0f} of their size, late ones included."


def _value(connection: psycopg.Connection, statement: str) -> Any:
    row = connection.execute(statement.encode()).fetchone()
    assert row is not None
    return row[0]


def _digest(connection: psycopg.Connection) -> Any:
    """A number that any change of any row changes."""
    return _value(connection, "select sum(hashtextextended(r::text, 0)::numeric) from readings r")


def _chunks(connection: psycopg.Connection) -> list[dict[str, Any]]:
    return find_chunks(connection, find_hypertable(connection, "tidemill_demo.readings")["id"])


def _print_bar(connection: psycopg.Connection) -> None:
    states = [chunk["state"] for chunk in _chunks(connection) if chunk["number"] is not None]
    console.print("Chunks by age:", bar(states, 60), f" ({legend(set(states))})")
