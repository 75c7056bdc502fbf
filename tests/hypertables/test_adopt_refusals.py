"""What adopt_hypertable refuses, and for whom it works."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.hypertables.calls import refused, run, value, values
from tests.support.servers import Server

pytestmark = pytest.mark.versions(18, 16)

M = "create table app.m (at timestamptz, n int) partition by range (at);"
P = "create table app.p partition of app.m for values from ('2026-01-01Z') to ('2026-02-01Z');"
# What is there, the code, and a part of the message.
CASES = {
    "plain": ("create table app.m (at timestamptz)", "0A000", '"m" is not partitioned'),
    "view": ("create view app.m as select now() as at", "42809", '"m" is not a partitioned table'),
    "list": ("create table app.m (at date) partition by list (at)", "0A000", "is partitioned by list"),
    "hash": ("create table app.m (at date) partition by hash (at)", "0A000", "is partitioned by hash"),
    "two columns": (
        "create table app.m (at date, n int) partition by range (at, n)",
        "0A000",
        "is partitioned by 2 columns",
    ),
    "expression": (
        "create table app.m (at timestamp) partition by range (date_trunc('day', at))",
        "0A000",
        "is partitioned by the expression date_trunc",
    ),
    "operator class": (
        "create table app.m (at text) partition by range (at text_pattern_ops)",
        "0A000",
        "an operator class of its own, text_pattern_ops",
    ),
    "no time": (
        "create table app.m (at numeric) partition by range (at)",
        "42804",
        'the column "at" has the type numeric',
    ),
    "partition": (
        "create table app.a (at date) partition by list (at);"
        "create table app.m partition of app.a default partition by range (at)",
        "0A000",
        'is a partition of "app.a"',
    ),
    "temporary": ("create temp table m (at date) partition by range (at)", "0A000", "not a permanent table"),
    "rule": (
        M + "create rule r as on delete to app.m do instead nothing",
        "0A000",
        '"m" is a table with the rule "r"',
    ),
    "foreign key": (
        "create table app.m (at date primary key) partition by range (at);"
        "create table app.k (at date references app.m)",
        "0A000",
        'foreign keys point at "app.m": "k_at_fkey" on app.k',
    ),
    "foreign key at a partition": (
        "create table app.m (at timestamptz primary key) partition by range (at);"
        + P
        + "create table app.k (at timestamptz references app.p)",
        "0A000",
        'foreign keys point at "app.p"',
    ),
    "publication": (M + "create publication told for table app.m", "0A000", '"app.m" is published: told'),
    "sub-partitions": (
        M + "create table app.p partition of app.m default partition by list (n)",
        "0A000",
        'the partition "app.p" is partitioned itself',
    ),
    "unlogged": (M + P + "alter table app.p set unlogged", "0A000", 'the partition "app.p" is unlogged'),
    "order of columns": (
        M + "create table app.p (n int, at timestamptz);"
        "alter table app.m attach partition app.p for values from ('2026-01-01Z') to ('2026-02-01Z')",
        "0A000",
        'the partition "app.p" has its columns in another order',
    ),
    "unique index of a partition": (
        M + P + "create unique index u on app.p (n, at)",
        "0A000",
        'the partition "app.p" has a unique index of its own',
    ),
    "foreign key of a partition": (
        M
        + P
        + "create table app.k (n int primary key); alter table app.p add foreign key (n) references app.k",
        "0A000",
        'the partition "app.p" has a foreign key of its own',
    ),
    "publication of a partition": (
        M + P + "create publication told for table app.p",
        "0A000",
        '"app.p" is published: told',
    ),
    "rule of a partition": (
        M + P + "create rule r as on delete to app.p do instead nothing",
        "0A000",
        'the partition "app.p" has a rule',
    ),
    "infinite times": (
        M + "create table app.p partition of app.m for values from ('infinity') to (maxvalue)",
        "0A000",
        '"app.p" is for infinite times alone',
    ),
    "no time in a row": (
        M + "create table app.p partition of app.m default; insert into app.m values (null), (now())",
        "23502",
        '1 rows of "app.p" have no "at"',
    ),
    "null": ("", "22023", "relation cannot be NULL"),
    "already": (
        M + "select tidemill.adopt_hypertable('app.m')",
        "TS110",
        'table "m" is already a hypertable',
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_refused(connection: psycopg.Connection, case: str) -> None:
    there, code, message = CASES[case]
    run(connection, there)
    before = value(connection, "select count(*) from pg_class")
    relation = "null" if case == "null" else "to_regclass('m')"
    with refused(code, message):
        run(connection, f"select tidemill.adopt_hypertable({relation})")
    assert value(connection, "select count(*) from pg_class") == before


def test_a_foreign_table(server: Server, connection: psycopg.Connection) -> None:
    run(connection, M)
    with server.superuser(str(conninfo_to_dict(connection.info.dsn)["dbname"])) as superuser:
        run(
            superuser,
            "create foreign data wrapper nowhere; create server nowhere foreign data wrapper nowhere;"
            "create foreign table app.p partition of app.m default server nowhere",
        )
    with refused("0A000", 'the partition "app.p" is a foreign table'):
        run(connection, "select tidemill.adopt_hypertable('app.m')")


def test_a_partition_that_is_being_detached(connection: psycopg.Connection, database: str) -> None:
    run(connection, M + P)
    with psycopg.connect(database) as reader, psycopg.connect(database, autocommit=True) as other:
        run(reader, "select from app.m")
        run(other, "set lock_timeout = '50ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            run(other, "alter table app.m detach partition app.p concurrently")
        reader.rollback()
        with refused("0A000", 'the partition "app.p" is being detached'):
            run(connection, "select tidemill.adopt_hypertable('app.m')")
    run(connection, "alter table app.m detach partition app.p finalize")
    run(connection, "select tidemill.adopt_hypertable('app.m')")


def test_twice_if_that_is_fine(connection: psycopg.Connection) -> None:
    run(connection, M)
    assert run(connection, "select * from tidemill.adopt_hypertable('app.m')") == [(1, True)]
    again = run(connection, "select * from tidemill.adopt_hypertable('app.m', if_not_exists => true)")
    assert again == [(1, False)]
    assert (
        value(connection, "select count(*) from tidemill.actions where name like 'Chunks Policy of %'") == 1
    )


def test_a_snapshot_of_before(connection: psycopg.Connection) -> None:
    run(connection, M)
    with refused("25001", "in a transaction that is repeatable read"):
        run(
            connection,
            "begin isolation level repeatable read; select tidemill.adopt_hypertable('app.m'); commit",
        )


def test_an_ordinary_owner(server: Server, connection: psycopg.Connection) -> None:
    dbname = str(conninfo_to_dict(connection.info.dsn)["dbname"])
    with server.role() as role, server.superuser(dbname) as superuser:
        name = sql.Identifier(role)
        for grant in ("hypertables", "actions"):
            run(connection, f"select tidemill.grant_{grant}('{role}')")
        for schema in ("own", "own_chunks", "own_rows"):
            superuser.execute(
                sql.SQL("create schema {} authorization {}").format(sql.Identifier(schema), name)
            )
        with psycopg.connect(make_conninfo(connection.info.dsn, user=role), autocommit=True) as own:
            run(
                own,
                M.replace("app.", "own.")
                + P.replace("app.", "own.")
                + "insert into own.m select '2026-01-01Z'::timestamptz + n * interval '1 minute', n"
                " from generate_series(0, 999) n",
            )
            with refused("42501", 'must be owner of hypertable "m"'):
                run(superuser, "select tidemill.adopt_hypertable('own.m')")
            assert run(own, "select * from tidemill.adopt_hypertable('own.m')") == [(1, True)]
            run(own, "insert into own.m values ('2026-02-03 04:00Z', 1000)")
            assert value(own, "select tidemill.make_chunks('own.m')") == 3
            run(own, "select tidemill.enable_compression('own.m')")
            chunks = "tidemill.show_chunks('own.m', timestamptz '2027-01-01Z') c"
            assert len(values(own, f"select tidemill.compress_chunk(c) from {chunks}")) >= 2
            assert run(own, "select count(*), sum(n) from own.m") == [(1001, 500500)]
            assert value(own, "select count(*) from own_rows.m") == 0
            policy = value(own, "select tidemill.add_retention_policy('own.m', interval '100 years')")
            run(own, f"call tidemill.run_action({policy})")
            run(own, "drop table own_rows.m cascade")


def test_a_partition_of_another_role(server: Server, connection: psycopg.Connection) -> None:
    run(connection, M + P)
    with server.role() as role:
        with server.superuser(str(conninfo_to_dict(connection.info.dsn)["dbname"])) as superuser:
            superuser.execute(sql.SQL("alter table app.p owner to {}").format(sql.Identifier(role)))
        with refused("0A000", f'the partition "app.p" belongs to the role {role}'):
            run(connection, "select tidemill.adopt_hypertable('app.m')")
        with server.superuser(str(conninfo_to_dict(connection.info.dsn)["dbname"])) as superuser:
            run(superuser, "drop table app.p")
