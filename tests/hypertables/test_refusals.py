"""What create_hypertable refuses, and that it then has changed nothing."""

from __future__ import annotations

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.hypertables.calls import make, refused, run, value
from tests.support.servers import Server

pytestmark = pytest.mark.versions(18, 16)

M = "create table app.m (at timestamptz, n int);"
OK = "'app.m', 'at'"
# What is there, the call, the code, and a part of the message.
CASES = {
    "rows": (M + "insert into app.m values (now())", OK, "0A000", 'table "m" is not empty'),
    "null relation": ("", "null::regclass, 'at'", "22023", "relation cannot be NULL"),
    "null column": (M, "'app.m', null::name", "22023", "partition column cannot be NULL"),
    "no column": (M, "'app.m', 'nope'", "42703", 'column "nope" does not exist'),
    "text": (M + "alter table app.m add t text", "'app.m', 't'", "42804", 'the column "t" has the type text'),
    "domain": (
        M + "create domain app.d as date; alter table app.m add t app.d",
        "'app.m', 't'",
        "42804",
        'the column "t" has the type app.d',
    ),
    "generated": (
        M + "alter table app.m add g int generated always as (n) stored",
        "'app.m', 'g'",
        "0A000",
        '"g" is generated',
    ),
    "view": ("create view app.m as select now() as at", OK, "42809", '"m" is a view'),
    "partitioned": (
        "create table app.m (at timestamptz) partition by range (at)",
        OK,
        "0A000",
        '"m" is a partitioned table',
    ),
    "partition": (
        "create table app.p (at timestamptz) partition by range (at);"
        "create table app.m partition of app.p default",
        OK,
        "0A000",
        '"m" is a partition of "app.p"',
    ),
    "unlogged": ("create unlogged table app.m (at timestamptz)", OK, "0A000", '"m" is an unlogged table'),
    "temporary": (
        "create temp table m (at timestamptz)",
        "'pg_temp.m', 'at'",
        "0A000",
        '"m" is a temporary table',
    ),
    "child": (
        M + "create table app.c () inherits (app.m)",
        "'app.c', 'at'",
        "0A000",
        '"c" is inherited from "app.m"',
    ),
    "parent": (M + "create table app.c () inherits (app.m)", OK, "0A000", '"m" is the parent of "app.c"'),
    "typed": (
        "create type app.t as (at date); create table app.m of app.t",
        OK,
        "0A000",
        '"m" is a table of the type app.t',
    ),
    "rule": (
        M + "create rule r as on insert to app.m do instead nothing",
        OK,
        "0A000",
        '"m" is a table with the rule "r"',
    ),
    "identity index": (
        "create table app.m (at timestamptz primary key);"
        "alter table app.m replica identity using index m_pkey",
        OK,
        "0A000",
        "replica identity is an index",
    ),
    "primary key": (
        "create table app.m (at timestamptz, n int primary key)",
        OK,
        "0A000",
        'index "app.m_pkey" is without',
    ),
    "unique index": (
        M + "create unique index u on app.m (n)",
        OK,
        "0A000",
        'index "app.u" is without the column "at"',
    ),
    "included column": (
        M + "create unique index u on app.m (n) include (at)",
        OK,
        "0A000",
        'index "app.u" is without',
    ),
    "exclusion": (
        M + "alter table app.m add constraint x exclude (n with =)",
        OK,
        "0A000",
        '"app.x" is without',
    ),
    "no inherit": (
        M + "alter table app.m add constraint c check (n > 0) no inherit",
        OK,
        "0A000",
        'the constraint "c"',
    ),
    "transition table": (
        M
        + """create function app.f() returns trigger language plpgsql as 'begin return null; end';
          create trigger t after insert on app.m referencing new table as x
            for each row execute function app.f()""",
        OK,
        "0A000",
        'the trigger "t" is for each row',
    ),
    "foreign key": (
        "create table app.m (at timestamptz primary key);"
        "create table app.f (at timestamptz constraint k references app.m)",
        OK,
        "0A000",
        'foreign keys point at "app.m": "k" on app.f',
    ),
    "own foreign key": (
        "create table app.m (at timestamptz primary key, b timestamptz constraint k references app.m)",
        OK,
        "0A000",
        '"k" on app.m',
    ),
    "views": (
        M
        + "create view app.v as select at from app.m; create materialized view app.w as select n from app.m",
        OK,
        "2BP01",
        "materialized view app.w, view app.v",
    ),
    "function": (
        M + "create function app.f() returns bigint begin atomic select count(*) from app.m; end",
        OK,
        "2BP01",
        "function app.f()",
    ),
    "row type": (
        M + "create function app.f(app.m) returns int language sql as 'select 1'",
        OK,
        "2BP01",
        "function app.f(app.m)",
    ),
    "row type of a column": (M + "create table app.o (x app.m[])", OK, "2BP01", "column x of table app.o"),
    "publication": (M + "create publication pub for table app.m", OK, "0A000", '"app.m" is published: pub'),
    "no time": (
        M + "insert into app.m values (null), (now())",
        OK + ", migrate_data => true",
        "23502",
        '1 rows of "m" have no "at"',
    ),
    "space": (M, OK + ", 'n', 4", "0A000", '"partitioning_column" is not supported'),
    "prefix": (
        M,
        OK + ", associated_table_prefix => 'app'",
        "0A000",
        '"associated_table_prefix" is not supported',
    ),
    "function of time": (
        M,
        OK + ", time_partitioning_func => 'now'",
        "0A000",
        '"time_partitioning_func" is not supported',
    ),
    "hash": (M, "'app.m', tidemill.by_hash('n', 4)", "0A000", '"by_hash" is not supported'),
    "range function": (
        M,
        "'app.m', tidemill.by_range('at', partition_func => 'now')",
        "0A000",
        '"partition_func"',
    ),
    "no width": (
        M,
        OK + ", chunk_time_interval => interval '0'",
        "22023",
        "invalid chunk interval: 00:00:00",
    ),
    "negative width": (M, OK + ", chunk_time_interval => '-1 day'", "22023", "invalid chunk interval"),
    "interval for number": (
        M,
        "'app.m', 'n', chunk_time_interval => interval '1 day'",
        "22023",
        "invalid interval type for integer dimension",
    ),
    "wide number": (M, "'app.m', 'n', chunk_time_interval => 3000000000", "22023", "invalid chunk interval"),
    "time for width": (M, OK + ", chunk_time_interval => now()", "22023", "invalid interval type"),
    "part of a day": (
        "create table app.m (at date)",
        OK + ", chunk_time_interval => interval '1 hour'",
        "22023",
        "invalid chunk interval",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_refused(connection: psycopg.Connection, name: str) -> None:
    setup, arguments, sqlstate, message = CASES[name]
    run(connection, setup or "select")
    with refused(sqlstate, message):
        make(connection, arguments)
    assert value(connection, "select count(*) from tidemill.hypertables") == 0
    assert value(connection, "select count(*) from pg_namespace where nspname like '%chunks'") == 0


def test_published_by_others(server: Server, connection: psycopg.Connection) -> None:
    run(connection, M)
    with server.superuser(str(conninfo_to_dict(connection.info.dsn)["dbname"])) as superuser:
        superuser.execute("create publication everything for all tables")
        superuser.execute("create publication inside for tables in schema app")
    with refused("0A000", '"app.m" is published: everything, inside'):
        make(connection, OK)


def test_already_one(connection: psycopg.Connection) -> None:
    run(connection, M)
    make(connection, OK)
    with refused("TS110", 'table "m" is already a hypertable'):
        make(connection, OK)
    told: list[str | None] = []
    connection.add_notice_handler(lambda notice: told.append(notice.message_primary))
    assert run(connection, f"select * from tidemill.create_hypertable({OK}, if_not_exists => true)") == [
        (1, "app", "m", False)
    ]
    assert run(
        connection,
        "select * from tidemill.create_hypertable('app.m', tidemill.by_range('at'), if_not_exists => true)",
    ) == [(1, False)]
    assert told == ['table "m" is already a hypertable, skipping'] * 2
    with refused("0A000", "is a partition of"):
        make(connection, "'app_chunks._hyper_1_default', 'at'")


def test_a_lock_is_not_awaited_for_long(connection: psycopg.Connection, database: str) -> None:
    run(connection, M)
    run(
        connection,
        "alter function tidemill.create_hypertable(regclass, name, name, integer, name, name, anycompatible,"
        " boolean, boolean, regproc, boolean, regproc) set lock_timeout = '100ms'",
    )
    with psycopg.connect(database) as other:
        run(other, "select from app.m")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            make(connection, OK)
    make(connection, OK)


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_a_transaction_that_may_not_see_all(connection: psycopg.Connection, level: str) -> None:
    """What is committed between its snapshot and its lock would be lost."""
    run(connection, M)
    run(connection, f"begin isolation level {level}")
    with refused("25001", f"chunks cannot be changed in a transaction that is {level}"):
        make(connection, OK)
    run(connection, "rollback")
