"""The forms in which show_chunks and drop_chunks are called."""

from __future__ import annotations

import psycopg
import pytest

from tests.hypertables.calls import make, refused, run, value, values

pytestmark = pytest.mark.versions(18, 16)


def days(connection: psycopg.Connection, kind: str) -> None:
    """A hypertable with a chunk for each of the last ten days, today and tomorrow; the time has this type."""
    run(connection, f"create table app.m (at {kind})")
    run(
        connection,
        "insert into app.m select date_trunc('day', now()) - i * interval '1 day'"
        " from generate_series(1, 10) i",
    )
    make(connection, "'app.m', 'at', chunk_time_interval => interval '1 day', migrate_data => true")


def numbers(connection: psycopg.Connection, kind: str) -> None:
    run(connection, f"create table app.m (at {kind})")
    run(connection, "insert into app.m select i * 10 from generate_series(0, 11) i")
    make(connection, "'app.m', 'at', chunk_time_interval => 10, migrate_data => true")


TODAY = "date_trunc('day', now())"
# Arguments and how many of the twelve chunks are meant: ten past days, today, tomorrow.
FORMS = [
    ("'app.m'", 12),
    ("relation => 'app.m'", 12),
    ("'app.m', null, null", 12),
    ("'app.m', interval '3 days'", 7),
    ("'app.m', older_than => interval '3 days'", 7),
    ("'app.m', older_than => '3 days'", 7),
    ("'app.m', '3 days'", 7),
    ("'app.m', '3 days'::text", 7),
    ("'app.m', newer_than => interval '3 days'", 4),
    ("'app.m', newer_than => '3 days'", 4),
    ("'app.m', null, interval '3 days'", 4),
    ("'app.m', interval '3 days', interval '6 days'", 2),
    ("'app.m', '3 days', '6 days'", 2),
    ("'app.m', older_than => interval '3 days', newer_than => '6 days'", 2),
    (f"'app.m', {TODAY}", 10),
    (f"'app.m', ({TODAY} - interval '1 day')::timestamp", 9),
    ("'app.m', current_date - 1", 9),
    ("'app.m', newer_than => current_date", 2),
    ("'app.m', newer_than => current_date - 1, older_than => now()", 1),
    ("'app.m', 'today'", 10),
    ("'app.m', older_than => 'today', newer_than => '5 days'", 4),
    ("'app.m', older_than => '5 days', newer_than => '2001-01-01'", 5),
    ("'app.m', newer_than => 'infinity'", 0),
    ("'app.m', 'infinity', '-infinity'", 12),
    ("'app.m', created_before => now() + interval '1 day'", 12),
    ("'app.m', created_before => '2001-01-01'", 0),
    ("'app.m', created_after => '2001-01-01', created_before => now() + interval '1 second'", 12),
]
# A date is a day: what began in it counts as newer.
WHOLE_DAYS = {
    "'app.m', newer_than => interval '3 days'": 5,
    "'app.m', newer_than => '3 days'": 5,
    "'app.m', null, interval '3 days'": 5,
    "'app.m', interval '3 days', interval '6 days'": 3,
    "'app.m', '3 days', '6 days'": 3,
    "'app.m', older_than => interval '3 days', newer_than => '6 days'": 3,
    "'app.m', older_than => 'today', newer_than => '5 days'": 5,
}
NUMBERS = [
    ("'app.m', 30", 3),
    ("'app.m', 30::smallint", 3),
    ("'app.m', 39::bigint", 3),
    ("'app.m', '30'", 3),
    ("'app.m', older_than => 50, newer_than => 20::bigint", 3),
    ("'app.m', newer_than => 11", 10),
    ("'app.m', created_after => '2001-01-01'", 12),
]


@pytest.mark.parametrize("kind", ["timestamptz", "timestamp", "date"])
def test_show_by_time(connection: psycopg.Connection, kind: str) -> None:
    days(connection, kind)
    for arguments, n in FORMS:
        meant = WHOLE_DAYS.get(arguments, n) if kind == "date" else n
        assert len(values(connection, f"select tidemill.show_chunks({arguments})")) == meant, arguments


@pytest.mark.parametrize("kind", ["smallint", "integer", "bigint"])
def test_show_by_number(connection: psycopg.Connection, kind: str) -> None:
    numbers(connection, kind)
    for arguments, n in NUMBERS:
        assert len(values(connection, f"select tidemill.show_chunks({arguments})")) == n, arguments
    with refused("22023", 'invalid time argument type "interval"'):
        run(connection, "select tidemill.show_chunks('app.m', interval '1 day')")
    with refused("22023", 'invalid time argument type "timestamp with time zone"'):
        run(connection, "select tidemill.show_chunks('app.m', now())")


def test_drop_takes_what_show_shows(connection: psycopg.Connection) -> None:
    days(connection, "timestamptz")
    for arguments, _ in FORMS[3:]:
        shown = values(connection, f"select r::text from tidemill.show_chunks({arguments}) r")
        with connection.transaction(force_rollback=True):
            dropped = values(connection, f"select tidemill.drop_chunks({arguments})")
            assert dropped == shown, arguments
            assert value(connection, "select count(*) from tidemill.show_chunks('app.m')") == 12 - len(shown)
            assert value(
                connection, "select count(*) from pg_inherits where inhparent = 'app.m'::regclass"
            ) == 13 - len(shown)


def test_show_as_documented(connection: psycopg.Connection) -> None:
    """As TimescaleDB's examples use the chunks."""
    days(connection, "timestamptz")
    assert (
        value(
            connection,
            """select count(*) from tidemill.show_chunks('app.m', older_than => interval '3 days') as x(oid)
        join pg_class c on c.oid = x.oid join pg_namespace n on n.oid = c.relnamespace
        where x.oid::text = n.nspname || '.' || c.relname""",
        )
        == 7
    )


def test_drop_tells_each_chunk(connection: psycopg.Connection) -> None:
    days(connection, "timestamptz")
    told: list[str] = []
    connection.add_notice_handler(lambda notice: told.append(f"{notice.severity}: {notice.message_primary}"))
    dropped = values(connection, "select tidemill.drop_chunks('app.m', interval '8 days', verbose => true)")
    assert told == [f"INFO: dropping chunk {name}" for name in dropped]
    assert dropped == ["app_chunks._hyper_1_1_chunk", "app_chunks._hyper_1_2_chunk"]
    assert value(connection, "select count(*) from app.m") == 8


def test_drop_takes_packed_rows(connection: psycopg.Connection) -> None:
    numbers(connection, "integer")
    run(
        connection,
        """create table app.segments (_chunk integer);
        insert into app.segments select number from tidemill._chunks;
        update tidemill._hypertables set segments = 'app.segments'""",
    )
    run(connection, "select tidemill.drop_chunks('app.m', 30)")
    assert values(connection, "select _chunk from app.segments order by 1") == list(range(4, 13))


def test_a_chunk_that_something_depends_on_stays(connection: psycopg.Connection) -> None:
    numbers(connection, "integer")
    run(connection, "create view app.first as select * from app_chunks._hyper_1_2_chunk")
    with pytest.raises(psycopg.errors.DependentObjectsStillExist):
        run(connection, "select tidemill.drop_chunks('app.m', 100)")
    assert value(connection, "select count(*) from tidemill.show_chunks('app.m')") == 12


@pytest.mark.parametrize("function", ["show_chunks", "drop_chunks"])
def test_errors(connection: psycopg.Connection, function: str) -> None:
    days(connection, "timestamptz")
    for arguments, message in (
        ("'app.m', 5", 'invalid time argument type "integer"'),
        ("'app.m', '30'", '"30" has no unit'),
        ("'app.m', 'nonsense'", 'neither a time nor an interval: "nonsense"'),
        ("'app.m', interval '3 days', interval '3 days'", "invalid time range"),
        ("'app.m', interval '3 days', interval '1 day'", "invalid time range"),
        ("'app.m', created_before => '2001-01-01', created_after => '2001-01-01'", "invalid time range"),
        (
            "'app.m', '3 days', created_before => now()",
            'cannot specify "older_than" or "newer_than" together',
        ),
    ):
        with refused("22023", message):
            run(connection, f"select tidemill.{function}({arguments})")
    with refused("TS001", '"pg_class" is not a hypertable'):
        run(connection, f"select tidemill.{function}('pg_class', now())")


def test_errors_of_one(connection: psycopg.Connection) -> None:
    days(connection, "timestamptz")
    with refused("22023", "invalid time range for dropping chunks"):
        run(connection, "select tidemill.drop_chunks('app.m')")
    with refused("22023", "invalid hypertable"):
        run(connection, "select tidemill.drop_chunks(null, now())")
    with refused("42P01", "invalid hypertable"):
        run(connection, "select tidemill.show_chunks(null)")


def test_two_types_at_once_need_literals(connection: psycopg.Connection) -> None:
    """PostgreSQL finds no common type of an interval and a time."""
    days(connection, "timestamptz")
    with pytest.raises(psycopg.errors.UndefinedFunction):
        run(connection, "select tidemill.show_chunks('app.m', interval '5 days', timestamptz '2001-01-01')")


def test_styles_of_the_session(connection: psycopg.Connection) -> None:
    """A zone's abbreviation may mean another zone: IST is India's, and Israel's."""
    days(connection, "timestamptz")
    run(
        connection,
        "set datestyle = 'SQL, DMY'; set intervalstyle = 'sql_standard'; set timezone = 'Asia/Kolkata'",
    )
    for arguments, n in (
        (f"'app.m', ({TODAY} at time zone 'Asia/Kolkata')::date::timestamp at time zone 'UTC'", 10),
        ("'app.m', interval '3 days' - interval '1 hour'", 7),
        ("'app.m', newer_than => '31.12.2001', older_than => 'infinity'", 12),
    ):
        assert len(values(connection, f"select tidemill.show_chunks({arguments})")) in (n, n + 1), arguments


def test_the_last_chunk_of_a_small_type_ends_behind_it(connection: psycopg.Connection) -> None:
    run(connection, "create table m (at smallint not null)")
    make(connection, "'m', 'at', chunk_time_interval => 1000")
    run(connection, "insert into m values (32767), (0); select tidemill.make_chunks('m')")
    assert value(connection, "select count(*) from tidemill.show_chunks('m', older_than => 32767)") == 1
    run(connection, "select tidemill.drop_chunks('m', older_than => 33000)")
    assert value(connection, "select count(*) from m") == 0
