"""Plans of the hot statements, on tables that have just been filled and never analysed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg import sql

from tests.sql.calls import Queue
from tests.support.servers import TEMPLATE, Server

Node = dict[str, Any]

# What the functions' variables hold, by their names; PL/pgSQL makes them parameters of the statements.
CLAIM: dict[str, LiteralString] = {
    "worker_id": "'w'::text",
    "task_ids": "'{1,3}'::integer[]",
    "wanted": "10::integer",
    "forbidden_flags": "'{heavy}'::text[]",
    "after_queue": "0::bigint",
    "per_queue": "5::integer",
    "token": "1::bigint",
    "year_one": "'0001-01-02 00:00+00'::timestamptz",
}
SETTLE: dict[str, LiteralString] = {
    "worker_id": "'w'::text",
    "job_ids": "array(select id from tidemill._jobs where locked_by = 'w' limit 500)",
    "tokens": "array(select claim_token from tidemill._jobs where locked_by = 'w' limit 500)",
    "messages": "array_fill('boom'::text, array[500])",
    "delays": "array_fill(null::interval, array[500])",
    "permanent": "array_fill(false, array[500])",
    "payloads": "array_fill(null::text, array[500])",
}

FILL = """
alter table tidemill._jobs set (autovacuum_enabled = off);
alter table tidemill._queues set (autovacuum_enabled = off);
select tidemill._task_id('mine'), tidemill._task_id('foreign'), tidemill._task_id('mine too');
-- Due at once; due later at a smaller priority; failed; nobody's; running.
insert into tidemill._jobs (task_id) select 1 from generate_series(1, 100000);
insert into tidemill._jobs (task_id, priority, run_at)
  select 1, -1 - n % 3, now() + interval '1 day' from generate_series(1, 100000) n;
insert into tidemill._jobs (task_id, priority, attempts) select 1, -5, 25 from generate_series(1, 20000);
insert into tidemill._jobs (task_id, priority) select 2, 1 from generate_series(1, 50000);
insert into tidemill._jobs (task_id, attempts, locked_at, locked_by, claim_token)
  select 1, 1, now(), 'w', 7 from generate_series(1, 1000);
-- Named queues: with jobs that are due, with jobs for later, and leased ones.
insert into tidemill._queues (queue_name) select 'q' || n from generate_series(1, 6000) n;
update tidemill._queues set locked_at = now(), locked_by = 'x', claim_token = 8 where id <= 2000;
insert into tidemill._jobs (task_id, queue_id) select 1, 1 + n % 4000 from generate_series(1, 40000) n;
insert into tidemill._jobs (task_id, queue_id, run_at)
  select 1, 4001 + n % 2000, now() + interval '1 day' from generate_series(1, 20000) n;
"""


@pytest.fixture(scope="module")
def crowded(server: Server) -> Iterator[Queue]:
    name = server.clone(TEMPLATE)
    with psycopg.connect(server.conninfo(name), autocommit=True) as connection:
        connection.execute(FILL.encode())
        yield Queue(connection)
    server.drop(name)


def statements(queue: Queue, function: str) -> list[str]:
    """The queries that the function returns, from its body as it is installed."""
    body = queue.value("select prosrc from pg_proc where proname = %s", [function])
    return re.findall(r"return query\n(.*?);\n", body, re.DOTALL)


def hot(queue: Queue, name: str) -> tuple[str, dict[str, LiteralString], str]:
    """A statement, its variables, and the function that it stands in."""
    function, _, part = name.partition(" ")
    found = statements(queue, function)
    if function == "_claim_jobs":
        assert len(found) == 2
        return found[part == "singles"], CLAIM, function
    (statement,) = found
    return statement, SETTLE, function


def explain(
    queue: Queue, name: str, *, generic: bool, options: LiteralString = "", **other: LiteralString
) -> Node:
    """The statement's plan under the function's settings; whatever it changes is undone."""
    statement, variables, function = hot(queue, name)
    used = {key: value for key, value in variables.items() if re.search(rf"(?<![.\w]){key}\b", statement)}
    for number, key in enumerate(used, start=1):
        # A variable stands alone; the first use of `permanent` is one, later ones are columns.
        times = 1 if key == "permanent" else 0
        statement = re.sub(rf"(?<![.\w]){key}\b", f"${number}", statement, count=times)
    values = [other.get(key, value) for key, value in used.items()]
    types = queue.row("select " + ", ".join(f"pg_typeof({v})::text as t{n}" for n, v in enumerate(values)))
    with queue.connection.transaction(force_rollback=True):
        for setting in queue.value("select proconfig from pg_proc where proname = %s", [function]):
            key, _, value = setting.partition("=")
            queue.rows("select set_config(%s, %s, true)", [key, value])
        mode = "force_generic_plan" if generic else "force_custom_plan"
        queue.rows("select set_config('plan_cache_mode', %s, true)", [mode])
        literals = [queue.value(sql.SQL("select ({})::text").format(sql.SQL(value))) for value in values]
        queue.connection.execute(f"prepare hot({', '.join(types.values())}) as {statement}".encode())
        told = queue.value(
            sql.SQL("explain (format json, costs off {}) execute hot({})").format(
                sql.SQL(options), sql.SQL(", ").join(map(sql.Literal, literals))
            )
        )
        queue.connection.execute("deallocate hot")
    plan = told[0]["Plan"]
    assert isinstance(plan, dict)
    return plan


def nodes(plan: Node) -> Iterator[Node]:
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


def scans(plan: Node) -> set[tuple[str, str]]:
    """Tables that are read, each with the index or the way that it is read."""
    return {
        (str(node["Relation Name"]), str(node.get("Index Name", node["Node Type"])))
        for node in nodes(plan)
        if "Relation Name" in node and node["Node Type"] != "ModifyTable"
    }


EXPECTED = {
    "_claim_jobs singles": {("_jobs", "_jobs_ready"), ("_jobs", "_jobs_pkey"), ("_tasks", "_tasks_pkey")},
    "_claim_jobs queues": {
        ("_jobs", "_jobs_ready_queued"),
        ("_jobs", "_jobs_pkey"),
        ("_queues", "_queues_pkey"),
        ("_tasks", "_tasks_pkey"),
    },
    "_complete_jobs": {("_jobs", "_jobs_pkey")},
    "_fail_jobs": {("_jobs", "_jobs_pkey")},
}


@pytest.mark.parametrize("generic", [False, True], ids=["custom", "generic"])
@pytest.mark.parametrize("name", EXPECTED)
def test_only_the_intended_indexes_are_read(crowded: Queue, name: str, generic: bool) -> None:
    plan = explain(crowded, name, generic=generic)
    assert scans(plan) == EXPECTED[name], json.dumps(plan, indent=1)
    kinds = {node["Node Type"] for node in nodes(plan)}
    assert not {kind for kind in kinds if "Bitmap" in kind or kind in ("Seq Scan", "Hash Join", "Merge Join")}
    sorts = [node for node in nodes(plan) if "Sort" in node["Node Type"]]
    if name.startswith("_claim"):
        assert sorts == []
    for node in sorts:
        # Only what was given is sorted, never what was found.
        assert [child["Node Type"] for child in node["Plans"]] == ["Function Scan"]


def examined(plan: Node) -> int:
    """How many rows of tables the scans have looked at."""
    return sum(
        round((node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"])
        for node in nodes(plan)
        if "Index Name" in node
    )


def touched(plan: Node) -> int:
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


ANALYZE: LiteralString = ", analyze, buffers, timing off"


@pytest.mark.parametrize("generic", [False, True], ids=["custom", "generic"])
def test_a_claim_jumps_over_jobs_for_later(crowded: Queue, generic: bool) -> None:
    plan = explain(crowded, "_claim_jobs singles", generic=generic, options=ANALYZE)
    assert plan["Actual Rows"] == 10
    # Ten to find, to update and to name, and one for each priority.
    assert examined(plan) <= 40
    assert touched(plan) <= 300


@pytest.mark.parametrize("generic", [False, True], ids=["custom", "generic"])
def test_a_claim_of_queues_takes_the_first_free_ones(crowded: Queue, generic: bool) -> None:
    plan = explain(
        crowded, "_claim_jobs queues", generic=generic, options=ANALYZE, after_queue="2000::bigint"
    )
    assert plan["Actual Rows"] == 50
    # Of ten queues: a head, the row, a due job; and of five jobs each to find, to update and to name.
    assert examined(plan) <= 10 * 3 + 50 * 3 + 50
    assert touched(plan) <= 1500


@pytest.mark.parametrize("name", ["_complete_jobs", "_fail_jobs"])
def test_settling_touches_what_was_given(crowded: Queue, name: str) -> None:
    plan = explain(crowded, name, generic=True, options=ANALYZE)
    # Once to lock, once to write.
    assert examined(plan) <= 2 * 500
