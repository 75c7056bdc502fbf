"""What was chosen when compression was enabled is chosen anew; a view that was dropped by hand comes back."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import errors
from psycopg.conninfo import make_conninfo

from tests.hypertables.calls import refused, run, value, values
from tests.hypertables.packed import ROWS, compress, images
from tests.support.servers import Server

pytestmark = pytest.mark.versions(18, 16)

TIDY_UP = "select tidemill._tidy_up(h) from tidemill._hypertables h"
LEFT = """
    select c.relname::text from pg_class c
      where c.relnamespace = 'app_chunks'::regnamespace and c.relname ~ 'segments' and c.relkind in ('r', 'p')
    union all
    select p.proname::text from pg_proc p
      where p.proname ~ '^_hyper_' or p.proname ~ '^event_data_(between|recent|latest)$'
    union all
    select t.tgname::text from pg_trigger t where t.tgname ~ '^~tidemill'
"""


def decompress(connection: psycopg.Connection) -> None:
    run(
        connection,
        "select tidemill.decompress_chunk(relation) from tidemill._chunks where is_compressed",
    )


def test_compression_is_disabled_and_enabled_otherwise(packed: psycopg.Connection) -> None:
    before = images(packed)
    with refused("55000", '3 chunks of hypertable "event_data" are compressed'):
        run(packed, "select tidemill.disable_compression('event_data')")
    with refused("42710", "already enabled"):
        run(packed, "select tidemill.enable_compression('event_data', '')")
    decompress(packed)
    assert value(packed, "select tidemill.disable_compression('event_data')::text") == "event_data"
    assert values(packed, LEFT) == []
    assert value(packed, "select relkind::text from pg_class where oid = 'app.event_data'::regclass") == "p"
    assert images(packed) == before
    # An upsert goes on under the name, as before.
    run(packed, "insert into event_data values ('2026-01-01', 1, 5) on conflict (device_id, time) do nothing")
    run(
        packed,
        "select tidemill.enable_compression('event_data', orderby => 'value desc', transparent => false)",
    )
    assert len(compress(packed, before="2026-01-04 00:00+00")) == 3
    assert images(packed, "event_data_all") == before
    decompress(packed)
    run(packed, "select tidemill.disable_compression('event_data')")
    assert values(packed, LEFT) == []
    assert images(packed) == before
    run(packed, "select tidemill.disable_compression('event_data')")


def test_updates_are_allowed_and_forbidden_later(server: Server, packed: psycopg.Connection) -> None:
    update = "update event_data set value = 77 where device_id = 1 and time = '2026-01-02 00:10+00'"
    with server.role() as other:
        run(
            packed,
            f"grant select, update on app_rows.event_data to {other}; grant usage on schema app to {other}",
        )
        run(packed, "select tidemill.set_updatable('event_data', true)")
        run(packed, f"grant usage on schema app_rows, app_chunks to {other}")
        run(packed, f"grant select on event_data, app_chunks._hyper_1_segments to {other}")
        with psycopg.connect(make_conninfo(packed.info.dsn, user=other), autocommit=True) as session:
            run(session, "set search_path = app")
            run(session, update)
            assert value(packed, "select count(*) from event_data where value = 77") == 1
            run(packed, "select tidemill.set_updatable('event_data', false)")
            for by in (session, packed):
                with pytest.raises(errors.InsufficientPrivilege):
                    run(by, update)
                with pytest.raises(errors.InsufficientPrivilege):
                    run(by, "select * from event_data for update")
        with server.superuser(str(packed.info.dbname)) as superuser:
            with refused("0A000", "UPDATE through this view is not enabled"):
                run(superuser, update.replace("event_data", "app.event_data"))
            run(superuser, f"drop owned by {other}")


def test_a_view_that_was_dropped_by_hand(packed: psycopg.Connection) -> None:
    before = images(packed)
    run(packed, "drop view event_data")
    listed = "select hypertable_schema || '.' || hypertable_name from tidemill.hypertables"
    assert values(packed, listed) == ["app_rows.event_data"]
    assert value(packed, "select count(*) from tidemill.chunks where is_compressed") == 3
    run(packed, "select tidemill.set_transparent('app_rows.event_data', true)")
    assert values(packed, listed) == ["app.event_data"]
    assert images(packed) == before
    run(packed, "drop view event_data; select tidemill.set_transparent('app_rows.event_data', false)")
    assert value(packed, "select count(*) from event_data") == 720
    assert images(packed, "event_data_all") == before
    run(packed, "drop view event_data_all; select tidemill.set_transparent('event_data', true)")
    assert value(packed, "select count(*) from event_data") == ROWS


@pytest.mark.parametrize("table", ["event_data", "app_rows.event_data", "app_chunks._hyper_1_default"])
def test_a_table_is_not_its_own_staging_table(packed: psycopg.Connection, table: str) -> None:
    with refused("22023", "belongs to the hypertable itself"):
        run(packed, f"call tidemill.decompress_backfill('{table}', 'event_data')")


def test_a_target_is_a_list_of_columns_too(packed: psycopg.Connection) -> None:
    run(packed, "create table late (like app_rows.event_data)")
    run(packed, "insert into late values ('2026-01-02 00:10+00', 1, 99), ('2026-01-02 00:11+00', 1, 98)")
    said: list[str] = []
    packed.add_notice_handler(lambda diag: said.append(str(diag.message_primary)))
    for target in ("", "device_id, time", " (device_id, time)", "on constraint event_data_pkey"):
        run(
            packed,
            "call tidemill.decompress_backfill('late', 'event_data', delete_from_staging => false,"
            f" on_conflict_target => '{target}')",
        )
    moved = (
        "2 rows moved in range 2026-01-02 00:00:00+00 to 2026-01-03 00:00:00+00, of which {} were not added"
    )
    assert said == [moved.format(1), *[moved.format(2)] * 3]
    run(
        packed,
        "call tidemill.decompress_backfill('late', 'event_data', 'update',"
        " on_conflict_target => 'device_id, time',"
        " on_conflict_update_columns => '{value}')",
    )
    assert value(packed, "select sum(value) from event_data where value in (98, 99)") == 197


REFERENCES = """
    create table devices (id integer primary key); insert into devices select generate_series(0, 9);
    create table m (at timestamptz, d integer default 0, v integer default 0, primary key (at, d),
      constraint fkd foreign key (d) references devices on delete cascade);
    select tidemill.create_hypertable('m', 'at');
    insert into m select '2026-01-01', n % 3 from generate_series(0, 2) n; select tidemill.make_chunks('m');
    select tidemill.enable_compression('m', 'd')
"""


def test_foreign_keys_that_change_later(connection: psycopg.Connection) -> None:
    """timescaledb#5897: a key that was dropped deleted packed rows alone."""
    run(connection, REFERENCES)
    compress(connection, "m")
    run(connection, "alter table app_rows.m drop constraint fkd")
    run(connection, TIDY_UP)
    run(connection, "delete from devices where id = 1; insert into m values ('2026-01-01', 77)")
    assert values(connection, "select d from m order by 1") == [0, 1, 2, 77]
    compress(connection, "m")
    run(connection, "insert into devices values (1), (77)")
    run(connection, "alter table app_rows.m add foreign key (d) references devices on delete restrict")
    compress(connection, "m")
    run(connection, "insert into m values ('2026-01-01', 3)")
    compress(connection, "m")
    # Before 18 a RESTRICT says what any foreign key says.
    with pytest.raises((errors.RestrictViolation, errors.ForeignKeyViolation)):
        run(connection, "delete from devices where id = 77")
    run(
        connection,
        "alter table app_rows.m add foreign key (v) references devices; insert into m values (now(), 4)",
    )
    with refused("0A000", "whose columns are not in segmentby"):
        run(connection, "select tidemill.compress_chunk(relation) from tidemill._chunks")


@pytest.mark.parametrize(
    ("action", "message"),
    [("set default", "which sets a default"), ("set null", "which sets NULL in a unique index")],
)
def test_foreign_keys_that_cannot_act_on_packed_rows(
    connection: psycopg.Connection, action: str, message: str
) -> None:
    """timescaledb#3114: the segments have no default, and nothing checks their keys."""
    run(
        connection,
        f"""create table devices (id integer primary key);
        create table m (at timestamptz not null, d integer references devices on delete {action});
        create unique index on m (at, d) nulls not distinct;
        select tidemill.create_hypertable('m', 'at')""",
    )
    with refused("0A000", message):
        run(connection, "select tidemill.enable_compression('m', 'd')")


def test_defaults_that_change_later(packed: psycopg.Connection) -> None:
    """timescaledb#2145"""
    run(packed, "alter table app_rows.event_data alter note set default 'newer', alter value set default 7")
    run(packed, TIDY_UP)
    run(packed, "insert into event_data (time, device_id) values ('2026-01-02 00:05+00', 1)")
    run(packed, "alter table app_rows.event_data alter note drop default")
    run(packed, TIDY_UP)
    run(packed, "insert into event_data (time, device_id) values ('2026-01-02 00:06+00', 1)")
    added = "select value, note from event_data where time in ('2026-01-02 00:05+00', '2026-01-02 00:06+00')"
    assert run(packed, f"{added} order by time") == [(7, "newer"), (7, None)]


def test_a_column_that_takes_no_null(packed: psycopg.Connection) -> None:
    run(packed, "create domain app.there as integer not null")
    with pytest.raises(errors.NotNullViolation):
        run(packed, "select tidemill.add_column('event_data', 'more', 'app.there')")
    run(packed, "select tidemill.add_column('event_data', 'more', 'app.there', '7')")
    assert value(packed, "select count(*) from event_data where more = 7") == ROWS


@pytest.mark.versions(18)
def test_large_rows_are_packed_in_smaller_segments(connection: psycopg.Connection) -> None:
    """timescaledb#7113: an array has less than 1 GB."""
    run(
        connection,
        "create table m (at timestamptz not null, v text); select tidemill.create_hypertable('m', 'at');"
        "insert into m select '2026-01-01', case when n < 5 then repeat(n::text, 40000000) else 'x' end"
        " from generate_series(1, 30) n; select tidemill.make_chunks('m');"
        "select tidemill.enable_compression('m')",
    )
    sums = "select count(*), sum(hashtextextended(v, 0)::numeric)::text from m"
    before = run(connection, sums)
    compress(connection, "m")
    assert run(connection, sums) == before
    assert values(connection, "select distinct _rows from app_chunks._hyper_1_segments") == [6]
