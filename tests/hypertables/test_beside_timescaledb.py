"""Where the extension TimescaleDB is installed: its hypertables are its own, and ours work beside them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.hypertables.calls import refused, run, value, values
from tests.support.commands import CommandLine
from tests.support.running import eventually, running
from tests.support.servers import Server
from tests.support.timescaledb import pretend, timescaledb
from tidemill import App
from tidemill.database.migrate import migrate

# Calls of ours on one of its hypertables, and what the hint says.
CALLS = {
    "select tidemill.create_hypertable('theirs', 'at')": "create_hypertable",
    "select tidemill.create_hypertable('theirs', tidemill.by_range('at'))": "create_hypertable",
    "select tidemill.adopt_hypertable('theirs')": "call create_hypertable for that",
    "select tidemill.show_chunks('theirs')": "Call TimescaleDB's own function: public.show_chunks",
    "select tidemill.drop_chunks('theirs', interval '1 day')": "drop_chunks",
    "select tidemill.make_chunks('theirs')": "its chunks are made by the INSERT",
    "select tidemill.enable_compression('theirs')": "ALTER TABLE",
    "select tidemill.add_compression_policy('theirs', interval '1 day')": "add_compression_policy",
    "select tidemill.remove_compression_policy('theirs')": "remove_compression_policy",
    "select tidemill.add_retention_policy('theirs', interval '1 day')": "add_retention_policy",
    "select tidemill.remove_retention_policy('theirs')": "remove_retention_policy",
    "call tidemill.decompress_backfill('theirs', 'theirs')": "its packed chunks take rows",
}
CHUNK_CALLS = {
    "select tidemill.compress_chunk('{chunk}')": "compress_chunk",
    "select tidemill.decompress_chunk('{chunk}')": "decompress_chunk",
}


def hint(connection: psycopg.Connection, call: str, said: str) -> str:
    with pytest.raises(psycopg.errors.WrongObjectType, match=said) as raised:
        run(connection, call)
    return str(raised.value.diag.message_hint)


@pytest.mark.versions(18, 16)
class TestPretended:
    """Without the extension: a catalogue that looks like its own."""

    @pytest.fixture
    def beside(self, server: Server, connection: psycopg.Connection) -> psycopg.Connection:
        with server.superuser(str(conninfo_to_dict(connection.info.dsn)["dbname"])) as superuser:
            same = [name for name in CALLS.values() if name.isidentifier()] + ["show_chunks"]
            pretend(superuser, "theirs", "chunk", {*same, *CHUNK_CALLS.values()})
        return connection

    def test_its_hypertables_are_refused(self, beside: psycopg.Connection) -> None:
        before = values(beside, "select relname from pg_class order by oid")
        for call, instead in CALLS.items():
            assert instead in hint(beside, call, 'theirs" is a hypertable of TimescaleDB'), call
        for call, instead in CHUNK_CALLS.items():
            said = 'chunk" is a chunk of "app.theirs", a hypertable of TimescaleDB'
            own = f"Call TimescaleDB's own function: public.{instead}"
            assert hint(beside, call.format(chunk="chunk"), said) == own
        assert values(beside, "select relname from pg_class order by oid") == before

    def test_other_tables_are_ours(self, beside: psycopg.Connection) -> None:
        run(beside, "create table m (at timestamptz); select tidemill.create_hypertable('m', 'at')")
        assert value(beside, "select count(*) from tidemill.show_chunks('m')") == 2
        with refused("TS001", "is not a hypertable"):
            run(beside, "select tidemill.show_chunks('pg_class')")

    def test_a_schema_of_that_name_is_no_extension(
        self, server: Server, connection: psycopg.Connection
    ) -> None:
        with server.superuser(str(conninfo_to_dict(connection.info.dsn)["dbname"])) as superuser:
            run(superuser, "create schema _timescaledb_catalog; create table app.m (at timestamptz)")
            run(superuser, f"alter table app.m owner to {connection.info.user}")
            # Whoever reads it would run this.
            run(
                superuser,
                "create function public.trap() returns name language plpgsql as"
                " $$begin raise 'sprung'; end$$;"
                "create view _timescaledb_catalog.hypertable as"
                " select public.trap() as schema_name, 'm' as table_name;"
                "grant usage on schema _timescaledb_catalog to public;"
                "grant select on _timescaledb_catalog.hypertable to public",
            )
        run(connection, "select tidemill.create_hypertable('app.m', 'at')")


@pytest.fixture(scope="module")
def conninfo() -> Iterator[str]:
    with timescaledb() as found:
        report = migrate(found)
        assert report.functions_laid
        assert "the extension timescaledb is installed here" in report.skipped["timescaledb"]
        with psycopg.connect(found, autocommit=True) as own:
            run(
                own,
                "create table theirs (at timestamptz not null, n int);"
                "select create_hypertable('theirs', 'at', chunk_time_interval => interval '1 day');"
                "create table empty (at timestamptz not null); select create_hypertable('empty', 'at');"
                "insert into theirs select now() - n * interval '1 day', n from generate_series(0, 9) n",
            )
        yield found


class TestReal:
    """With it."""

    @pytest.fixture
    def own(self, conninfo: str) -> Iterator[psycopg.Connection]:
        with psycopg.connect(conninfo, autocommit=True) as opened:
            yield opened

    def test_its_hypertables_are_refused(self, own: psycopg.Connection) -> None:
        for call, instead in CALLS.items():
            assert instead in hint(own, call, 'theirs" is a hypertable of TimescaleDB'), call
        [chunk] = values(own, "select show_chunks('theirs')::text limit 1")
        for call, instead in CHUNK_CALLS.items():
            shown = hint(own, call.format(chunk=chunk), 'a chunk of "public.theirs", a hypertable of')
            assert shown == f"Call TimescaleDB's own function: public.{instead}"
        # One without chunks looks like any table.
        assert hint(own, "select tidemill.create_hypertable('empty', 'at')", "a hypertable of TimescaleDB")
        assert value(own, "select count(*) from timescaledb_information.hypertables") == 2

    def test_ours_work_beside_them(self, own: psycopg.Connection) -> None:
        run(
            own,
            "create table ours (at timestamptz primary key, n int);"
            "select tidemill.create_hypertable('ours', 'at', chunk_time_interval => interval '1 day');"
            "insert into ours select now() - n * interval '1 day', n from generate_series(0, 9) n;"
            "select tidemill.make_chunks('ours'); select tidemill.enable_compression('ours')",
        )
        old = "from tidemill.show_chunks('ours', older_than => interval '3 days') c"
        packed = values(own, f"select tidemill.compress_chunk(c) {old}")
        assert len(packed) in (6, 7)
        assert run(own, "select count(*), sum(n) from ours") == [(10, 45)]
        run(
            own,
            "create table staged (like public_rows.ours);"
            "insert into staged values (now() - interval '5 days 1 second', 100)",
        )
        run(own, "call tidemill.decompress_backfill('staged', 'ours')")
        assert run(own, "select count(*), sum(n) from ours") == [(11, 145)]
        assert len(values(own, f"select tidemill.decompress_chunk(c) {old}")) == len(packed)
        assert len(values(own, "select tidemill.drop_chunks('ours', interval '8 days')")) in (1, 2)
        assert value(own, "select min(n) from ours") == 0

    async def test_actions_look_after_its_hypertables(self, conninfo: str, own: psycopg.Connection) -> None:
        run(
            own,
            "create procedure keep(job_id int, config jsonb) language plpgsql as $$ begin"
            " perform drop_chunks(config ->> 'table', older_than => (config ->> 'age')::interval); commit;"
            " raise notice 'dropped'; end $$",
        )
        action = value(
            own,
            'select tidemill.add_action(\'keep\', \'1 hour\', \'{"table": "theirs", "age": "5 days"}\')',
        )
        ended = (
            f"select outcome from tidemill.action_history where action_id = {action} and outcome is not null"
        )
        async with App(conninfo) as app, running(app):
            await eventually(lambda: values(own, ended) != [], "the action to run")
        assert values(own, ended) == ["success"]
        assert value(own, "select max(n) from theirs") in (4, 5)
        assert value(own, "select count(*) from theirs") == value(own, "select max(n) + 1 from theirs")

    def test_the_command_line_says_whose_the_names_are(self, conninfo: str, tmp_path: Path) -> None:
        cli = CommandLine(tmp_path, conninfo)
        assert "timescaledb\tno\tthe extension timescaledb" in cli.ok("dialect", "list").splitlines()
        assert "names, in the schema tidemill, are there all the same" in " ".join(
            cli.run("migrate").stderr.split()
        )
