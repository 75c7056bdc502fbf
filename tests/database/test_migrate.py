"""Laying the schema, again and at once, by roles with and without rights."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.database.schema import DIALECT, IN_PUBLIC, execute, make_outdated, name_of, routine_versions
from tests.support.open_functions import OPEN_TO_ALL
from tests.support.servers import Server
from tests.support.waiting import wait_until
from tidemill.database import sql as files
from tidemill.database.connect import connect
from tidemill.database.migrate import drop_dialect, migrate, require_schema, uninstall
from tidemill.errors import MissingRightsError, SchemaError, UnsupportedServerError

pytestmark = pytest.mark.versions(18, 17, 16, 15)

AT_ONCE = 20


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
        monkeypatch.setattr("tidemill.database.migrate.install", None)
        assert not migrate(database).changed
        options = "-c search_path=app,pg_catalog -c default_transaction_read_only=on"
        assert not migrate(make_conninfo(database, options=options)).changed

    @pytest.mark.usefixtures("impatient")
    @pytest.mark.parametrize("table", ["_migrations", "_installed"])
    def test_of_tables_that_are_locked_for_long(self, database: str, table: str) -> None:
        with psycopg.connect(database) as other:
            other.execute(f"lock table tidemill.{table}".encode())
            with pytest.raises(SchemaError, match=r"held a lock.*nothing was changed.*again"):
                migrate(database)

    def test_it_waits_for_a_lock_in_short_tries(self, database: str) -> None:
        make_outdated(database)
        with ThreadPoolExecutor(1) as pool, psycopg.connect(database, autocommit=True) as onlooker:

            def waits() -> bool:
                return bool(
                    onlooker.execute(
                        "select from pg_stat_activity where datname = current_database()"
                        " and wait_event_type = 'Lock'"
                    ).rowcount
                )

            with psycopg.connect(database) as reader:
                reader.execute("select from tidemill.jobs")
                migration = pool.submit(migrate, database)
                for _ in range(2):
                    wait_until(waits, "a try")
                    # Others get through in between.
                    wait_until(lambda: not waits(), "its end")
            assert migration.result().functions_laid

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

    def test_a_failure_leaves_nothing(
        self, empty_database: str, dump: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        text = files.functions()
        monkeypatch.setattr(files, "functions", lambda: f"{text}\nselect 1/0;")
        before = dump(empty_database)
        with pytest.raises(psycopg.errors.DivisionByZero):
            migrate(empty_database)
        assert dump(empty_database) == before

    def test_a_schema_in_which_something_stands(
        self, empty_database: str, dump: Callable[[str], str]
    ) -> None:
        execute(empty_database, "create schema tidemill")
        execute(empty_database, "create table tidemill._workers ()")
        before = dump(empty_database)
        with pytest.raises(SchemaError, match=r"table tidemill\._workers\. Drop or move"):
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

    @pytest.mark.usefixtures("impatient")
    def test_a_lock_that_is_held_for_long(self, database: str) -> None:
        make_outdated(database)
        with psycopg.connect(database) as reader:
            reader.execute("select from tidemill.jobs")
            with pytest.raises(SchemaError, match=r"held a lock.*nothing was changed.*again"):
                migrate(database)
        assert migrate(database).functions_laid

    @pytest.mark.slow
    @pytest.mark.usefixtures("impatient")
    def test_a_deadlock_with_a_reader(self, database: str, superuser_conninfo: str) -> None:
        make_outdated(database)
        with (
            ThreadPoolExecutor(1) as pool,
            psycopg.connect(database, autocommit=True) as onlooker,
            psycopg.connect(superuser_conninfo) as reader,
        ):
            # So that it is the migration that finds the deadlock, and fails.
            reader.execute("set deadlock_timeout = '1min'")
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
        assert "create table tidemill." not in script
        server.program("psql", "-XqAt", "-v", "ON_ERROR_STOP=1", database, stdin=script)
        assert not migrate(database).changed

    def test_nothing_to_do(self, database: str) -> None:
        report = migrate(database, dry_run=True)
        assert (report.changed, report.statements) == (False, [])


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
            "select distinct proname::text from pg_proc where pronamespace = 'tidemill'::regnamespace "
            "and (proacl is null or exists (select from aclexplode(proacl) where grantee = 0))"
        )
        assert {name for (name,) in execute(database, open_to_all)} == OPEN_TO_ALL
        make_outdated(database)
        assert migrate(database).functions_laid
        assert {name for (name,) in execute(database, open_to_all)} == OPEN_TO_ALL

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
            assert not any(f"{DIALECT}." in statement for statement in report.statements)
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
