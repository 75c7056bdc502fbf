"""Arguments of the Python calls: what is refused before the database is asked."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest

from tidemill import App, JobSpec, Limit
from tidemill.errors import InvalidJobError
from tidemill.queue import client


@pytest.mark.parametrize("run_at", ["2030-01-01T00:00:00Z", 3600, date(2030, 1, 1), datetime(2030, 1, 1)])
def test_a_run_at_that_says_no_moment(run_at: Any) -> None:
    with pytest.raises(InvalidJobError, match="run_at"):
        JobSpec("x", run_at=run_at)
    with pytest.raises(InvalidJobError, match="run_at"):
        client.reschedule_jobs([1], run_at, None, None, None)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"identifier": ""}, "must be the name of a task"),
        ({"identifier": ["x"]}, "must be the name of a task"),
        ({"priority": "high"}, "priority 'high' of job 'x' is not an integer"),
        ({"max_attempts": 40000}, "max_attempts 40000 of job 'x' is out of range"),
        ({"queue_name": 1}, "queue_name 1 of job 'x' is not a string"),
        ({"flags": "slow"}, "use a list"),
    ],
)
def test_specs_that_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidJobError, match=words):
        JobSpec(**{"identifier": "x", **options})


@pytest.mark.parametrize("name", ["queue_name", "job_key", "trace", "limit_name"])
def test_a_text_that_is_no_utf_8(name: str) -> None:
    options: dict[str, Any] = {name: "\ud800"}
    with pytest.raises(InvalidJobError, match="surrogates not allowed"):
        client.add_jobs([JobSpec("x", **options)])


def test_each_spec_has_its_own_keep_trace_and_limit(database: str) -> None:
    app = App(database)
    app.sync.set_limit("l", Limit(1))
    given: list[dict[str, Any]] = [
        {"keep": "1 day", "limit_name": "l"},
        {},
        {"trace": "a"},
        {"keep": "forever"},
    ]
    jobs = app.sync.add_jobs([JobSpec("x", **options) for options in given])
    alike = app.sync.add_jobs([JobSpec("x", keep="1 week", trace="b")] * 2)
    with psycopg.connect(database) as connection:
        rows = connection.execute(
            "select j.id, j.keep, j.trace, o.gate_id is not null from tidemill.jobs j "
            "join tidemill._jobs o on o.id = j.id order by j.id"
        ).fetchall()
    assert [row[0] for row in rows] == [job.id for job in [*jobs, *alike]]
    assert [row[1:] for row in rows] == [
        ("1 day", None, True),
        (None, None, False),
        (None, "a", False),
        ("forever", None, False),
        ("1 week", "b", False),
        ("1 week", "b", False),
    ]


@pytest.mark.parametrize("ids", ["12", b"12", [4.6], [True], [0], [-1], [2**63], [None]])
def test_ids_that_are_none(ids: Any) -> None:
    for call in (client.complete_jobs, lambda some: client.cancel_jobs(some, None)):
        with pytest.raises(InvalidJobError, match="is not the id of a job"):
            call(ids)


def test_worker_ids_are_a_list() -> None:
    with pytest.raises(InvalidJobError, match="use a list"):
        client.force_unlock_workers("worker-1")


def test_times_are_read_under_any_date_style(database: str) -> None:
    app = App(database)
    when = datetime(2030, 1, 31, 8, 0, 0, 123456, tzinfo=UTC)
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("set datestyle = 'SQL, DMY'")
        connection.execute("set timezone = 'Asia/Kolkata'")
        job = app.sync.add_job("x", run_at=when, connection=connection)
        assert job.run_at == when
        connection.execute("select tidemill.add_job('y', run_at => 'infinity')")
        late = app.sync.get_job(job.id + 1, connection=connection)
        assert late is not None
        assert late.run_at.year == 9999


def test_a_wait_is_counted_by_the_database(database: str) -> None:
    app = App(database)
    before = datetime.now(UTC)
    job = app.sync.add_job("x", run_at=timedelta(hours=1))
    assert timedelta(minutes=59) < job.run_at - before < timedelta(minutes=61)


@pytest.mark.parametrize("options", [{}, {"keep": "1 week"}, {"trace": "given"}])
def test_a_producer_may_add_traced_jobs(options: dict[str, Any]) -> None:
    """The role has no right to the private function, which takes a trace for each job."""
    call = client.add_jobs([JobSpec("t", **options), JobSpec("u", **options)], "current")
    assert "tidemill.add_jobs(" in call.query
    assert json.loads(call.params["trace"]) == [options.get("trace", "current")] * 2
