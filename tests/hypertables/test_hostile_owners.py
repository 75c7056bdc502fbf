"""Owners and neighbours of tables, whose code would run with the rights of others, or stand in the way."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.hypertables.calls import refused, run, value, values
from tests.hypertables.packed import DEVICES, ROWS, compress, count
from tests.support.servers import Server

TABLE = """
    create table em.h (at timestamptz not null, device text, n integer);
    select tidemill.create_hypertable('em.h', 'at', chunk_time_interval => interval '1 day',
                                      associated_schema_name => 'em_rows');
    insert into em.h
      select timestamptz '2026-01-01 00:00+00' + i * interval '1 hour', 'd', i from generate_series(0, 71) i;
    select tidemill.make_chunks('em.h');
    select tidemill.enable_compression('em.h', rows_schema => 'em_rows');
    select tidemill.compress_chunk(c) from tidemill.show_chunks('em.h', '2026-01-03 00:00+00') c;
    create table em.caught (who name);
    grant usage on schema em, em_rows to public;
    grant insert on em.caught to public;
    create function em.evil() returns integer language plpgsql as
      'begin insert into em.caught values (current_user); return 1; end';
    create function em.evil_constant(integer) returns integer language plpgsql immutable as
      'begin perform em.evil(); return 1; end';
"""
SIZES = [
    "select tidemill.approximate_row_count('em.h')",
    "select * from tidemill.chunks_detailed_size('em.h')",
    "select * from tidemill.hypertable_compression_stats('em.h')",
]


@pytest.fixture
def superuser(server: Server, connection: psycopg.Connection) -> Iterator[psycopg.Connection]:
    with server.superuser(str(conninfo_to_dict(connection.info.dsn)["dbname"])) as found:
        yield found


@pytest.fixture
def owner(
    server: Server, connection: psycopg.Connection, superuser: psycopg.Connection
) -> Iterator[psycopg.Connection]:
    """A role with a table em.h of its own, of which two chunks are packed."""
    with server.role() as name:
        run(connection, f"select tidemill.grant_hypertables('{name}')")
        for schema in ("em", "em_rows"):
            superuser.execute(
                sql.SQL("create schema {} authorization {}").format(
                    sql.Identifier(schema), sql.Identifier(name)
                )
            )
        with psycopg.connect(make_conninfo(connection.info.dsn, user=name), autocommit=True) as own:
            run(own, TABLE)
            yield own


def keep(own: psycopg.Connection, column: str, relation: str) -> None:
    """Has the catalogue written as an owner can: with another relation in a column."""
    run(
        own,
        "do $$ declare x tidemill._hypertables; begin select * into x from tidemill._hypertables;"
        f" x.{column} := '{relation}';"
        " insert into tidemill._hypertable_requests (h, verb) values (x, 'keep h'); end $$",
    )


@pytest.mark.parametrize("column", ["segments", "rows_table", "view"])
def test_the_catalogue_keeps_relations_of_their_kinds_alone(owner: psycopg.Connection, column: str) -> None:
    run(owner, "create view em.fake as select 1 as _chunk, em.evil()::bigint as _rows, ''::text as _place")
    run(owner, "create materialized view em.other as select 1 as _chunk")
    with refused("42809", "is not of the kind"):
        keep(owner, column, "em.other" if column == "view" else "em.fake")
    assert value(owner, "select segments from tidemill._hypertables") == "em_rows._hyper_1_segments"


SEGMENTS = "em_rows._hyper_1_segments"
ODD = {
    "is no table": f"""
        alter table {SEGMENTS} rename to away;
        create view {SEGMENTS} as select 1 as _chunk, em.evil() as _rows, ''::text as _place""",
    "has row level security": f"""
        alter table {SEGMENTS} enable row level security;
        create policy p on {SEGMENTS} using (em.evil() = 1)""",
    "has the index": f"create index on {SEGMENTS} ((_chunk + em.evil_constant(1)))",
    "has the statistics": f"""
        create statistics em.s on (_chunk + em.evil_constant(1)), _rows from {SEGMENTS}_0""",
    "has the constraint": f"alter table {SEGMENTS} add constraint k check (em.evil_constant(1) = 1)",
    "has another type": """
        create type em.odd as (n integer);
        create function em.cast(em.odd) returns bigint language sql as 'select em.evil()::bigint';
        create cast (em.odd as bigint) with function em.cast as implicit;
        create table em.fake (_chunk integer, _rows em.odd, _place text) partition by list (_place);
        create table em.fakes partition of em.fake default;
        insert into em.fake values (1, row(1), '')""",
    "is partitioned by an expression": """
        create table em.fake (_chunk integer, _rows integer, _place text)
          partition by list ((_chunk + em.evil_constant(1)))""",
}


@pytest.mark.versions(18, 16)
@pytest.mark.parametrize("odd", ODD)
def test_sizes_run_no_code_of_the_owner(
    owner: psycopg.Connection, superuser: psycopg.Connection, odd: str
) -> None:
    run(owner, ODD[odd])
    if "em.fake" in ODD[odd]:
        keep(owner, "segments", "em.fake")
    elif odd == "is no table":
        # As a version before could have kept it.
        with superuser.transaction():
            superuser.execute(f"update tidemill._hypertables set segments = '{SEGMENTS}'".encode())
    run(owner, "truncate em.caught")
    for call in SIZES:
        with refused("42809", odd):
            run(superuser, call)
    assert values(superuser, "select note from tidemill._chunk_states(1) where is_compressed") == [
        "segments were changed by their owner"
    ] * value(owner, "select count(*) from tidemill._chunks where is_compressed")
    assert values(owner, "select who from em.caught where who <> current_user") == []


def test_sizes_of_what_is_as_it_was_made(owner: psycopg.Connection, superuser: psycopg.Connection) -> None:
    for call in SIZES:
        assert run(superuser, call)
    assert values(superuser, "select distinct note from tidemill._chunk_states(1)") == [None]
    assert value(superuser, "select sum(packed_rows) from tidemill._chunk_states(1)") == 48


def test_chunks_with_expressions_are_not_read_by_others(
    owner: psycopg.Connection, superuser: psycopg.Connection
) -> None:
    run(owner, "create index on em_rows.h ((n + em.evil_constant(1)))")
    run(owner, "analyze em_rows.h; truncate em.caught")
    look = "select max(rows) from tidemill._chunk_states(1) where number is not null"
    assert values(superuser, look) == [24]
    assert values(owner, "select who from em.caught where who <> current_user") == []
    assert values(owner, look) == [24]


def test_functions_that_read_segments_are_dropped_only_if_they_are_ours(
    owner: psycopg.Connection, connection: psycopg.Connection, superuser: psycopg.Connection
) -> None:
    body = f"language sql begin atomic select count(*) from {SEGMENTS}; end"
    run(owner, f"create function em.how_many() returns bigint {body}")
    run(owner, f"create function em.the_latest() returns bigint {body}")
    run(
        owner,
        f"grant select on {SEGMENTS} to {connection.info.user}; grant usage, create on schema em to public",
    )
    run(connection, f"create function app.others() returns bigint {body}")
    run(connection, f"create function em.others_latest() returns bigint {body}")
    run(owner, "select tidemill.add_column('em.h', 'more', 'integer')")
    left = values(
        owner,
        "select p.proname from pg_proc p where p.proname ~ '(many|latest|others)$'"
        " and p.pronamespace <> 'tidemill'::regnamespace order by 1",
    )
    assert left == ["h_latest", "how_many", "others", "others_latest", "the_latest"]
    assert value(owner, "select more is null from em.h_latest()") is True
    run(owner, "select tidemill.set_transparent('em.h', false)")
    assert count(owner, "select count(*) from em.h_latest()") == 1


def test_a_function_of_somebody_else_under_our_name_is_an_error(
    owner: psycopg.Connection, connection: psycopg.Connection
) -> None:
    connection.execute(DEVICES)
    connection.execute(f"grant usage, create on schema app to {owner.info.user}".encode())
    for arguments in ("integer", "text"):
        run(
            owner, f"create function app.event_data_latest({arguments}) returns integer language sql return 1"
        )
        with refused("42723", f"function app.event_data_latest({arguments}) belongs to {owner.info.user}"):
            run(connection, "select tidemill.enable_compression('event_data', 'device_id')")
        run(owner, f"drop function app.event_data_latest({arguments})")
    run(connection, "select tidemill.enable_compression('event_data', 'device_id')")
    assert value(connection, "select device_id from event_data_latest(2)") == 2


def test_a_detached_chunk_keeps_its_name(connection: psycopg.Connection) -> None:
    connection.execute(DEVICES)
    last = value(connection, "select relation from tidemill._chunks order by number desc limit 1")
    connection.execute(f"alter table event_data detach partition {last}".encode())
    for day in ("2026-03-01", "2026-03-02"):
        run(connection, f"insert into event_data values ('{day} 12:00+00', 1, 1)")
        assert value(connection, "select tidemill.make_chunks('event_data')") >= 1
    assert value(connection, "select count(*) from only app_chunks._hyper_1_default") == 0
    names = values(connection, "select relation from tidemill._chunks")
    assert last not in names
    assert len(names) == len(set(names))
    connection.execute("select tidemill.enable_compression('event_data', 'device_id')")
    compress(connection)
    assert count(connection, "select count(*) from event_data") == ROWS + 2 - count(
        connection, f"select count(*) from {last}"
    )


ELEMENTS = {
    "mood[]": True,
    "moods": True,
    "happy[]": True,
    "person[]": True,
    "deeper[]": True,
    "span[]": True,
    "amount[]": True,
    "money[]": True,
    "regclass[]": True,
    "integer[]": False,
    "plain[]": False,
    "mood": False,
    "person": False,
}


@pytest.mark.parametrize("kind", ELEMENTS)
def test_arrays_of_what_may_be_renamed_are_refused(connection: psycopg.Connection, kind: str) -> None:
    connection.execute(
        "create type mood as enum ('a', 'b'); create domain happy as mood; create domain moods as mood[];"
        "create type person as (n integer, m mood); create type deeper as (p person[]);"
        "create type span as range (subtype = mood); create type amount as (m money);"
        "create type plain as (n integer, t text);"
        f"create table m (at timestamptz not null, x {kind});"
        "select tidemill.create_hypertable('m', 'at')".encode()
    )
    names = values(connection, "select name from tidemill._not_packed_types('m')")
    assert names == (["x"] if ELEMENTS[kind] else [])
    if ELEMENTS[kind]:
        with refused("0A000", "the column x of a type that does not come back as it was"):
            run(connection, "select tidemill.enable_compression('m')")
    else:
        run(connection, "insert into m values (now(), null); select tidemill.make_chunks('m')")
        run(connection, "select tidemill.enable_compression('m')")
        compress(connection, "m")
        connection.execute("alter type mood rename value 'a' to 'z'")
        assert count(connection, "select count(*) from m") == 1


def test_a_plan_is_made_beside_temporary_tables_of_its_names(connection: psycopg.Connection) -> None:
    connection.execute(DEVICES)
    plan = "select column_name, encoding from tidemill.compression_plan('event_data', 'device_id')"
    expected = run(connection, plan)
    connection.execute(
        "create temp table _sample (time text); create temp table _segments (_rows text);"
        "create temp table made (x text); create temp table numbered (x text);"
        "create temp table gathered (x text)"
    )
    for of_what in ("sample", "segments"):
        name = value(connection, f"select tidemill._free_temp_name('{of_what}')")
        connection.execute(f"create temp table {str(name).removeprefix('pg_temp.')} (x text)".encode())
        assert value(connection, f"select tidemill._free_temp_name('{of_what}')") != name
    assert run(connection, plan) == expected


def test_null_arguments_are_the_defaults(connection: psycopg.Connection) -> None:
    connection.execute(DEVICES)
    connection.execute(
        "select tidemill.enable_compression('event_data', segmentby => null, orderby => null,"
        " updatable => null)"
    )
    found = run(connection, "select segmentby, orderby, is_updatable from tidemill._hypertables")
    assert found == [([], [], False)]
