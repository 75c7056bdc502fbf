"""What could double, change or lose packed rows, or hand them to others, and does not."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import errors

from tests.hypertables.packed import DEVICES, ROWS, compress, count, images

KEY = "('2026-01-02 00:00+00', 1, 99)"


@pytest.fixture
def packed(connection: psycopg.Connection) -> psycopg.Connection:
    """A hypertable of five devices, whose first three days are packed."""
    connection.execute(DEVICES)
    connection.execute("select tidemill.enable_compression('event_data', 'device_id')")
    compress(connection, before="2026-01-04 00:00+00")
    return connection


def once(connection: psycopg.Connection, expected: int = ROWS) -> None:
    """Each key is there once."""
    assert count(connection, "select count(*) from event_data") == expected
    assert count(connection, "select count(distinct (device_id, time)) from event_data") == expected


def test_copying_a_packed_key(packed: psycopg.Connection) -> None:
    with pytest.raises(errors.UniqueViolation), packed.cursor().copy("copy event_data from stdin") as copy:
        copy.write("2026-01-02 00:00+00\t1\t99\tnote\n")
    once(packed)


def test_a_packed_key_that_a_trigger_inserts(packed: psycopg.Connection) -> None:
    packed.execute(
        "create table raw (n integer);"
        "create function spread() returns trigger language plpgsql as"
        f" $$ begin insert into event_data (time, device_id, value) values {KEY}; return new; end $$;"
        "create trigger spread after insert on raw for each row execute function spread()"
    )
    with pytest.raises(errors.UniqueViolation):
        packed.execute("insert into raw values (1)")
    once(packed)


def test_an_update_to_a_packed_key(packed: psycopg.Connection) -> None:
    packed.execute("insert into event_data (time, device_id) values ('2026-01-02 00:05+00', 1)")
    with pytest.raises(errors.UniqueViolation):
        packed.execute(
            "update app_rows.event_data set time = '2026-01-02 00:10+00' where time = '2026-01-02 00:05+00'"
        )
    packed.execute("update app_rows.event_data set value = 5 where time = '2026-01-02 00:05+00'")
    once(packed, ROWS + 1)


def test_a_snapshot_of_before_the_packing(connection: psycopg.Connection) -> None:
    connection.execute(DEVICES)
    connection.execute("select tidemill.enable_compression('event_data', 'device_id')")
    compress(connection, before="2026-01-02 00:00+00")
    with psycopg.connect(connection.info.dsn) as other:
        other.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        other.execute("select from event_data limit 1")
        compress(connection, before="2026-01-04 00:00+00")
        with pytest.raises(errors.SerializationFailure):
            other.execute(f"insert into event_data (time, device_id, value) values {KEY}".encode())
    with psycopg.connect(connection.info.dsn) as other:
        other.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        with pytest.raises(errors.UniqueViolation):
            other.execute(f"insert into event_data (time, device_id, value) values {KEY}".encode())
    once(connection)


@pytest.mark.parametrize("call", ["compress_chunk", "decompress_chunk"])
@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_chunks_are_changed_by_transactions_that_see_all(
    packed: psycopg.Connection, call: str, level: str
) -> None:
    with packed.transaction():
        packed.execute(f"set transaction isolation level {level}".encode())
        with pytest.raises(errors.ActiveSqlTransaction), packed.transaction():
            packed.execute(f"select tidemill.{call}(c) from tidemill.show_chunks('event_data') c".encode())


def test_a_trigger_that_changes_the_time(connection: psycopg.Connection) -> None:
    connection.execute(DEVICES)
    connection.execute(
        "create function whole_minutes() returns trigger language plpgsql as"
        " $$ begin new.time := date_trunc('minute', new.time); return new; end $$;"
        'create trigger "Zz" before insert on event_data for each row execute function whole_minutes();'
        "select tidemill.enable_compression('event_data', 'device_id')"
    )
    compress(connection)
    for time in ("2026-01-02 00:00:00+00", "2026-01-02 00:00:30+00"):
        # To bring the packed rows back would fire it for them, too.
        with pytest.raises(errors.ObjectNotInPrerequisiteState, match="would fire triggers"):
            connection.execute("insert into event_data (time, device_id) values (%s, 1)", [time])
    connection.execute("insert into event_data (time, device_id) values ('2026-01-02 00:05:30+00', 1)")
    once(connection, ROWS + 1)


@pytest.mark.parametrize(
    ("index", "same"),
    [
        ("create unique index on m (at) include (device)", "('2026-01-01 00:00+00', 'b')"),
        ("create unique index on m (at, device) nulls not distinct", "('2026-01-01 00:00+00', null)"),
    ],
)
def test_indexes_that_look_at_more_than_the_segments_columns(
    connection: psycopg.Connection, index: str, same: str
) -> None:
    connection.execute(
        "create table m (at timestamptz not null, device text); select tidemill.create_hypertable('m', 'at');"
        f"{index}; insert into m values ('2026-01-01 00:00+00', {'null' if 'nulls' in index else repr('a')});"
        "select tidemill.make_chunks('m'); select tidemill.enable_compression('m', 'device')".encode()
    )
    compress(connection, "m")
    assert count(connection, "select count(*) from app_rows.m") == 0
    with pytest.raises(errors.UniqueViolation):
        connection.execute(f"insert into m values {same}".encode())


def test_names_that_generated_sql_could_mean(connection: psycopg.Connection) -> None:
    connection.execute(
        'create table "it\'s %s" ("t" timestamptz not null, r numeric, s text, gone int, "new" int, made int,'
        ' "per %" text, "q\'uote""d" int, place int, segment int, primary key ("t", r, "q\'uote""d"));'
        "select tidemill.create_hypertable('\"it''s %s\"', 't');"
        "insert into \"it's %s\" select '2026-01-01 00:00+00', v, 'x', 1, 2, 3, '4', n, 5, 6"
        "  from generate_series(1, 3) n, unnest('{1.0,2.00,3}'::numeric[]) v;"
        "select tidemill.make_chunks('\"it''s %s\"');"
        "select tidemill.enable_compression('\"it''s %s\"', 'r')"
    )
    before = images(connection, '"it\'s %s"')
    compress(connection, '"it\'s %s"')
    assert images(connection, '"it\'s %s"') == before
    with pytest.raises(errors.UniqueViolation):
        connection.execute(
            'insert into "it\'s %s" ("t", r, "q\'uote""d") values (\'2026-01-01 00:00+00\', 1, 2)'
        )
    connection.execute("select tidemill.decompress_chunk(relation) from tidemill._chunks where is_compressed")
    assert images(connection, 'app_rows."it\'s %s"') == before


def test_equal_values_that_look_different_stay_so(connection: psycopg.Connection) -> None:
    connection.execute(
        "create table m (at timestamptz not null, price numeric);"
        "select tidemill.create_hypertable('m', 'at');"
        "insert into m values ('2026-01-01 00:00+00', 1.0), ('2026-01-01 00:00+00', 1.00);"
        "select tidemill.make_chunks('m'); select tidemill.enable_compression('m', 'price')"
    )
    before = images(connection, "m")
    compress(connection, "m")
    assert images(connection, "m") == before


@pytest.mark.parametrize(
    ("later", "named"),
    [
        (
            "create table notes (device_id integer, time timestamptz, constraint of_event"
            " foreign key (device_id, time) references app_rows.event_data on delete cascade);"
            "insert into app_rows.event_data values ('2026-01-03 00:05+00', 1, 1);"
            "insert into notes values (1, '2026-01-03 00:05+00')",
            "foreign key of",
        ),
        ("alter table app_rows.event_data enable row level security", "row level security"),
        ("alter table app_rows.event_data add column more integer", '"more"'),
        ("alter table app_rows.event_data rename note to noted", '"note'),
    ],
)
def test_what_comes_after_compression_was_enabled(packed: psycopg.Connection, later: str, named: str) -> None:
    packed.execute("insert into event_data (time, device_id) values ('2026-01-02 00:05+00', 1)")
    packed.execute(later.encode())
    rows = count(packed, "select count(*) from event_data")
    with pytest.raises(errors.FeatureNotSupported, match=named):
        compress(packed)
    assert count(packed, "select count(*) from event_data") == rows


def test_moving_rows_out_of_the_default_partition_deletes_nothing_else(
    connection: psycopg.Connection,
) -> None:
    connection.execute(DEVICES)
    connection.execute(
        "create table notes (device_id integer, time timestamptz, constraint of_event"
        " foreign key (device_id, time) references event_data on delete cascade);"
        "insert into event_data values ('2020-01-01 00:00+00', 1, 1);"
        "insert into notes values (1, '2020-01-01 00:00+00')"
    )
    with pytest.raises(errors.FeatureNotSupported, match="foreign key of"):
        connection.execute("select tidemill.make_chunks('event_data')")
    assert count(connection, "select count(*) from notes") == 1


def test_chunks_that_were_dropped_by_hand(packed: psycopg.Connection) -> None:
    at = "range_start = extract(epoch from timestamptz '2026-01-0{} 00:00+00') * 1000000"
    loose, dropped = (
        count(packed, f"select relation::text from tidemill._chunks where {at.format(day)}") for day in (4, 2)
    )
    packed.execute(f"drop table {loose}; drop table {dropped}".encode())
    packed.execute("insert into event_data (time, device_id) values ('2026-01-04 00:00+00', 1)")
    assert count(packed, "select tidemill.make_chunks('event_data')") >= 1
    once(packed, ROWS // 2 + 1)


def test_nobody_writes_into_another_s_catalogue(packed: psycopg.Connection, superuser_conninfo: str) -> None:
    role = "enemy_of_" + packed.info.dbname
    packed.execute("create table mine (time timestamptz not null)")
    with psycopg.connect(superuser_conninfo, autocommit=True) as superuser:
        superuser.execute(f"create role {role}; create schema own authorization {role}".encode())
        try:
            packed.execute("select tidemill.grant_hypertables(%s::text::regrole)", [role])
            superuser.execute(f"grant create on database {packed.info.dbname} to {role}".encode())
            superuser.execute(f"set role {role}".encode())
            superuser.execute(
                "set search_path = own; create table t (at timestamptz not null);"
                "select tidemill.create_hypertable('own.t', 'at'); create view own.v as select 1"
            )
            chunk = (
                "jsonb_populate_record(null::tidemill._chunks, jsonb_build_object('hypertable_id', 1,"
                " 'number', {}, 'relation', {}, 'range_start', -9, 'range_end', -8))"
            )
            for number, relation, verb in [
                ("null", "'own.v'", "keep c"),
                ("3", "null", "keep c"),
                ("3", "null", "forget c"),
                ("null", "'own.t'", "keep c"),
            ]:
                for h in ("(select i from tidemill._hypertables i where id = 2)", "null"):
                    with pytest.raises(errors.InsufficientPrivilege):
                        superuser.execute(
                            "insert into tidemill._hypertable_requests (h, c, verb)"
                            f" values ({h}, {chunk.format(number, relation)}, '{verb}')".encode()
                        )
            for verb in ("keep h", "lay out h"):
                with pytest.raises(errors.InsufficientPrivilege):
                    superuser.execute(
                        "insert into tidemill._hypertable_requests (h, verb)"
                        f" select i, '{verb}' from tidemill._hypertables i where id = 1".encode()
                    )
            # Nor does a schema that they made before become that of somebody else's rows.
            superuser.execute("create schema other_rows; grant all on schema other_rows to public")
            superuser.execute("create schema other_chunks; grant all on schema other_chunks to public")
            superuser.execute("reset role; create schema other authorization tidemill_owner")
            packed.execute("create table other.t (at timestamptz not null)")
            with pytest.raises(errors.InsufficientPrivilege, match="belongs to"):
                packed.execute("select tidemill.create_hypertable('other.t', 'at')")
            superuser.execute("alter schema other_chunks owner to tidemill_owner")
            packed.execute("select tidemill.create_hypertable('other.t', 'at')")
            with pytest.raises(errors.InsufficientPrivilege, match="belongs to"):
                packed.execute("select tidemill.enable_compression('other.t')")
        finally:
            superuser.execute("reset role")
            superuser.execute(f"drop owned by {role} cascade; drop role {role}".encode())
    once(packed)
