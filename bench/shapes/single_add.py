"""One job at a time, by many clients, while a worker listens."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import psycopg

from bench.context import Bench, warm
from bench.measure import pgbench
from bench.results import OURS, Cell, Chart, Results, Shape, Verdict, at_least, over
from bench.systems.base import Can, System

_CLIENTS = (1, 8, 32)
_SECONDS = 3
_RATE = "calls/s"
_BARE = "bare INSERT"
_BARE_TABLE = (
    "create table bare (id bigint generated always as identity primary key, task_id integer not null, "
    "run_at timestamptz not null default now(), payload json not null)"
)
_LIMIT = "INSERT in a function"
_LIMIT_TABLES = """
    create table bare_tasks (id integer generated always as identity primary key, name text not null unique);
    insert into bare_tasks (name) values ('noop');
    create table bare_jobs (like tidemill._jobs including defaults including identity including indexes);
    create function bare_add(task text, payload json) returns tidemill._jobs
    language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
    declare added tidemill._jobs;
    begin
      insert into public.bare_jobs (task_id, payload)
        select t.id, bare_add.payload from public.bare_tasks t where t.name = bare_add.task
        returning * into added;
      return added;
    end $$"""
_BARE_INSERT = "insert into bare (task_id, payload) values (1, '{\"id\": 1}');"
# What our cost is compared with: its tables, and the statement.
_BESIDE = {
    _BARE: (_BARE_TABLE, _BARE_INSERT),
    _LIMIT: (_LIMIT_TABLES, "select bare_add('noop', '{\"id\": 1}');"),
}
_NEEDS = frozenset({Can.ADD_IN_SQL, Can.TELL_START})


def _variant(clients: int) -> str:
    return f"{clients} client{'s' if clients > 1 else ''}"


def _add(bench: Bench, system: System, clients: int) -> Mapping[str, float]:
    script = system.add_one.format(task="noop", payload='{"id": 1}') + ";"
    with bench.databases.of(system) as conninfo, warm(system, conninfo) as worker:
        calls = pgbench.call(bench.databases.pgbench, conninfo, script, clients=clients, seconds=_SECONDS)
        worker.check()
    return {_RATE: calls.per_second, **({"errors": calls.errors} if calls.errors else {})}


def _beside(bench: Bench, system: System, clients: int, name: str) -> Mapping[str, float]:
    tables, script = _BESIDE[name]
    # Our idle worker runs here, too, so that only the cost of the call differs.
    with bench.databases.of(system) as conninfo, warm(system, conninfo):
        with psycopg.connect(conninfo, autocommit=True) as connection:
            connection.execute(tables.encode())
        calls = pgbench.call(bench.databases.pgbench, conninfo, script, clients=clients, seconds=_SECONDS)
    return {_RATE: calls.per_second}


def _cells(bench: Bench) -> list[Cell]:
    systems = bench.able(_NEEDS)
    cells = []
    for clients in _CLIENTS:
        cells += [
            Cell(system.name, _variant(clients), partial(_add, bench, system, clients)) for system in systems
        ]
        cells += [
            Cell(name, _variant(clients), partial(_beside, bench, systems[0], clients, name))
            for name in _BESIDE
        ]
    return cells


def _verdicts(results: Results) -> list[Verdict]:
    most = _variant(_CLIENTS[-1])
    ours = results.median(OURS, most, _RATE)
    return [
        at_least(
            "8 times graphile-worker's with 32 clients",
            over(ours, results.median("graphile-worker", most, _RATE)),
            8,
            "times",
        ),
        at_least(
            "0.8 of a bare INSERT in a function with 32 clients",
            over(ours, results.median(_LIMIT, most, _RATE)),
            0.8,
        ),
    ]


SHAPE = Shape(
    "single_add",
    "Single adds beside a listening worker",
    f"add_job by 1, 8 and 32 clients of pgbench (prepared, {_SECONDS} s) while one worker, idle at first, "
    "runs the jobs that they add; beside an INSERT into a bare table with an identity key, and one into a "
    "table like that of jobs by a function that only looks up the task and returns the row.",
    _cells,
    _verdicts,
    _NEEDS,
    [Chart(_RATE, "single-add", "add_job calls per second, beside a listening worker")],
)
