"""add_job without a key: defaults, limits, and the errors for arguments that it refuses."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import psycopg
import pytest

from tests.sql.calls import Queue, refused, spec


def test_defaults(queue: Queue) -> None:
    added = queue.add("t")
    row = queue.row("select *, now() - run_at < interval '1 minute' as due from tidemill._jobs")
    assert added == {
        "id": 1,
        "identifier": "t",
        "queue_name": None,
        "payload": {},
        "state": "ready",
        "priority": 0,
        "run_at": added["created_at"],
        "attempts": 0,
        "max_attempts": 25,
        "last_error": None,
        "created_at": row["created_at"],
        "updated_at": row["created_at"],
        "key": None,
        "locked_at": None,
        "locked_by": None,
        "revision": 0,
        "flags": None,
    }
    assert row["due"]


def test_null_means_the_default(queue: Queue) -> None:
    added = queue.row("select * from tidemill.add_job('t', null, null, null, null, null, null, null, null)")
    assert (added["payload"], added["max_attempts"], added["priority"]) == ({}, 25, 0)
    assert added["run_at"] == added["created_at"]


def test_run_at_is_the_start_of_the_transaction(queue: Queue) -> None:
    with queue.connection.transaction():
        now = queue.value("select now()")
        assert queue.add("t")["run_at"] == now
        assert queue.add("t", job_key="k")["run_at"] == now


@pytest.mark.parametrize("text", ["null", "5", '"x"', "[1, 2]", "true", '{"b":  1, "a": 1, "a": 2}'])
def test_any_json_is_stored_as_it_is_written(queue: Queue, text: str) -> None:
    queue.rows("select tidemill.add_job('t', %s::json)", [text])
    assert queue.value("select payload::text from tidemill._jobs") == text


def test_a_jsonb_payload_finds_no_function(queue: Queue) -> None:
    for schema in ("tidemill", "graphile_worker"):
        with pytest.raises(psycopg.errors.UndefinedFunction):
            queue.connection.execute(f"select {schema}.add_job('t', '{{}}'::jsonb)".encode())


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ([], None),
        (None, None),
        (["b", "a", "b"], ["a", "b"]),
        ([""], [""]),
    ],
)
def test_flags_are_a_set(queue: Queue, given: list[str] | None, stored: list[str] | None) -> None:
    assert queue.add("t", flags=given)["flags"] == stored
    assert queue.add("t", flags=given, job_key="k")["flags"] == stored
    (bulk,) = queue.add_many([spec(flags=given)])
    assert bulk["flags"] == stored


@pytest.mark.parametrize(
    ("arguments", "sqlstate", "constraint", "words"),
    [
        ({"identifier": None}, "23502", None, ["identifier", "null"]),
        ({"identifier": "i" * 129}, "23514", "tasks_identifier_check", ["identifier", "129", "128", "iii"]),
        (
            {"queue_name": "q" * 129},
            "23514",
            "job_queues_queue_name_check",
            ["queue_name", "129", "128", "qqq"],
        ),
        ({"job_key": ""}, "23514", "jobs_key_check", ["job_key", "0 char", "1 to 512"]),
        ({"job_key": "k" * 513}, "23514", "jobs_key_check", ["job_key", "513", "1 to 512", "kkk"]),
        ({"max_attempts": 0}, "23514", "jobs_max_attempts_check", ["max_attempts", "0", "below 1"]),
        ({"max_attempts": -1}, "23514", "jobs_max_attempts_check", ["max_attempts", "-1", "below 1"]),
        ({"max_attempts": 32768}, "22003", None, ["max_attempts", "32768", "1 to 32767"]),
        ({"max_attempts": -32769}, "22003", None, ["max_attempts", "-32769", "1 to 32767"]),
        ({"priority": 32768}, "22003", None, ["priority", "32768", "-32768 to 32767"]),
        ({"priority": -32769}, "22003", None, ["priority", "-32769", "-32768 to 32767"]),
        ({"flags": ["a", None]}, "22023", None, ["flags", "null"]),
        ({"flags": [["a"], ["b"]]}, "22023", None, ["flags", "2 dimensions"]),
        ({"flags": [str(n) for n in range(101)]}, "22023", None, ["flags has 101 entries", "at most 100"]),
        (
            {"flags": ["a", "f" * 129]},
            "22023",
            None,
            ["flags has one of 129 characters", "at most 128", "fff"],
        ),
        (
            {"job_key": "k", "job_key_mode": "nope"},
            "GWBKM",
            None,
            ["job_key_mode", "nope", "replace, preserve_run_at or unsafe_dedupe"],
        ),
        ({"job_key": "k", "job_key_mode": ""}, "GWBKM", None, ["job_key_mode"]),
    ],
)
def test_a_refusal_names_field_value_and_rule(
    queue: Queue, arguments: dict[str, Any], sqlstate: str, constraint: str | None, words: list[str]
) -> None:
    for schema in ("tidemill", "graphile_worker"):
        with refused(sqlstate, *words, constraint=constraint):
            queue.add(**({"identifier": "t"} | arguments), schema=schema)
    assert queue.value("select count(*) from tidemill._jobs") == 0
    assert queue.value("select count(*) from tidemill._tasks") == 0


def test_the_limits_themselves_are_allowed(queue: Queue) -> None:
    added = queue.add("i" * 128, queue_name="q" * 128, job_key="k" * 512, max_attempts=1, priority=-32768)
    assert (len(added["identifier"]), len(added["queue_name"]), len(added["key"])) == (128, 128, 512)
    assert (added["max_attempts"], added["priority"]) == (1, -32768)
    added = queue.add("é" * 128, max_attempts=32767, priority=32767)
    assert (added["max_attempts"], added["priority"]) == (32767, 32767)


def test_empty_names_are_names(queue: Queue) -> None:
    added = queue.add("", queue_name="")
    assert (added["identifier"], added["queue_name"]) == ("", "")
    assert queue.kept(added["id"])["queue_id"] is not None


def test_without_a_key_the_mode_does_not_matter(queue: Queue) -> None:
    assert queue.add("t", job_key_mode="nope")["id"] == 1
    assert queue.add("t", job_key_mode="unsafe_dedupe")["id"] == 2
    assert len(queue.add_many([spec()], job_key_mode="nope")) == 1


def test_a_null_mode_replaces(queue: Queue) -> None:
    queue.add("t", job_key="k", payload=1)
    assert queue.add("t", job_key="k", payload=2, job_key_mode=None)["payload"] == 2


@pytest.mark.parametrize(("run_at", "state"), [("infinity", "scheduled"), ("-infinity", "ready")])
def test_a_job_that_is_never_due_and_one_that_always_was(queue: Queue, run_at: str, state: str) -> None:
    # While a worker listens: the announced wait must not be computed by subtraction.
    queue.connection.execute("insert into tidemill._listeners values ('w')")
    assert queue.value("select state from tidemill.add_job('t', run_at := %s)", [run_at]) == state
    assert (
        queue.value(
            "select state from tidemill.add_jobs(array[row('t', null, null, %s, null, null, null, null)"
            "::tidemill.job_spec])",
            [run_at],
        )
        == state
    )
    assert (
        queue.value("select state from tidemill.reschedule_jobs(array[1], run_at := %s)", [run_at]) == state
    )
    # The driver cannot read such a time, so a claim tells of the earliest that it can.
    claimed = queue.claim()
    assert [job["run_at"].year for job in claimed] == ([1, 1] if state == "ready" else [])


def test_numbers_of_tasks_and_queues_are_not_used_up(queue: Queue) -> None:
    for _ in range(3):
        queue.add("a", queue_name="q")
        queue.add("a", queue_name="q", job_key="k")
        queue.add_many([spec("a", queue_name="q"), spec("b", queue_name="r", job_key="l")])
    queue.register(tasks=["a", "b"])
    queue.add("c", queue_name="s")
    assert queue.value("select array_agg(id order by identifier) from tidemill._tasks") == [1, 2, 3]
    assert queue.value("select array_agg(id order by queue_name) from tidemill._queues") == [1, 2, 3]


def test_a_job_is_undone_with_its_transaction(queue: Queue) -> None:
    with queue.connection.transaction(force_rollback=True):
        queue.add("t")
    assert queue.rows("select * from tidemill.jobs") == []


def test_the_state_is_told_by_the_clock(queue: Queue) -> None:
    ahead = queue.value("select (now() + %s)::text", [timedelta(hours=1)])
    assert queue.add("t", run_at=ahead)["state"] == "scheduled"


def test_a_search_path_of_the_caller_changes_nothing(queue: Queue) -> None:
    queue.connection.execute(
        "create function app.now() returns timestamptz language sql as $$ select 'epoch'::timestamptz $$"
    )
    queue.connection.execute("set search_path = app, pg_catalog")
    added = queue.add("t")
    assert added["run_at"] == added["created_at"]


def test_a_producer_needs_no_more_than_execute(queue: Queue, server_role: str) -> None:
    queue.connection.execute(f"grant usage on schema tidemill to {server_role}".encode())
    queue.connection.execute(
        f"grant execute on function tidemill.add_job, tidemill.add_jobs to {server_role}".encode()
    )
    queue.connection.execute(f"set role {server_role}".encode())
    assert queue.add("t", job_key="k", flags=["f"], queue_name="q")["id"] == 1
    assert len(queue.add_many([spec(), spec(job_key="l")])) == 2
    for statement in (b"select * from tidemill._jobs", b"select tidemill._task_id('x')"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            queue.connection.execute(statement)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        queue.remove("k")
    queue.connection.execute("reset role")


def test_jobs_with_more_flags_from_before_stay_valid(queue: Queue) -> None:
    job = queue.add("t", flags=["a"], job_key="k")
    queue.value(
        "update tidemill._jobs set flags = array(select n::text from generate_series(1, 500) n) returning 1"
    )
    assert (
        queue.value("select cardinality(flags) from tidemill.reschedule_jobs(array[1], priority => 3)") == 500
    )
    assert queue.value("select count(*) from tidemill.complete_jobs(array[%s]::bigint[])", [job["id"]]) == 1
