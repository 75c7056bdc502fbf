"""_run_crontab and _register_crontabs: each minute of each item once."""

from __future__ import annotations

import threading
from datetime import datetime

import psycopg
import pytest
from psycopg import errors

from tests.actions.crontabs import at, item, jobs, known, run
from tests.support.waiting import wait_until
from tidemill.actions.crontab_clock import Due

A, B = item("* * * * * t ?id=a"), item("* * * * * t ?id=b")


def test_a_job_has_all_that_its_item_says(connection: psycopg.Connection) -> None:
    full = item(
        "* * * * * t ?id=full&max=3&queue=line&jobKey=k%27%22&jobKeyMode=preserve_run_at&priority=-5 "
        "{a: 'it\\'s', nul: '\\0', b: {c: null}}"
    )
    run(connection, Due(full, at("12:00:00"), True), Due(B, at("12:00:00"), False))
    rows = connection.execute(
        "select identifier, payload::text, queue_name, run_at, max_attempts, key, priority, flags"
        " from tidemill.jobs order by id"
    ).fetchall()
    assert rows == [
        (
            "t",
            '{"a": "it\'s", "nul": "\\u0000", "b": {"c": null}, '
            '"_cron": {"ts": "2026-07-01T12:00:00.000Z", "backfilled": true}}',
            "line",
            at("12:00:00"),
            3,
            "k'\"",
            -5,
            None,
        ),
        (
            "t",
            '{"_cron": {"ts": "2026-07-01T12:00:00.000Z", "backfilled": false}}',
            None,
            at("12:00:00"),
            25,
            None,
            0,
            None,
        ),
    ]


def test_a_minute_is_added_once(connection: psycopg.Connection) -> None:
    assert run(connection, Due(A, at("12:00:00"), False)) == [("a", at("12:00:00"))]
    assert run(connection, Due(A, at("12:00:00"), False)) == []
    # Nor are earlier minutes, even if none was added for them.
    assert run(connection, Due(A, at("11:59:00"), True)) == []
    assert run(connection, Due(A, at("12:00:00"), False), Due(B, at("12:00:00"), False)) == [
        ("b", at("12:00:00"))
    ]
    assert run(
        connection,
        Due(A, at("12:00:00"), False),
        Due(A, at("12:01:00"), False),
        Due(B, at("12:01:00"), False),
        Due(A, at("12:02:00"), False),
    ) == [("a", at("12:01:00")), ("b", at("12:01:00")), ("a", at("12:02:00"))]
    assert [minute for _, minute in jobs(connection)] == [
        at(minute) for minute in ("12:00:00", "12:00:00", "12:01:00", "12:01:00", "12:02:00")
    ]
    assert [(row[0], row[2]) for row in known(connection)] == [("a", at("12:02:00")), ("b", at("12:01:00"))]


def test_identifiers_are_registered_once(connection: psycopg.Connection) -> None:
    register = "select * from tidemill._register_crontab(%s, %s) order by 1"
    assert connection.execute(register, [["b", "a"], at("12:00:00")]).fetchall() == [
        ("a", at("12:00:00"), None),
        ("b", at("12:00:00"), None),
    ]
    run(connection, Due(A, at("12:01:00"), False))
    assert connection.execute(register, [["a", "c"], at("13:00:00")]).fetchall() == [
        ("a", at("12:00:00"), at("12:01:00")),
        ("c", at("13:00:00"), None),
    ]
    # One that left the crontab stays known.
    assert [row[0] for row in known(connection)] == ["a", "b", "c"]


def test_nothing_is_added_in_part(connection: psycopg.Connection) -> None:
    run(connection, Due(A, at("12:00:00"), False))
    connection.execute("alter table tidemill._jobs add constraint no_sevens check (priority <> 7)")
    seven = item("* * * * * t ?id=seven&priority=7")
    with pytest.raises(errors.CheckViolation):
        run(connection, Due(A, at("12:01:00"), False), Due(seven, at("12:01:00"), False))
    assert len(jobs(connection)) == 1
    assert known(connection) == [("a", at("12:00:00"), at("12:00:00"))]
    assert run(connection, Due(A, at("12:01:00"), False)) == [("a", at("12:01:00"))]


@pytest.mark.parametrize("registered", [True, False])
def test_two_workers_in_one_minute(database: str, connection: psycopg.Connection, registered: bool) -> None:
    """The second waits for the first, and then adds what that one had not."""
    if registered:
        connection.execute("select from tidemill._register_crontab('{a,b}')")
    with psycopg.connect(database) as first, psycopg.connect(database, autocommit=True) as second:
        run(first, Due(A, at("12:00:00"), False))
        added: list[tuple[str, datetime]] = []
        thread = threading.Thread(
            target=lambda: added.extend(
                run(second, Due(A, at("12:00:00"), False), Due(B, at("12:00:00"), False))
            )
        )
        thread.start()
        wait_until(
            lambda: connection.execute(
                "select from pg_stat_activity where pid = %s and wait_event_type = 'Lock'",
                [second.info.backend_pid],
            ).fetchall(),
            "the second worker to wait",
        )
        first.commit()
        thread.join(30)
    assert added == [("b", at("12:00:00"))]
    assert len(jobs(connection)) == 2


def test_the_dialect_shows_them(connection: psycopg.Connection) -> None:
    run(connection, Due(A, at("12:00:00"), False))
    assert connection.execute("select * from graphile_worker._private_known_crontabs").fetchall() == [
        ("a", at("12:00:00"), at("12:00:00"))
    ]
