"""Backfilling: staged rows come into packed chunks, each exactly once, whatever stops it."""

from __future__ import annotations

import threading
from pathlib import Path

import psycopg
import pytest
from psycopg import errors

from tests.hypertables.packed import DEVICES, ROWS, compress, count, images
from tests.support.dialects import lay_timescaledb
from tests.support.running import eventually, running
from tests.support.servers import Server
from tests.support.waiting import wait_until
from tidemill import App

SEED = Path(__file__).with_name("seed")
STAGE = """
    create table backfill_event_data (like event_data);
    alter table backfill_event_data alter note set default 'late';
    -- Of each day, device 1: 72 rows whose key is there, and 72 between. One day before, and one behind.
    insert into backfill_event_data (time, device_id, value)
      select t, 1, -1
        from generate_series(timestamptz '2026-01-01 00:00+00', '2026-01-04 23:50+00', '20 minutes') t
      union all
      select t + interval '5 minutes', 1, -1
        from generate_series(timestamptz '2026-01-01 00:00+00', '2026-01-04 23:50+00', '20 minutes') t
      union all
      select t, 2, -1 from (values (timestamptz '2025-12-31 12:00+00'), ('2026-01-05 12:00+00')) v(t);
"""
THERE, NEW = 4 * 72, 4 * 72 + 2


@pytest.fixture
def staged(connection: psycopg.Connection) -> psycopg.Connection:
    """With a hypertable whose first three days are packed, and rows in a staging table."""
    connection.execute(DEVICES + STAGE)
    connection.execute("select tidemill.enable_compression('event_data', 'device_id')")
    compress(connection, before="2026-01-04 00:00+00")
    return connection


def backfill(connection: psycopg.Connection, more: str = "") -> list[str]:
    """Calls the procedure, and returns its notices."""
    notices: list[str] = []

    def note(notice: psycopg.errors.Diagnostic) -> None:
        notices.append(notice.message_primary or "")

    connection.add_notice_handler(note)
    try:
        connection.execute(
            f"call tidemill.decompress_backfill('backfill_event_data', 'event_data'{more})".encode()
        )
    finally:
        connection.remove_notice_handler(note)
    return notices


def check(connection: psycopg.Connection) -> None:
    """All rows are there, once, and those of the packed days are packed."""
    assert count(connection, "select count(*) from event_data") == ROWS + NEW
    assert count(connection, "select count(distinct (device_id, time)) from event_data") == ROWS + NEW
    assert count(connection, "select count(*) from backfill_event_data") == 0
    loose = (
        "select count(*) from app_rows.event_data"
        " where time >= '2026-01-01 00:00+00' and time < '2026-01-04 00:00+00'"
    )
    assert count(connection, loose) == 0


def test_the_rows_of_a_staging_table_are_moved(staged: psycopg.Connection) -> None:
    notices = backfill(staged)
    days = [f"2026-01-0{n} 00:00:00+00" for n in range(1, 7)]
    days.insert(0, "2025-12-31 00:00:00+00")
    moved = [1, 144, 144, 144, 144, 1]
    # Of each day every other row was there.
    were_there = ["", *[", of which 72 were not added"] * 4, ""]
    assert notices == [
        f"{number} rows moved in range {start} to {end}{there}"
        for number, start, end, there in zip(moved, days[:-1], days[1:], were_there, strict=True)
    ]
    check(staged)
    # Those that were there are as they were.
    assert count(staged, "select count(*) from event_data where value = -1") == NEW
    assert backfill(staged) == []


def test_only_the_segments_that_are_met_are_packed_anew(staged: psycopg.Connection) -> None:
    segments = "select device_id from app_chunks._hyper_1_segments where ctid::text = any(%s) order by 1"
    before = [place for (place,) in staged.execute("select ctid::text from app_chunks._hyper_1_segments")]
    backfill(staged)
    kept = staged.execute(segments.encode(), [before]).fetchall()
    assert {device for (device,) in kept} == {2, 3, 4, 5}
    assert len(kept) == 3 * 4


@pytest.mark.parametrize("action", ["UPDATE", "update"])
def test_update_changes_the_rows_that_are_there(staged: psycopg.Connection, action: str) -> None:
    backfill(
        staged,
        f", on_conflict_action => '{action}', on_conflict_target => '(device_id, time)',"
        " on_conflict_update_columns => '{value}'",
    )
    check(staged)
    assert count(staged, "select count(*) from event_data where value = -1") == NEW + THERE
    assert count(staged, "select count(*) from event_data where note = 'late'") == NEW


def test_restrict_leaves_the_chunk_as_it_was(staged: psycopg.Connection) -> None:
    staged.execute(
        "delete from backfill_event_data where time < '2026-01-02 00:00+00' and time >= '2026-01-01 00:00+00'"
        " and extract(minute from time)::integer % 10 = 0"
    )
    before = images(staged)
    with pytest.raises(errors.UniqueViolation):
        backfill(staged, ", on_conflict_action => 'restrict'")
    # The day before, and the first one, which had no conflict, were moved.
    assert count(staged, "select count(*) from event_data") == len(before) + 1 + 72
    assert set(before) < set(images(staged))
    assert count(staged, "select count(*) from tidemill._chunks where is_compressed") == 3
    backfill(staged)
    check(staged)


def test_copying_leaves_the_staged_rows(staged: psycopg.Connection) -> None:
    for _ in range(2):
        backfill(staged, ", delete_from_staging => false")
    assert count(staged, "select count(*) from event_data") == ROWS + NEW
    assert count(staged, "select count(*) from backfill_event_data") == THERE + NEW


def test_triggers_have_the_callers_search_path(connection: psycopg.Connection) -> None:
    connection.execute(DEVICES + STAGE)
    connection.execute(
        "create table audit (what text);"
        "create function note() returns trigger language plpgsql as"
        " $$ begin insert into audit values (tg_op); return null; end $$;"
        "create trigger noted after insert on event_data for each row execute function note()"
    )
    backfill(connection)
    assert count(connection, "select count(*) from audit") == NEW


def test_rows_beside_the_segments_are_packed_with_them(staged: psycopg.Connection) -> None:
    staged.execute("insert into event_data (time, device_id) values ('2026-01-02 00:05+00', 5)")
    backfill(staged)
    assert count(staged, "select count(*) from event_data") == ROWS + NEW + 1
    assert count(staged, "select count(*) from app_rows.event_data where device_id = 5") == 144


def test_after_a_crash_another_call_goes_on(staged: psycopg.Connection, superuser_conninfo: str) -> None:
    # The second packed day waits for a lock, and its session is ended there.
    [(pid,)] = staged.execute("select pg_backend_pid()").fetchall()
    with (
        psycopg.connect(superuser_conninfo) as holder,
        psycopg.connect(superuser_conninfo, autocommit=True) as superuser,
    ):
        holder.execute(
            "lock table backfill_event_data in access share mode;"
            "select from backfill_event_data where time = '2026-01-02 00:20+00' for update"
        )
        failed: list[Exception] = []

        def call() -> None:
            try:
                backfill(staged)
            except psycopg.Error as error:
                failed.append(error)

        thread = threading.Thread(target=call)
        thread.start()
        wait_until(
            lambda: (
                superuser.execute(
                    "select from pg_stat_activity where pid = %s and wait_event_type = 'Lock'", [pid]
                ).rowcount
            ),
            "the backfill to wait",
        )
        superuser.execute("select pg_terminate_backend(%s)", [pid])
        thread.join()
        holder.rollback()
    assert failed
    with psycopg.connect(staged.info.dsn, autocommit=True) as again:
        # The day before and the first packed day are done as a whole.
        assert count(again, "select count(*) from event_data") == ROWS + 1 + 72
        assert count(again, "select count(*) from backfill_event_data") == THERE + NEW - 1 - 144
        backfill(again)
        check(again)


@pytest.mark.parametrize(
    ("staging", "more", "code", "said"),
    [
        (
            "time timestamptz, device_id integer, value real, note text",
            "",
            "42804",
            "value double precision, it has value real",
        ),
        ("time timestamptz, device_id integer", "", "42804", "value double precision, it has none"),
        (
            "time timestamptz, device_id integer, value double precision, note text, more text",
            "",
            "42804",
            "no column, it has more text",
        ),
        ("like event_data_like", "", "22004", "has no"),
        ("like event_data_like", ", on_conflict_action => 'merge'", "22023", '"merge" is unknown'),
        ("like event_data_like", ", on_conflict_action => 'update'", "22023", "on_conflict_target"),
    ],
)
def test_what_does_not_fit_is_told(
    staged: psycopg.Connection, staging: str, more: str, code: str, said: str
) -> None:
    staged.execute(
        "create table event_data_like"
        " (time timestamptz, device_id integer, value double precision, note text);"
        f"drop table backfill_event_data; create table backfill_event_data ({staging});"
        "insert into backfill_event_data default values".encode()
    )
    with pytest.raises(psycopg.Error, match=said) as raised:
        backfill(staged, more)
    assert raised.value.sqlstate == code
    assert count(staged, "select count(*) from event_data") == ROWS


def test_a_key_twice_in_the_staging_table_cannot_update(staged: psycopg.Connection) -> None:
    staged.execute("insert into backfill_event_data select * from backfill_event_data")
    with pytest.raises(errors.CardinalityViolation):
        backfill(
            staged,
            ", on_conflict_action => 'update', on_conflict_target => '(device_id, time)',"
            " on_conflict_update_columns => '{value}'",
        )
    backfill(staged)
    check(staged)


async def test_the_document_s_procedure_runs_on_its_schedule(
    server: Server, database: str, staged: psycopg.Connection
) -> None:
    lay_timescaledb(server, database)
    staged.execute((SEED / "1_backfill_on_schedule.sql").read_bytes())
    [(action,)] = staged.execute((SEED / "2_add_job.sql").read_bytes()).fetchall()
    async with App(database) as app, running(app):
        runs = "select outcome from tidemill.action_history where action_id = %s and outcome is not null"
        await eventually(lambda: staged.execute(runs, [action]).rowcount == 1, "the run")
    assert staged.execute(runs, [action]).fetchall() == [("success",)]
    check(staged)
    [(wait,)] = staged.execute(
        "select next_start - initial_start from tidemill.actions where id = %s", [action]
    ).fetchall()
    assert wait.days == 10
