"""Figures for monitors: right, and without a walk over the table of jobs."""

from __future__ import annotations

from typing import Any

import psycopg


def figures(connection: psycopg.Connection) -> dict[str, Any]:
    [(found,)] = connection.execute("select tidemill._figures()").fetchall()
    return dict(found)


def test_they_read_no_more_than_they_tell(database: str, connection: psycopg.Connection) -> None:
    """Never analysed, with many jobs for later in front of those that are due, and many queues."""
    connection.execute("select tidemill.add_job(t) from unnest('{later,due,queued,retried}'::text[]) t")
    connection.execute(
        "select tidemill.add_job('queued', queue_name => 'q' || i) from generate_series(1, 500) i"
    )
    connection.execute("delete from tidemill._jobs")
    for values in (
        "1, -5, now() + interval '1 day', null from generate_series(1, 20000)",
        "2, 3, now() - i * interval '1 s', null from generate_series(1, 20000) i",
        "3, 0, now() - interval '1 hour', 1 + i % 500 from generate_series(1, 20000) i",
    ):
        connection.execute(
            f"insert into tidemill._jobs (task_id, priority, run_at, queue_id) select {values}".encode()
        )
    connection.execute(
        "insert into tidemill._jobs (task_id, created_at, run_at, queue_id, attempts)"
        " select 4, now() - interval '1 day', now() - interval '3 hours', 1 + i % 500, 1"
        " from generate_series(1, 20000) i"
    )
    # Statistics that a session has not handed in yet count as those of its transaction.
    with psycopg.connect(database) as fresh:
        found = figures(fresh)
        [(scans, rows)] = fresh.execute(
            "select pg_stat_get_xact_numscans('tidemill._jobs'::regclass),"
            " sum(pg_stat_get_xact_tuples_returned(indexrelid)) from pg_index"
            " where indrelid = 'tidemill._jobs'::regclass"
        ).fetchall()
    assert {task: round(seconds, -2) for task, seconds in found["oldest"].items()} == {
        # The first 1,000 in line are the oldest.
        "due": 20000,
        "queued": 3600,
        "retried": 10800,
    }
    assert scans == 0
    assert rows < 5000


def test_an_empty_database(connection: psycopg.Connection) -> None:
    found = figures(connection)
    assert (found["oldest"], found["leases"], found["workers"]) == ({}, 0, 0)
    assert found["actions"][0]["name"] == "Action History Retention"
