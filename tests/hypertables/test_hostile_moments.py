"""What other sessions, old snapshots, settings and names could do to packed rows, and must not."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import errors
from psycopg.conninfo import make_conninfo

from tests.hypertables.calls import refused, run, value, values
from tests.hypertables.packed import DEVICES, ROWS, compress, images
from tests.hypertables.steps import Waiting
from tests.support.servers import Server
from tests.support.tablespaces import COLD, make_tablespaces
from tests.support.waiting import wait_until

pytestmark = pytest.mark.versions(18, 16)

TIDY_UP = "select tidemill._tidy_up(h) from tidemill._hypertables h"
ROW = "device_id = 1 and time = '2026-01-02 00:10+00'"
CHUNK = "select relation::text from tidemill._chunks where range_start = 1767312000000000"


@pytest.fixture
def devices(connection: psycopg.Connection) -> psycopg.Connection:
    run(connection, DEVICES)
    run(connection, "select tidemill.enable_compression('event_data', 'device_id', updatable => true)")
    return connection


def test_a_chunk_that_crosses_a_cut(devices: psycopg.Connection) -> None:
    """Cuts stay where chunks were that are gone."""
    before = images(devices)
    run(devices, "create table again as select * from event_data")
    compress(devices)
    run(devices, "set constraint_exclusion = on")
    run(devices, TIDY_UP)
    assert len(value(devices, "select arms from tidemill._hypertables")) > 1
    run(devices, "select tidemill.drop_chunks('event_data', older_than => timestamptz '2027-01-01 00:00+00')")
    run(devices, "select tidemill.set_chunk_time_interval('event_data', interval '60 days')")
    run(devices, "insert into event_data select * from again; select tidemill.make_chunks('event_data')")
    compress(devices)
    for setting in ("off", "on"):
        run(devices, f"set constraint_exclusion = {setting}")
        assert images(devices) == before
        assert value(devices, f"select count(*) from event_data where {ROW}") == 1


@pytest.mark.parametrize(
    ("change", "left"),
    [
        (f"delete from event_data where {ROW} returning value", []),
        (f"update event_data set value = 77 where {ROW} returning value", [77]),
    ],
)
def test_a_row_that_is_packed_while_it_is_changed(
    devices: psycopg.Connection, change: str, left: list[float]
) -> None:
    with psycopg.connect(devices.info.dsn) as packer:
        packer.execute("select tidemill.compress_chunk(%s::text::regclass)", [value(devices, CHUNK)])
        changing = Waiting(devices.info.dsn, change)
        wait_until(changing.waits(devices), "the change to wait for the chunk")
    assert changing.join() is None
    assert len(changing.rows) == 1
    assert values(devices, f"select value from event_data where {ROW}") == left
    assert value(devices, "select count(*) from event_data") == ROWS - 1 + len(left)


@pytest.mark.parametrize("change", ["delete from event_data", "update event_data set note = 'mine'"])
def test_a_row_that_another_session_changes_first(devices: psycopg.Connection, change: str) -> None:
    with psycopg.connect(devices.info.dsn) as first:
        first.execute(f"update event_data set value = 99 where {ROW}".encode())
        second = Waiting(devices.info.dsn, f"{change} where {ROW} and value < 50")
        wait_until(second.waits(devices), "the second session to wait")
    error = second.join()
    assert isinstance(error, errors.SerializationFailure)
    assert run(devices, f"select value, note from event_data where {ROW}") == [(99, "none")]


def test_the_guard_cannot_be_switched_off(devices: psycopg.Connection) -> None:
    compress(devices)
    chunk = value(devices, CHUNK)
    run(devices, f"select set_config('tidemill.unpacking', '{chunk}'::regclass::oid::text, false)")
    with pytest.raises(errors.UniqueViolation):
        run(devices, "insert into event_data (time, device_id) values ('2026-01-02 00:10+00', 1)")
    assert value(devices, "select count(*) from event_data") == ROWS


def test_an_update_that_a_setting_hides(connection: psycopg.Connection) -> None:
    run(
        connection,
        "create table m (at timestamptz not null, d float8 not null, v int, primary key (at, d));"
        "select tidemill.create_hypertable('m', 'at');"
        "insert into m values ('2026-01-01 00:00+00', 1.00002, 1); select tidemill.make_chunks('m');"
        "select tidemill.enable_compression('m', 'd')",
    )
    compress(connection, "m")
    run(connection, "insert into m values ('2026-01-01 00:00+00', 1.00001, 2)")
    run(connection, "set extra_float_digits = -15")
    with pytest.raises(errors.UniqueViolation):
        run(connection, "update app_rows.m set d = 1.00002 where v = 2")


def test_a_trigger_that_would_come_behind_the_guard(devices: psycopg.Connection) -> None:
    run(
        devices,
        "create function rounds() returns trigger language plpgsql as"
        " $$ begin new.time := date_trunc('hour', new.time); return new; end $$;"
        'create trigger "überprüft" before insert on app_rows.event_data'
        " for each row execute function rounds()",
    )
    with refused("0A000", "would come behind the one that guards packed rows"):
        run(devices, f"select tidemill.compress_chunk('{value(devices, CHUNK)}')")


def test_default_privileges_do_not_open_what_is_made(server: Server, connection: psycopg.Connection) -> None:
    with server.role() as other:
        run(
            connection,
            f"alter default privileges grant all on tables to {other};"
            f"alter default privileges grant execute on functions to {other}",
        )
        run(connection, DEVICES)
        run(
            connection,
            f"revoke all on event_data from {other};"
            "select tidemill.enable_compression('event_data', 'device_id');"
            f"grant usage on schema app, app_chunks to {other}",
        )
        compress(connection)
        open_to_others = values(
            connection,
            "select o.name from (select relname, relacl from pg_class"
            " where relnamespace = 'app_chunks'::regnamespace and relkind in ('r', 'p') union all"
            " select proname, proacl from pg_proc where pronamespace = 'app_chunks'::regnamespace"
            " and proname ~ '(unpack|bring_back|guard)$') o(name, acl), aclexplode(o.acl) a"
            f" where a.grantee in (0, '{other}'::regrole)",
        )
        assert open_to_others == []
        with psycopg.connect(make_conninfo(connection.info.dsn, user=other), autocommit=True) as session:
            for name in ("_hyper_1_segments", "_hyper_1_segments_0", "_hyper_1_default"):
                with pytest.raises(errors.InsufficientPrivilege):
                    run(session, f"select * from app_chunks.{name}")
        # Nor does the owner's function move rows anywhere else.
        run(connection, "create table mine (like app_rows.event_data)")
        with pytest.raises(errors.InsufficientPrivilege, match="is not a chunk"):
            run(
                connection,
                "select app_chunks._hyper_1_unpack('mine', s.tableoid, s.ctid, s._rows)"
                " from app_chunks._hyper_1_segments s limit 1",
            )
        assert value(connection, "select count(*) from event_data") == ROWS
        with server.superuser(str(connection.info.dbname)) as superuser:
            run(superuser, f"drop owned by {other}")


@pytest.mark.parametrize(
    "act",
    [
        "select tidemill.add_column('event_data', 'more', 'integer', '7')",
        "select tidemill.set_transparent('event_data', false)",
    ],
)
def test_readers_survive_who_lays_the_table_out_anew(devices: psycopg.Connection, act: str) -> None:
    compress(devices, before="2026-01-03 00:00+00")
    with psycopg.connect(devices.info.dsn) as reader:
        reader.execute("select count(*) from event_data")
        acting = Waiting(devices.info.dsn, act)
        wait_until(acting.waits(devices), "the act to wait for the reader")
        behind = Waiting(devices.info.dsn, "select count(*) from event_data")
        wait_until(behind.waits(devices), "the next reader to wait")
    assert acting.join() is None
    assert behind.join() is None


def test_a_column_is_added_by_who_sees_all(devices: psycopg.Connection) -> None:
    with psycopg.connect(devices.info.dsn) as old:
        old.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        with refused("25001", "repeatable read"):
            run(old, "select tidemill.add_column('event_data', 'more', 'integer', '7')")


def test_types_with_operators_of_their_own(connection: psycopg.Connection) -> None:
    run(
        connection,
        "create type app.pair as (a int, b int);"
        "create table m (at timestamptz not null, d app.pair not null, v int, primary key (at, d));"
        "select tidemill.create_hypertable('m', 'at');"
        "insert into m select '2026-01-01 00:00+00', row(n, n)::app.pair, n from generate_series(1, 9) n;"
        "select tidemill.make_chunks('m'); select tidemill.enable_compression('m', 'd', updatable => true)",
    )
    compress(connection, "m")
    run(connection, "set search_path = app")
    assert run(connection, "delete from m where v = 3 returning v") == [(3,)]
    assert run(connection, "update m set v = 40 where v = 4 returning v") == [(40,)]
    assert value(connection, "select sum(v) from m") == 45 - 3 + 36


def test_what_cannot_be_updated_is_told(connection: psycopg.Connection) -> None:
    run(
        connection,
        "create table m (at timestamptz primary key, v int, id int generated always as identity,"
        " twice int generated always as (v * 2) stored);"
        "select tidemill.create_hypertable('m', 'at');"
        "insert into m values ('2026-01-01 00:00+00', 1); select tidemill.make_chunks('m');"
        "select tidemill.enable_compression('m', updatable => true)",
    )
    compress(connection, "m")
    for column in ("id", "twice"):
        with refused("428C9", "cannot be updated"):
            run(connection, f"update m set {column} = 77")
    assert run(connection, "update m set v = 5 returning id, twice") == [(1, 10)]


def test_a_chunk_that_is_packed_while_its_move_waits(server: Server, devices: psycopg.Connection) -> None:
    make_tablespaces(server)
    before = images(devices)
    chunk = value(devices, CHUNK)
    with psycopg.connect(devices.info.dsn) as packer:
        packer.execute("select tidemill.compress_chunk(%s::text::regclass)", [chunk])
        moving = Waiting(devices.info.dsn, f"select tidemill.move_chunk('{chunk}', '{COLD}')")
        wait_until(moving.waits(devices), "the move to wait")
    assert moving.join() is None
    assert values(devices, "select distinct _place from app_chunks._hyper_1_segments") == [COLD]
    assert images(devices) == before


def test_the_first_move_into_a_tablespace_beside_an_insert(
    server: Server, devices: psycopg.Connection
) -> None:
    """Who inserts looks at the segments behind the chunk; who moves makes their partition before."""
    make_tablespaces(server)
    compress(devices)
    chunk = value(devices, CHUNK)
    with psycopg.connect(devices.info.dsn) as writer:
        writer.execute("insert into event_data (time, device_id) values ('2026-01-02 00:05+00', 1)")
        moving = Waiting(devices.info.dsn, f"select tidemill.move_chunk('{chunk}', '{COLD}')")
        wait_until(moving.waits(devices), "the move to wait")
        writer.execute("insert into event_data (time, device_id) values ('2026-01-02 00:06+00', 1)")
        assert len(images(writer)) == ROWS + 2
    assert moving.join() is None
    assert value(devices, "select count(*) from event_data") == ROWS + 2


def test_chunks_that_are_dropped_while_compression_is_enabled(connection: psycopg.Connection) -> None:
    run(connection, DEVICES)
    dropping = "select tidemill.drop_chunks('event_data', older_than => timestamptz '2026-01-03 00:00+00')"
    with psycopg.connect(connection.info.dsn) as enabler:
        enabler.execute("select tidemill.enable_compression('event_data', 'device_id')")
        enabler.execute("select tidemill.compress_chunk(%s::text::regclass)", [value(connection, CHUNK)])
        drop = Waiting(connection.info.dsn, dropping)
        wait_until(drop.waits(connection), "the drop to wait")
    assert drop.join() is None
    assert value(connection, "select count(*) from app_chunks._hyper_1_segments") == 0
    assert value(connection, "select count(*) from event_data") == ROWS - 2 * 720


def test_null_is_no_wish_to_change_the_database(connection: psycopg.Connection) -> None:
    run(connection, DEVICES)
    run(connection, "select tidemill.enable_compression('event_data', set_constraint_exclusion => null)")
    settings = values(
        connection,
        "select unnest(s.setconfig) from pg_db_role_setting s join pg_database d on d.oid = s.setdatabase"
        " where d.datname = current_database()",
    )
    assert not [one for one in settings if one.startswith("constraint_exclusion")]


def test_names_whose_letters_have_several_bytes(connection: psycopg.Connection) -> None:
    name = "ä" * 31
    run(
        connection,
        f'create table "{name}" (at timestamptz primary key);'
        f"select tidemill.create_hypertable('\"{name}\"', 'at', associated_schema_name => 'app_chunks');"
        f"insert into \"{name}\" values ('2026-01-01 00:00+00'); select tidemill.make_chunks('\"{name}\"');"
        f"select tidemill.enable_compression('\"{name}\"', transparent => false)",
    )
    made = values(
        connection,
        "select proname::text from pg_proc"
        " where pronamespace = 'app'::regnamespace and proname ~ '^ä' order by 1",
    )
    assert [one[-8:].lstrip("ä") for one in made] == ["_between", "_latest", "_recent"]
    assert value(connection, f'select count(*) from "{"ä" * 29}_all"') == 1
