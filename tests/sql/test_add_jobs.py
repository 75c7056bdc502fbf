"""add_jobs: many jobs in one call."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sql.calls import Queue, ids, refused, spec


def payloads(rows: list[dict[str, Any]]) -> list[Any]:
    return [row["payload"] for row in rows]


def test_rows_come_back_in_the_order_of_the_specs(queue: Queue) -> None:
    queue.add(job_key="old", payload="old")
    rows = queue.add_many(
        [
            spec("c", payload=1, queue_name="q"),
            spec("b", payload=2, job_key="z"),
            spec("a", payload=3),
            spec("b", payload=4, job_key="old"),
            spec("c", payload=5, job_key="a", queue_name="p"),
            spec("a", payload=6),
        ]
    )
    assert payloads(rows) == [1, 2, 3, 4, 5, 6]
    assert [row["identifier"] for row in rows] == ["c", "b", "a", "b", "c", "a"]
    assert [row["queue_name"] for row in rows] == ["q", None, None, None, "p", None]
    # New ids follow the specs' order; the changed job keeps its own.
    assert rows[3]["id"] == 1
    new = ids(rows[:3] + rows[4:])
    assert new == sorted(new)


def test_order_without_keys(queue: Queue) -> None:
    rows = queue.add_many([spec(f"t{n % 7}", payload=n, queue_name=f"q{n % 3}") for n in range(300)])
    assert payloads(rows) == list(range(300))
    assert ids(rows) == sorted(ids(rows))
    assert [row["identifier"] for row in rows] == [f"t{n % 7}" for n in range(300)]
    assert [row["queue_name"] for row in rows] == [f"q{n % 3}" for n in range(300)]


def test_specs_that_share_a_key_act_one_after_the_other(queue: Queue) -> None:
    rows = queue.add_many(
        [
            spec("a", payload=[1], job_key="k", priority=5),
            spec("x"),
            spec("b", payload=[2], job_key="k"),
            spec("c", payload=[3], job_key="k", max_attempts=2),
        ]
    )
    assert rows[0] == rows[2] == rows[3]
    last = rows[0]
    assert (last["identifier"], last["revision"]) == ("c", 2)
    assert queue.kept(last["id"])["payload"] == [1, 2, 3]
    assert (last["priority"], last["max_attempts"]) == (0, 2)
    assert queue.value("select count(*) from tidemill._jobs") == 2


def test_a_running_job_is_left_once(queue: Queue) -> None:
    queue.add(job_key="k", payload=[0])
    (running,) = queue.claim()
    rows = queue.add_many([spec(payload=[1], job_key="k"), spec(payload=[2], job_key="k")])
    assert [queue.kept(row["id"])["payload"] for row in rows] == [[1, 2], [1, 2]]
    assert queue.kept(running["id"])["withdrawn"] == "replaced"


@pytest.mark.parametrize(
    ("arguments", "years"),
    [
        ({}, [2031, 2031]),
        ({"job_key_preserve_run_at": False}, [2031, 2031]),
        ({"job_key_preserve_run_at": None}, [2031, 2031]),
        ({"job_key_preserve_run_at": True}, [2030, 2031]),
        ({"job_key_mode": "preserve_run_at"}, [2030, 2031]),
        ({"job_key_mode": "replace", "job_key_preserve_run_at": True}, [2031, 2031]),
    ],
)
def test_modes(queue: Queue, arguments: dict[str, Any], years: list[int]) -> None:
    queue.add(job_key="k", run_at="2030-06-01")
    rows = queue.add_many(
        [spec(job_key="k", run_at="2031-06-01"), spec(job_key="l", run_at="2031-06-01")], **arguments
    )
    assert [row["run_at"].year for row in rows] == years


def test_unsafe_dedupe_for_all(queue: Queue) -> None:
    queue.add(job_key="k", payload="old")
    rows = queue.add_many(
        [spec(job_key="k", payload="new"), spec(job_key="l", payload="new"), spec(payload="new")],
        job_key_mode="unsafe_dedupe",
    )
    assert payloads(rows) == [None, "new", "new"]
    assert rows[0]["revision"] == 1


def test_a_mode_for_each_spec(queue: Queue) -> None:
    queue.add_many([spec(job_key=key, payload="old", run_at="2030-06-01") for key in "abc"])
    rows = queue.rows(
        "select key, payload, extract(year from run_at)::int as year from tidemill._add_jobs(array("
        "  select row('t', '\"new\"', null, '2031-06-01', null, k, null, null)::tidemill.job_spec"
        "  from unnest('{a,b,c,d}'::text[]) k), '{unsafe_dedupe,preserve_run_at,replace,null}')"
    )
    assert [(row["payload"], row["year"]) for row in rows] == [
        (None, 2030),
        ("new", 2030),
        ("new", 2031),
        ("new", 2031),
    ]


@pytest.mark.parametrize("specs", ["'{}'", "null"])
def test_nothing_to_add(queue: Queue, specs: str) -> None:
    for schema in ("tidemill", "graphile_worker"):
        statement = f"select * from {schema}.add_jobs({specs}::{schema}.job_spec[])"
        assert queue.connection.execute(statement.encode()).fetchall() == []


def test_defaults(queue: Queue) -> None:
    (row,) = queue.add_many([spec("t")])
    assert (row["payload"], row["max_attempts"], row["priority"], row["flags"]) == ({}, 25, 0, None)
    assert row["run_at"] == row["created_at"]
    (row,) = queue.add_many([spec("t", job_key="k", payload=None)])
    # The JSON null is a payload; the SQL NULL is none.
    assert row["payload"] is None


@pytest.mark.parametrize(
    ("bad", "sqlstate", "constraint", "words"),
    [
        (spec(None), "23502", None, ["identifier", "null"]),
        (None, "23502", None, ["identifier", "null"]),
        (spec("i" * 129), "23514", "tasks_identifier_check", ["identifier", "129", "128"]),
        (spec(queue_name="q" * 129), "23514", "job_queues_queue_name_check", ["queue_name", "129", "128"]),
        (spec(job_key=""), "23514", "jobs_key_check", ["job_key", "0", "1 to 512"]),
        (spec(max_attempts=0), "23514", "jobs_max_attempts_check", ["max_attempts", "0", "below 1"]),
        (spec(flags=["a", None]), "22023", None, ["flags", "null"]),
        (spec(flags=[str(n) for n in range(101)]), "22023", None, ["flags has 101 entries", "at most 100"]),
        (spec(flags=["a", "f" * 129]), "22023", None, ["flags has one of 129 characters", "at most 128"]),
    ],
)
def test_a_refusal_names_the_spec(
    queue: Queue, bad: tuple[Any, ...] | None, sqlstate: str, constraint: str | None, words: list[str]
) -> None:
    for schema in ("tidemill", "graphile_worker"):
        with refused(sqlstate, *words, "(spec 2)", constraint=constraint):
            queue.add_many([spec(), bad, spec(max_attempts=-3)], schema=schema)
    assert queue.value("select count(*) from tidemill._jobs") == 0


def test_numbers_beyond_smallint_do_not_fit_a_spec(queue: Queue) -> None:
    with refused("22003"):
        queue.add_many([spec(priority=40000)])


def test_an_unknown_mode_names_the_first_spec_with_a_key(queue: Queue) -> None:
    with refused("GWBKM", "job_key_mode", "nope", "(spec 2)", "replace, preserve_run_at or unsafe_dedupe"):
        queue.add_many([spec(), spec(job_key="k"), spec(job_key="l")], job_key_mode="nope")


def test_times_survive_every_datestyle(queue: Queue) -> None:
    # Written in this style the zone is IST, which is read as Israel's.
    queue.connection.execute("set datestyle = 'SQL, DMY'; set timezone = 'Asia/Kolkata'")
    for schema in ("tidemill", "graphile_worker"):
        queue.connection.execute(
            f"select {schema}.add_jobs(array[row('t', null, null, '2030-02-01T12:00:00.123456Z', null, null,"
            f" null, null)::{schema}.job_spec])".encode()
        )
    assert queue.value("select array_agg(run_at = '2030-02-01T12:00:00.123456Z') from tidemill._jobs") == [
        True,
        True,
    ]


def test_payloads_survive_the_dialect(queue: Queue) -> None:
    payload = {
        "quote": '"',
        "backslash": "\\",
        "comma": "a,b",
        "brace": "{}()",
        "nothing": None,
        "é": "\u2028",
    }
    for schema in ("tidemill", "graphile_worker"):
        assert payloads(queue.add_many([spec(payload=payload)], schema=schema)) == [payload]


def test_without_keys_it_is_one_insert(queue: Queue) -> None:
    """However many specs: their number is not the number of statements."""
    queue.add_many([spec(payload=n) for n in range(2000)])
    assert queue.value("select count(distinct xmin::text || cmin::text) from tidemill._jobs") == 1
