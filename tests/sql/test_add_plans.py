"""Plans of the statements that add jobs, on tables that have just been filled and never analysed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import LiteralString

import psycopg
import pytest
from psycopg import sql

from tests.sql.calls import Queue
from tests.sql.test_plans import nodes, scans
from tests.support.servers import TEMPLATE, Server

pytestmark = pytest.mark.each_version("planners differ")

FILL = """
alter table tidemill._jobs set (autovacuum_enabled = off);
alter table tidemill._queues set (autovacuum_enabled = off);
alter table tidemill._tasks set (autovacuum_enabled = off);
insert into tidemill._tasks (identifier) select 't' || n from generate_series(1, 2000) n;
insert into tidemill._queues (queue_name) select 'q' || n from generate_series(1, 2000) n;
insert into tidemill._jobs (task_id, key)
  select 1, case when n % 10 = 0 then 'k' || n end from generate_series(1, 100000) n;
"""

# What the functions' variables hold, by their names; PL/pgSQL makes them parameters of the statements.
ADD: dict[str, LiteralString] = {
    "identifier": "'t7'::text",
    "queue_name": "null::text",
    "queue_id": "null::bigint",
    "priority": "null::integer",
    "max_attempts": "null::integer",
    "run_at": "null::timestamptz",
    "payload": "'{}'::json",
    "flags": "null::text[]",
    "kept": "null::smallint",
    "trace": "null::text",
}
KEYED: dict[str, LiteralString] = {
    "new": "(select j from tidemill._jobs j where key = 'k10')",
    "mode": "'replace'::text",
}

# Where each statement stands, and the one index that it may read.
HOT = {
    "a plain job": ("add_job", ADD, r"insert into (tidemill\._jobs .*?)select (.*?)\s+returning"),
    "a waiting job's change": ("_add_keyed_job", KEYED, r"(update tidemill\._jobs o set\s+)(task_id.*?);"),
    "a key's row": ("_add_keyed_job", KEYED, r"(select \* )into j (from .*?for update);"),
}
EXPECTED = {
    "a plain job": {("_tasks", "_tasks_identifier_key")},
    "a waiting job's change": {("_jobs", "_jobs_key")},
    "a key's row": {("_jobs", "_jobs_key")},
}


@pytest.fixture(scope="module")
def crowded(server: Server) -> Iterator[Queue]:
    name = server.clone(TEMPLATE)
    with psycopg.connect(server.conninfo(name), autocommit=True) as connection:
        connection.execute(FILL.encode())
        yield Queue(connection)
    server.drop(name)


def statement(queue: Queue, name: str) -> str:
    """A statement of an installed function, with numbered parameters for its variables."""
    function, variables, pattern = HOT[name]
    body = queue.value("select prosrc from pg_proc where oid::regproc::text = %s", [f"tidemill.{function}"])
    ((head, rest),) = re.findall(pattern, body, re.DOTALL)
    for number, variable in enumerate(variables, start=1):
        by = f"(${number})" if variable == "new" else f"${number}"
        rest = re.sub(rf"(?<![.\w]){variable}\b", by, rest)
    if function == "add_job":
        return f"insert into {head} select {rest}"
    return str(head + re.sub(r"\s+returning o\.\* into j", "", rest))


@pytest.mark.parametrize("mode", ["force_generic_plan", "force_custom_plan"])
@pytest.mark.parametrize("name", HOT)
def test_only_the_intended_index_is_read(crowded: Queue, name: str, mode: str) -> None:
    variables = HOT[name][1].values()
    with crowded.connection.transaction(force_rollback=True):
        crowded.rows("select set_config('plan_cache_mode', %s, true)", [mode])
        types = crowded.row(
            "select " + ", ".join(f"pg_typeof({value})::text as t{n}" for n, value in enumerate(variables))
        )
        values = crowded.row(
            "select " + ", ".join(f"({value})::text as v{n}" for n, value in enumerate(variables))
        )
        text = statement(crowded, name)
        crowded.connection.execute(f"prepare hot({', '.join(types.values())}) as {text}".encode())
        told = crowded.value(
            sql.SQL("explain (format json, costs off) execute hot({})").format(
                sql.SQL(", ").join(map(sql.Literal, values.values()))
            )
        )
        crowded.connection.execute("deallocate hot")
    plan = told[0]["Plan"]
    assert scans(plan) == EXPECTED[name], json.dumps(plan, indent=1)
    assert not {node["Node Type"] for node in nodes(plan)} & {"Seq Scan", "Bitmap Heap Scan", "Sort"}


def test_the_row_of_a_job_costs_no_call(crowded: Queue) -> None:
    # As a call, it would be made for each column again.
    plan = crowded.rows(
        "explain (verbose, costs off) select (tidemill._job_row(j, 'task', 'queue')).* from tidemill._jobs j"
    )
    assert not [line for row in plan for line in row.values() if "_job_row" in line]
