"""Plans of the statements that claim limited jobs, on tables that were just filled and never analysed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import LiteralString

import psycopg
import pytest

from tests.sql.calls import Queue
from tests.sql.test_plans import ANALYZE, Hot, Variables, examined, explain, nodes, scans
from tests.support.servers import TEMPLATE, Server

pytestmark = [pytest.mark.slow, pytest.mark.each_version("planners differ")]

# Gates: of the limit 1 (full), of 2 (open) and, with the keys 1 to 10,000, of 3: each tenth has room.
FULL: LiteralString = "(1::bigint << 40)"
OPEN: LiteralString = "(2::bigint << 40)"
FILL: LiteralString = f"""
alter table tidemill._jobs set (autovacuum_enabled = off);
alter table tidemill._gates set (autovacuum_enabled = off);
alter table tidemill._visits set (autovacuum_enabled = off);
select tidemill._task_id('mine'), tidemill._task_id('foreign'), tidemill._task_id('mine too');
select tidemill.set_limit('full', 5), tidemill.set_limit('open', 50);
select tidemill.set_limit('keys', 1, 60, '1 minute');
insert into tidemill._limit_tasks values (1, 1), (2, 1), (2, 2), (2, 3), (3, 1);
insert into tidemill._jobs (task_id, gate_id) select 1, {FULL} from generate_series(1, 100000);
insert into tidemill._jobs (task_id, gate_id, attempts, locked_at, locked_by, claim_token)
  select 1, {FULL}, 1, now(), 'w', 7 from generate_series(1, 5);
-- Due; for later at more urgent priorities; of a task that the worker does not know.
insert into tidemill._jobs (task_id, gate_id) select 1 + 2 * (n % 2), {OPEN} from generate_series(1, 20000) n;
insert into tidemill._jobs (task_id, gate_id, priority, run_at)
  select 1, {OPEN}, -1 - n % 3, now() + interval '1 day' from generate_series(1, 60000) n;
insert into tidemill._jobs (task_id, gate_id, priority) select 2, {OPEN}, -9 from generate_series(1, 60000) n;
insert into tidemill._jobs (task_id, gate_id, locked_at, locked_by, claim_token)
  select 1, (3::bigint << 40) + n / 2, case when n % 2 = 0 and n % 20 > 0 then now() end, 'x', 8
  from generate_series(2, 20001) n;
insert into tidemill._gates values ({FULL}), ({OPEN});
insert into tidemill._gates select (3::bigint << 40) + n, 1, now() from generate_series(1, 10010) n;
insert into tidemill._visits
  select 1, now() - interval '1 second', (3::bigint << 40) + n from generate_series(1, 10000) n;
insert into tidemill._visits select 1, now() + interval '1 hour', 5 from generate_series(1, 10000) n;
insert into tidemill._visits select 2, now() - interval '1 hour', 5 from generate_series(1, 10000) n;
"""

CLAIM: Variables = {
    "worker_id": "'w'::text",
    "task_ids": "'{1,3}'::integer[]",
    "identifiers": "'{mine,mine too}'::text[]",
    "max_jobs": "10::integer",
    "forbidden_flags": "null::text[]",
    "most_visits": "20::integer",
    "unlimited": "2147483647::integer",
    "looked_at": "clock_timestamp()",
    "due_tasks": "array_fill(1, array[10])",
    "due_gates": f"array[{FULL}, {OPEN}] || array(select (3::bigint << 40) + generate_series(1, 8))",
    "due_ats": "array_fill(now(), array[10])",
    "mine": f"array[{FULL}, {OPEN}] || array(select (3::bigint << 40) + generate_series(1, 8))",
    "rooms": "array[0, 50, 0, 0, 0, 0, 0, 0, 0, 0]",
    "tokens_left": "array_fill(100, array[10])",
    "buckets": "'{null,null,1,1,1,1,1,1,1,1}'::float8[]",
    "next_tokens": "array_fill(now(), array[10])",
    "takens": "array[0, 10, 0, 0, 0, 0, 0, 0, 0, 0]",
    "is_cut": "true",
    "ids": f"array(select id from tidemill._jobs where gate_id = {OPEN} order by id limit 10)",
    "claim_tokens": "array_fill(1::bigint, array[10])",
}
WALK: Variables = {
    "task_ids": "'{1,3}'::integer[]",
    "after_gate": "-1::bigint",
    "after_task": "0::integer",
    "after_idle": "-1::bigint",
    "most": "10::integer",
    "looked_at": "clock_timestamp()",
    "gates": f"array[{FULL}, {OPEN}] || array(select (3::bigint << 40) + generate_series(1, 8))",
    "tasks": "array_fill(1, array[10])",
}
GATED = ("_jobs", "_jobs_gated")
LEASED = ("_jobs", "_jobs_gate_leased")
GATES = ("_gates", "_gates_pkey")
LIMITS = ("_limits", "_limits_pkey")
TASKS = ("_limit_tasks", "_limit_tasks_pkey")
JOBS = ("_jobs", "_jobs_pkey")
VISITS = ("_visits", "_visits_due")

HOT = {
    "the visits": Hot("_claim_limited_jobs", "with chosen", CLAIM, {VISITS, ("_visits", "Tid Scan")}, 20),
    "the gates": Hot("_claim_limited_jobs", "select coalesce", CLAIM, {GATES}, 10),
    "missing gates": Hot(
        "_claim_limited_jobs", "select array_agg(d", CLAIM | {"mine": "'{}'::bigint[]"}, {GATES}, 10
    ),
    # Of ten gates: its row, its limit, and of each no more leases than the limit.
    "what is free": Hot("_claim_limited_jobs", "select array_agg(c", CLAIM, {LEASED, GATES, LIMITS}, 33),
    # Of one gate: two tasks, four levels of one and one of the other, and ten jobs of each.
    "the jobs": Hot("_claim_limited_jobs", "select array_agg(r", CLAIM, {GATED, TASKS}, 2 + 5 + 20),
    "the leases": Hot("_claim_limited_jobs", "with leased", CLAIM, {JOBS}, 10),
    "the buckets": Hot("_claim_limited_jobs", "update tidemill._gates", CLAIM, {GATES}, 10),
    "the next visits": Hot("_claim_limited_jobs", "insert into tidemill._visits", CLAIM, set(), 0),
    "the walk": Hot("_walk_gates", "with recursive heads", WALK, {GATED}, 10),
    "the walk's visits": Hot(
        "_walk_gates", "insert into tidemill._visits", WALK, {GATED, LEASED, GATES, LIMITS, VISITS}, 10 * 24
    ),
    "idle gates": Hot(
        "_walk_gates",
        "delete from tidemill._gates",
        WALK | {"gates": "array(select (3::bigint << 40) + generate_series(10001, 10010))"},
        {GATED, LEASED, GATES, LIMITS},
        30,
    ),
}


@pytest.fixture(scope="module")
def crowded(server: Server) -> Iterator[Queue]:
    name = server.clone(TEMPLATE)
    with psycopg.connect(server.conninfo(name), autocommit=True) as connection:
        connection.execute(FILL.encode())
        yield Queue(connection)
    server.drop(name)


@pytest.mark.parametrize("name", HOT)
def test_only_the_intended_indexes_are_read(crowded: Queue, name: str) -> None:
    hot = HOT[name]
    plan = explain(crowded, hot, generic=True, options=ANALYZE)
    assert scans(plan) == hot.reads
    kinds = {node["Node Type"] for node in nodes(plan)}
    assert not {kind for kind in kinds if "Bitmap" in kind or kind in ("Seq Scan", "Hash Join", "Merge Join")}
    assert examined(plan) <= hot.examines
