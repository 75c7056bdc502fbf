"""What looks and runs read, where there are many actions and a long history, never analysed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import LiteralString

import psycopg
import pytest

from tests.support.servers import TEMPLATE, Server

pytestmark = pytest.mark.each_version("planners differ")

FILL: LiteralString = """
alter table tidemill._actions set (autovacuum_enabled = off);
alter table tidemill._action_states set (autovacuum_enabled = off);
alter table tidemill._action_runs set (autovacuum_enabled = off);
create procedure nothing(job_id integer, config jsonb) language sql as 'select 1';
insert into tidemill._actions (proc_schema, proc_name, task, owner, schedule_interval, initial_start)
  select case when n % 2 = 0 then current_schema() end, case when n % 2 = 0 then 'nothing' end,
         case when n % 2 = 1 then 'nothing' end, current_user::regrole, '1 hour', now()
  from generate_series(1, 5000) n;
insert into tidemill._action_states (action_id, next_start)
  select id, case when id % 1000 < 10 then now() - interval '1 minute' else now() + interval '1 day' end
  from tidemill._actions where id >= 1000;
insert into tidemill._action_runs (action_id, application_name, owner, started_at, finished_at, outcome)
  select 1000 + n % 5000, 'x', current_user::regrole, now(), now(), 'success'
  from generate_series(1, 50000) n;
"""
# Thirty actions are due (1000-1009, 2000-2009, ... 5000-5009), half of them tasks.
STATEMENTS: dict[str, LiteralString] = {
    "when to look": "select tidemill._next_due()",
    "when to look for tasks": "select tidemill._next_due(false)",
    "missed slots": "select tidemill._skip_missed()",
    "starts": "select tidemill._start_actions('w', 4)",
    "tasks": "select tidemill._enqueue_actions(10)",
    "an end": "select tidemill._finish_run(id, 'success') from tidemill._action_runs where outcome is null",
    "stops": "select tidemill._stops_asked('w')",
    "a sweep": "select tidemill._sweep_runs()",
}


def rows_read(connection: psycopg.Connection) -> Counter[str]:
    """How many rows this session has read of each table of actions."""
    return Counter(
        dict(
            connection.execute(
                "select relname, seq_tup_read + coalesce(idx_tup_fetch, 0) from pg_stat_xact_all_tables"
                " where relname like any ('{\\_action%,\\_actions%}')"
            ).fetchall()
        )
    )


@pytest.fixture(scope="module")
def crowded(server: Server) -> Iterator[psycopg.Connection]:
    """Five thousand actions, thirty of them due and two running."""
    name = server.clone(TEMPLATE)
    with psycopg.connect(server.conninfo(name), autocommit=True) as connection:
        connection.execute(FILL)
        connection.execute("select tidemill._start_actions('w', 2)")
        yield connection
    server.drop(name)


@pytest.mark.parametrize("name", STATEMENTS)
def test_few_rows_are_read(crowded: psycopg.Connection, name: str) -> None:
    with crowded.transaction(force_rollback=True):
        before = rows_read(crowded)
        crowded.execute(STATEMENTS[name])
        read = rows_read(crowded) - before
    assert read.total() > 0
    # Those that are due, each a few times: nowhere near the number that there are.
    assert max(read.values()) < 400, read


def test_turns_read_the_end_of_the_history_alone(crowded: psycopg.Connection) -> None:
    with crowded.transaction(force_rollback=True):
        # As tidemill._take_due has it.
        for method in ("seqscan", "bitmapscan", "hashjoin", "mergejoin"):
            crowded.execute(f"set local enable_{method} = off".encode())
        lines = crowded.execute("explain select * from tidemill._due_actions(false, now())").fetchall()
    # Inlined, or it would be one scan of a function.
    plan = "\n".join(line for (line,) in lines)
    assert "Index Scan using _action_states_due" in plan
    assert "Scan Backward using _action_runs_turns" in plan
    assert "Seq Scan" not in plan
