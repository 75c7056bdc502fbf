"""The aggregates tidemill.first and tidemill.last, and their twins in public."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict

from tests.support.dialects import lay_timescaledb
from tests.support.servers import OWNER, Server

# The oldest and the newest: what they compute does not change in between.
pytestmark = pytest.mark.versions(18, 15)

# A type, and two values of it.
VALUES: list[tuple[LiteralString, LiteralString, LiteralString]] = [
    ("boolean", "true", "false"),
    ("smallint", "-32768", "7"),
    ("integer", "3", "-2147483648"),
    ("bigint", "9007199254740993", "2"),
    ("real", "0.1", "'NaN'"),
    ("double precision", "0.1", "'-Infinity'"),
    ("numeric", "0.10", "12345678901234567890.123456789"),
    ("text", "''", "'NULL'"),
    ("date", "'2024-02-29'", "'infinity'"),
    ("timestamptz", "'2024-10-27 00:30+00'", "'2024-10-27 01:30+00'"),
    ("interval", "'1 mon -1 day 02:00'", "'-00:00:01'"),
    ("jsonb", "'{\"a\": [1, null]}'", "'null'"),
    ("uuid", "'00000000-0000-0000-0000-000000000001'", "'00000000-0000-0000-0000-000000000002'"),
    ("bytea", "'\\x00ff'", "''"),
    ("integer[]", "'{1,NULL}'", "'{}'"),
    ("text[]", "array['a,b', null]", "array['NULL']"),
    ("double precision[]", "array[0.1::float8 + 0.2]", "array[1e300]"),
    ("point", "'(0.30000000000000004,1)'", "'(0,0)'"),
    ("app.mood", "'happy'", "'sad'"),
    ("app.pair", "row(1, 'x,y')", "row(null, null)"),
    ("regclass", "'app.readings'", "'pg_class'"),
]


@pytest.fixture(autouse=True)
def _tables(connection: psycopg.Connection) -> None:
    connection.execute(
        """
        create type app.mood as enum ('sad', 'happy');
        create type app.pair as (a integer, b text);
        create table app.readings (device integer, tz timestamptz, ts timestamp, n integer, value float8);
        """
    )


def one(connection: psycopg.Connection, statement: LiteralString) -> Any:
    row = connection.execute(statement).fetchone()
    assert row is not None
    return row


@pytest.mark.parametrize(("kind", "early", "late"), VALUES, ids=[kind for kind, *_ in VALUES])
@pytest.mark.parametrize(
    "time",
    ["timestamptz '2024-01-01' + g * interval '1 s'", "timestamp '2024-01-01' + g * interval '1 s'",
     "date '2024-01-01' + g", "g", "g::smallint", "g::bigint"],
)  # fmt: skip
def test_every_type_comes_back_as_it_was(
    connection: psycopg.Connection,
    kind: LiteralString,
    early: LiteralString,
    late: LiteralString,
    time: LiteralString,
) -> None:
    connection.execute(
        "set extra_float_digits = 0; set datestyle = 'SQL, DMY'; set intervalstyle = 'sql_standard'"
    )
    connection.execute("set timezone = 'Europe/Berlin'")
    values = "select g, case g when 1 then (" + early + ")::" + kind + " when 3 then (" + late + ")::" + kind
    values += " end as v from (values (2), (3), (1)) t (g)"
    found = one(
        connection,
        "select tidemill.first(v, " + time + ") is not distinct from (" + early + ")::" + kind
        + ", tidemill.last(v, " + time + ") is not distinct from (" + late + ")::" + kind
        + ", pg_typeof(tidemill.first(v, " + time + ")) = '" + kind + "'::regtype from (" + values + ") t"
        if kind != "point" else
        "select tidemill.first(v, " + time + ") ~= (" + early + ")::point,"
        " tidemill.last(v, " + time + ") ~= (" + late + ")::point, pg_typeof(tidemill.first(v, " + time + "))"
        " = 'point'::regtype from (" + values + ") t",
    )  # fmt: skip
    assert found == (True, True, True)


def test_which_overload_other_types_take(connection: psycopg.Connection) -> None:
    """Those that are texts become text; what PostgreSQL could take for a number stays what it is."""
    told = one(
        connection,
        "select pg_typeof(tidemill.first('a'::varchar, now())), pg_typeof(tidemill.first('a'::name, now())),"
        " pg_typeof(tidemill.first('a'::varchar, 1)), pg_typeof(tidemill.first(1::oid, now())),"
        " pg_typeof(tidemill.first('pg_class'::regclass, now())),"
        " pg_typeof(tidemill.first(current_date, now()))",
    )
    assert told == ("text", "text", "character varying", "oid", "regclass", "date")


# Rows of (value, time); the values that first and last may return.
CASES: list[tuple[list[tuple[int | None, int | None]], set[int | None], set[int | None]]] = [
    ([], {None}, {None}),
    ([(1, 5)], {1}, {1}),
    ([(1, 5), (2, 4), (3, 6)], {2}, {3}),
    # A value that is NULL is one.
    ([(1, 5), (None, 4), (3, 6)], {None}, {3}),
    ([(1, 5), (2, 4), (None, 6)], {2}, {None}),
    # A time that is NULL is none.
    ([(9, None), (1, 5), (8, None), (2, 4), (7, None)], {2}, {1}),
    ([(9, None), (8, None)], {None}, {None}),
    ([(None, None), (1, 5)], {1}, {1}),
    ([(1, 5), (2, 5), (3, 7), (4, 7)], {1, 2}, {3, 4}),
]


@pytest.mark.parametrize("kind", ["integer", "jsonb"])
@pytest.mark.parametrize(("rows", "first", "last"), CASES)
def test_nulls_and_ties(
    connection: psycopg.Connection,
    kind: LiteralString,
    rows: list[tuple[int | None, int | None]],
    first: set[int | None],
    last: set[int | None],
) -> None:
    with connection.cursor() as cursor:
        cursor.executemany("insert into app.readings (n, device) values (%s, %s)", rows)
    times: list[LiteralString] = ["device", "'2024-01-01'::timestamptz + device * interval '1 s'"]
    times += ["'2024-01-01'::timestamp + device * interval '1 s'", "'2024-01-01'::date + device"]
    for time in times:
        value: LiteralString = "n" if kind == "integer" else "to_jsonb(n)"
        told = one(
            connection,
            "select tidemill.first(" + value + ", " + time + "), tidemill.last(" + value + ", " + time + ")"
            " from app.readings",
        )
        assert told[0] in first
        assert told[1] in last


def test_infinite_times(connection: psycopg.Connection) -> None:
    told = one(
        connection,
        "select tidemill.first(v, t), tidemill.last(v, t), tidemill.first(v, t::timestamp),"
        " tidemill.last(v, t::timestamp)"
        " from (values (1, '2024-01-01'::timestamptz), (2, '-infinity'), (3, 'infinity')) x (v, t)",
    )
    assert told == (2, 3, 2, 3)


def test_groups_filters_and_windows(connection: psycopg.Connection) -> None:
    connection.execute(
        "insert into app.readings (device, tz, value) select g % 3, '2024-01-01'::timestamptz + g *"
        " interval '1 min', g"
        " from generate_series(1, 300) g"
    )
    assert connection.execute(
        "select device, tidemill.first(value, tz), tidemill.last(value, tz),"
        " tidemill.last(value, tz) filter (where value < 100) from app.readings group by 1 order by 1"
    ).fetchall() == [(0, 3, 300, 99), (1, 1, 298, 97), (2, 2, 299, 98)]
    assert connection.execute(
        "select tidemill.last(value, tz) over (order by tz rows between 1 preceding and 1 following)"
        " from app.readings order by tz limit 3"
    ).fetchall() == [(2,), (3,), (4,)]


@pytest.mark.each_version("planners differ")
@pytest.mark.parametrize("time", ["tz", "ts", "n"])
@pytest.mark.parametrize("value", ["value", "n", "n::numeric", "n::text", "to_jsonb(n)", "nullif(n, 1)"])
def test_parallel_plans(connection: psycopg.Connection, value: LiteralString, time: LiteralString) -> None:
    connection.execute(
        "insert into app.readings select g % 10, '2024-01-01'::timestamptz + g * interval '1 min',"
        " '2024-01-01'::timestamp + g * interval '1 min', g, g from generate_series(1, 5000) g"
        " order by (g * 7919) % 5003"
    )
    connection.execute("insert into app.readings (device, value) select 1, -1 from generate_series(1, 500)")
    connection.execute("analyze app.readings")
    statement = (
        "select device, tidemill.first("
        + value
        + ", "
        + time
        + "), tidemill.last("
        + value
        + ", "
        + time
        + ")"
        " from app.readings group by device order by device"
    )
    plain = connection.execute(statement).fetchall()
    connection.execute(
        "set parallel_setup_cost = 0; set parallel_tuple_cost = 0; set min_parallel_table_scan_size = 0;"
        "set max_parallel_workers_per_gather = 2"
    )
    plan = "\n".join(line for (line,) in connection.execute("explain " + statement).fetchall())
    assert "Partial" in plan
    assert "Gather" in plan
    assert connection.execute(statement).fetchall() == plain
    if value == "value":
        assert plain == [(0, 10, 5000)] + [(d, d, 4990 + d) for d in range(1, 10)]
    if value == "nullif(n, 1)":
        assert plain[1] == (1, None, 4991)


# Under the names of the dialect, for a role that has no right on Tidemill's schema


@pytest.fixture
def reader(server: Server, database: str, connection: psycopg.Connection) -> Iterator[psycopg.Connection]:
    lay_timescaledb(server, database)
    name = "tidemill_reader"
    with server.superuser() as superuser:
        superuser.execute(f"create role {name}".encode())
        superuser.execute(f"grant {name} to {OWNER}".encode())
    connection.execute(f"set role {name}".encode())
    yield connection
    connection.execute("reset role")
    with server.superuser(str(conninfo_to_dict(database)["dbname"])) as superuser:
        superuser.execute(f"drop owned by {name}".encode())
        superuser.execute(f"drop role {name}".encode())


def test_the_dialect_without_any_right(reader: psycopg.Connection) -> None:
    with pytest.raises(errors.InsufficientPrivilege):
        reader.execute("select tidemill.time_bucket('1 day', now())")
    reader.execute("set timezone = 'UTC'")
    told = one(
        reader,
        "select time_bucket('1 day', t)::text, time_bucket('1 month', t)::text, time_bucket('1 day', t,"
        " 'Europe/Berlin')::text,"
        " time_bucket('1 month', t::date)::text, time_bucket('1 day', t::timestamp, \"offset\" => '1"
        " hour')::text,"
        ' time_bucket(5, 7), time_bucket(5, 7, "offset" => 3),'
        " time_bucket('1 week', t, timezone => 'UTC', origin => '2024-01-02 00:00+00')::text"
        " from (values ('2024-07-10 12:00+00'::timestamptz)) v (t)",
    )
    assert told == (
        "2024-07-10 00:00:00+00", "2024-07-01 00:00:00+00", "2024-07-09 22:00:00+00", "2024-07-01",
        "2024-07-10 01:00:00", 5, 3, "2024-07-09 00:00:00+00",
    )  # fmt: skip
    told = one(
        reader,
        "select first(v, g), last(v, g), first(v::float8, now() + g * interval '1 s'), last(array[v],"
        " localtimestamp)"
        " from (values (7, 1), (8, 2)) t (v, g)",
    )
    assert told[:3] == (7, 8, 7)
    with pytest.raises(errors.InvalidParameterValue, match="period must be greater than 0"):
        reader.execute("select time_bucket('0', now())")
    plan = reader.execute(
        "explain verbose select time_bucket('1 day', now() + g * interval '1 s') from generate_series(1, 9) g"
    )
    told = "\n".join(line for (line,) in plan.fetchall())
    assert "date_bin('" in told
    assert "time_bucket" not in told


def test_the_dialect_has_all_of_them(reader: psycopg.Connection) -> None:
    found = reader.execute(
        """
        select n.nspname = 'public', p.proname, pg_get_function_arguments(p.oid),
               pg_get_function_result(p.oid), p.prokind, p.provolatile, p.proparallel
        from pg_proc p join pg_namespace n on n.oid = p.pronamespace
        where n.nspname in ('tidemill', 'public') and p.proname in ('time_bucket', 'first', 'last')
        """
    ).fetchall()
    laid = {tuple(rest) for is_public, *rest in found if is_public}
    assert laid == {tuple(rest) for is_public, *rest in found if not is_public}
    assert len(laid) == 16 + 2 * 19


def test_they_are_the_same_under_a_hostile_search_path(connection: psycopg.Connection) -> None:
    connection.execute(
        """
        create schema trap;
        create domain trap.text as integer;
        create function trap.wrong(timestamptz, timestamptz) returns boolean language sql as 'select true';
        create operator trap.>= (function = trap.wrong, leftarg = timestamptz, rightarg = timestamptz);
        create operator trap.<= (function = trap.wrong, leftarg = timestamptz, rightarg = timestamptz);
        set search_path = trap, pg_catalog
        """
    )
    told = one(
        connection,
        "select tidemill.first(v, t), tidemill.last(v, t),"
        " tidemill.first(array[v], t), tidemill.last(array[v], t)"
        " from (values (2, '2024-01-02'::timestamptz), (1, '2024-01-01'), (3, '2024-01-03')) x (v, t)",
    )
    assert told == (1, 3, [1], [3])
