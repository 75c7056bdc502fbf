"""Tables that are partitioned already become hypertables, without a row moving."""

from __future__ import annotations

import psycopg
import pytest

from tests.hypertables.calls import run, value, values

pytestmark = pytest.mark.versions(18, 16)

# As pg_partman leaves it: months in the table's own schema, and a default partition.
MONTHS = """
    create table app.event_data (
      time timestamptz not null, device_id integer not null, value double precision,
      primary key (device_id, time)
    ) partition by range (time);
    create table app.event_data_p2026_01 partition of app.event_data
      for values from ('2026-01-01 00:00+00') to ('2026-02-01 00:00+00') with (fillfactor = 70);
    create table app.event_data_p2026_02 partition of app.event_data
      for values from ('2026-02-01 00:00+00') to ('2026-03-01 00:00+00') with (fillfactor = 70);
    create table app.event_data_p2026_03 partition of app.event_data
      for values from ('2026-03-01 00:00+00') to ('2026-04-01 00:00+00') with (fillfactor = 70);
    create table app.event_data_default partition of app.event_data default with (fillfactor = 70);
    insert into app.event_data select t, d, d * 1.5
      from generate_series(timestamptz '2026-01-01 00:00+00', '2026-04-09 23:00+00', '1 hour') t,
           generate_series(1, 3) d;
"""
# 31 + 28 + 31 + 9 days of 24 hours and 3 devices.
ROWS = 99 * 24 * 3


@pytest.fixture
def months(connection: psycopg.Connection) -> psycopg.Connection:
    run(connection, MONTHS)
    return connection


def images(connection: psycopg.Connection) -> str:
    """All rows, as one number."""
    return str(
        value(connection, "select sum(hashtextextended(r::text, 0)::numeric)::text from app.event_data r")
    )


def test_partitions_become_chunks_as_they_are(months: psycopg.Connection) -> None:
    files = "select relfilenode from pg_class where relname like 'event!_data!_p%' escape '!' order by 1"
    before = values(months, files)
    made = run(months, "select * from tidemill.adopt_hypertable('app.event_data')")
    assert made == [(1, True)]
    assert values(months, files) == before
    found = run(
        months,
        "select chunk_schema, chunk_name, range_start::date::text, range_end::date::text from tidemill.chunks"
        " where chunk_schema = 'app' order by number",
    )
    assert found == [
        ("app", "event_data_p2026_01", "2026-01-01", "2026-02-01"),
        ("app", "event_data_p2026_02", "2026-02-01", "2026-03-01"),
        ("app", "event_data_p2026_03", "2026-03-01", "2026-04-01"),
    ]
    assert run(months, "select time_interval::text, primary_dimension from tidemill.hypertables") == [
        ("31 days", "time")
    ]
    # The default partition stays with its rows, until the action makes chunks.
    assert value(months, "select count(*) from app.event_data_default") == 9 * 72
    [action] = values(
        months, "select id from tidemill.actions where routine = 'tidemill.policy_chunks' and scheduled"
    )
    run(months, f"call tidemill.run_action({action})")
    assert value(months, "select count(*) from app.event_data_default") == 0
    assert value(months, "select bool_or(range_start <= now() and now() < range_end) from tidemill.chunks")
    assert value(months, "select count(*) from app.event_data") == ROWS


def test_all_that_a_hypertable_does(months: psycopg.Connection) -> None:
    run(months, "select tidemill.adopt_hypertable('app.event_data')")
    before = images(months)
    # The rest of the default partition goes into chunks, which are made from where the last one ends.
    assert value(months, "select tidemill.make_chunks('app.event_data')") >= 1
    assert value(months, "select count(*) from app.event_data_default") == 0
    made = run(
        months,
        "select range_start::date::text, reloptions from tidemill.chunks"
        " join pg_class on relname = chunk_name where chunk_schema = 'app_chunks' order by 1 limit 1",
    )
    assert made == [("2026-04-01", ["fillfactor=70"])]
    assert values(
        months, "select tidemill.show_chunks('app.event_data', timestamptz '2026-03-01 00:00+00')::text"
    ) == ["event_data_p2026_01", "event_data_p2026_02"]
    run(months, "select tidemill.enable_compression('app.event_data', 'device_id')")
    packed = values(
        months,
        "select tidemill.compress_chunk(c)::text"
        " from tidemill.show_chunks('app.event_data', timestamptz '2026-04-01 00:00+00') c",
    )
    assert packed == ["event_data_p2026_01", "event_data_p2026_02", "event_data_p2026_03"]
    assert (value(months, "select count(*) from app_rows.event_data"), images(months)) == (9 * 72, before)
    # A packed key is refused, a new row waits beside.
    with pytest.raises(psycopg.errors.UniqueViolation):
        run(months, "insert into app.event_data values ('2026-02-03 00:00+00', 1, 0)")
    run(
        months,
        "create table app.staged (like app_rows.event_data); insert into app.staged values"
        " ('2026-01-02 00:30+00', 1, 7), ('2026-01-02 01:00+00', 1, 7), ('2025-12-31 00:00+00', 1, 7)",
    )
    run(months, "call tidemill.decompress_backfill('app.staged', 'app.event_data')")
    assert value(months, "select count(*) from app.staged") == 0
    assert value(months, "select count(*) from app.event_data") == ROWS + 2
    assert value(months, "select count(*) from app_rows.event_data where time >= '2026-01-01Z'") == 9 * 72
    run(months, "delete from app_rows.event_data where time < '2026-01-01Z'")
    back = values(
        months,
        "select tidemill.decompress_chunk(c)::text"
        " from tidemill.show_chunks('app.event_data', timestamptz '2026-03-01 00:00+00') c"
        " where c::text like 'event%'",
    )
    assert back == packed[:2]
    run(months, "delete from app_rows.event_data where (time, value) = ('2026-01-02 00:30+00', 7)")
    assert images(months) == before
    dropped = values(
        months, "select tidemill.drop_chunks('app.event_data', older_than => timestamptz '2026-02-01Z')"
    )
    assert dropped[-1] == "app.event_data_p2026_01"
    assert value(months, "select count(*) from app.event_data") == ROWS - 31 * 72


def test_policies(months: psycopg.Connection) -> None:
    run(months, "select tidemill.adopt_hypertable('app.event_data')")
    run(months, "select tidemill.enable_compression('app.event_data', 'device_id')")
    for kind, since in (("compression", "2026-04-01"), ("retention", "2026-02-01")):
        age = f"now() - timestamptz '{since} 00:00+00'"
        policy = value(months, f"select tidemill.add_{kind}_policy('app.event_data', {age})")
        run(months, f"call tidemill.run_action({policy})")
    assert value(months, "select count(*) from app.event_data") == ROWS - 31 * 72
    assert value(months, "select count(*) from app_rows.event_data") == 9 * 72


# What is between the type and the partitions, how wide chunks are then, and their ends.
BOUNDS = {
    "smallint": (
        "create table app.p partition of app.m for values from (minvalue) to (-100);"
        "create table app.q partition of app.m for values from (-100) to (0)",
        100,
        [(-32768, -100), (-100, 0)],
    ),
    "integer": (
        "create table app.p partition of app.m for values from (0) to (10);"
        "create table app.q partition of app.m for values from (10) to (maxvalue)",
        10,
        [(0, 10), (10, 9223372036854775807)],
    ),
    "bigint": (
        "create table app.p partition of app.m for values from (minvalue) to (maxvalue)",
        1000000,
        [(-9223372036854775808, 9223372036854775807)],
    ),
    "date": (
        "create table app.p partition of app.m for values from (minvalue) to ('1970-01-02');"
        "create table app.q partition of app.m for values from ('1970-01-02') to ('1970-01-04')",
        2 * 86400000000,
        [(-210866803200000000, 86400000000), (86400000000, 3 * 86400000000)],
    ),
    "timestamp": (
        "create table app.p partition of app.m for values from ('1970-01-01') to ('1970-01-01 01:00:00.1');"
        "create table app.q partition of app.m for values from ('1970-01-02') to ('infinity')",
        3600100000,
        [(0, 3600100000), (86400000000, 9223372036854775807)],
    ),
    "timestamptz": (
        "set timezone = 'Europe/Berlin'; set datestyle = 'German';"
        "create table app.p partition of app.m for values from ('1970-01-01Z') to ('1970-01-02Z');"
        "create table app.q partition of app.m"
        " for values from ('0044-03-15 00:00Z BC') to ('0044-03-16Z BC')",
        86400000000,
        [(-63517824000000000, -63517737600000000), (0, 86400000000)],
    ),
}


@pytest.mark.parametrize("kind", BOUNDS)
def test_bounds(connection: psycopg.Connection, kind: str) -> None:
    partitions, width, ends = BOUNDS[kind]
    run(connection, f"create table app.m (at {kind}, n int) partition by range (at); {partitions}")
    run(connection, "select tidemill.adopt_hypertable('app.m')")
    assert value(connection, "select chunk_width from tidemill._hypertables") == width
    shown = (
        "select range_start, range_end from tidemill._chunks where relation::text in ('p', 'q') order by 1"
    )
    assert run(connection, shown) == ends
    assert value(
        connection,
        "select attnotnull from pg_attribute where attrelid = 'app.m'::regclass and attname = 'at'",
    )
    run(connection, "select tidemill.make_chunks('app.m')")


def test_rows_at_the_ends_of_time(connection: psycopg.Connection) -> None:
    run(
        connection,
        "create table app.m (at timestamptz, n int, primary key (n, at)) partition by range (at);"
        "create table app.old partition of app.m for values from (minvalue) to ('2020-01-01Z');"
        "create table app.new partition of app.m for values from ('2020-01-01Z') to (maxvalue);"
        "insert into app.m values ('-infinity', 1), ('4000-01-01 BC', 2), ('2019-01-01Z', 3),"
        " ('2020-01-01Z', 4), ('294000-01-01Z', 5), ('infinity', 6)",
    )
    run(connection, "select tidemill.adopt_hypertable('app.m')")
    before = values(connection, "select m::text from app.m order by n")
    run(connection, "select tidemill.enable_compression('app.m')")
    packed = values(
        connection, "select tidemill.compress_chunk(c)::text from tidemill.show_chunks('app.m') c"
    )
    assert packed == ["old", "new"]
    run(
        connection,
        "create table app.staged (like app_rows.m);"
        "insert into app.staged values ('2018-01-01Z', 7), ('2021-01-01Z', 8), ('2020-01-01Z', 4)",
    )
    run(connection, "call tidemill.decompress_backfill('app.staged', 'app.m')")
    assert value(connection, "select count(*) from app_rows.m") == 0
    assert values(connection, "select m::text from app.m where n < 7 order by n") == before
    assert value(connection, "select count(*) from app.m") == 8


def test_names_and_columns_of_all_kinds(connection: psycopg.Connection) -> None:
    run(
        connection,
        """
        create schema "Own Schema";
        create table "Own Schema"."Odd ""Table" (
          id bigint generated always as identity, gone int, "Time" date, tags text[], "doubled" numeric,
          twice numeric generated always as ("doubled" * 2) stored, primary key (id, "Time")
        ) partition by range ("Time");
        alter table "Own Schema"."Odd ""Table" drop column gone;
        create table "Own Schema"."P 1" partition of "Own Schema"."Odd ""Table"
          for values from ('2026-01-01') to ('2026-01-11');
        create table app.attached (
          id bigint not null, "Time" date not null, tags text[], "doubled" numeric,
          twice numeric generated always as ("doubled" * 2) stored
        );
        alter table "Own Schema"."Odd ""Table" attach partition app.attached
          for values from ('2026-01-11') to ('2026-01-21');
        insert into "Own Schema"."Odd ""Table" ("Time", tags, doubled)
          select date '2026-01-01' + n % 20, array['a', null, n::text], n / 3.0
          from generate_series(0, 999) n;
        """,
    )
    table = '"Own Schema"."Odd ""Table"'
    shown = f"select r::text from {table} r order by 1"
    before = values(connection, shown)
    run(connection, f"select tidemill.adopt_hypertable('{table}')")
    run(connection, f"select tidemill.enable_compression('{table}')")
    old = f"from tidemill.show_chunks('{table}', date '2026-01-21') c"
    assert values(connection, f"select tidemill.compress_chunk(c)::text {old}") == [
        '"Own Schema"."P 1"',
        "attached",
    ]
    rows_table = '"Own Schema_rows"."Odd ""Table"'
    assert value(connection, f"select count(*) from {rows_table}") == 0
    assert values(connection, shown) == before
    run(connection, f"insert into {table} (\"Time\", doubled) values ('2026-01-05', 1), ('2026-01-15', 1)")
    assert values(connection, f"select id from {table} where doubled = 1 and tags is null") == [1001, 1002]
    assert len(values(connection, f"select tidemill.decompress_chunk(c) {old}")) == 2
    run(connection, f"delete from {rows_table} where id > 1000")
    assert values(connection, shown) == before
