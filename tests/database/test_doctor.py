"""What the doctor finds: each check on a database that has it, and none on one that is well."""

from __future__ import annotations

from contextlib import closing
from typing import LiteralString

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.support.documents import ROOT
from tests.support.servers import Server
from tidemill.database import sql as files
from tidemill.database.connect import connect
from tidemill.database.doctor import CHECKS, Finding, examine

pytestmark = [pytest.mark.versions(18, 15), pytest.mark.each_version("catalogs and statistics differ")]

_LIVE = (
    "insert into tidemill._workers"
    " (id, hostname, pid, version, concurrency, identifiers, expires_at, started_at) values"
    " ('live', 'here', 1, '0.0.1', 10, '{known}', now() + interval '1 hour', now() - interval '1 hour')"
)
# How a database comes to have what each check looks for, and how grave that is.
ILLS: dict[str, tuple[str, str]] = {
    "missing_objects": ("error", "drop function tidemill.next_runs(integer, integer, timestamptz)"),
    "no_worker": ("error", "select tidemill.add_job('a', queue_name => 'q')"),
    "unknown_tasks": ("error", f"{_LIVE}; select tidemill.add_job('typo'), tidemill.add_job('known')"),
    "expired_leases": (
        "error",
        "select tidemill.add_job('a');"
        " update tidemill._jobs set locked_by = 'gone', locked_at = now() - interval '1 hour'",
    ),
    "lost_workers": ("warning", f"{_LIVE}; update tidemill._workers set lost_at = now()"),
    "late_actions": (
        "error",
        f"{_LIVE}; update tidemill._action_states set next_start = now() - interval '1 hour'",
    ),
    "gone_routines": ("error", "update tidemill._actions set proc_name = 'gone', proc_oid = null"),
    "paused_actions": ("note", "select tidemill.alter_action(3, scheduled => false)"),
    "autovacuum": ("error", "alter table tidemill._jobs set (autovacuum_enabled = off)"),
    "connections": ("note", f"{_LIVE}; update tidemill._workers set concurrency = 1000"),
    "clock": ("warning", f"{_LIVE}; update tidemill._workers set heartbeat_at = now() + interval '1 minute'"),
    "listeners": ("note", _LIVE),
    "worker_versions": ("note", _LIVE),
    "schema": ("error", "delete from tidemill._migrations where number = 1"),
    "invalid_indexes": (
        "warning",
        "create unique index broken on tidemill._workers (id) where false;"
        " update pg_index set indisvalid = false where indexrelid = 'tidemill.broken'::regclass",
    ),
    "read_only": (
        "error",
        "do $$ begin execute format('alter database %I set default_transaction_read_only = on',"
        " current_database()); end $$",
    ),
    "unpruned_history": (
        "warning",
        "insert into tidemill._action_runs (action_id, application_name, owner, started_at, outcome)"
        " values (3, 'x', current_user::regrole, now() - interval '1 year', 'success')",
    ),
    "stopped_bulk_acts": (
        "note",
        "select tidemill.begin_bulk_act('retry', '{\"task\": \"a\"}');"
        " update tidemill._bulk_acts set state = 'running', moved_at = now() - interval '1 hour'",
    ),
    "constraint_exclusion": (
        "note",
        "create table measured (at timestamptz not null);"
        " select tidemill.create_hypertable('measured', 'at');"
        " select tidemill.enable_compression('measured')",
    ),
    "missing_chunks": (
        "note",
        "create table measured (at timestamptz not null);"
        " select tidemill.create_hypertable('measured', 'at'); insert into measured values ('2001-01-01')",
    ),
}


def found(database: str, *only: str) -> list[Finding]:
    """What these checks find, or all of them; none may fail."""
    with closing(connect(database)) as connection:
        report = examine(connection, without=set(CHECKS) - set(only) if only else ())
    assert report.not_checked == []
    return report.findings


def test_nothing_is_wrong_with_a_new_database(database: str) -> None:
    assert found(database) == []


def test_all_statements_are_checks() -> None:
    folder = ROOT / "src/tidemill/sql/queries/doctor"
    assert sorted(CHECKS) == sorted(file.stem for file in folder.iterdir())


def test_each_check_has_its_section_in_the_manual() -> None:
    page = (ROOT / "docs/how-to/doctor.md").read_text()
    assert [code for code in CHECKS if f"\n### `{code}`\n" not in page] == []


@pytest.mark.parametrize("code", ILLS)
def test_it_finds(code: str, server: Server, database: str) -> None:
    severity, ill = ILLS[code]
    is_catalog = "pg_index" in ill
    with psycopg.connect(database, autocommit=True) as owner:
        name = owner.info.dbname
    with closing(server.superuser(name)) if is_catalog else psycopg.connect(database) as connection:
        connection.execute(ill.encode())
        connection.commit()
    [first, *_] = found(database, code)
    assert (first.code, first.severity) == (code, severity)
    assert first.remedy


def test_it_finds_failing_actions(database: str, connection: psycopg.Connection) -> None:
    connection.execute("update tidemill._action_states set consecutive_failures = 2")
    connection.execute(
        "insert into tidemill._action_runs (action_id, application_name, owner, outcome, message)"
        " values (3, 'x', current_user::regrole, 'failure', E'no space\\nleft')"
    )
    [first] = found(database, "failing_actions")
    assert first.finding.endswith("Retention) has failed 2 times in a row, last with: no space.")


def lower(monkeypatch: pytest.MonkeyPatch, *thresholds: tuple[LiteralString, LiteralString]) -> None:
    """Has the checks find what is not grave yet."""
    original = files.query

    def hasty(name: str) -> LiteralString:
        text = original(name)
        for threshold, instead in thresholds:
            text = text.replace(threshold, instead)
        return text

    monkeypatch.setattr(files, "query", hasty)


def test_it_finds_what_takes_millions_of_rows(
    server: Server, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lower(
        monkeypatch,
        ("1000 * greatest(s.n_live_tup, 1000)", "-1"),
        ("128 * 1024 * 1024", "-1"),
        ("s.n_dead_tup > 200000 and s.n_dead_tup > 2 * s.n_live_tup", "true"),
        ("1000000000", "0"),
        ("10::bigint * 1024 * 1024 * 1024", "-1"),
    )
    told = {each.code: each.finding for each in found(database, "bloat", "dead_rows", "wraparound")}
    assert told["bloat"].startswith("The index tidemill.")
    assert "dead rows beside" in told["dead_rows"]
    assert "was not frozen for" in told["wraparound"]
    with server.superuser() as superuser:
        superuser.execute("select pg_create_physical_replication_slot('idle', true)")
        try:
            [first] = found(database, "disk")
        finally:
            superuser.execute("select pg_drop_replication_slot('idle')")
    assert "The replication slot idle keeps " in first.finding


def test_it_finds_an_old_transaction(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lower(monkeypatch, ("'10 minutes'", "'0'"))
    with psycopg.connect(database, application_name="report") as other:
        other.execute("set transaction isolation level repeatable read")
        other.execute("select count(*) from tidemill.jobs")
        [first] = found(database, "old_snapshot")
        assert first.finding.startswith(
            f"The session {other.info.backend_pid} (role tidemill_owner, report) has"
        )


def test_no_schema(empty_database: str) -> None:
    [first] = found(empty_database)
    assert (first.code, first.severity, first.remedy) == ("schema", "error", "tidemill migrate")


def test_what_cannot_be_checked_is_told(
    server: Server, database: str, connection: psycopg.Connection
) -> None:
    with server.role() as role:
        connection.execute(f"grant usage on schema tidemill to {role}".encode())
        with closing(connect(make_conninfo(database, user=role))) as other:
            report = examine(other)
            connection.execute(f"select tidemill.grant_role('reader', '{role}')".encode())
            reader = examine(other)
    assert {"expired_leases", "unknown_tasks"} <= {check.code for check in report.not_checked}
    assert all(check.lacks_right for check in report.not_checked)
    assert report.lacking == [check.code for check in report.not_checked]
    assert report.made == len(CHECKS) - len(report.lacking)
    assert (report.role, report.is_reader, report.needs_somebody) == (role, False, False)
    assert reader.is_reader
    assert {"paused_actions", "lost_workers", "worker_versions"} <= set(report.lacking) - set(reader.lacking)


def test_a_check_that_hangs_is_left_out(database: str) -> None:
    with psycopg.connect(database) as other, closing(connect(database)) as connection:
        other.execute("lock table tidemill._bulk_acts")
        report = examine(connection, without=set(CHECKS) - {"stopped_bulk_acts", "no_worker"})
    [check] = report.not_checked
    assert (check.code, check.lacks_right, report.needs_somebody) == ("stopped_bulk_acts", False, True)
