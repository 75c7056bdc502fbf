"""Columns that are added where rows are packed."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import errors, sql

from tests.hypertables.calls import refused, run, value, values
from tests.hypertables.packed import ROWS, compress, count, images

pytestmark = pytest.mark.versions(18)


def add(connection: psycopg.Connection, name: str, kind: str, default: str | None = None) -> None:
    connection.execute("select tidemill.add_column('event_data', %s, %s, %s)", [name, kind, default])


KINDS = [
    ("integer", "7", "7"),
    ("double precision", "-0", "-0"),
    ("numeric(10, 2)", "1.5", "1.50"),
    ("numeric", "1.500", "1.500"),
    ("varchar(5)", "it's", "it's"),
    ("char(5)", "ab", "ab   "),
    ("text", "now()", "now()"),
    ("timestamptz", "2026-03-29 02:30+02", "2026-03-29 00:30:00+00"),
    ("interval", "24 hours", "24:00:00"),
    ("integer[]", "{1,NULL}", "{1,NULL}"),
    ("jsonb", '{"a":1}', '{"a": 1}'),
    ("app.mood", "fine", "fine"),
    ("boolean", None, None),
]


@pytest.mark.parametrize(("kind", "default", "shown"), KINDS)
def test_rows_that_are_there_get_the_default(
    packed: psycopg.Connection, kind: str, default: str | None, shown: str | None
) -> None:
    packed.execute("set timezone = 'UTC'; create type mood as enum ('fine', 'ill')")
    add(packed, "more", kind, default)
    [(found,)] = run(
        packed, "select distinct case when more is not null then format('%s', more) end from event_data"
    )
    assert found == shown
    before = images(packed)
    assert len(before) == ROWS
    # Packed as they are, anew, and back.
    compress(packed)
    assert images(packed) == before
    packed.execute(
        "select tidemill.compress_chunk(c, recompress => true) from tidemill.show_chunks('event_data') c"
    )
    assert images(packed) == before
    packed.execute("select tidemill.decompress_chunk(relation) from tidemill._chunks where is_compressed")
    assert images(packed, "app_rows.event_data") == before


def test_it_is_written_and_read_as_the_others(packed: psycopg.Connection) -> None:
    add(packed, "more", "integer", "7")
    added = run(
        packed,
        "insert into event_data (time, device_id) values ('2026-01-02 00:05+00', 1) returning more, note",
    )
    assert added == [(7, "none")]
    packed.execute("insert into event_data (time, device_id, more) values ('2026-01-02 00:06+00', 1, 8)")
    with packed.cursor().copy("copy event_data (time, device_id, more) from stdin") as copy:
        copy.write("2026-01-02 00:07+00\t1\t9\n")
    with pytest.raises(errors.UniqueViolation):
        packed.execute("insert into event_data (time, device_id, more) values ('2026-01-02 00:00+00', 1, 1)")
    assert run(
        packed, "delete from event_data where device_id = 1 and time = '2026-01-02 00:10+00' returning more"
    ) == [(7,)]
    found = values(
        packed,
        "select more from event_data_between('2026-01-02 00:00+00', '2026-01-02 00:30+00')"
        " where device_id = 1 order by time",
    )
    assert found == [7, 7, 8, 9, 7]
    assert value(packed, "select more from event_data_latest(1)") == 7
    compress(packed)
    assert count(packed, "select sum(more) from event_data") == (ROWS - 1 + 1) * 7 + 8 + 9


def test_before_compression_is_enabled(devices: psycopg.Connection) -> None:
    add(devices, "more", "integer", "7")
    devices.execute("select tidemill.enable_compression('event_data', 'device_id')")
    compress(devices)
    assert count(devices, "select sum(more) from event_data") == ROWS * 7


def test_where_the_name_is_the_table_s(devices: psycopg.Connection) -> None:
    devices.execute("select tidemill.enable_compression('event_data', 'device_id', transparent => false)")
    compress(devices, before="2026-01-04 00:00+00")
    add(devices, "more", "integer", "7")
    assert count(devices, "select sum(more) from event_data_all") == ROWS * 7
    assert count(devices, "select sum(more) from event_data") == 720 * 7


@pytest.mark.parametrize("name", ["it's %s", 'say "what"', "zeit ä€", "n" * 63, "select", "new"])
def test_odd_names(packed: psycopg.Connection, name: str) -> None:
    add(packed, name, "text", "it's %s")
    compress(packed)
    found = packed.execute(
        sql.SQL("select distinct {} from event_data").format(sql.Identifier(name))
    ).fetchall()
    assert found == [("it's %s",)]
    packed.execute("select tidemill.decompress_chunk(relation) from tidemill._chunks where is_compressed")
    assert count(packed, "select count(*) from app_rows.event_data") == ROWS


def test_another_role_goes_on_deleting(packed: psycopg.Connection, superuser_conninfo: str) -> None:
    role = sql.Identifier("other_of_" + packed.info.dbname)
    with psycopg.connect(superuser_conninfo, autocommit=True) as superuser:
        superuser.execute(sql.SQL("create role {}").format(role))
        try:
            packed.execute("select tidemill.decompress_chunk(c) from tidemill.show_chunks('event_data') c")
            packed.execute("create table m (time timestamptz primary key, n integer)")
            packed.execute("select tidemill.create_hypertable('m', 'time')")
            packed.execute(
                "insert into m select '2026-01-01'::timestamptz + n * interval '1 s', n"
                " from generate_series(1, 9) n; select tidemill.make_chunks('m')"
            )
            packed.execute(
                sql.SQL("grant usage on schema app to {0}; grant select, delete on m to {0}").format(role)
            )
            packed.execute("select tidemill.enable_compression('m')")
            compress(packed, "m")
            packed.execute("select tidemill.add_column('m', 'more', 'integer', '7')")
            superuser.execute(sql.SQL("set role {}; set search_path = app").format(role))
            assert values(superuser, "delete from m where n = 5 returning more") == [7]
            assert count(superuser, "select count(*) from m_latest()") == 1
        finally:
            superuser.execute("reset role")
            superuser.execute(sql.SQL("drop owned by {0}; drop role {0}").format(role))


@pytest.mark.parametrize(
    ("arguments", "sqlstate", "message"),
    [
        ("'more', 'intger'", "42704", 'data_type is not a type: "intger"'),
        ("'more', 'serial'", "42704", 'data_type is not a type: "serial"'),
        ("'more', 'integer default 3'", "42704", "data_type is not a type"),
        ("'more', 'integer, drop column note'", "42704", "data_type is not a type"),
        ("'more', 'nowhere.integer'", "42704", "data_type is not a type"),
        ("'more', 'mood'", "42704", 'data_type is not a type: "mood"'),
        ("'_rows', 'integer'", "42611", 'cannot be called "_rows"'),
        ("'a~tiny', 'integer'", "42611", 'cannot be called "a~tiny"'),
    ],
)
def test_mistakes_are_told(packed: psycopg.Connection, arguments: str, sqlstate: str, message: str) -> None:
    before = images(packed)
    with refused(sqlstate, message):
        packed.execute(f"select tidemill.add_column('event_data', {arguments})".encode())
    assert images(packed) == before


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ("'note', 'integer'", errors.DuplicateColumn),
        ("'more', 'integer', 'seven'", errors.InvalidTextRepresentation),
        ("'more', 'varchar(3)', 'four'", errors.StringDataRightTruncation),
    ],
)
def test_what_postgresql_refuses(packed: psycopg.Connection, arguments: str, error: type[Exception]) -> None:
    before = images(packed)
    with pytest.raises(error):
        packed.execute(f"select tidemill.add_column('event_data', {arguments})".encode())
    assert images(packed) == before


def test_a_column_that_cannot_be_packed(connection: psycopg.Connection) -> None:
    connection.execute(
        "create table m (at date not null); select tidemill.create_hypertable('m', 'at');"
        "select tidemill.enable_compression('m')"
    )
    with refused("0A000", "does not come back as it was"):
        connection.execute("select tidemill.add_column('m', 'prices', 'money[]')")
