"""The part of everything() that is about hypertables."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row
from psycopg.types.string import TextLoader

from tests.support.commands import CommandLine


def rows(conninfo: str, statement: str, *params: Any) -> list[dict[str, Any]]:
    """What a statement finds in a session like that of an administrator with psql."""
    with (
        psycopg.connect(conninfo, autocommit=True, client_encoding="UTF8") as connection,
        connection.cursor(row_factory=dict_row) as cursor,
    ):
        # Some times are infinite, and settings change how intervals look.
        for name in ("timestamptz", "interval"):
            cursor.adapters.register_loader(name, TextLoader)
        cursor.execute(statement.encode(), params or None)
        return cursor.fetchall() if cursor.description else []


def in_turn(conninfo: str, *statements: str) -> None:
    """Statements that refuse other levels of isolation."""
    rows(conninfo, "begin isolation level read committed;" + ";".join(statements) + "; commit")


def adopt(conninfo: str) -> None:
    """A table that is partitioned already."""
    rows(conninfo, "create table app.adopted (at pg_catalog.timestamptz) partition by range (at)")
    for bounds in ("(minvalue) to ('2026-01-01Z')", "('2026-01-01Z') to ('2026-02-01Z')"):
        name = "old" if "min" in bounds else "new"
        rows(conninfo, f"create table app.{name} partition of app.adopted for values from {bounds}")
    rows(conninfo, "insert into app.adopted values ('2025-01-01Z'), ('2026-01-01Z')")
    in_turn(conninfo, "select * from tidemill.adopt_hypertable('app.adopted')")
    in_turn(conninfo, "select * from tidemill.adopt_hypertable('app.adopted', if_not_exists => true)")
    assert len(rows(conninfo, "select tidemill.show_chunks('app.adopted', '2026-02-02')")) == 2
    rows(conninfo, "drop table app.adopted")


def name_columnstores(conninfo: str) -> None:
    """Compression under TimescaleDB's later names, and what there is not."""
    [shown] = rows(
        conninfo,
        "select c::pg_catalog.text as chunk from tidemill.show_chunks('app.measured') c limit 1",
    )
    chunk = shown["chunk"]
    in_turn(conninfo, f"call public.convert_to_rowstore('{chunk}')")
    in_turn(conninfo, f"call public.convert_to_columnstore('{chunk}')")
    rows(conninfo, "call public.add_columnstore_policy('app.measured', '1 day')")
    rows(conninfo, "call public.remove_columnstore_policy('app.measured')")
    for refused in (
        "select public.by_hash('state', 4)",
        "select public.add_continuous_aggregate_policy('x', null, null, '1 hour')",
        "select public.remove_continuous_aggregate_policy('x')",
        "call public.refresh_continuous_aggregate('x', null, null)",
    ):
        with pytest.raises(psycopg.errors.FeatureNotSupported):
            rows(conninfo, refused)


def call_hypertables(conninfo: str, owner: str, cli: CommandLine) -> None:
    """The functions and views of hypertables, and the commands."""
    rows(conninfo, f"select tidemill.grant_hypertables('{owner}')")
    adopt(conninfo)
    for schema in ("tidemill", "public"):
        rows(
            conninfo,
            "create table app.measured (at pg_catalog.timestamptz primary key,"
            " nr serial check (nr operator(pg_catalog.>) 0), state pg_catalog.text default 'new')",
        )
        rows(conninfo, "create index on app.measured (state)")
        rows(conninfo, f"grant select, update (state) on app.measured to {owner}")
        rows(conninfo, "insert into app.measured values ('2026-01-01 12:00Z'), ('2026-01-09 12:00Z')")
        for arguments in (
            "'at', migrate_data => true, chunk_time_interval => interval '1 day'",
            f"{schema}.by_range('at'), if_not_exists => true",
        ):
            in_turn(conninfo, f"select * from {schema}.create_hypertable('app.measured', {arguments})")
        rows(conninfo, "insert into app.measured values ('2026-02-01 12:00Z')")
        in_turn(conninfo, "select tidemill.make_chunks('app.measured', until => '1 day')")
        assert (
            len(rows(conninfo, f"select {schema}.show_chunks('app.measured', '2026-02-03', '99 years')")) == 3
        )
        in_turn(
            conninfo,
            "create table app.staged (like app.measured including defaults, more pg_catalog.int4)",
            "insert into app.staged values ('2026-01-09 12:00Z', 7, 'x'), ('2026-01-09 12:01Z', 8, 'x')",
            "revoke update (state) on app.measured from public, " + owner,
            "select * from tidemill.compression_plan('app.measured', 'state', 'nr DESC NULLS LAST')",
            "select tidemill.enable_compression('app.measured', 'state', 'nr desc', updatable => true)",
            f"select {schema}.compress_chunk(c) from tidemill.show_chunks('app.measured') c",
            "insert into app.measured (at, nr) values ('2026-01-09 12:02Z', 9)",
        )
        change_packed(conninfo, schema)
        command_hypertables(cli)
        committed = make_conninfo(conninfo, options=r"-c default_transaction_isolation=read\ committed")
        backfill = ("hypertables", "backfill", "app.staged", "app.measured", "--keep-staging")
        assert CommandLine(cli.directory, committed).json(*backfill)["rows"] == 2
        rows(committed, f"call {schema}.decompress_backfill('app.staged', 'app.measured')")
        assert len(rows(conninfo, "select * from app.measured")) == 5
        assert rows(conninfo, f"select {schema}.add_compression_policy('app.measured', '1 day')")
        assert rows(conninfo, f"select {schema}.add_retention_policy('app.measured', '99 years')")
        call_chunks(conninfo, schema)
        kinds = ("retention", "compression")
        in_turn(conninfo, *(f"select {schema}.remove_{kind}_policy('app.measured')" for kind in kinds))
        if schema == "public":
            name_columnstores(conninfo)
        in_turn(conninfo, f"select {schema}.drop_chunks('app.measured', '2026-01-02 03:00Z')")
        for view in ("tidemill.hypertables", "tidemill.chunks", "timescaledb_information.hypertables"):
            assert rows(conninfo, f"select * from {view}")
        in_turn(
            conninfo,
            f"select {schema}.decompress_chunk(c) from tidemill.show_chunks('app.measured') c",
            "select tidemill.disable_compression('app.measured')",
        )
        assert len(rows(conninfo, "select * from app.measured")) == 4
        rows(conninfo, "drop table app.measured, app.staged")


def change_packed(conninfo: str, schema: str) -> None:
    """What is done to a hypertable whose rows are packed."""
    in_turn(
        conninfo,
        "update app.measured set state = 'old' where nr operator(pg_catalog.=) 9",
        "select tidemill.set_transparent('app.measured', false)",
        "select tidemill.set_transparent('app.measured', true)",
        "select tidemill.set_updatable('app.measured', true)",
        "select tidemill.set_updatable('app.measured', false)",
        "select tidemill.add_column('app.measured', 'more', 'pg_catalog.int4', '7')",
        "select * from app.measured_between('-infinity', 'infinity')",
        "select * from app.measured_latest('new')",
        f"select {schema}.decompress_chunk(c) from tidemill.show_chunks('app.measured') c",
        f"select {schema}.compress_chunk(c) from tidemill.show_chunks('app.measured') c",
    )


def call_chunks(conninfo: str, schema: str) -> None:
    """What is done with chunks one by one, and what they take."""
    chunks, index = "tidemill.show_chunks('app.measured') c", "'app_rows.measured_pkey'"
    in_turn(
        conninfo,
        f"select {schema}.set_chunk_time_interval('app.measured', '2 days')",
        f"select {schema}.attach_tablespace('pg_default', 'app.measured')",
        f"select {schema}.attach_tablespace('pg_default', 'app.measured', if_not_attached => true)",
    )
    assert len(rows(conninfo, f"select {schema}.show_tablespaces('app.measured')")) == 1
    in_turn(
        conninfo,
        "insert into app.measured (at, nr) values ('2026-03-01 12:00Z', 10)",
        "select tidemill.make_chunks('app.measured')",
        f"select {schema}.detach_tablespace('pg_default')",
        f"select {schema}.detach_tablespaces('app.measured')",
        f"select tidemill.decompress_chunk(c) from {chunks}",
        f"select {schema}.reorder_chunk(c, {index}) from {chunks}",
        f"select {schema}.move_chunk(c, 'pg_default', reorder_index => {index}) from {chunks}",
        f"select tidemill.compress_chunk(c) from {chunks}",
    )
    committed = make_conninfo(conninfo, options=r"-c default_transaction_isolation=read\ committed")
    for kind, add in (
        ("reorder", f"{schema}.add_reorder_policy('app.measured', 'measured_pkey')"),
        ("tiering", "tidemill.add_tiering_policy('app.measured', '1 day', 'pg_default')"),
    ):
        [policy] = rows(conninfo, f"select {add} as id")
        rows(committed, f"call tidemill.run_action({policy['id']})")
        rows(conninfo, f"select tidemill.remove_{kind}_policy('app.measured')")
    assert rows(conninfo, f"select {schema}.hypertable_size('app.measured')")
    assert rows(conninfo, f"select {schema}.hypertable_index_size('app_rows.measured_pkey')")
    assert rows(conninfo, f"select {schema}.approximate_row_count('app.measured')")
    for function in (
        "hypertable_detailed_size",
        "chunks_detailed_size",
        "hypertable_compression_stats",
        "chunk_compression_stats",
    ):
        assert rows(conninfo, f"select * from {schema}.{function}('app.measured')")
    in_turn(conninfo, "select tidemill.drop_chunks('app.measured', newer_than => '2026-02-27Z')")
    for view in ("tidemill.compression_settings", "timescaledb_information.dimensions"):
        assert rows(conninfo, f"select * from {view}")
    assert rows(conninfo, "select * from timescaledb_information.compression_settings")


def command_hypertables(cli: CommandLine) -> None:
    """The commands about a hypertable whose chunks are compressed; leaves them so."""
    assert len(cli.json("hypertables")) == 1
    cli.ok("hypertables", "app.measured")
    cli.ok("hypertables", "decompress", "app.measured", "--older-than", "7d", "--dry-run")
    assert cli.json("hypertables", "decompress", "app.measured", "--older-than", "7d")["chunks"]
    assert cli.json("hypertables", "compress", "app.measured", "--older-than", "2100-01-01")["chunks"]
    cli.ok("hypertables", "compress", "app.measured", "--recompress")
