"""Laying the schema, again and at once, by roles with and without rights; dialects; uninstalling."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.support.servers import Server
from tests.support.waiting import wait_until
from tidemill.database import sql as files
from tidemill.database.connect import connect
from tidemill.database.migrate import (
    drop_dialect,
    installed_dialects,
    migrate,
    refuse_newer_schema,
    require_schema,
    uninstall,
)
from tidemill.errors import MissingRightsError, SchemaError, UnsupportedServerError

AT_ONCE = 20
DIALECT = "graphile_worker"
# It needs a right on the schema public that the tests' role lacks.
IN_PUBLIC = "timescaledb"
NEWEST = files.migrations()[-1].number


def name_of(conninfo: str) -> str:
    return str(conninfo_to_dict(conninfo)["dbname"])


def execute(conninfo: str, statement: LiteralString, *params: object) -> list[tuple[Any, ...]]:
    """Runs one statement; returns its rows."""
    with psycopg.connect(conninfo, autocommit=True) as connection:
        cursor = connection.execute(statement, params or None)
        return cursor.fetchall() if cursor.description else []


@pytest.fixture
def dump(server: Server) -> Callable[[str], str]:
    """Writes all definitions of a database as SQL, in an order that depends on nothing else."""

    def write(conninfo: str) -> str:
        text = server.program("pg_dump", "--schema-only", conninfo)
        # Newer versions guard their scripts with a word that differs each time.
        return "\n".join(line for line in text.splitlines() if "restrict " not in line)

    return write


@pytest.fixture
def sql_ascii_database(server: Server) -> Iterator[str]:
    """A database whose texts may be any bytes."""
    with server.superuser() as connection:
        connection.execute(
            "create database ascii template template0 encoding 'SQL_ASCII' locale 'C' owner tidemill_owner"
        )
    yield server.conninfo("ascii")
    server.drop("ascii")


def routine_versions(conninfo: str) -> list[tuple[Any, ...]]:
    """Which transaction wrote each routine and view."""
    return execute(
        conninfo,
        "select oid::regprocedure::text, xmin::text from pg_proc "
        "where pronamespace in ('tidemill'::regnamespace, 'graphile_worker'::regnamespace) "
        "union all select ev_class::regclass::text, xmin::text from pg_rewrite order by 1",
    )


class TestMigrate:
    def test_an_empty_database(self, empty_database: str) -> None:
        report = migrate(empty_database)
        assert report.applied == [f"{m.number:04} {m.name}" for m in files.migrations()]
        assert report.functions_laid
        assert report.dialects_laid == [DIALECT]
        assert list(report.skipped) == [IN_PUBLIC]
        with connect(empty_database) as connection:
            require_schema(connection)
            assert connection.execute("select state from tidemill.add_job('x')").fetchone() == ("ready",)

    def test_again_changes_nothing(self, database: str, dump: Callable[[str], str]) -> None:
        before = dump(database), routine_versions(database)
        report = migrate(database)
        assert not report.changed
        assert report.statements == []
        assert (dump(database), routine_versions(database)) == before

    def test_again_is_one_round_trip(self, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("tidemill.database.migrate.installing", None)
        assert not migrate(database).changed
        options = "-c search_path=app,pg_catalog -c default_transaction_read_only=on"
        assert not migrate(make_conninfo(database, options=options)).changed

    def test_of_tables_that_are_locked_for_long(self, database: str) -> None:
        with psycopg.connect(database) as other:
            other.execute("lock table tidemill._migrations")
            with pytest.raises(SchemaError, match=r"held a lock.*nothing was changed.*again"):
                migrate(make_conninfo(database, options="-c lock_timeout=50ms"))

    def test_an_encoding_that_takes_any_bytes(self, server: Server, sql_ascii_database: str) -> None:
        with pytest.raises(UnsupportedServerError) as caught:
            migrate(sql_ascii_database)
        assert "encoding SQL_ASCII" in str(caught.value)
        remedy = re.search(r"create database .*;", str(caught.value))
        assert remedy is not None
        with server.superuser() as connection:
            connection.execute(remedy[0].replace("NAME", "remedied owner tidemill_owner").encode())
        try:
            assert migrate(server.conninfo("remedied")).changed
        finally:
            server.drop("remedied")

    @pytest.mark.parametrize("isolation", ["read committed", "repeatable read", "serializable"])
    def test_many_at_once(self, empty_database: str, isolation: str) -> None:
        options = f"-c default_transaction_isolation={isolation.replace(' ', chr(92) + ' ')}"
        conninfo = make_conninfo(empty_database, options=options)
        barrier = threading.Barrier(AT_ONCE)

        def run(_: int) -> bool:
            barrier.wait()
            return migrate(conninfo).changed

        with ThreadPoolExecutor(AT_ONCE) as pool:
            assert sorted(pool.map(run, range(AT_ONCE))) == [False] * (AT_ONCE - 1) + [True]
        with connect(empty_database) as connection:
            require_schema(connection)

    def test_an_unusual_session(self, empty_database: str, database: str, dump: Callable[[str], str]) -> None:
        # What a role may have been given must not get into the schema.
        options = (
            "-c search_path=app -c quote_all_identifiers=on -c DateStyle=German -c statement_timeout=60s"
        )
        migrate(make_conninfo(empty_database, options=options))
        assert dump(empty_database) == dump(database)

    def test_a_failure_leaves_nothing(self, empty_database: str, dump: Callable[[str], str]) -> None:
        execute(empty_database, "create schema tidemill")
        # In the way of the migrations, halfway.
        execute(empty_database, "create table tidemill._workers ()")
        before = dump(empty_database)
        with pytest.raises(psycopg.errors.DuplicateTable):
            migrate(empty_database)
        assert dump(empty_database) == before

    def test_beside_an_older_snapshot(self, empty_database: str) -> None:
        with psycopg.connect(empty_database) as old:
            old.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            old.execute("create table app.mine as select 1 as x")
            migrate(empty_database)
            make_outdated(empty_database)
            assert migrate(empty_database).functions_laid
            assert old.execute("select x from app.mine").fetchone() == (1,)
            old.commit()
            assert old.execute("select id from tidemill.add_job('x')").fetchone() == (1,)

    def test_a_lock_that_is_held_for_long(self, database: str) -> None:
        make_outdated(database)
        with psycopg.connect(database) as reader:
            reader.execute("select from tidemill.jobs")
            with pytest.raises(SchemaError, match=r"held a lock.*nothing was changed.*again"):
                migrate(make_conninfo(database, options="-c lock_timeout=50ms"))
        assert migrate(database).functions_laid

    def test_a_deadlock_with_a_reader(self, database: str) -> None:
        make_outdated(database)
        with (
            ThreadPoolExecutor(1) as pool,
            psycopg.connect(database, autocommit=True) as onlooker,
            psycopg.connect(database) as reader,
        ):
            # The views are laid in an order, and this reads them in the other one.
            reader.execute("select from tidemill.workers")
            migration = pool.submit(migrate, database)
            wait_until(
                lambda: onlooker.execute(
                    "select from pg_stat_activity where datname = current_database() "
                    "and wait_event_type = 'Lock'"
                ).fetchall(),
                "the migration to wait for the reader",
            )
            reader.execute("select from tidemill.jobs")
            with pytest.raises(SchemaError, match="nothing was changed"):
                migration.result()
        assert migrate(database).functions_laid

    def test_while_jobs_run(self, database: str) -> None:
        added, done = 40, 0
        ended = threading.Event()

        def relay() -> int:
            times = 0
            while not ended.is_set():
                make_outdated(database)
                times += migrate(database).functions_laid
            return times

        with ThreadPoolExecutor(1) as pool, psycopg.connect(database, autocommit=True) as connection:
            relaid = pool.submit(relay)
            try:
                for _ in range(added):
                    connection.execute("select tidemill.add_job('x')")
                    for (job,) in connection.execute(
                        "select id from tidemill.jobs where state = 'ready'"
                    ).fetchall():
                        done += connection.execute(
                            "select * from tidemill.complete_jobs(%s)", [[job]]
                        ).rowcount
            finally:
                ended.set()
            assert relaid.result() > 0
        assert done == added


class TestDryRun:
    def test_it_changes_nothing(self, empty_database: str, dump: Callable[[str], str]) -> None:
        before = dump(empty_database)
        report = migrate(empty_database, dry_run=True)
        assert report.changed
        assert dump(empty_database) == before

    def test_its_script_does_the_same(
        self, server: Server, empty_database: str, database: str, dump: Callable[[str], str]
    ) -> None:
        script = "\n\n".join(migrate(empty_database, dry_run=True).statements)
        server.program("psql", "-XqAt", "-v", "ON_ERROR_STOP=1", empty_database, stdin=script)
        assert dump(empty_database) == dump(database)
        for bookkeeping in (
            "select number, name, breaking from tidemill._migrations order by 1",
            "select part, version, hash from tidemill._installed order by 1",
        ):
            assert execute(empty_database, bookkeeping) == execute(database, bookkeeping)
        assert not migrate(empty_database).changed

    def test_its_script_of_an_upgrade(self, server: Server, database: str) -> None:
        make_outdated(database)
        script = "\n\n".join(migrate(database, dry_run=True).statements)
        assert "create table" not in script
        server.program("psql", "-XqAt", "-v", "ON_ERROR_STOP=1", database, stdin=script)
        assert not migrate(database).changed

    def test_nothing_to_do(self, database: str) -> None:
        report = migrate(database, dry_run=True)
        assert (report.changed, report.statements) == (False, [])


def make_outdated(conninfo: str, version: list[int] | None = None) -> None:
    """Makes the functions look like those of another build, of this version or the given one."""
    execute(
        conninfo,
        "update tidemill._installed set hash = 'another', version = coalesce(%s, version)",
        version,
    )


class TestFunctions:
    def test_are_laid_again_when_their_text_changed(self, database: str, dump: Callable[[str], str]) -> None:
        before = dump(database)
        execute(
            database,
            "create or replace function tidemill.force_unlock_workers(worker_ids text[]) returns void "
            "language sql as 'select'",
        )
        assert dump(database) != before
        assert not migrate(database).changed
        make_outdated(database)
        report = migrate(database)
        assert (report.functions_laid, report.dialects_laid, report.applied) == (True, [DIALECT], [])
        assert dump(database) == before

    @pytest.mark.parametrize("newer", [[99], [0, 1, 1], [0, 1, 0, 1]])
    def test_of_a_newer_version_stay(self, database: str, newer: list[int]) -> None:
        make_outdated(database, newer)
        assert not migrate(database).changed
        with connect(database) as connection:
            require_schema(connection)

    @pytest.mark.parametrize("older", [[0], [0, 0, 9], [0, 1]])
    def test_of_an_older_version_are_replaced(self, database: str, older: list[int]) -> None:
        make_outdated(database, older)
        with (
            connect(database) as connection,
            pytest.raises(SchemaError, match=r"functions.*tidemill migrate"),
        ):
            require_schema(connection)
        assert migrate(database).functions_laid
        with connect(database) as connection:
            require_schema(connection)

    def test_are_not_for_public(self, database: str) -> None:
        open_to_all = (
            "select oid::regprocedure::text from pg_proc where pronamespace = 'tidemill'::regnamespace "
            # Views call them as whoever reads them.
            "and proname not in ('_state', '_application_name') "
            "and (proacl is null or exists (select from aclexplode(proacl) where grantee = 0))"
        )
        assert execute(database, open_to_all) == []
        make_outdated(database)
        assert migrate(database).functions_laid
        assert execute(database, open_to_all) == []

    def test_keep_what_was_granted(self, server: Server, database: str) -> None:
        with server.role() as producer:
            with psycopg.connect(database, autocommit=True) as owner:
                owner.execute(f"grant usage on schema tidemill to {producer}".encode())
                owner.execute(f"grant execute on function tidemill.add_job to {producer}".encode())
            make_outdated(database)
            assert migrate(database).functions_laid
            assert execute(make_conninfo(database, user=producer), "select id from tidemill.add_job('x')")

    def test_a_migration_may_drop_what_cannot_be_replaced(
        self, database: str, dump: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = dump(database)
        # It takes views along, ours and a dialect's: these must come back although their text is the same.
        execute(database, "drop function tidemill._state cascade")
        assert execute(database, "select to_regclass('graphile_worker.jobs')") == [(None,)]
        text = files.functions()
        monkeypatch.setattr(files, "functions", lambda: f"{text}\n-- changed")
        migrate(database)
        assert dump(database) == before


def add_migration(conninfo: str, number: int, *, breaking: bool) -> None:
    execute(conninfo, "insert into tidemill._migrations values (%s, 'later', %s)", number, breaking)


class TestOtherVersions:
    def test_a_newer_schema_that_still_fits(self, database: str, caplog: pytest.LogCaptureFixture) -> None:
        add_migration(database, 9000, breaking=False)
        with connect(database) as connection:
            assert refuse_newer_schema(connection) == 9000
            # Heartbeats ask this every few seconds.
            assert caplog.records == []
            require_schema(connection)
        assert not migrate(database).changed
        told = [(record.levelno, record.getMessage()) for record in caplog.records]
        assert [level for level, _ in told] == [logging.WARNING] * 2
        for _, message in told:
            assert f"migration 9000, newer than the {NEWEST}" in message
            assert "still fits" in message

    def test_a_newer_schema_that_no_longer_fits(self, database: str, dump: Callable[[str], str]) -> None:
        add_migration(database, 9000, breaking=True)
        add_migration(database, 9001, breaking=False)
        make_outdated(database)
        before = dump(database), routine_versions(database)
        message = rf"migration 9001 and includes the breaking migration 9000.* up to {NEWEST}.*Upgrade"
        with connect(database) as connection:
            for refused in (require_schema, refuse_newer_schema):
                with pytest.raises(SchemaError, match=message):
                    refused(connection)
        with pytest.raises(SchemaError, match=message):
            migrate(database)
        assert (dump(database), routine_versions(database)) == before

    def test_an_older_schema(self, database: str) -> None:
        execute(database, "delete from tidemill._migrations where number = %s", NEWEST)
        with (
            connect(database) as connection,
            pytest.raises(SchemaError, match=rf"lacks migration {NEWEST},.*Run `tidemill migrate`"),
        ):
            require_schema(connection)

    def test_a_known_breaking_migration_is_no_hindrance(self, database: str) -> None:
        execute(database, "update tidemill._migrations set breaking = true")
        with connect(database) as connection:
            require_schema(connection)
        assert not migrate(database).changed

    def test_no_schema(self, empty_database: str) -> None:
        message = f'database "{name_of(empty_database)}" has no Tidemill schema yet. Run `tidemill migrate`'
        with connect(empty_database) as connection, pytest.raises(SchemaError, match=message):
            require_schema(connection)
        for refused in (uninstall, lambda conninfo: drop_dialect(conninfo, DIALECT), installed_dialects):
            with pytest.raises(SchemaError, match="no Tidemill schema"):
                refused(empty_database)


@pytest.fixture
def stranger(server: Server) -> Iterator[str]:
    """A role that may log in and no more."""
    with server.role() as role:
        yield role


class TestRights:
    def test_no_right_to_create(self, empty_database: str, stranger: str, dump: Callable[[str], str]) -> None:
        before = dump(empty_database)
        with pytest.raises(MissingRightsError) as caught:
            migrate(make_conninfo(empty_database, user=stranger))
        name = name_of(empty_database)
        assert f'grant create on database "{name}" to "{stranger}"' in str(caught.value)
        assert f'create schema tidemill authorization "{stranger}"' in str(caught.value)
        assert "\n" not in str(caught.value)
        assert dump(empty_database) == before

    def test_each_remedy_works(self, server: Server, empty_database: str, stranger: str) -> None:
        name = name_of(empty_database)
        with server.superuser(name) as superuser:
            superuser.execute(f'grant create on database "{name}" to "{stranger}"'.encode())
        assert migrate(make_conninfo(empty_database, user=stranger)).dialects_laid == [DIALECT]

    def test_a_schema_made_by_an_administrator(
        self, server: Server, empty_database: str, stranger: str
    ) -> None:
        conninfo = make_conninfo(empty_database, user=stranger)
        with server.superuser(name_of(empty_database)) as superuser:
            superuser.execute(f'create schema tidemill authorization "{stranger}"'.encode())
            report = migrate(conninfo)
            assert report.functions_laid
            assert report.dialects_laid == []
            assert f'create the schema "{DIALECT}"' in report.skipped[DIALECT]
            assert not any(DIALECT in statement for statement in report.statements)
            # The remedy that it names:
            superuser.execute(f'create schema {DIALECT} authorization "{stranger}"'.encode())
        assert migrate(conninfo, dialects=[DIALECT]).dialects_laid == [DIALECT]
        with connect(conninfo) as connection:
            require_schema(connection)
            connection.execute(b"select * from graphile_worker.add_job('x')")

    def test_another_role_than_the_owner(self, database: str, stranger: str) -> None:
        conninfo = make_conninfo(database, user=stranger)
        for refused in (migrate, uninstall, lambda conninfo: drop_dialect(conninfo, DIALECT)):
            with pytest.raises(MissingRightsError, match='belongs to the role "tidemill_owner": connect as'):
                refused(conninfo)
        with connect(conninfo) as connection, pytest.raises(MissingRightsError, match="permission denied"):
            require_schema(connection)


class TestDialects:
    def test_a_schema_that_is_somebody_elses(self, empty_database: str, dump: Callable[[str], str]) -> None:
        execute(empty_database, "create schema graphile_worker")
        execute(empty_database, "create table graphile_worker.jobs (id int)")
        report = migrate(empty_database)
        assert report.dialects_laid == []
        assert f'the schema "{DIALECT}" already exists and is not Tidemill\'s' in report.skipped[DIALECT]
        assert f"tidemill dialect add {DIALECT}" in report.skipped[DIALECT]
        assert execute(empty_database, "select from graphile_worker.jobs") == []
        assert installed_dialects(empty_database) == {DIALECT: False, IN_PUBLIC: False}
        assert not drop_dialect(empty_database, DIALECT)
        assert "CREATE TABLE graphile_worker.jobs" in dump(empty_database)

    @pytest.mark.parametrize(
        "theirs",
        [
            "create function graphile_worker.f() returns int language sql as 'select 1'",
            "create type graphile_worker.t as enum ('a')",
            "create domain graphile_worker.t as int",
            'create collation graphile_worker.c from "C"',
        ],
    )
    def test_a_schema_with_anything_in_it(self, empty_database: str, theirs: LiteralString) -> None:
        execute(empty_database, "create schema graphile_worker")
        execute(empty_database, theirs)
        assert DIALECT in migrate(empty_database).skipped

    def test_an_empty_schema_is_used(self, empty_database: str) -> None:
        execute(empty_database, "create schema graphile_worker")
        assert migrate(empty_database).dialects_laid == [DIALECT]
        assert drop_dialect(empty_database, DIALECT)

    def test_their_system_that_came_later_is_left_alone(self, database: str) -> None:
        execute(database, "drop schema graphile_worker cascade")
        execute(database, "create schema graphile_worker")
        execute(database, "create table graphile_worker._private_jobs (id int)")
        make_outdated(database)
        assert DIALECT in migrate(database).skipped
        uninstall(database)
        assert execute(database, "select from graphile_worker._private_jobs") == []

    def test_dropped_on_request_stays_dropped(self, database: str) -> None:
        assert installed_dialects(database) == {DIALECT: True, IN_PUBLIC: False}
        assert drop_dialect(database, DIALECT)
        assert installed_dialects(database) == {DIALECT: False, IN_PUBLIC: False}
        assert not drop_dialect(database, DIALECT)
        assert execute(database, "select to_regnamespace('graphile_worker')") == [(None,)]
        report = migrate(database)
        assert not report.changed
        assert report.skipped[DIALECT].startswith("dropped on request")
        assert migrate(database, dialects=[DIALECT]).dialects_laid == [DIALECT]
        assert list(migrate(database).skipped) == [IN_PUBLIC]
        assert execute(database, "select task_identifier from graphile_worker.jobs") == []

    def test_dropped_by_hand_comes_back_when_asked_for(self, database: str) -> None:
        execute(database, "drop schema graphile_worker cascade")
        assert not migrate(database).changed
        assert migrate(database, dialects=[DIALECT]).dialects_laid == [DIALECT]

    def test_chosen(self, empty_database: str) -> None:
        report = migrate(empty_database, dialects=[])
        assert (report.dialects_laid, report.skipped) == ([], {})
        assert execute(empty_database, "select to_regnamespace('graphile_worker')") == [(None,)]
        assert migrate(empty_database, dialects=[DIALECT]).dialects_laid == [DIALECT]

    def test_unknown(self, empty_database: str) -> None:
        known = f'no dialect "esperanto". Known are: {DIALECT}, {IN_PUBLIC}'
        with pytest.raises(SchemaError, match=known):
            migrate(empty_database, dialects=["esperanto"])
        migrate(empty_database)
        with pytest.raises(SchemaError, match="esperanto"):
            drop_dialect(empty_database, "esperanto")

    def test_one_that_is_built_on_is_not_dropped(self, database: str) -> None:
        execute(database, "create view app.mine as select id from graphile_worker.jobs")
        with pytest.raises(SchemaError, match=r"Nothing was dropped.*graphile_worker.*view app\.mine"):
            drop_dialect(database, DIALECT)
        assert installed_dialects(database)[DIALECT]
        execute(database, "drop view app.mine")
        assert drop_dialect(database, DIALECT)


class TestUninstall:
    def test_it_removes_ours_and_nothing_else(self, empty_database: str, dump: Callable[[str], str]) -> None:
        for theirs in (
            "create table app.users (id int primary key)",
            "create function app.added() returns trigger language plpgsql as "
            "$$ begin perform tidemill.add_job('greet'); return new; end $$",
            "create trigger added after insert on app.users for each row execute function app.added()",
        ):
            execute(empty_database, theirs)
        before = dump(empty_database)
        migrate(empty_database)
        execute(empty_database, "insert into app.users values (1)")
        assert execute(empty_database, "select identifier from tidemill.jobs") == [("greet",)]
        uninstall(empty_database)
        assert dump(empty_database) == before
        assert execute(empty_database, "select id from app.users") == [(1,)]
        assert migrate(empty_database).changed

    @pytest.mark.parametrize(
        ("theirs", "named"),
        [
            ("create view app.mine as select id from tidemill.jobs", "view app.mine"),
            ("create view app.mine as select id from graphile_worker.jobs", "view app.mine"),
            ("create table app.mine (id int, job tidemill.job)", "column job of table app.mine"),
            ("create table app.mine (jobs tidemill._jobs[])", "column jobs of table app.mine"),
            ("create domain app.mine as tidemill.job_spec", "type app.mine"),
            (
                "create function app.mine(tidemill.job) returns int language sql as 'select 1'",
                "function app.mine",
            ),
            (
                "create table app.mine (id bigint default nextval('tidemill._claim_tokens'))",
                "default value for column id of table app.mine",
            ),
            (
                "create table app.mine (id bigint references tidemill._jobs)",
                "constraint mine_id_fkey on table app.mine",
            ),
        ],
    )
    def test_what_is_built_on_it_is_named(
        self, database: str, dump: Callable[[str], str], theirs: LiteralString, named: str
    ) -> None:
        execute(database, theirs)
        before = dump(database)
        with pytest.raises(SchemaError, match=r"Nothing was dropped.*Drop or change them first") as caught:
            uninstall(database)
        assert named in str(caught.value)
        assert dump(database) == before

    def test_a_long_list_is_cut(self, database: str) -> None:
        for number in range(12):
            with psycopg.connect(database, autocommit=True) as connection:
                connection.execute(f"create view app.v{number:02} as select id from tidemill.jobs".encode())
        with pytest.raises(SchemaError, match=r"view app\.v09 and 2 more\."):
            uninstall(database)
