"""The next chunks of a hypertable: how wide they are, and in which tablespaces."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.hypertables.calls import make, refused, run, value, values
from tests.support.servers import OWNER, Server
from tests.support.tablespaces import CLOSED, COLD, ODD, make_tablespaces, place_of

pytestmark = pytest.mark.versions(18)

CHUNKS = "select chunk_name::text, chunk_tablespace::text from tidemill.chunks order by number"
WIDTHS = "select range_end_integer - range_start_integer from tidemill.chunks order by number"


@pytest.fixture
def ticks(server: Server, connection: psycopg.Connection) -> psycopg.Connection:
    """A hypertable with one chunk, from 0 to 10, whose time is a number."""
    make_tablespaces(server)
    run(connection, "create table app.ticks (at integer primary key, n integer)")
    run(connection, "insert into app.ticks values (5)")
    make(connection, "'app.ticks', 'at', chunk_time_interval => 10, migrate_data => true")
    return connection


def fill(connection: psycopg.Connection, *times: int) -> None:
    """Makes the chunks of these times."""
    for at in times:
        run(connection, f"insert into app.ticks values ({at})")
    run(connection, "select tidemill.make_chunks('app.ticks')")


def attached(connection: psycopg.Connection) -> list[Any]:
    return values(connection, "select tidemill.show_tablespaces('app.ticks')")


def test_a_new_width_is_that_of_new_chunks(ticks: psycopg.Connection) -> None:
    run(ticks, "select tidemill.set_chunk_time_interval('app.ticks', 100)")
    # The second one is cut off by the first, which stays as it is.
    fill(ticks, 50, 150)
    assert values(ticks, WIDTHS) == [10, 90, 100]
    assert value(ticks, "select integer_interval from tidemill.hypertables") == 100
    run(ticks, "select tidemill.set_chunk_time_interval('app.ticks', '7', dimension_name => 'at')")
    assert value(ticks, "select integer_interval from tidemill.hypertables") == 7


def test_a_new_width_in_days(connection: psycopg.Connection) -> None:
    run(connection, "create table app.m (at timestamptz)")
    make(connection, "'app.m', 'at'")
    for given in ("interval '1 day'", "'24 hours'", "86400000000"):
        run(connection, f"select tidemill.set_chunk_time_interval('app.m', {given})")
        assert value(connection, "select time_interval::text from tidemill.hypertables") == "1 day"
        run(connection, "select tidemill.set_chunk_time_interval('app.m', interval '3 days')")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ("'app.ticks', null::integer", "22023", "an explicit interval must be specified"),
        ("'app.ticks', 0", "22023", "invalid chunk interval: 0"),
        ("'app.ticks', interval '1 day'", "22023", "invalid interval type for integer dimension"),
        ("'app.ticks', 5, 'n'", "42703", 'hypertable "ticks" is not cut by "n"'),
        ("null, 5", "22023", "invalid hypertable"),
        ("'pg_class', 5", "TS001", "is not a hypertable"),
    ],
)
def test_no_width(ticks: psycopg.Connection, arguments: str, code: str, said: str) -> None:
    with refused(code, said):
        run(ticks, f"select tidemill.set_chunk_time_interval({arguments})")
    assert value(ticks, "select integer_interval from tidemill.hypertables") == 10


def test_new_chunks_go_to_the_attached_in_turn(ticks: psycopg.Connection) -> None:
    for tablespace in (ODD, COLD):
        run(ticks, f"select tidemill.attach_tablespace('{tablespace}', 'app.ticks')")
    assert attached(ticks) == [ODD, COLD]
    fill(ticks, 15, 25, 35)
    assert [place for _, place in run(ticks, CHUNKS)] == [None, COLD, ODD, COLD]
    assert place_of(ticks, "app_chunks._hyper_1_3_chunk_pkey") == ODD
    assert run(ticks, "select tablespaces from tidemill.hypertables") == [([ODD, COLD],)]
    assert value(ticks, f"select tidemill.detach_tablespace('{COLD}', 'app.ticks')") == 1
    fill(ticks, 45)
    assert run(ticks, CHUNKS)[-1] == ("_hyper_1_5_chunk", ODD)
    assert value(ticks, "select tidemill.detach_tablespaces('app.ticks')") == 1
    fill(ticks, 55)
    assert run(ticks, CHUNKS)[-1] == ("_hyper_1_6_chunk", None)
    assert value(ticks, "select count(*) from app.ticks") == 6


def test_an_index_with_a_tablespace_keeps_it(ticks: psycopg.Connection) -> None:
    run(ticks, f"create index by_n on app.ticks (n) tablespace {COLD}")
    run(ticks, f"select tidemill.attach_tablespace('{ODD}', 'app.ticks')")
    fill(ticks, 15)
    assert place_of(ticks, "app_chunks._hyper_1_2_chunk") == ODD
    assert place_of(ticks, "app_chunks._hyper_1_2_chunk_n_idx") == COLD


def test_the_session_does_not_choose(ticks: psycopg.Connection) -> None:
    run(ticks, f"set default_tablespace = {COLD}")
    fill(ticks, 15)
    assert place_of(ticks, "app_chunks._hyper_1_2_chunk") is None
    assert place_of(ticks, "app_chunks._hyper_1_2_chunk_pkey") is None
    assert value(ticks, "show default_tablespace") == COLD


def test_one_that_is_closed_holds_back_no_row(server: Server, ticks: psycopg.Connection) -> None:
    run(ticks, f"select tidemill.attach_tablespace('{ODD}', 'app.ticks')")
    with server.superuser() as superuser:
        superuser.execute(f'revoke create on tablespace "{ODD}" from {OWNER}'.encode())
        try:
            with refused("42501", f'permission denied for tablespace "{ODD}" by table owner'):
                fill(ticks, 15)
        finally:
            superuser.execute(f'grant create on tablespace "{ODD}" to {OWNER}'.encode())
    assert values(ticks, "select at from app_chunks._hyper_1_default") == [15]
    fill(ticks)
    assert run(ticks, CHUNKS)[-1] == ("_hyper_1_2_chunk", ODD)


def test_detach_from_all(ticks: psycopg.Connection) -> None:
    run(ticks, "create table app.other (at integer primary key)")
    make(ticks, "'app.other', 'at'")
    for table in ("ticks", "other"):
        run(ticks, f"select tidemill.attach_tablespace('{COLD}', 'app.{table}')")
    run(ticks, f"select tidemill.attach_tablespace('{ODD}', 'app.other')")
    assert value(ticks, f"select tidemill.detach_tablespace('{COLD}')") == 2
    assert value(ticks, f"select tidemill.detach_tablespace('{COLD}')") == 0
    assert attached(ticks) == []
    assert values(ticks, "select tidemill.show_tablespaces('app.other')") == [ODD]


def test_twice_is_a_notice_on_request(ticks: psycopg.Connection) -> None:
    told: list[Any] = []
    ticks.add_notice_handler(lambda notice: told.append(notice.message_primary))
    attach = f"select tidemill.attach_tablespace('{COLD}', 'app.ticks'"
    run(ticks, attach + ")")
    with refused("TS140", f'tablespace "{COLD}" is already attached to hypertable "ticks"'):
        run(ticks, attach + ")")
    run(ticks, attach + ", if_not_attached => true)")
    assert attached(ticks) == [COLD]
    detach = f"tidemill.detach_tablespace('{ODD}', 'app.ticks'"
    with refused("TS150", f'tablespace "{ODD}" is not attached to hypertable "ticks"'):
        run(ticks, f"select {detach})")
    assert value(ticks, f"select {detach}, if_attached => true)") == 0
    assert told == [
        f'tablespace "{COLD}" is already attached to hypertable "ticks", skipping',
        f'tablespace "{ODD}" is not attached to hypertable "ticks", skipping',
    ]


@pytest.mark.parametrize(
    ("call", "code", "said"),
    [
        ("attach_tablespace('nowhere', 'app.ticks')", "42704", 'tablespace "nowhere" does not exist'),
        (f"attach_tablespace('{CLOSED}', 'app.ticks')", "42501", f'denied for tablespace "{CLOSED}"'),
        ("attach_tablespace('pg_global', 'app.ticks')", "22023", "that all databases share"),
        ("attach_tablespace(null, 'app.ticks')", "22023", "tablespace cannot be NULL"),
        ("attach_tablespace('cold', null)", "22023", "invalid hypertable"),
        ("attach_tablespace('cold', 'pg_class')", "TS001", "is not a hypertable"),
        ("detach_tablespace(null)", "22023", "tablespace cannot be NULL"),
        ("detach_tablespace('cold', 'pg_class')", "TS001", "is not a hypertable"),
        ("detach_tablespaces('pg_class')", "TS001", "is not a hypertable"),
        ("show_tablespaces('pg_class')", "TS001", "is not a hypertable"),
    ],
)
def test_mistakes(ticks: psycopg.Connection, call: str, code: str, said: str) -> None:
    with refused(code, said):
        run(ticks, f"select tidemill.{call}")


def test_the_database_s_own_needs_no_grant(ticks: psycopg.Connection) -> None:
    run(ticks, "select tidemill.attach_tablespace('pg_default', 'app.ticks')")
    fill(ticks, 15)
    assert place_of(ticks, "app_chunks._hyper_1_2_chunk") is None


def test_only_its_owner(server: Server, ticks: psycopg.Connection) -> None:
    with server.superuser(ticks.info.dbname) as superuser:
        for call in (
            "set_chunk_time_interval('app.ticks', 5)",
            f"attach_tablespace('{COLD}', 'app.ticks')",
            f"detach_tablespace('{COLD}', 'app.ticks')",
            "detach_tablespaces('app.ticks')",
        ):
            with refused("42501", 'must be owner of hypertable "ticks"'):
                run(superuser, f"select tidemill.{call}")


def test_it_says_who_has_the_table(server: Server, ticks: psycopg.Connection) -> None:
    run(ticks, "alter function tidemill._lock_table(regclass, text) set lock_timeout = '20ms'")
    with psycopg.connect(ticks.info.dsn) as other:
        other.execute("lock table app.ticks in share row exclusive mode")
        with refused("55P03", '"app.ticks" was locked for 5 seconds'):
            run(ticks, "select tidemill.detach_tablespaces('app.ticks')")
        with pytest.raises(psycopg.errors.LockNotAvailable, match=f"processes {other.info.backend_pid}"):
            run(ticks, "select tidemill.detach_tablespaces('app.ticks')")


def test_enabling_compression_keeps_them(ticks: psycopg.Connection) -> None:
    run(ticks, f"select tidemill.attach_tablespace('{COLD}', 'app.ticks')")
    run(ticks, "select tidemill.enable_compression('app.ticks')")
    assert attached(ticks) == [COLD]
    run(ticks, "select tidemill.set_chunk_time_interval('app.ticks', 20)")
    fill(ticks, 45)
    assert run(ticks, CHUNKS)[-1] == ("_hyper_1_2_chunk", COLD)
    assert values(ticks, WIDTHS) == [10, 20]
