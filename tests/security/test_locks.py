"""A role that was granted nothing, or little, holds up nobody: locks are on rows and tables of ours."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.actions.definitions import add, refused, rows
from tests.database.schema import make_outdated
from tests.support.documents import ROOT
from tests.support.servers import Server
from tests.support.waiting import wait_until
from tidemill.database.migrate import migrate
from tidemill.errors import SchemaError

pytestmark = pytest.mark.versions(18, 16)

# All advisory locks that were ever used: installer, declarations, owners, grants.
_KEYS = [0x746964656D696C6C, 0x7469646561637473, 0x746D61637477686F, 0x746D61637461636C]


def test_nothing_takes_an_advisory_lock() -> None:
    """Any role that may connect can take any of them."""
    files = [*(ROOT / "src/tidemill").rglob("*.sql"), *(ROOT / "src/tidemill").rglob("*.py")]
    assert [file.name for file in files if "pg_advisory" in file.read_text(encoding="utf-8")] == []


def test_advisory_locks_hold_up_nothing(
    database: str, stranger: psycopg.Connection, attacker: psycopg.Connection
) -> None:
    for key in _KEYS:
        stranger.execute("select pg_advisory_lock(%s)", [key])
    stranger.execute("select pg_advisory_lock(hashtextextended('tidemill.add_action nightly', 0))")
    make_outdated(database)
    assert migrate(make_conninfo(database, options="-c lock_timeout=5s")).functions_laid
    attacker.execute("set lock_timeout = '5s'")
    number = add(attacker, proc=f"{attacker.info.user}.work", name="nightly", if_not_exists=True)
    attacker.execute("select tidemill.delete_action(%s)", [number])


@pytest.mark.each_version("the privileges of a lock differ")
@pytest.mark.parametrize("mode", ["access share", "row share", "share update exclusive", "access exclusive"])
@pytest.mark.parametrize("table", ["_locks", "_migrations", "_installed", "_actions", "_jobs"])
def test_our_tables_cannot_be_locked(
    attacker: psycopg.Connection, stranger: psycopg.Connection, table: str, mode: str
) -> None:
    for role in (attacker, stranger):
        with refused("42501"), role.transaction():
            role.execute(f"lock table tidemill.{table} in {mode} mode".encode())
    with refused("42501"):
        attacker.execute(f"select from tidemill.{table} for key share".encode())


def test_an_open_transaction_holds_up_no_other_role(
    attacker: psycopg.Connection, new_role: Callable[[bool], psycopg.Connection]
) -> None:
    other = new_role(True)
    add(other, proc=f"{other.info.user}.work")
    add(attacker, proc=f"{attacker.info.user}.work")
    with attacker.transaction():
        add(attacker, proc=f"{attacker.info.user}.work", name="nightly", if_not_exists=True)
        other.execute("set statement_timeout = '5s'")
        add(other, proc=f"{other.info.user}.work", name="nightly", if_not_exists=True)
        for found in rows(other, "select id from tidemill.actions where owner = current_user::text::regrole"):
            other.execute("select tidemill.delete_action(%s)", [found["id"]])


def test_the_message_names_the_holder(
    database: str, connection: psycopg.Connection, superuser: psycopg.Connection
) -> None:
    superuser.execute("alter function tidemill._lock set lock_timeout = '100ms'")
    with psycopg.connect(database, application_name="the holder") as holder:
        holder.execute("select tidemill._lock('declarations')")
        with refused(
            "55P03",
            'another transaction has held the lock "declarations"',
            f'Server process {holder.info.backend_pid} holds it: role "tidemill_owner",',
            'application "the holder"',
            "in a transaction since 2",
        ):
            connection.execute("select tidemill._lock('declarations')")
    connection.execute("select tidemill._lock('declarations')")


@pytest.mark.usefixtures("impatient")
def test_a_migration_names_who_holds_it_up(database: str) -> None:
    make_outdated(database)
    with psycopg.connect(database, application_name="a long report") as reader:
        reader.execute("select from tidemill.jobs")
        words = (
            f'server process {reader.info.backend_pid} .role "tidemill_owner", application "a long report"'
        )
        with pytest.raises(SchemaError, match=words):
            migrate(database)
    assert migrate(database).functions_laid


def test_two_installers_of_a_new_schema(server: Server, empty_database: str) -> None:
    """The second one waits for the first one's schema, and then finds nothing to do."""
    with (
        ThreadPoolExecutor(1) as pool,
        psycopg.connect(empty_database) as first,
        server.superuser() as onlooker,
    ):
        statements = migrate(empty_database, dry_run=True).statements
        for statement in statements[:-1]:
            first.execute(statement.encode())
        second = pool.submit(migrate, empty_database)
        wait_until(
            lambda: onlooker.execute(
                "select from pg_locks where locktype = 'transactionid' and not granted"
            ).fetchall(),
            "the second one to wait",
        )
        first.commit()
        assert second.result().applied == []


def test_installers_of_a_schema_that_is_there_take_turns(server: Server, database: str) -> None:
    make_outdated(database)
    with (
        ThreadPoolExecutor(1) as pool,
        psycopg.connect(database) as first,
        server.superuser() as onlooker,
    ):
        for statement in migrate(database, dry_run=True).statements[:-1]:
            first.execute(statement.encode())
        second = pool.submit(migrate, database)
        wait_until(
            lambda: onlooker.execute(
                "select from pg_locks where mode = 'ShareUpdateExclusiveLock' and not granted"
            ).fetchall(),
            "the second one to wait",
        )
        first.commit()
        assert not second.result().changed
