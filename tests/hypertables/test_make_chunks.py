"""Where chunks begin and end, and how rows of the default partition come into them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Event

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.hypertables.calls import make, refused, run, value, values
from tests.support.servers import Server
from tests.support.waiting import wait_until

pytestmark = pytest.mark.versions(18, 16)

DAY = 86_400_000_000
# Type, width, times, and the beginnings of their chunks.
CASES = [
    (
        "timestamptz",
        "interval '1 day'",
        ["1969-12-31 23:59:59.999999Z", "1970-01-01Z", "2024-02-29 12:00Z"],
        [-DAY, 0, 19782 * DAY],
    ),
    ("timestamptz", "null", ["2024-02-29 12:00Z"], [19782 // 7 * 7 * DAY]),
    ("timestamptz", "3600000000", ["1970-01-01 01:30Z"], [DAY // 24]),
    ("timestamptz", "interval '2 months'", ["1970-03-03Z"], [60 * DAY]),
    ("timestamptz", "interval '1 year 1 hour'", ["1970-12-27 02:00Z"], [360 * DAY + DAY // 24]),
    (
        "timestamp",
        "'1 day'",
        ["1969-12-31 23:59:59.999999", "1970-01-01", "4713-01-01 BC"],
        [-DAY, 0, -2440550 * DAY],
    ),
    ("date", "interval '30 days'", ["1969-12-31", "1970-01-31"], [-30 * DAY, 30 * DAY]),
    ("smallint", "null", ["-32768", "-1", "32767"], [-40000, -10000, 30000]),
    ("integer", "2147483647", ["-2147483648", "0", "2147483647"], [-2147483647 * 2, 0, 2147483647]),
    (
        "bigint",
        "10",
        ["-11", "-10", "-1", "0", "9", "4611686018427387904"],
        [-20, -10, 0, 4611686018427387900],
    ),
]


@pytest.mark.parametrize(("kind", "width", "times", "begins"), CASES)
@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin"])
@pytest.mark.parametrize("migrate", [True, False])
def test_bounds(
    connection: psycopg.Connection,
    kind: str,
    width: str,
    times: list[str],
    begins: list[int],
    zone: str,
    migrate: bool,
) -> None:
    run(connection, f"set timezone = '{zone}'; create table app.m (at {kind}, primary key (at))")
    arguments = f"'app.m', 'at', chunk_time_interval => {width}"
    rows = ", ".join(f"('{time}')" for time in times)
    if migrate:
        run(connection, f"insert into app.m values {rows}")
        make(connection, arguments + ", migrate_data => true")
    else:
        make(connection, arguments)
        run(connection, f"insert into app.m values {rows}")
        made = value(connection, "select tidemill.make_chunks('app.m')")
        assert made == len(begins)
    assert value(connection, "select count(*) from app.m") == len(times)
    assert value(connection, "select count(*) from app_chunks._hyper_1_default") == 0
    told = values(connection, "select range_start from tidemill._chunks order by 1")
    assert set(begins) <= set(told)
    # No two overlap, and all that PostgreSQL was told is what the catalogue says.
    assert (
        value(
            connection,
            """select count(*) from tidemill._chunks a join tidemill._chunks b
        on a.number < b.number and a.range_start < b.range_end and b.range_start < a.range_end""",
        )
        == 0
    )
    assert value(connection, "select tidemill.make_chunks('app.m')") == 0


def test_chunks_ahead(connection: psycopg.Connection) -> None:
    run(connection, "create table app.m (at timestamptz)")
    make(connection, "'app.m', tidemill.by_range('at', interval '1 day')")
    ahead = (
        "select max(range_end) - now() from tidemill.chunks where range_start <= now() + interval '1 year'"
    )
    assert 1 <= value(connection, ahead).days < 2
    assert value(connection, "select tidemill.make_chunks('app.m', interval '10 days')") == 9
    assert value(connection, "select tidemill.make_chunks('app.m', '11 days')") == 1
    assert value(connection, "select tidemill.make_chunks('app.m', now() + interval '12 days')") == 1
    assert value(connection, "select tidemill.make_chunks('app.m')") == 0


def test_numbers_have_none_ahead_unless_asked(connection: psycopg.Connection) -> None:
    run(connection, "create table app.m (at bigint)")
    make(connection, "'app.m', 'at', chunk_time_interval => 10")
    assert value(connection, "select tidemill.make_chunks('app.m')") == 0
    assert value(connection, "select tidemill.make_chunks('app.m', 5)") == 1
    assert value(connection, "select tidemill.make_chunks('app.m', 35)") == 3
    with refused("22023", 'invalid time argument type "interval"'):
        run(connection, "select tidemill.make_chunks('app.m', interval '1 day')")


def test_the_default_drains_beside_chunks(connection: psycopg.Connection) -> None:
    run(
        connection,
        """
        create table app.log (line text);
        create function app.note() returns trigger language plpgsql as $$ begin
          insert into app.log values (tg_name || ' ' || tg_op); return null; end $$;
        create table app.m (at timestamptz, n int generated always as identity,
          twice int generated always as (42) stored, primary key (at, n));
        create trigger seen after insert or delete on app.m for each row execute function app.note();
        create trigger asleep after delete on app.m for each row execute function app.note();
        alter table app.m disable trigger asleep""",
    )
    make(connection, "'app.m', 'at', chunk_time_interval => interval '1 day'")
    run(
        connection,
        "insert into app.m select timestamptz '2020-01-01Z' + i * interval '7 hours'"
        " from generate_series(0, 99) i",
    )
    run(connection, "insert into app.m values ('infinity'), ('-infinity'), ('294276-12-31'), (now())")
    image = "select count(*), sum(hashtextextended(m::text, 0)) from app.m m"
    before = run(connection, image)
    run(connection, "delete from app.log")
    assert value(connection, "select tidemill.make_chunks('app.m')") == 29
    assert run(connection, image) == before
    assert values(connection, "select at::text from app_chunks._hyper_1_default order by at") == [
        "-infinity",
        "294276-12-31 00:00:00+00",
        "infinity",
    ]
    assert run(connection, "select * from app.log") == []
    states = run(
        connection,
        """select tgname, tgenabled, count(*) from pg_trigger
        where tgrelid in (select inhrelid from pg_inherits) and not tgisinternal group by 1, 2 order by 1""",
    )
    assert states == [("asleep", "D", 32), ("seen", "O", 32)]
    # The range of a chunk that is there stays there.
    run(connection, "insert into app.m values ('2020-01-02Z')")
    assert value(connection, "select count(*) from app_chunks._hyper_1_default") == 3


def test_another_width_fits_between_the_chunks_that_are_there(connection: psycopg.Connection) -> None:
    run(connection, "create table app.m (at bigint)")
    make(connection, "'app.m', 'at', chunk_time_interval => 10")
    run(connection, "insert into app.m values (25), (-25)")
    run(connection, "select tidemill.make_chunks('app.m')")
    run(connection, "update tidemill._hypertables set chunk_width = 100")
    run(connection, "insert into app.m values (5), (95), (-95), (-5)")
    run(connection, "select tidemill.make_chunks('app.m')")
    assert run(connection, "select range_start, range_end from tidemill._chunks order by 1") == [
        (-100, -30),
        (-30, -20),
        (-20, 0),
        (0, 20),
        (20, 30),
        (30, 100),
    ]


def test_two_sessions_make_the_same_chunk(connection: psycopg.Connection, database: str) -> None:
    run(connection, "create table app.m (at bigint)")
    make(connection, "'app.m', 'at', chunk_time_interval => 10")
    run(connection, "insert into app.m values (5)")
    with psycopg.connect(database) as other:
        run(other, "select tidemill.make_chunks('app.m')")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            run(connection, "set lock_timeout = 50; select tidemill.make_chunks('app.m')")
    assert value(connection, "select tidemill.make_chunks('app.m')") == 0


def test_two_sessions_that_make_many_chunks_are_no_deadlock(
    connection: psycopg.Connection, database: str
) -> None:
    run(connection, "create table t (at timestamptz not null)")
    make(connection, "'t', 'at', chunk_time_interval => interval '1 day'")
    run(connection, "insert into t values ('2026-01-01'), ('2026-02-01')")
    with (
        psycopg.connect(database) as first,
        psycopg.connect(database, autocommit=True) as second,
        ThreadPoolExecutor(1) as beside,
    ):
        assert value(first, "select tidemill.make_chunks('t')") == 2
        waiting = beside.submit(value, second, "select tidemill.make_chunks('t')")
        pid = second.info.backend_pid
        blocked = f"select cardinality(pg_blocking_pids({pid}))"
        wait_until(lambda: value(connection, blocked) > 0, "the second to wait")
        run(first, "insert into t values ('2026-03-01')")
        assert value(first, "select tidemill.make_chunks('t')") == 1
        first.commit()
        assert waiting.result(30) == 0


def test_only_the_owner(server: Server, connection: psycopg.Connection) -> None:
    run(connection, "create table app.m (at timestamptz)")
    make(connection, "'app.m', 'at'")
    with server.superuser(str(conninfo_to_dict(connection.info.dsn)["dbname"])) as superuser:
        for call in ("make_chunks('app.m')", "drop_chunks('app.m', now())"):
            with refused("42501", 'must be owner of hypertable "m"'):
                run(superuser, f"select tidemill.{call}")
    with refused("TS001", '"pg_class" is not a hypertable'):
        run(connection, "select tidemill.make_chunks('pg_class')")


def test_rows_that_come_meanwhile(connection: psycopg.Connection, database: str) -> None:
    """A writer beside make_chunks loses nothing, and sees no error."""
    run(connection, "create table app.m (at bigint)")
    make(connection, "'app.m', 'at', chunk_time_interval => 10")

    with ThreadPoolExecutor(1) as pool:
        ended = Event()

        def write() -> int:
            done = 0
            with psycopg.connect(database, autocommit=True) as writer:
                while not ended.is_set():
                    done += writer.execute(
                        "insert into app.m select %s + generate_series(1, 7)", [done]
                    ).rowcount
            return done

        writing = pool.submit(write)
        try:
            made = 0
            while made < 30 and not writing.done():
                made += value(connection, "select tidemill.make_chunks('app.m')")
        finally:
            ended.set()
        written = writing.result()
    assert value(connection, "select count(*) from app.m") == written
    run(connection, "select tidemill.make_chunks('app.m')")
    assert run(connection, "select count(*), count(distinct at) from app.m") == [(written, written)]
    assert value(connection, "select count(*) from app_chunks._hyper_1_default") == 0
