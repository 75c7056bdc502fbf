"""The procedures of the how-to pages, each on a worker's schedule, with every row accounted for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from tests.hypertables.calls import run, value, values
from tests.support.dialects import lay_timescaledb
from tests.support.documents import ROOT, Page
from tests.support.running import eventually, running
from tests.support.servers import OWNER, Server, reachable_directory
from tidemill import App

pytestmark = pytest.mark.versions(18)


@pytest.fixture
def connection(server: Server, connection: psycopg.Connection) -> psycopg.Connection:
    """In a database with the dialect."""
    lay_timescaledb(server, connection.info.dsn)
    return connection


def lay_procedure(connection: psycopg.Connection, page: str) -> None:
    """Creates the procedure that a page shows."""
    blocks = [
        block.text for block in Page(ROOT / f"docs/how-to/{page}.md").blocks() if block.language == "sql"
    ]
    [procedure] = [text for text in blocks if text.startswith("CREATE PROCEDURE")]
    run(connection, procedure)


async def run_on_schedule(connection: psycopg.Connection, procedure: str, config: str) -> None:
    """Has a worker run it twice, and both runs end well."""
    job = value(connection, f"select add_job('{procedure}', '1 second', '{config}', fixed_schedule => false)")
    ended = (
        "select distinct outcome, message from tidemill.action_history"
        f" where action_id = {job} and outcome is not null"
    )
    runs = f"select id from tidemill.action_history where action_id = {job} and outcome is not null"
    async with App(connection.info.dsn) as app, running(app):
        await eventually(lambda: len(values(connection, runs)) >= 2, "two runs")
        run(connection, f"select alter_job({job}, scheduled => false)")
    assert run(connection, ended) == [("success", None)]


async def test_retention_for_all_hypertables(connection: psycopg.Connection) -> None:
    lay_procedure(connection, "retention-for-all-hypertables")
    # Two have times; one is packed, and of one the time is a number.
    for table, kind in (("fresh", "timestamptz"), ("packed", "date"), ("counted", "bigint")):
        run(connection, f"create table {table} (at {kind} not null, n int)")
        width = "10" if kind == "bigint" else "interval '1 day'"
        run(connection, f"select create_hypertable('{table}', 'at', chunk_time_interval => {width})")
    for table in ("fresh", "packed"):
        run(
            connection,
            f"insert into {table} select now() - n * interval '1 day', n from generate_series(0, 19) n",
        )
        run(connection, f"select tidemill.make_chunks('{table}')")
    run(connection, "insert into counted select n, n from generate_series(0, 99) n")
    run(connection, "select tidemill.make_chunks('counted'); select tidemill.enable_compression('packed')")
    run(connection, "select compress_chunk(c) from show_chunks('packed', interval '5 days') c")
    await run_on_schedule(connection, "retention_for_all", '{"drop_after": "10 days"}')
    # Chunks that end ten days ago and before: the one that holds the tenth day ago stays.
    for table in ("fresh", "packed"):
        left = sorted(values(connection, f"select n from {table}"))
        assert left == list(range(len(left)))
        assert len(left) in (10, 11)
    assert value(connection, "select count(*) from counted") == 100


async def test_downsample_and_compress(connection: psycopg.Connection) -> None:
    page = Page(ROOT / "docs/how-to/downsample-and-compress.md")
    run(connection, next(iter(page.blocks())).text)
    lay_procedure(connection, "downsample-and-compress")
    run(
        connection,
        "insert into readings (time, device_id, value) select t, d, extract(minute from t) + d from"
        " generate_series(timestamptz '2026-01-01 00:00Z', '2026-01-04 23:59Z', '1 minute') t,"
        " generate_series(1, 3) d; insert into readings (time, device_id, value) values (now(), 1, 5);"
        "select tidemill.make_chunks('readings')",
    )
    sums = "select sum(samples)::bigint, round(sum(value * samples)::numeric, 3) from readings"
    before = run(connection, sums)
    await run_on_schedule(connection, "downsample_and_compress", '{"bucket": "1 hour", "age": "2 days"}')
    assert run(connection, sums) == before == [(4 * 24 * 60 * 3 + 1, before[0][1])]
    # A row for each hour and device, and the one of today.
    assert value(connection, "select count(*) from readings") == 4 * 24 * 3 + 1
    assert value(connection, "select count(*) from tidemill.chunks where is_compressed") == 4
    rows_table = value(connection, "select rows_table::text from tidemill._hypertables")
    assert value(connection, f"select count(*) from {rows_table}") == 1


@pytest.fixture
def tablespace(server: Server, connection: psycopg.Connection) -> Iterator[str]:
    """A tablespace that the owner may use, for tables in the schemas of `readings`."""
    dbname = str(conninfo_to_dict(connection.info.dsn)["dbname"])
    name = f"history_{dbname}"
    with reachable_directory("history") as place, server.superuser(dbname) as superuser:
        account = Path(value(superuser, "show data_directory")).stat()
        os.chown(place, account.st_uid, account.st_gid)
        superuser.execute(
            sql.SQL("create tablespace {} location {}").format(sql.Identifier(name), str(place))
        )
        superuser.execute(
            sql.SQL("grant create on tablespace {} to {}").format(sql.Identifier(name), sql.Identifier(OWNER))
        )
        yield name
        run(superuser, "drop schema if exists app, app_rows, app_chunks cascade")
        superuser.execute(sql.SQL("drop tablespace {}").format(sql.Identifier(name)))


async def test_move_chunks_to_another_tablespace(connection: psycopg.Connection, tablespace: str) -> None:
    if value(connection, "select to_regproc('tidemill.move_chunk') is null"):
        pytest.skip("tidemill.move_chunk is not there")
    lay_procedure(connection, "move-chunks-to-another-tablespace")
    run(
        connection,
        "create table readings (time timestamptz not null, n int);"
        "select create_hypertable('readings', 'time', chunk_time_interval => interval '1 day');"
        "insert into readings select now() - n * interval '1 day', n from generate_series(0, 9) n;"
        "select tidemill.make_chunks('readings'); select tidemill.enable_compression('readings');"
        "select compress_chunk(c) from show_chunks('readings', interval '7 days') c",
    )
    config = f'{{"hypertable": "readings", "age": "3 days", "tablespace": "{tablespace}"}}'
    await run_on_schedule(connection, "move_old_chunks", config)
    moved = value(connection, "select count(*) from tidemill.chunks where chunk_tablespace is not null")
    assert moved in (6, 7)
    assert moved == value(connection, "select count(*) from show_chunks('readings', interval '3 days')")
    assert run(connection, "select count(*), sum(n) from readings") == [(10, 45)]
