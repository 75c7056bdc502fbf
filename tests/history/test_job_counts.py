"""Counts of jobs for who looks every few seconds: right, cut where they say so, and cheap."""

from __future__ import annotations

from typing import Any

import psycopg

Counts = dict[tuple[str, str], tuple[int, bool]]


def counts(connection: psycopg.Connection[Any], most: int = 10000) -> Counts:
    found = connection.execute(
        "select identifier, state, jobs, cut from tidemill._job_counts(%s)", [most]
    ).fetchall()
    return {(identifier, state): (jobs, cut) for identifier, state, jobs, cut in found}


def seen(connection: psycopg.Connection[Any]) -> Counts:
    """What the view says, which walks over the table."""
    found = connection.execute(
        "select identifier, case when retrying and state = 'scheduled' then 'retrying' else state end,"
        " count(*) from tidemill.jobs group by 1, 2"
    ).fetchall()
    return {(identifier, state): (jobs, False) for identifier, state, jobs in found}


FILL = """
select tidemill.add_job(t, priority => (i % 3)::smallint,
    run_at => case when i % 2 = 0 then now() + interval '1 hour' end)
  from unnest('{a,b}'::text[]) t, generate_series(1, 20) i;
select tidemill.add_job('queued', queue_name => 'q' || i % 7, run_at => now() + (i % 2) * interval '1 hour')
  from generate_series(1, 20) i;
select tidemill.add_job('queued later', queue_name => 'q' || i % 7, run_at => now() + interval '1 hour')
  from generate_series(1, 20) i;
-- Some of them have become due since.
update tidemill._jobs set run_at = now() - interval '1 s', created_at = now() - interval '1 hour'
  where task_id = tidemill._task_id('queued later') and id % 4 = 0;
select tidemill.set_limit('few', 1);
select tidemill.add_job('limited', limit_name => 'few', run_at => now() + (i % 2) * interval '1 hour')
  from generate_series(1, 20) i;
select tidemill.add_job('tried') from generate_series(1, 20) i;
update tidemill._jobs set attempts = 1, last_error = 'boom', run_at = now() + (id % 2) * interval '1 hour'
  where task_id = tidemill._task_id('tried');
select tidemill.add_job('ended') from generate_series(1, 20) i;
select tidemill.permanently_fail_jobs(
  array(select id from tidemill.jobs where identifier = 'ended' and id % 2 = 0), 'no');
select tidemill.cancel_jobs(array(select id from tidemill.jobs where identifier = 'ended' and id % 4 = 1));
select tidemill.add_job('runs') from generate_series(1, 5) i;
update tidemill._jobs set locked_at = now(), locked_by = 'w', claim_token = 1, attempts = 1
  where task_id = tidemill._task_id('runs');
"""


def test_they_are_those_of_the_view(connection: psycopg.Connection) -> None:
    connection.execute(FILL.encode())
    assert counts(connection) == seen(connection)
    assert {state for _, state in seen(connection)} == {
        "ready",
        "scheduled",
        "retrying",
        "running",
        "failed",
        "cancelled",
    }


def test_the_newest_error_is_that_of_a_job_that_has_one(connection: psycopg.Connection) -> None:
    connection.execute(FILL.encode())
    found: dict[str, str] = dict(
        connection.execute(
            "select c.state, j.last_error from tidemill._job_counts() c"
            " join tidemill.jobs j on j.id = c.newest_error where c.identifier like any ('{tried,ended}')"
        ).fetchall()
    )
    assert found == {"ready": "boom", "retrying": "boom", "failed": "no", "cancelled": found["cancelled"]}
    assert not connection.execute(
        "select from tidemill._job_counts() where identifier = 'a' and newest_error is not null"
    ).fetchall()


def test_what_is_cut_says_so(connection: psycopg.Connection) -> None:
    connection.execute("select tidemill.add_job('many') from generate_series(1, 50)")
    connection.execute("select tidemill.add_job('later', run_at => now() + interval '1 day')")
    assert counts(connection, 10) == {("many", "ready"): (11, True), ("later", "scheduled"): (1, False)}
    assert counts(connection, 50)["many", "ready"] == (50, False)
    # Failed jobs are looked for among the first jobs of the table.
    connection.execute(
        "select tidemill.permanently_fail_jobs(array(select id from tidemill.jobs order by id limit 5), 'no')"
    )
    assert counts(connection, 10)["many", "failed"] == (5, True)
    assert counts(connection, 60)["many", "failed"] == (5, False)
