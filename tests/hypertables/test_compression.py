"""Packed rows: they come back as they were, are read and written under the table's name, and stay unique."""

from __future__ import annotations

import re
from typing import Any

import psycopg
import pytest
from psycopg import errors

from tests.hypertables.packed import DEVICES, ROWS, compress, count, images

# Values whose images differ although they are equal, or that a setting could change.
VALUES = {
    "double precision": ["'-0'", "'nan'", "'-infinity'", "1e-308", "0.1"],
    "real": ["'-0'", "'nan'", "3.4e38"],
    "numeric": ["1.0", "1.00", "'nan'", "'infinity'", "1e-20"],
    "numeric(10, 2)": ["1", "-0.01"],
    "interval": ["'1 day'", "'24 hours'", "'1 mon -1 day +00:00:01'"],
    "timestamptz": [
        "'infinity'",
        "'0044-03-15 12:00:00+00 BC'",
        "'2026-10-25 02:30+02'",
        "'2026-10-25 02:30+01'",
    ],
    "timestamp": ["'2026-03-29 02:30'", "'-infinity'"],
    "date": ["'2026-02-28'", "'infinity'"],
    "time with time zone": ["'12:00+05:30'"],
    "text": ["''", "' '", "E'a\\\\b\"c,{}'", "repeat('long', 5000)", "'ä€'"],
    "char(5)": ["'ab'"],
    "bytea": ["''", "'\\x00ff'"],
    "boolean": ["true", "false"],
    "uuid": ["'00000000-0000-0000-0000-000000000001'"],
    "inet": ["'10.0.0.1/8'"],
    "json": ['\'{"b": 1, "a":  [1, null]}\''],
    "jsonb": ["'{\"a\": 1}'", "'null'"],
    "integer[]": ["'{}'", "'{1,NULL,3}'", "'{{1,2},{3,4}}'", "'[2:3]={5,6}'"],
    "text[]": ['\'{"",NULL,"NULL","a b"}\''],
    "date[]": ["'{2026-02-03}'"],
    "interval[]": ["'{\"1 day 02:00:00\"}'"],
    "float8[]": ["'{0.1,-0,nan}'"],
    "int4range": ["'empty'", "'[1,5)'"],
    "mood": ["'fine'"],
    "pair": ["row(1, 'x, y')", "row(null, null)"],
    "positive": ["7"],
}


@pytest.mark.each_version("types differ")
@pytest.mark.parametrize("type_name", VALUES)
def test_values_of_every_type_come_back_as_they_were(connection: psycopg.Connection, type_name: str) -> None:
    connection.execute(
        "create type mood as enum ('fine', 'sad'); create type pair as (number integer, word text);"
        " create domain positive as integer check (value > 0)"
    )
    connection.execute(
        f"create table things (at timestamptz not null, thing {type_name}, other integer default 1)".encode()
    )
    connection.execute("select tidemill.create_hypertable('things', 'at')")
    for value in ["null", *VALUES[type_name]]:
        connection.execute(
            f"insert into things (at, thing) select '2026-01-01 00:00+00', {value}::{type_name}"
            " from generate_series(1, 3)".encode()
        )
    connection.execute("select tidemill.make_chunks('things')")
    before = images(connection, "things")
    connection.execute("select tidemill.enable_compression('things')")
    # What a session reads and writes as text does not change what is packed.
    connection.execute(
        "set datestyle = 'SQL, DMY'; set intervalstyle = 'sql_standard'; set extra_float_digits = -3"
    )
    compress(connection, "things")
    connection.execute("reset datestyle; reset intervalstyle; reset extra_float_digits")
    assert count(connection, "select count(*) from app_rows.things") == 0
    assert images(connection, "things") == before
    connection.execute("select tidemill.decompress_chunk(relation) from tidemill._chunks where is_compressed")
    assert images(connection, "app_rows.things") == before


def test_a_range_of_one_device_is_read_through_the_segments_index(packed: psycopg.Connection) -> None:
    plan = "\n".join(
        line
        for (line,) in packed.execute(
            "explain select * from event_data where device_id = 2 and time = '2026-01-02 00:00+00'"
        ).fetchall()
    )
    assert "_segments_0_device_id__" in plan
    assert "Index Cond: (device_id = 2)" in plan


def test_rows_go_on_under_the_table_s_name(packed: psycopg.Connection) -> None:
    assert count(packed, "select count(*) from event_data") == ROWS
    assert count(packed, "select count(*) from app_rows.event_data") == 720
    added = packed.execute(
        "insert into event_data (time, device_id) values ('2026-01-02 00:05+00', 1) returning note"
    ).fetchall()
    assert added == [("none",)]
    with packed.cursor().copy("copy event_data (time, device_id, value) from stdin") as copy:
        copy.write("2026-01-02 00:06+00\t1\t5\n")
    assert count(packed, "select count(*) from event_data") == ROWS + 2
    # They wait beside their segments, and are packed the next time.
    assert count(packed, "select count(*) from app_rows.event_data") == 722
    compress(packed, before="2026-01-04 00:00+00")
    assert count(packed, "select count(*) from app_rows.event_data") == 720
    assert count(packed, "select count(*) from event_data") == ROWS + 2


@pytest.mark.parametrize(
    ("statement", "error"),
    [
        ("update event_data set value = 1", errors.InsufficientPrivilege),
        ("truncate event_data", errors.WrongObjectType),
        ("select * from event_data for update", errors.InsufficientPrivilege),
        ("select * from event_data for share", errors.InsufficientPrivilege),
        (
            "insert into event_data values ('2026-01-02 00:00+00', 1) on conflict do nothing",
            errors.FeatureNotSupported,
        ),
        ("create index on event_data (value)", errors.WrongObjectType),
        ("alter table event_data add column extra integer", errors.WrongObjectType),
    ],
)
def test_what_a_view_cannot_do_is_refused(
    packed: psycopg.Connection, statement: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        packed.execute(statement.encode())
    assert count(packed, "select count(*) from event_data") == ROWS


PACKED_KEY = "('2026-01-02 00:00+00', 1, 99)"


@pytest.mark.parametrize("into", ["event_data", "app_rows.event_data"])
def test_a_packed_key_is_taken(packed: psycopg.Connection, into: str) -> None:
    with pytest.raises(errors.UniqueViolation):
        packed.execute(f"insert into {into} (time, device_id, value) values {PACKED_KEY}".encode())
    assert count(packed, "select count(*) from app_rows.event_data") == 720


def test_upserts_meet_packed_keys(packed: psycopg.Connection) -> None:
    insert = f"insert into app_rows.event_data (time, device_id, value) values {PACKED_KEY} on conflict"
    assert packed.execute(f"{insert} do nothing".encode()).rowcount == 0
    assert packed.execute(f"{insert} (device_id, time) do nothing".encode()).rowcount == 0
    assert count(packed, "select count(*) from event_data") == ROWS
    compress(packed, before="2026-01-04 00:00+00")
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match="decompress_chunk"):
        packed.execute(f"{insert} (device_id, time) do update set value = excluded.value".encode())
    assert count(packed, "select count(*) from event_data where value = 99") == 0
    assert count(packed, "select count(*) from event_data") == ROWS


def test_of_two_sessions_with_one_packed_key_both_are_refused(packed: psycopg.Connection) -> None:
    statement = f"insert into event_data (time, device_id, value) values {PACKED_KEY}".encode()
    with psycopg.connect(packed.info.dsn) as other:
        with pytest.raises(errors.UniqueViolation):
            other.execute(statement)
        with pytest.raises(errors.UniqueViolation):
            packed.execute(statement)
    assert count(packed, "select count(*) from event_data") == ROWS


def test_keys_without_the_segments_columns_are_unique_too(connection: psycopg.Connection) -> None:
    connection.execute(
        "create table event_data (time timestamptz primary key, device_id integer);"
        "select tidemill.create_hypertable('event_data', 'time', chunk_time_interval => interval '1 day');"
        "insert into event_data values ('2026-01-01 00:00+00', 1);"
        "select tidemill.make_chunks('event_data');"
        "select tidemill.enable_compression('event_data', 'device_id')"
    )
    compress(connection)
    with pytest.raises(errors.UniqueViolation):
        connection.execute("insert into event_data values ('2026-01-01 00:00+00', 2)")


def test_packing_fires_no_trigger_of_the_user(devices: psycopg.Connection) -> None:
    devices.execute(
        "create table audit (what text);"
        "create function note() returns trigger language plpgsql as"
        " $$ begin insert into audit values (tg_op); return coalesce(new, old); end $$;"
        "create trigger noted after insert or delete on event_data for each row execute function note();"
        "create trigger off before insert on event_data for each row execute function note();"
        "alter table event_data disable trigger off;"
        "alter table event_data enable always trigger noted;"
        "select tidemill.enable_compression('event_data', 'device_id')"
    )
    states = "select tgname, tgenabled from pg_trigger where tgname in ('noted', 'off') order by tgrelid, 1"
    before = devices.execute(states.encode()).fetchall()
    compress(devices)
    compress(devices)
    devices.execute("select tidemill.decompress_chunk(relation) from tidemill._chunks where is_compressed")
    assert count(devices, "select count(*) from audit") == 0
    assert devices.execute(states.encode()).fetchall() == before
    devices.execute("insert into event_data (time, device_id) values ('2026-01-02 00:05+00', 1)")
    assert count(devices, "select count(*) from audit") == 1


def test_compressing_again_packs_what_came_since(packed: psycopg.Connection) -> None:
    [chunk, *_] = compress(packed, before="2026-01-04 00:00+00")
    with pytest.raises(errors.DuplicateObject, match="already compressed"):
        packed.execute("select tidemill.compress_chunk(%s, if_not_compressed => false)", [chunk])
    packed.execute("insert into event_data (time, device_id) values ('2026-01-01 00:05+00', 1)")
    packed.execute("select tidemill.compress_chunk(%s, recompress => true)", [chunk])
    # One segment for each device: the row is in that of its device.
    segments = packed.execute(
        "select device_id, _rows from app_chunks._hyper_1_segments join tidemill._chunks on number = _chunk"
        " where relation = %s::text::regclass",
        [chunk],
    )
    assert sorted(segments.fetchall()) == [(1, 145), (2, 144), (3, 144), (4, 144), (5, 144)]


def test_decompressing(packed: psycopg.Connection) -> None:
    before = images(packed)
    for _ in range(2):
        packed.execute("select tidemill.decompress_chunk(c) from tidemill.show_chunks('event_data') c")
        assert count(packed, "select count(*) from app_rows.event_data") == ROWS
    assert images(packed) == before
    [(chunk,)] = packed.execute("select tidemill.show_chunks('event_data')::text limit 1").fetchall()
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match="is not compressed"):
        packed.execute("select tidemill.decompress_chunk(%s, if_compressed => false)", [chunk])
    compress(packed)
    assert images(packed) == before


@pytest.mark.parametrize("level", ["read committed", "repeatable read"])
def test_a_reader_sees_each_row_once_throughout(packed: psycopg.Connection, level: str) -> None:
    with psycopg.connect(packed.info.dsn, autocommit=True) as reader:
        reader.execute(f"begin isolation level {level}".encode())
        query = "select count(*), count(distinct (device_id, time)) from event_data"
        seen = [reader.execute(query).fetchall()]
        with packed.transaction():
            compress(packed)
            seen.append(reader.execute(query).fetchall())
        seen.append(reader.execute(query).fetchall())
        with packed.transaction():
            packed.execute("select tidemill.decompress_chunk(c) from tidemill.show_chunks('event_data') c")
            seen.append(reader.execute(query).fetchall())
        seen.append(reader.execute(query).fetchall())
    assert seen == [[(ROWS, ROWS)]] * 5


def test_a_foreign_key_on_the_segments_columns_holds_for_packed_rows(connection: psycopg.Connection) -> None:
    connection.execute(
        "create table devices (id integer primary key); insert into devices select generate_series(1, 5)"
    )
    connection.execute(
        DEVICES.replace(
            "device_id integer not null", "device_id integer not null references devices on delete cascade"
        )
    )
    connection.execute("select tidemill.enable_compression('event_data', 'device_id')")
    compress(connection)
    connection.execute("delete from devices where id = 4")
    assert count(connection, "select count(*) from event_data") == ROWS * 4 // 5


@pytest.mark.parametrize(
    ("before", "named"),
    [
        ("create view seen as select * from event_data", "view app.seen"),
        ("alter table event_data enable row level security", "row level security"),
        (
            "create table devices (id integer primary key); insert into devices select generate_series(1, 5);"
            "alter table event_data add constraint of_device foreign key (device_id) references devices",
            "the foreign key of_device",
        ),
        (
            "create table notes (device_id integer, time timestamptz,"
            " constraint of_event foreign key (device_id, time) references event_data)",
            "the foreign key of_event of",
        ),
        (
            "create function newest() returns timestamptz language sql"
            " begin atomic select max(time) from event_data; end",
            "function app.newest",
        ),
        (
            "create function whole(event_data) returns integer language sql return 1",
            "function app.whole",
        ),
    ],
)
def test_what_would_break_silently_is_named(devices: psycopg.Connection, before: str, named: str) -> None:
    devices.execute(before.encode())
    with pytest.raises(errors.FeatureNotSupported, match=named):
        devices.execute("select tidemill.enable_compression('event_data')")
    assert count(devices, "select relkind from pg_class where oid = 'event_data'::regclass") == "p"


@pytest.mark.parametrize(
    ("call", "code", "said"),
    [
        ("enable_compression('pg_class')", "TS001", "is not a hypertable"),
        ("enable_compression('event_data', 'devise')", "42703", 'column "devise"'),
        ("enable_compression('event_data', 'time')", "42611", "it is the time"),
        ("enable_compression('event_data', 'device_id, device_id')", "42611", "twice"),
        ("compress_chunk('event_data')", "42704", "is not a chunk"),
        ("compress_chunk('app_chunks._hyper_1_1_chunk')", "0A000", "not enabled"),
    ],
)
def test_mistakes_are_told(devices: psycopg.Connection, call: str, code: str, said: str) -> None:
    with pytest.raises(psycopg.Error, match=said) as raised:
        devices.execute(f"select tidemill.{call}".encode())
    assert raised.value.sqlstate == code


def test_compression_is_enabled_once(packed: psycopg.Connection) -> None:
    for name in ("event_data", "app_rows.event_data"):
        with pytest.raises(errors.DuplicateObject, match="already enabled"):
            packed.execute("select tidemill.enable_compression(%s)", [name])


def test_readers_and_writers_keep_their_rights(
    devices: psycopg.Connection, superuser_conninfo: str, database: str
) -> None:
    role = "reader_of_" + devices.info.dbname
    with psycopg.connect(superuser_conninfo, autocommit=True) as superuser:
        superuser.execute(f"create role {role}".encode())
        try:
            devices.execute(f"grant usage on schema app to {role}".encode())
            devices.execute(f"grant select, insert on event_data to {role}".encode())
            devices.execute("select tidemill.enable_compression('event_data', 'device_id')")
            compress(devices, before="2026-01-04 00:00+00")
            superuser.execute(f"set role {role}".encode())
            assert count(superuser, "select count(*) from event_data") == ROWS
            superuser.execute("insert into event_data (time, device_id) values ('2026-01-02 00:05+00', 1)")
            with pytest.raises(errors.UniqueViolation):
                superuser.execute(
                    "insert into event_data (time, device_id) values ('2026-01-02 00:00+00', 1)"
                )
            with pytest.raises(errors.InsufficientPrivilege):
                superuser.execute("select tidemill.enable_compression('event_data')")
            superuser.execute("create temp table mine (like event_data)")
            with pytest.raises(errors.InsufficientPrivilege):
                superuser.execute(
                    "create trigger steal before insert on mine for each row"
                    " execute function app_chunks._hyper_1_guard('3')"
                )
        finally:
            superuser.execute("reset role")
            superuser.execute(f"drop owned by {role}; drop role {role}".encode())


def rows_of(connection: psycopg.Connection, query: str) -> list[tuple[Any, ...]]:
    return connection.execute(query.encode()).fetchall()


def test_generated_and_identity_columns(connection: psycopg.Connection) -> None:
    connection.execute(
        "create table readings (id bigint generated always as identity, at timestamptz not null,"
        " celsius numeric, fahrenheit numeric generated always as (celsius * 1.8 + 32) stored);"
        "select tidemill.create_hypertable('readings', 'at');"
        "insert into readings (at, celsius) select '2026-01-01 00:00+00', n from generate_series(1, 10) n;"
        "select tidemill.make_chunks('readings'); select tidemill.enable_compression('readings')"
    )
    before = images(connection, "readings")
    compress(connection, "readings")
    assert images(connection, "readings") == before
    added = rows_of(
        connection,
        "insert into readings (at, celsius) values ('2026-01-01 00:00+00', 100) returning id, fahrenheit",
    )
    assert [(number, float(warm)) for number, warm in added] == [(11, 212.0)]
    connection.execute("select tidemill.decompress_chunk(relation) from tidemill._chunks where is_compressed")
    assert count(connection, "select count(*) from app_rows.readings") == 11


def test_the_view_is_cut_only_between_packed_chunks(connection: psycopg.Connection) -> None:
    connection.execute(DEVICES.encode())
    connection.execute("select tidemill.enable_compression('event_data', 'device_id')")
    arms = "select count(*) from tidemill._hypertables h, tidemill._arms(h)"
    connection.execute("set constraint_exclusion = on")

    found = [count(connection, arms)]
    for day in range(2, 5):
        compress(connection, before=f"2026-01-0{day} 00:00+00")
        found.append(count(connection, arms))

    assert found == [1, 1, 2, 3]


@pytest.mark.parametrize("source", ["event_data", "event_data_between('2026-01-01', '2026-02-01')"])
def test_packed_rows_are_counted_by_the_planner_and_read_by_one_process(
    packed: psycopg.Connection, source: str
) -> None:
    packed.execute("vacuum analyze app_chunks._hyper_1_segments")
    for setting in ("min_parallel_table_scan_size", "parallel_setup_cost", "parallel_tuple_cost"):
        packed.execute(f"set {setting} = 0".encode())
    plan = "\n".join(line for (line,) in packed.execute(f"explain select * from {source}".encode()))
    assert "Gather" not in plan
    # A thousand for each of the 15 segments.
    [estimate] = re.findall(r"ProjectSet .* rows=(\d+)", plan)
    assert int(estimate) == 15_000
