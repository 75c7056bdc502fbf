"""Plans of the hot statements, on tables that have just been filled and never analysed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg import sql

from tests.sql.calls import Queue
from tests.support.servers import TEMPLATE, Server

pytestmark = [pytest.mark.slow, pytest.mark.each_version("planners differ")]

Node = dict[str, Any]

# What the functions' variables hold, by their names; PL/pgSQL makes them parameters of the statements.
Variables = dict[str, str]
CLAIM: Variables = {
    "worker_id": "'w'::text",
    "identifiers": "'{mine,mine too}'::text[]",
    "task_ids": "'{1,3}'::integer[]",
    "known_ids": "'{1,3}'::integer[]",
    "paused_ids": "'{}'::integer[]",
    "quick_ids": "'{1}'::integer[]",
    "express": "true",
    "max_jobs": "10::integer",
    "forbidden_flags": "'{heavy}'::text[]",
    "mark_priorities": "'{-3,-2,-1,0,1}'::smallint[]",
    "mark_run_ats": "array_fill('-infinity'::timestamptz, array[5])",
    "mark_ids": "array_fill(0::bigint, array[5])",
    "first_priority": "-32769::integer",
    "most_levels": "500::integer",
    "after_queue": "2000::bigint",
    "per_queue": "5::integer",
    "all_queues": "false",
    "step": "10::integer",
    "after_run_at": "'-infinity'::timestamptz",
    "after_id": "0::bigint",
    "found_queues": "array(select generate_series(2001, 2010)::bigint)",
    "taken": "'{}'::bigint[]",
    "most": "10::integer",
    "locked_queues": "'{2001,2002}'::bigint[]",
    "locked_names": "'{q2001,q2002}'::text[]",
    "locked_runs": "array(select array_agg(id)::text from tidemill._jobs where queue_id in (2001, 2002)"
    " group by queue_id)",
    "tokens": "array_fill(1::bigint, array[501])",
    "nrs": "array_fill(1, array[501])",
    "queue_ids": "'{2001,2002,2003,2004,2005,2006,2007,2008,2009,2010}'::bigint[]",
    "queue_nrs": "array_fill(1, array[10])",
}
SINGLES: LiteralString = (
    "array(select f from tidemill._lock_jobs('{mine}', '{}', false, 500, null, null, null, null) f)"
)
QUEUED: LiteralString = (
    "array(select f from tidemill._lock_queued_jobs('{mine}', '{}', false, 10, null, 2000, 5) f)"
)
BATCH: Variables = {
    "worker_id": "'w'::text",
    "token": "1::bigint",
    "done": "array(select id from tidemill._jobs where locked_by = 'w' limit 500)",
    "started": "array(select id from tidemill._jobs where locked_by = 'w' limit 500)",
    "queues": "array(select id from tidemill._queues where locked_by = 'x' limit 10)",
}
SETTLE: Variables = {
    "worker_id": "'w'::text",
    "job_ids": "array(select id from tidemill._jobs where locked_by = 'w' limit 500)",
    "tokens": "array(select claim_token from tidemill._jobs where locked_by = 'w' limit 500)",
    "messages": "array_fill('boom'::text, array[500])",
    "delays": "array_fill(null::interval, array[500])",
    "permanent": "array_fill(false, array[500])",
    "payloads": "array_fill(null::text, array[500])",
    "cancels": "array_fill(false, array[500])",
    "spares": "array_fill(false, array[500])",
}
READY = {("_jobs", "_jobs_ready")}
TRIED = {("_jobs", "_jobs_tried")}
DUE = {("_jobs", "_jobs_due_queued")}
LATER = {("_jobs", "_jobs_later")}
LATER_QUEUED = {("_jobs", "_jobs_later_queued")}
JOBS = {("_jobs", "_jobs_pkey")}
QUEUES = {("_queues", "_queues_pkey")}
GATED = {("_jobs", "_jobs_gated")}
LEASED = {("_jobs", "_jobs_leased")}
TASKS = {("_tasks", "_tasks_pkey")}


@dataclass(frozen=True)
class Hot:
    """A hot statement: where it stands, what it is given, what it may read, and how many rows."""

    function: str
    verb: LiteralString
    variables: Variables
    reads: set[tuple[str, str]]
    examines: int


HOT = {
    # One row for each of the priorities in use (before 18, averages of rows are rounded).
    "the levels": Hot("_lock_jobs", "with recursive levels", CLAIM, READY, 7),
    # Ten are found; where a level has none that are due, none is looked at.
    "singles": Hot("_lock_jobs", "select r.id", CLAIM, READY, 10),
    # One is due.
    "keyed and tried singles": Hot("_lock_jobs", "select tried.id", CLAIM, TRIED, 1),
    # Where the walk begins, and a step for each of ten queues; all others have no job that is due.
    "the queues": Hot("_lock_queued_jobs", "with recursive heads", CLAIM, DUE, 10),
    "the jobs by time": Hot("_lock_queued_jobs", "select array_agg(j.queue_id", CLAIM, LATER, 10),
    # Of ten queues: the row, and five jobs to look at. None has a job for later.
    "the runs": Hot(
        "_lock_queued_jobs", "select array_agg(f.id", CLAIM, {*DUE, *LATER_QUEUED, *QUEUES}, 10 * (1 + 5)
    ),
    "queued": Hot("_lock_queued_jobs", "select r.id", CLAIM, JOBS, 20),
    "the leases of singles": Hot(
        "_claim_jobs", "update tidemill._jobs", {**CLAIM, "found": SINGLES}, JOBS, 501
    ),
    "the leases of queued jobs": Hot(
        "_claim_queued_jobs", "update tidemill._jobs", {**CLAIM, "found": QUEUED}, JOBS, 50
    ),
    "the leases of queues": Hot(
        "_claim_queued_jobs", "update tidemill._queues", {**CLAIM, "found": QUEUED}, QUEUES, 10
    ),
    "the done of a batch": Hot("_settle_batch", "delete", BATCH, JOBS, 500),
    "the started of a batch": Hot("_settle_batch", "update tidemill._jobs", BATCH, JOBS, 500),
    "the queues of a batch": Hot("_settle_batch", "update tidemill._queues", BATCH, QUEUES, 10),
    # Once to lock, once to write.
    "completions": Hot("_complete_jobs", "with given", SETTLE, JOBS, 2 * 500),
    "failures": Hot("_fail_jobs", "with given", SETTLE, JOBS, 2 * 500),
    # Ten and one of each walk, the levels, and the tasks of what was found.
    "counts": Hot(
        "_job_counts",
        "with recursive levels",
        CLAIM,
        {*READY, *DUE, *LATER, *JOBS, *GATED, *LEASED, *TASKS},
        7 * 11 + 7 + 6 * 3,
    ),
}

# Level 5 stands for jobs that are dead, while an old snapshot still holds them.
FILL = """
alter table tidemill._jobs set (autovacuum_enabled = off);
alter table tidemill._queues set (autovacuum_enabled = off);
select tidemill._task_id('mine'), tidemill._task_id('foreign'), tidemill._task_id('mine too');
-- Due at once; due later at a smaller priority; failed; nobody's; running.
insert into tidemill._jobs (task_id) select 1 from generate_series(1, 350000);
insert into tidemill._jobs (task_id, priority, run_at)
  select 1, -1 - n % 3, now() + interval '1 day' from generate_series(1, 250000) n;
insert into tidemill._jobs (task_id, priority, attempts) select 1, -5, 25 from generate_series(1, 20000);
insert into tidemill._jobs (task_id, priority) select 2, 1 from generate_series(1, 100000);
insert into tidemill._jobs (task_id, attempts, locked_at, locked_by, claim_token)
  select 1, 1, now(), 'w', 7 from generate_series(1, 1000);
insert into tidemill._jobs (task_id, priority) select 1, 5 from generate_series(1, 220000);
insert into tidemill._jobs (task_id, priority, key) values (1, 0, 'k');
insert into tidemill._jobs (task_id, priority, attempts, run_at)
  select 1, -1, 1, now() + interval '1 day' from generate_series(1, 20000);
-- Named queues: with jobs that are due, with jobs for later, and leased ones.
insert into tidemill._queues (queue_name) select 'q' || n from generate_series(1, 6000) n;
update tidemill._queues set locked_at = now(), locked_by = 'x', claim_token = 8 where id <= 2000;
insert into tidemill._jobs (task_id, queue_id) select 1, 1 + n % 4000 from generate_series(1, 40000) n;
insert into tidemill._jobs (task_id, queue_id, run_at)
  select 1, 4001 + n % 2000, now() + interval '1 day' from generate_series(1, 20000) n;
"""


@pytest.fixture(scope="module")
def crowded(server: Server) -> Iterator[Queue]:
    """A million jobs, never analysed."""
    name = server.clone(TEMPLATE)
    with psycopg.connect(server.conninfo(name), autocommit=True) as connection:
        connection.execute(FILL.encode())
        yield Queue(connection)
    server.drop(name)


def body(queue: Queue, function: str) -> str:
    """A function's text as it is installed, without comments."""
    text = queue.value("select prosrc from pg_proc where proname = %s", [function])
    return re.sub(r"\s*--.*", "", text)


def statement(queue: Queue, hot: Hot) -> str:
    """The one statement of the function that begins so, as PL/pgSQL hands it on."""
    found = re.findall(
        rf"(?<=\n)\s*(?:return query\s+)?({re.escape(hot.verb)}\b.*?);\n",
        body(queue, hot.function),
        re.DOTALL,
    )
    (text,) = found
    return re.sub(r"\n\s*into [\w, ]+(?=\n)", "", text)


def explain(queue: Queue, hot: Hot, *, generic: bool, options: LiteralString = "") -> Node:
    """The statement's plan under the function's settings; whatever it changes is undone."""
    text = statement(queue, hot)
    used = {key: value for key, value in hot.variables.items() if re.search(rf"(?<![.\w]){key}\b", text)}
    for number, key in enumerate(used, start=1):
        # A variable stands alone; the first use of `permanent` is one, later ones are columns.
        times = 1 if key == "permanent" else 0
        text = re.sub(rf"(?<![.\w]){key}\b", f"${number}", text, count=times)
    values = list(used.values())
    types = (
        queue.row(
            ("select " + ", ".join(f"pg_typeof({v})::text as t{n}" for n, v in enumerate(values))).encode()
        )
        if values
        else {}
    )
    with queue.connection.transaction(force_rollback=True):
        literals = [queue.value(f"select ({value})::text".encode()) for value in values]
        for setting in queue.value("select proconfig from pg_proc where proname = %s", [hot.function]):
            key, _, value = setting.partition("=")
            queue.rows("select set_config(%s, %s, true)", [key, value])
        mode = "force_generic_plan" if generic else "force_custom_plan"
        queue.rows("select set_config('plan_cache_mode', %s, true)", [mode])
        signature = f"({', '.join(types.values())})" if values else ""
        queue.connection.execute(f"prepare hot{signature} as {text}".encode())
        arguments = sql.SQL(", ").join(map(sql.Literal, literals))
        told = queue.value(
            sql.SQL("explain (format json, costs off {}) execute hot{}").format(
                sql.SQL(options), sql.SQL("({})").format(arguments) if values else sql.SQL("")
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
    """Tables that were read, each with the index or the way that it was read."""
    return {
        (str(node["Relation Name"]), str(node.get("Index Name", node["Node Type"])))
        for node in nodes(plan)
        if "Relation Name" in node and node["Node Type"] != "ModifyTable" and node.get("Actual Loops") != 0
    }


@pytest.mark.parametrize("generic", [False, True], ids=["custom", "generic"])
@pytest.mark.parametrize("name", HOT)
def test_only_the_intended_indexes_are_read(crowded: Queue, name: str, generic: bool) -> None:
    hot = HOT[name]
    plan = explain(crowded, hot, generic=generic, options=ANALYZE)
    assert scans(plan) == hot.reads
    kinds = {node["Node Type"] for node in nodes(plan)}
    assert not {kind for kind in kinds if "Bitmap" in kind or kind in ("Seq Scan", "Hash Join", "Merge Join")}
    for node in nodes(plan):
        # Only what was given is sorted, or the few first jobs of a queue, or those of it that became due.
        if "Sort" in node["Node Type"]:
            assert {child["Node Type"] for child in node["Plans"]} < {
                "Function Scan",
                "Append",
                "Limit",
                "Result",
                "Subquery Scan",
            }
    assert examined(plan) <= hot.examines


def examined(plan: Node) -> int:
    """How many rows of tables the scans have looked at."""
    return sum(
        round((node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"])
        for node in nodes(plan)
        if "Index Name" in node
    )


ANALYZE: LiteralString = ", analyze, buffers, timing off"


def touched(queue: Queue, call: LiteralString, *params: object) -> tuple[int, int]:
    """How many rows a call returns and how many pages it touches, when it has been called before."""
    with queue.connection.transaction(force_rollback=True):
        for _ in range(2):
            told = queue.value(
                "explain (analyze, buffers, timing off, format json) select * from tidemill." + call,
                params or None,
            )
    plan = told[0]["Plan"]
    return round(plan["Actual Rows"]), int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


@pytest.mark.parametrize("express", ["true", "false"])
def test_a_claim_jumps_over_jobs_for_later(crowded: Queue, express: LiteralString) -> None:
    quick: LiteralString = "'{mine}'" if express == "true" else "'{}'"
    rows, pages = touched(crowded, f"_lock_jobs('{{mine}}', {quick}, {express}, 10, null, null, null, null)")
    # The last one says until when was looked.
    assert rows == 11
    assert pages <= 200


def test_a_large_claim_costs_what_it_finds(crowded: Queue) -> None:
    rows, pages = touched(crowded, "_lock_jobs('{mine}', '{mine}', true, 2000, null, null, null, null)")
    assert rows == 2001
    # An entry is locked once, found once; and neighbours share pages of the index alone.
    assert pages <= 6 * 2000


def test_a_lease_does_not_walk_over_the_jobs_of_the_express_lane(crowded: Queue) -> None:
    rows, pages = touched(crowded, "_lock_jobs('{mine}', '{mine}', false, 10, null, null, null, null)")
    assert rows == 2
    assert pages <= 200


@pytest.mark.parametrize(("count", "per_queue"), [(1, 1), (10, 5), (100, 1)])
def test_a_claim_of_queues_takes_the_first_free_ones(crowded: Queue, count: int, per_queue: int) -> None:
    with crowded.connection.transaction(force_rollback=True):
        claimed = crowded.claim(
            tasks=["mine"], express=True, quick=["mine"], count=count, after_queue=2000, per_queue=per_queue
        )
    assert len({job["queue_id"] for job in claimed}) == count
    rows, pages = touched(
        crowded,
        {
            (1, 1): "_lock_queued_jobs('{mine}', '{mine}', true, 1, null, 2000, 1)",
            (10, 5): "_lock_queued_jobs('{mine}', '{mine}', true, 10, null, 2000, 5)",
            (100, 1): "_lock_queued_jobs('{mine}', '{mine}', true, 100, null, 2000, 1)",
        }[count, per_queue],
    )
    assert rows == count * per_queue
    assert pages <= 60 + 40 * count * per_queue


# Behind an old snapshot


@dataclass(frozen=True)
class Dead:
    """Two hundred thousand jobs of level 5 that are gone, and that an old snapshot still sees."""

    queue: Queue
    run_at: str
    job_id: int
    """The place of the last of them."""


@pytest.fixture(scope="module")
def dead(crowded: Queue, server: Server) -> Iterator[Dead]:
    dbname = crowded.connection.info.dbname
    with psycopg.connect(server.conninfo(dbname)) as old:
        old.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        old.execute("select from tidemill._jobs limit 1")
        crowded.connection.execute(
            "delete from tidemill._jobs where id in (select id from tidemill._jobs where priority = 5"
            " order by run_at, id limit 200000)"
        )
        last = "select run_at::text, id - 1 as id from tidemill._jobs where priority = 5 order by id limit 1"
        yield Dead(crowded, *crowded.row(last).values())


@pytest.mark.parametrize("express", [True, False])
def test_a_marked_claim_never_walks_the_dead(dead: Dead, express: bool) -> None:
    call: LiteralString = "_lock_jobs('{mine}', %s, %s, 10, null, '{5}', array[%s]::timestamptz[], array[%s])"
    lane = (["mine"] if express else [], express)
    rows, pages = touched(dead.queue, call, *lane, dead.run_at, dead.job_id)
    assert rows == 11
    assert pages <= 200
    # From the beginning of the level, as a full one does, it must step over each of them.
    rows, pages = touched(dead.queue, call, *lane, "-infinity", 0)
    assert rows == 11
    assert pages >= 2000


@pytest.mark.parametrize("generic", [False, True], ids=["custom", "generic"])
def test_a_marked_claim_begins_at_its_mark(dead: Dead, generic: bool) -> None:
    hot = HOT["singles"]
    mark = {
        "mark_priorities": "'{5}'::smallint[]",
        "mark_run_ats": f"array['{dead.run_at}'::timestamptz]",
        "mark_ids": f"array[{dead.job_id}::bigint]",
    }
    plan = explain(dead.queue, replace(hot, variables=hot.variables | mark), generic=generic, options=ANALYZE)
    assert plan["Actual Rows"] == 10
    assert examined(plan) == 10
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] <= 100
    (scan,) = [node for node in nodes(plan) if node.get("Index Name") == "_jobs_ready"]
    # All of the place is in the index condition, not in the filter.
    assert "ROW(" in scan["Index Cond"]
    assert "priority" in scan["Index Cond"]
    assert "run_at" not in scan.get("Filter", "")
