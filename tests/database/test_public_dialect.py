"""Laying and dropping a dialect that puts names into `public`, beside whatever others have there."""

from __future__ import annotations

from typing import Any, LiteralString

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.support.dialects import open_public
from tests.support.servers import OWNER, Server
from tidemill.database import dialects
from tidemill.database import sql as files
from tidemill.database.connect import connect
from tidemill.database.migrate import (
    drop_dialect,
    installed_dialects,
    migrate,
    require_schema,
    uninstall,
)
from tidemill.errors import SchemaError

DIALECT = "timescaledb"
ROUTINES = """
    select distinct concat(prokind, ' ', proname), obj_description(oid, 'pg_proc') is not null
    from pg_proc where pronamespace = 'public'::regnamespace order by 1
"""
_FUNCTIONS = """
    add_compression_policy add_continuous_aggregate_policy add_job add_reorder_policy add_retention_policy
    alter_job approximate_row_count attach_tablespace by_hash by_range chunk_columnstore_stats
    chunk_compression_stats chunks_detailed_size compress_chunk create_hypertable decompress_chunk
    delete_job detach_tablespace detach_tablespaces drop_chunks hypertable_columnstore_stats
    hypertable_compression_stats hypertable_detailed_size hypertable_index_size hypertable_size move_chunk
    remove_compression_policy remove_continuous_aggregate_policy remove_reorder_policy
    remove_retention_policy reorder_chunk set_chunk_time_interval show_chunks show_tablespaces time_bucket
"""
_PROCEDURES = (
    *("add_columnstore_policy", "convert_to_columnstore", "convert_to_rowstore", "decompress_backfill"),
    *("refresh_continuous_aggregate", "remove_columnstore_policy", "run_job"),
)
OURS = [
    *((f"a {name}", True) for name in ("first", "last")),
    *((f"f {name}", True) for name in _FUNCTIONS.split()),
    *((f"p {name}", True) for name in _PROCEDURES),
]
SCHEMAS = """
    select nspname::text from pg_namespace
    where nspname in ('timescaledb_information', '_timescaledb_config') order by 1
"""
ADD_JOB = (
    "proc regproc, schedule_interval interval, config jsonb default null, initial_start timestamptz default "
    "null, scheduled boolean default true, check_config regproc default null, fixed_schedule boolean default "
    "true, timezone text default null, job_name text default null"
)


def execute(conninfo: str, statement: LiteralString | bytes) -> list[tuple[Any, ...]]:
    """Runs one statement; returns its rows."""
    with psycopg.connect(conninfo, autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


@pytest.fixture
def open_database(server: Server, empty_database: str) -> str:
    """An empty database whose owner may create in `public`."""
    open_public(server, empty_database)
    return empty_database


@pytest.fixture
def laid(open_database: str) -> str:
    """A database with the dialect."""
    assert migrate(open_database).dialects_laid == ["graphile_worker", DIALECT]
    return open_database


def make_outdated(conninfo: str) -> None:
    execute(conninfo, "update tidemill._installed set hash = 'another'")


def change(monkeypatch: pytest.MonkeyPatch, old: str, new: str) -> None:
    """Changes the dialect's text."""
    text = files.dialects()[DIALECT]
    assert old in text
    changed = files.dialects() | {DIALECT: text.replace(old, new)}
    monkeypatch.setattr(files, "dialects", lambda: changed)


class TestLaying:
    def test_where_all_is_free(self, laid: str) -> None:
        assert execute(laid, ROUTINES) == OURS
        assert execute(laid, SCHEMAS) == [("_timescaledb_config",), ("timescaledb_information",)]
        assert installed_dialects(laid) == {"graphile_worker": True, DIALECT: True}
        assert execute(laid, "select * from timescaledb_information.job_errors") == []

    def test_the_head_of_its_file_names_all_that_it_makes(self, laid: str) -> None:
        dialect = dialects.find(DIALECT)
        made = execute(
            laid, "select oid::regprocedure from pg_proc where pronamespace = 'public'::regnamespace"
        )
        named = [
            execute(laid, f"select 'public.{signature}'::regprocedure".encode())[0]
            for signature in dialect.routines
        ]
        assert sorted(named) == sorted(made)

    def test_again_changes_nothing(self, laid: str) -> None:
        before = execute(laid, "select oid, xmin::text from pg_proc order by 1")
        report = migrate(laid)
        assert (report.changed, report.skipped) == (False, {})
        assert execute(laid, "select oid, xmin::text from pg_proc order by 1") == before

    def test_laying_it_again_keeps_what_was_granted(self, laid: str) -> None:
        execute(laid, "revoke execute on function public.delete_job from public")
        numbers = execute(laid, "select oid from pg_proc where proname = 'delete_job'")
        make_outdated(laid)
        assert migrate(laid).dialects_laid == ["graphile_worker", DIALECT]
        assert execute(laid, "select oid from pg_proc where proname = 'delete_job'") == numbers
        assert execute(
            laid, "select has_function_privilege('public', 'public.delete_job(integer)', 'execute')"
        ) == [(False,)]

    def test_a_dry_run_prints_it(self, server: Server, open_database: str) -> None:
        script = "\n\n".join(migrate(open_database, dry_run=True).statements)
        assert execute(open_database, ROUTINES) == []
        server.program("psql", "-XqAt", "-v", "ON_ERROR_STOP=1", open_database, stdin=script)
        assert execute(open_database, ROUTINES) == OURS
        assert not migrate(open_database).changed


class TestChangedText:
    def test_another_result(self, laid: str, monkeypatch: pytest.MonkeyPatch) -> None:
        change(monkeypatch, "next_start timestamptz,\n  check_config text,", "check_config text,")
        change(monkeypatch, "r.starts, r.checked_by", "r.checked_by")
        assert migrate(laid).dialects_laid == [DIALECT]
        [(result,)] = execute(
            laid, "select pg_get_function_result(oid) from pg_proc where proname = 'alter_job'"
        )
        assert "next_start" not in result

    def test_other_columns_of_a_view(self, laid: str, monkeypatch: pytest.MonkeyPatch) -> None:
        change(monkeypatch, "  h.id,\n  h.action_id as job_id", "  h.action_id as job_id")
        assert migrate(laid).dialects_laid == [DIALECT]
        columns = execute(
            laid,
            "select attname::text from pg_attribute where attnum > 0"
            " and attrelid = 'timescaledb_information.job_history'::regclass order by attnum limit 2",
        )
        assert columns == [("job_id",), ("succeeded",)]

    def test_another_signature_leaves_no_overload(self, laid: str, monkeypatch: pytest.MonkeyPatch) -> None:
        change(monkeypatch, "public.delete_job(job_id integer)", "public.delete_job(job_id bigint)")
        change(monkeypatch, "tidemill._delete_action(job_id, ", "tidemill._delete_action(job_id::integer, ")
        change(monkeypatch, "delete_job(integer)", "delete_job(bigint)")
        assert migrate(laid).dialects_laid == [DIALECT]
        assert execute(laid, "select oid::regprocedure::text from pg_proc where proname = 'delete_job'") == [
            ("delete_job(bigint)",)
        ]

    def test_what_a_user_built_on_it_is_kept(self, laid: str, monkeypatch: pytest.MonkeyPatch) -> None:
        execute(laid, "create view app.mine as select job_id from timescaledb_information.job_history")
        change(monkeypatch, "  h.id,\n  h.action_id as job_id", "  h.action_id as job_id")
        report = migrate(laid)
        assert report.dialects_laid == []
        assert "view app.mine" in report.skipped[DIALECT]
        assert f"tidemill dialect add {DIALECT}" in report.skipped[DIALECT]
        assert execute(laid, ROUTINES) == OURS
        execute(laid, "drop view app.mine")
        assert migrate(laid).dialects_laid == [DIALECT]


class TestLeftOut:
    def test_without_the_right_to_create_in_public(self, server: Server, empty_database: str) -> None:
        reason = migrate(empty_database).skipped[DIALECT]
        assert f'grant create on schema public to "{OWNER}"' in reason
        assert f"tidemill dialect add {DIALECT}" in reason
        assert execute(empty_database, SCHEMAS) == []
        with connect(empty_database) as connection:
            require_schema(connection)
        # The remedy that it names:
        open_public(server, empty_database)
        assert migrate(empty_database, dialects=[DIALECT]).dialects_laid == [DIALECT]

    def test_it_is_found_out_without_a_transaction_of_the_installer(
        self, database: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("tidemill.database.migrate.install", None)
        options = "-c search_path=app -c default_transaction_read_only=on"
        report = migrate(make_conninfo(database, options=options))
        assert "grant create on schema public" in report.skipped[DIALECT]

    def test_it_is_laid_as_soon_as_it_can_be(self, server: Server, database: str) -> None:
        assert DIALECT in migrate(database).skipped
        open_public(server, database)
        report = migrate(database)
        assert (report.dialects_laid, report.skipped) == ([DIALECT], {})

    @pytest.mark.parametrize("rights", ["usage", None])
    def test_where_public_may_not_even_be_used(
        self, server: Server, empty_database: str, rights: str | None
    ) -> None:
        with server.superuser(str(conninfo_to_dict(empty_database)["dbname"])) as superuser:
            superuser.execute("revoke all on schema public from public")
            if rights is None:
                superuser.execute("drop schema public")
        assert "in the schema public" in migrate(empty_database).skipped[DIALECT]

    @pytest.mark.parametrize(
        "theirs",
        [
            f"create function public.add_job({ADD_JOB}) returns integer language sql as 'select 1'",
            f"create function public.add_job({ADD_JOB}) returns text language sql as $$select ''$$",
            f"create procedure public.add_job({ADD_JOB}) language sql as 'select 1'",
            "create function public.delete_job(integer) returns void language sql as 'select'",
            "create function public.run_job(integer) returns void language sql as 'select'",
        ],
    )
    def test_a_name_that_a_user_has(self, open_database: str, theirs: LiteralString) -> None:
        execute(open_database, theirs)
        before = execute(open_database, "select oid, xmin::text from pg_proc order by 1")
        report = migrate(open_database)
        assert report.dialects_laid == ["graphile_worker"]
        assert "already exists and is not Tidemill's. Rename or drop it" in report.skipped[DIALECT]
        assert "function public." in report.skipped[DIALECT]
        assert execute(open_database, SCHEMAS) == []
        kept = execute(open_database, "select oid, xmin::text from pg_proc order by 1")
        assert set(before) <= set(kept)
        assert not drop_dialect(open_database, DIALECT)
        assert len(execute(open_database, ROUTINES)) == 1

    def test_the_same_name_with_other_arguments_is_no_hindrance(self, open_database: str) -> None:
        execute(
            open_database, "create function public.add_job(integer) returns int language sql as 'select 1'"
        )
        assert DIALECT in migrate(open_database).dialects_laid
        assert drop_dialect(open_database, DIALECT)
        assert execute(open_database, ROUTINES) == [("f add_job", False)]

    @pytest.mark.parametrize("schema", ["timescaledb_information", "_timescaledb_config"])
    def test_a_schema_that_is_somebody_elses(self, open_database: str, schema: str) -> None:
        execute(open_database, f"create schema {schema}".encode())
        execute(open_database, f"create table {schema}.jobs (id int)".encode())
        reason = migrate(open_database).skipped[DIALECT]
        assert f'the schema "{schema}" already exists and is not Tidemill\'s' in reason
        assert execute(open_database, ROUTINES) == []

    def test_an_extension_that_has_the_names(self, server: Server, open_database: str) -> None:
        # As if the real one were there: what belongs to an extension is told by this dependency.
        with server.superuser(str(conninfo_to_dict(open_database)["dbname"])) as superuser:
            superuser.execute("create schema timescaledb_information")
            superuser.execute("create table timescaledb_information.jobs (id int)")
            superuser.execute("alter extension plpgsql add schema timescaledb_information")
        reason = migrate(open_database).skipped[DIALECT]
        assert "the extension plpgsql is installed here" in reason
        assert "drop the extension, then run `tidemill dialect add" in reason

    def test_not_chosen(self, open_database: str) -> None:
        assert migrate(open_database, dialects=["graphile_worker"]).skipped == {}
        assert execute(open_database, ROUTINES) == []


class TestDropping:
    def test_it_removes_ours_alone(self, laid: str) -> None:
        execute(laid, "create function public.mine() returns int language sql as 'select 1'")
        execute(laid, "create function public.add_job(text) returns int language sql as 'select 1'")
        assert drop_dialect(laid, DIALECT)
        assert execute(laid, ROUTINES) == [("f add_job", False), ("f mine", False)]
        assert execute(laid, SCHEMAS) == []
        assert installed_dialects(laid) == {"graphile_worker": True, DIALECT: False}
        assert migrate(laid).skipped[DIALECT].startswith("dropped on request")
        assert migrate(laid, dialects=[DIALECT]).dialects_laid == [DIALECT]
        assert len(execute(laid, ROUTINES)) == len(OURS) + 2

    @pytest.mark.parametrize(
        ("theirs", "named"),
        [
            ("create view app.mine as select job_id from timescaledb_information.jobs", "view app.mine"),
            ("create view app.mine as select * from public.alter_job(1, if_exists => true)", "view app.mine"),
            (
                "create function app.mine() returns void begin atomic select public.delete_job(1); end",
                "function app.mine()",
            ),
        ],
    )
    def test_what_is_built_on_it_stands_in_the_way(
        self, laid: str, theirs: LiteralString, named: str
    ) -> None:
        execute(laid, theirs)
        for refused in (lambda: drop_dialect(laid, DIALECT), lambda: uninstall(laid)):
            with pytest.raises(SchemaError, match="Nothing was dropped") as caught:
                refused()
            assert named in str(caught.value)
        assert execute(laid, ROUTINES) == OURS
        assert installed_dialects(laid)[DIALECT]

    def test_uninstalling_removes_it(self, laid: str) -> None:
        execute(laid, "create function public.mine() returns int language sql as 'select 1'")
        uninstall(laid)
        assert execute(laid, ROUTINES) == [("f mine", False)]
        assert execute(laid, SCHEMAS) == []

    def test_uninstalling_keeps_what_others_have_under_its_names(self, open_database: str) -> None:
        execute(
            open_database,
            "create function public.delete_job(integer) returns void language sql as 'select'",
        )
        migrate(open_database)
        uninstall(open_database)
        assert execute(open_database, ROUTINES) == [("f delete_job", False)]


def test_both_dialects_side_by_side(laid: str) -> None:
    execute(laid, "create procedure app.p(integer, jsonb) language sql as 'select'")
    # Only with both on one search_path would a call with untyped literals be ambiguous.
    assert execute(laid, "select add_job('app.p', '1h')") == [(1000,)]
    assert execute(laid, "select id from graphile_worker.add_job('x', '{}')") == [(1,)]
    options = "-c search_path=graphile_worker,app"
    assert execute(make_conninfo(laid, options=options), "select id from add_job('x', '{}')") == [(2,)]
