"""The functions between, recent and latest beside a hypertable: the view's rows, by the segments' index."""

from __future__ import annotations

import psycopg
import pytest

from tests.hypertables.calls import run, value, values
from tests.hypertables.packed import DEVICES, ROWS, compress, count

# A type of time, the width of a chunk, and the time of the day n, 0 being ten days ago.
TIMES = {
    "timestamptz": ("interval '3 days'", "date_trunc('day', now()) + ({} - 10) * interval '1 day'"),
    "timestamp": ("interval '3 days'", "date_trunc('day', localtimestamp) + ({} - 10) * interval '1 day'"),
    "date": ("interval '3 days'", "current_date + {} - 10"),
    "integer": ("3", "{}"),
}
STATES = ["plain", "packed", "mixed"]


def make(connection: psycopg.Connection, kind: str, state: str) -> None:
    """A table m of three devices and twelve days, and of one device that is new."""
    width, day = TIMES[kind]
    connection.execute(
        f"""
        create table m ("order" {kind} not null, device text, n integer);
        select tidemill.create_hypertable('m', 'order', chunk_time_interval => {width});
        insert into m
          select {day.format("n")}, d, n from generate_series(0, 11) n, unnest('{{a,b,c}}'::text[]) d;
        select tidemill.make_chunks('m');
        select tidemill.enable_compression('m', 'device')
        """.encode()
    )
    if state != "plain":
        where = (
            "true" if state == "packed" else "range_start < (select avg(range_start) from tidemill._chunks)"
        )
        connection.execute(
            f"select tidemill.compress_chunk(relation) from tidemill._chunks where {where}".encode()
        )
    if state == "mixed":
        connection.execute(
            f"insert into m values ({day.format(1)}, 'late', -1), ({day.format(30)}, 'a', 30)".encode()
        )


def same(connection: psycopg.Connection, call: str, query: str) -> int:
    """Compares the rows of a function with those of a query of the view."""
    with connection.transaction():
        called = sorted(values(connection, f"select c::text from {call} c"))
        expected = sorted(values(connection, f"select m::text from ({query}) m"))
    assert called == expected, call
    return len(called)


@pytest.mark.each_version("planners differ")
@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("kind", TIMES)
def test_they_have_the_rows_of_the_view(connection: psycopg.Connection, kind: str, state: str) -> None:
    make(connection, kind, state)
    _, day = TIMES[kind]
    late = 1 if state == "mixed" else 0
    for first, last, rows in [(0, 12, 36 + late), (1, 2, 3 + late), (4, 8, 12), (8, 4, 0), (40, 50, 0)]:
        bounds = [f"({day.format(n)})::{kind}" for n in (first, last)]
        found = same(
            connection,
            f"m_between({bounds[0]}, {bounds[1]})",
            f'select * from m where "order" >= {bounds[0]} and "order" < {bounds[1]}',
        )
        assert found == rows
    if kind == "integer":
        assert value(connection, "select count(*) from pg_proc where proname = 'm_recent'") == 0
    else:
        now = {"timestamptz": "now()", "timestamp": "localtimestamp", "date": "current_date"}[kind]
        for age in ("100 years", "8 days", "0"):
            cast = "::date" if kind == "date" else ""
            same(
                connection,
                f"m_recent('{age}')",
                f"select * from m where \"order\" >= ({now} - interval '{age}'){cast}",
            )
        assert count(connection, "select count(*) from m_recent('100 years')") == 36 + 2 * late
    for device in ("a", "b", "late", "nobody"):
        same(
            connection,
            f"m_latest('{device}')",
            f"select * from m where device = '{device}' order by \"order\" desc limit 1",
        )
    assert values(connection, "select n from m_latest('a')") == [30 if late else 11]


def test_latest_of_all_and_of_several_columns(connection: psycopg.Connection) -> None:
    connection.execute(
        "create table m (at date not null, a integer, b text, n integer);"
        "select tidemill.create_hypertable('m', 'at');"
        "insert into m select date '2026-01-01' + n, n % 2, 'b' || n % 3, n from generate_series(0, 20) n;"
        "create table other (like m); select tidemill.create_hypertable('other', 'at');"
        "insert into other select * from m;"
        "select tidemill.make_chunks('m'), tidemill.make_chunks('other');"
        "select tidemill.enable_compression('m', 'b, a'), tidemill.enable_compression('other')"
    )
    for _ in range(2):
        assert values(connection, "select n from m_latest('b0', 1)") == [15]
        assert values(connection, "select n from other_latest()") == [20]
        assert values(connection, "select b || a || n from m_latest(a => 0, b => 'b2')") == ["b2020"]
        compress(connection, "m")
        compress(connection, "other")


@pytest.mark.parametrize("kind", TIMES)
def test_the_planner_sees_through_them(connection: psycopg.Connection, kind: str) -> None:
    make(connection, kind, "packed")
    connection.execute("set enable_seqscan = off; set enable_bitmapscan = off")
    _, day = TIMES[kind]
    calls = [
        f"m_between(({day.format(4)})::{kind}, ({day.format(8)})::{kind}) where device = 'a'",
        "m_latest('a')",
    ]
    if kind != "integer":
        calls.append("m_recent('3 days') where device = 'a'")
    for call in calls:
        plan = "\n".join(values(connection, f"explain select n from {call}"))
        assert "Function Scan" not in plan
        assert "using _hyper_1_segments_0_device__" in plan, plan
        assert "Index Cond: (" in plan
        assert "device = 'a'::text" in plan


def test_names_that_are_taken_are_left_alone(connection: psycopg.Connection) -> None:
    connection.execute(DEVICES)
    connection.execute(
        "create function event_data_between(timestamptz, timestamptz) returns integer language sql return 1;"
        "create function event_data_recent(integer) returns integer language sql return 2"
    )
    told: list[tuple[str | None, str | None]] = []
    connection.add_notice_handler(lambda notice: told.append((notice.severity, notice.message_primary)))
    connection.execute("select tidemill.enable_compression('event_data', 'device_id')")
    [warning] = [message for severity, message in told if severity == "WARNING"]
    assert str(warning).startswith("there is a function app.event_data_between(")
    compress(connection)
    connection.execute("select tidemill.set_transparent('event_data', false)")
    connection.execute("select tidemill.add_column('event_data', 'more', 'integer')")
    assert value(connection, "select event_data_between(now(), now())") == 1
    assert value(connection, "select event_data_recent(3)") == 2
    assert count(connection, "select count(*) from event_data_recent(interval '100 years')") == ROWS


def test_they_go_with_the_table(connection: psycopg.Connection) -> None:
    connection.execute(DEVICES)
    connection.execute("select tidemill.enable_compression('event_data', 'device_id')")
    made = "select proname from pg_proc where proname ~ '^event_data_' order by 1"
    assert values(connection, made) == ["event_data_between", "event_data_latest", "event_data_recent"]
    connection.execute("drop table app_rows.event_data cascade")
    assert values(connection, made) == []


def test_a_reader_of_the_view_may_call_them_and_no_one_else(
    connection: psycopg.Connection, superuser_conninfo: str
) -> None:
    role = "reader_of_" + connection.info.dbname
    connection.execute(DEVICES)
    with psycopg.connect(superuser_conninfo, autocommit=True) as superuser:
        superuser.execute(f"create role {role}".encode())
        try:
            connection.execute(f"grant usage on schema app to {role}".encode())
            connection.execute("select tidemill.enable_compression('event_data', 'device_id')")
            compress(connection, before="2026-01-04 00:00+00")
            superuser.execute(f"set role {role}; set search_path = app".encode())
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                superuser.execute("select * from event_data_latest(1)")
            connection.execute(
                "select tidemill.decompress_chunk(c) from tidemill.show_chunks('event_data') c"
            )
            connection.execute(
                "create table m (like event_data); select tidemill.create_hypertable('m', 'time');"
                f"grant select on m to {role}; insert into m select * from event_data;"
                "select tidemill.make_chunks('m'); select tidemill.enable_compression('m')".encode()
            )
            compress(connection, "m")
            assert count(superuser, "select count(*) from m_between('-infinity', 'infinity')") == ROWS
        finally:
            superuser.execute("reset role")
            superuser.execute(f"drop owned by {role}; drop role {role}".encode())


def test_the_columns_are_those_of_the_table(connection: psycopg.Connection) -> None:
    connection.execute(DEVICES)
    connection.execute("select tidemill.enable_compression('event_data', 'device_id')")
    compress(connection)
    [row] = run(
        connection, "select \"time\" at time zone 'UTC', device_id, value, note from event_data_latest(4)"
    )
    assert (str(row[0]), row[1:]) == ("2026-01-04 23:50:00", (4, 6.0, "none"))
