"""move_chunk and reorder_chunk: where a chunk's rows stand, and in which order."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.hypertables.calls import make, refused, run, value, values
from tests.hypertables.packed import images
from tests.support.servers import OWNER, Server
from tests.support.tablespaces import CLOSED, COLD, ODD, make_tablespaces, place_of

pytestmark = pytest.mark.versions(18, 16)

CHUNK = "app_chunks._hyper_1_1_chunk"
ORDER = f"select device from {CHUNK} order by ctid"


@pytest.fixture
def ticks(server: Server, connection: psycopg.Connection) -> psycopg.Connection:
    """A hypertable with two chunks of ten rows; an index would have the rows of a chunk in another order."""
    make_tablespaces(server)
    run(
        connection,
        "create table app.ticks (at integer not null, device integer not null, note text default 'x',"
        " primary key (device, at)); create index by_hash on app.ticks using hash (device);"
        "create index by_some on app.ticks (device) where at > 5",
    )
    run(connection, "insert into app.ticks select n, 100 - n from generate_series(0, 19) n")
    make(connection, "'app.ticks', 'at', chunk_time_interval => 10, migrate_data => true")
    return connection


@pytest.fixture
def said(ticks: psycopg.Connection) -> list[Any]:
    """What the server tells."""
    told: list[Any] = []
    ticks.add_notice_handler(lambda notice: told.append((notice.severity, notice.message_primary)))
    return told


def indexes(connection: psycopg.Connection, chunk: str = CHUNK) -> dict[str, str | None]:
    names = values(
        connection, f"select indexrelid::regclass::text from pg_index where indrelid = '{chunk}'::regclass"
    )
    return {name: place_of(connection, name) for name in names}


# move_chunk


def test_a_chunk_moves_with_its_indexes(ticks: psycopg.Connection) -> None:
    before = values(ticks, "select r::text from app.ticks r order by at")
    run(ticks, f"select tidemill.move_chunk('{CHUNK}', '{ODD}')")
    assert place_of(ticks, CHUNK) == ODD
    assert len(indexes(ticks)) == 4
    assert set(indexes(ticks).values()) == {ODD}
    assert values(ticks, "select r::text from app.ticks r order by at") == before
    assert values(ticks, "select chunk_tablespace from tidemill.chunks order by number") == [ODD, None]
    assert set(indexes(ticks, "app_chunks._hyper_1_2_chunk").values()) == {None}
    # And back.
    run(ticks, f"select tidemill.move_chunk('{CHUNK}', 'pg_default')")
    assert {place_of(ticks, CHUNK), *indexes(ticks).values()} == {None}


def test_indexes_may_go_elsewhere(ticks: psycopg.Connection, said: list[Any]) -> None:
    run(ticks, f"select tidemill.move_chunk('{CHUNK}', '{ODD}', '{COLD}', 'app.ticks_pkey', true)")
    assert place_of(ticks, CHUNK) == ODD
    assert set(indexes(ticks).values()) == {COLD}
    assert values(ticks, ORDER) == list(range(91, 101))
    assert said == [("INFO", f"moving chunk {CHUNK} to tablespace {ODD}, its indexes to {COLD}")]


def test_it_may_be_taken_back(ticks: psycopg.Connection) -> None:
    with ticks.transaction(force_rollback=True):
        run(ticks, f"select tidemill.move_chunk('{CHUNK}', '{ODD}')")
        assert place_of(ticks, CHUNK) == ODD
    assert place_of(ticks, CHUNK) is None
    assert value(ticks, "select count(*) from app.ticks") == 20


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ("null, 'cold'", "22023", "chunk cannot be NULL"),
        ("'app.ticks', 'cold'", "42704", '"app.ticks" is not a chunk'),
        (f"'{CHUNK}', null", "22023", "tablespace cannot be NULL"),
        (f"'{CHUNK}', 'nowhere'", "42704", 'tablespace "nowhere" does not exist'),
        (f"'{CHUNK}', 'cold', 'nowhere'", "42704", 'tablespace "nowhere" does not exist'),
        (f"'{CHUNK}', '{CLOSED}'", "42501", f'permission denied for tablespace "{CLOSED}"'),
        (f"'{CHUNK}', 'pg_global'", "22023", "that all databases share"),
        (f"'{CHUNK}', 'cold', null, 'pg_class_oid_index'", "42704", "is not a valid clustering index"),
    ],
)
def test_what_cannot_be_moved(ticks: psycopg.Connection, arguments: str, code: str, message: str) -> None:
    with refused(code, message):
        run(ticks, f"select tidemill.move_chunk({arguments})")
    assert place_of(ticks, CHUNK) is None


def test_packed_rows_go_along(ticks: psycopg.Connection, said: list[Any]) -> None:
    run(
        ticks,
        "select tidemill.enable_compression('app.ticks', 'device');"
        f"select tidemill.compress_chunk('{CHUNK}')",
    )
    before = images(ticks, "app.ticks")
    said.clear()
    run(ticks, f"select tidemill.move_chunk('{CHUNK}', '{ODD}', reorder_index => 'app_rows.ticks_pkey')")
    assert said == [("NOTICE", "ignoring index parameter")]
    assert run(
        ticks, "select distinct _place, tableoid::regclass::text from app_chunks._hyper_1_segments"
    ) == [(ODD, "app_chunks._hyper_1_segments_1")]
    assert place_of(ticks, "app_chunks._hyper_1_segments_1") == ODD
    assert images(ticks, "app.ticks") == before
    # What is packed later, and what is moved back, goes where the chunk is.
    run(ticks, f"insert into app.ticks values (3, 1); select tidemill.compress_chunk('{CHUNK}')")
    assert values(ticks, "select distinct _place from app_chunks._hyper_1_segments") == [ODD]
    run(ticks, f"select tidemill.move_chunk('{CHUNK}', 'pg_default')")
    assert values(ticks, "select distinct _place from app_chunks._hyper_1_segments") == [""]
    assert len(images(ticks, "app.ticks")) == len(before) + 1
    run(ticks, f"select tidemill.move_chunk('{CHUNK}', '{ODD}')")
    assert {place_of(ticks, CHUNK), *indexes(ticks).values()} == {ODD}


# reorder_chunk


def test_rows_come_into_the_order_of_an_index(ticks: psycopg.Connection, said: list[Any]) -> None:
    assert values(ticks, ORDER) == list(range(100, 90, -1))
    # Of the hypertable, or of the chunk.
    run(ticks, f"select tidemill.reorder_chunk('{CHUNK}', 'app.ticks_pkey')")
    assert values(ticks, ORDER) == list(range(91, 101))
    run(ticks, f"insert into app.ticks values (3, 1); select tidemill.reorder_chunk('{CHUNK}')")
    assert values(ticks, ORDER) == [1, *range(91, 101)]
    own = "app_chunks._hyper_1_2_chunk"
    run(ticks, f"select tidemill.reorder_chunk('{own}', '{own}_pkey', verbose => true)")
    assert values(ticks, f"select device from {own} order by ctid") == list(range(81, 91))
    assert said == [("INFO", f"reordering chunk {own} by index {own}_pkey")]
    assert value(ticks, "select count(*) from app.ticks") == 21


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ("null", "22023", "chunk cannot be NULL"),
        ("'app.ticks', 'app.ticks_pkey'", "42704", '"app.ticks" is not a chunk'),
        (f"'{CHUNK}'", "42704", "there is no previously clustered index"),
        (f"'{CHUNK}', 'pg_class_oid_index'", "42704", "is not a valid clustering index"),
        (f"'{CHUNK}', 'app.by_hash'", "42704", '"app.by_hash" is not a valid clustering index'),
        (f"'{CHUNK}', 'app.by_some'", "42704", '"app.by_some" is not a valid clustering index'),
        (f"'{CHUNK}', 'app_chunks._hyper_1_2_chunk_pkey'", "42704", "is not a valid clustering index"),
    ],
)
def test_what_cannot_be_ordered(ticks: psycopg.Connection, arguments: str, code: str, message: str) -> None:
    with refused(code, message):
        run(ticks, f"select tidemill.reorder_chunk({arguments})")


def test_packed_rows_are_in_order(ticks: psycopg.Connection) -> None:
    run(
        ticks,
        "select tidemill.enable_compression('app.ticks', 'device');"
        f"select tidemill.compress_chunk('{CHUNK}')",
    )
    with refused("0A000", f'chunk "{CHUNK}" is compressed'):
        run(ticks, f"select tidemill.reorder_chunk('{CHUNK}', 'app_rows.ticks_pkey')")


# Both

CALLS = [f"move_chunk('{CHUNK}', 'cold')", f"reorder_chunk('{CHUNK}', 'app.ticks_pkey')"]


@pytest.mark.parametrize("call", CALLS)
def test_only_its_owner(server: Server, ticks: psycopg.Connection, call: str) -> None:
    with server.role() as stranger:
        run(
            ticks,
            f"select tidemill.grant_hypertables('{stranger}');"
            f"grant usage on schema app, app_chunks to {stranger}",
        )
        with psycopg.connect(make_conninfo(ticks.info.dsn, user=stranger), autocommit=True) as other:
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="must be owner") as raised:
                run(other, f"select tidemill.{call}")
            assert raised.value.diag.message_hint == f"Do it as its owner: SET ROLE {OWNER}"
    with server.superuser(ticks.info.dbname) as superuser, refused("42501", "must be owner"):
        run(superuser, f"select tidemill.{call}")


@pytest.mark.parametrize("call", CALLS)
def test_a_chunk_that_is_read(ticks: psycopg.Connection, call: str) -> None:
    run(ticks, "alter function tidemill._lock_table(regclass, text) set lock_timeout = '20ms'")
    with psycopg.connect(ticks.info.dsn) as reader:
        reader.execute("select from app.ticks")
        with refused("55P03", f'"{CHUNK}" was locked for 5 seconds'):
            run(ticks, f"select tidemill.{call}")
    # Once it has ended, it goes.
    run(ticks, f"select tidemill.{call}")
    run(ticks, "begin isolation level repeatable read")
    with refused("25001", "chunks cannot be changed in a transaction that is repeatable read"):
        run(ticks, f"select tidemill.{call}")


@pytest.mark.parametrize("call", CALLS)
def test_an_old_snapshot_sees_what_it_saw(ticks: psycopg.Connection, call: str) -> None:
    with psycopg.connect(ticks.info.dsn) as reader:
        reader.execute("set transaction isolation level repeatable read")
        # Its snapshot is older than the deletion, but it has no lock on the table.
        reader.execute("select from pg_class")
        run(ticks, "delete from app.ticks where at = 3")
        run(ticks, f"select tidemill.{call}")
        assert reader.execute("select count(*) from app.ticks").fetchall() == [(20,)]
    assert value(ticks, "select count(*) from app.ticks") == 19


def test_a_role_that_owns_a_table_may_do_both(server: Server, ticks: psycopg.Connection) -> None:
    with server.role() as name:
        run(
            ticks, f"select tidemill.grant_hypertables('{name}'); create schema own; create schema own_chunks"
        )
        with server.superuser(ticks.info.dbname) as superuser:
            superuser.execute(
                f"alter schema own owner to {name}; alter schema own_chunks owner to {name};"
                f'grant create on tablespace "{ODD}" to {name}'.encode()
            )
        with psycopg.connect(make_conninfo(ticks.info.dsn, user=name), autocommit=True) as own:
            run(own, "create table own.m (at integer primary key); insert into own.m values (1)")
            make(own, "'own.m', 'at', migrate_data => true")
            run(own, "select tidemill.reorder_chunk('own_chunks._hyper_2_1_chunk', 'own.m_pkey')")
            run(own, f"select tidemill.move_chunk('own_chunks._hyper_2_1_chunk', '{ODD}')")
            run(own, f"select tidemill.attach_tablespace('{ODD}', 'own.m')")
            with refused("42501", f'permission denied for tablespace "{COLD}"'):
                run(own, f"select tidemill.attach_tablespace('{COLD}', 'own.m')")
            assert values(own, "select chunk_tablespace from tidemill.chunks where hypertable_id = 2") == [
                ODD
            ]
        with server.superuser() as superuser:
            superuser.execute(f'revoke create on tablespace "{ODD}" from {name}'.encode())
