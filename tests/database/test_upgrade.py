"""A database of an older version, with jobs in every state, is brought to this one."""

from __future__ import annotations

from typing import Any, LiteralString

import psycopg

from tests.support.running import run_all
from tidemill import App
from tidemill.database import sql
from tidemill.database.migrate import migrate

OLDEST = 1
JOBS: LiteralString = """
insert into tidemill._tasks (identifier) values ('t');
insert into tidemill._queues (queue_name) values ('free');
insert into tidemill._queues (queue_name, locked_at, locked_by, claim_token)
  values ('held', now(), 'dead', 7);
insert into tidemill._workers (id, hostname, pid, version, concurrency, identifiers, expires_at)
  values ('dead', 'h', 1, '0', 1, '{t}', now() - interval '1 hour');
insert into tidemill._jobs (task_id, payload) values (1, '"ready"');
insert into tidemill._jobs (task_id, payload, run_at) values (1, '"scheduled"', now() + interval '1 hour');
insert into tidemill._jobs (task_id, payload, key) values (1, '"keyed"', 'k');
insert into tidemill._jobs (task_id, payload, queue_id) values (1, '"queued"', 1);
insert into tidemill._jobs (task_id, payload, attempts, last_error) values (1, '"retried"', 3, 'was bad');
insert into tidemill._jobs (task_id, payload, attempts, max_attempts, last_error)
  values (1, '"failed"', 25, 25, 'is bad');
insert into tidemill._jobs (task_id, payload, attempts, locked_at, locked_by, claim_token)
  values (1, '"leased"', 1, now() - interval '1 hour', 'dead', 7);
insert into tidemill._jobs (task_id, payload, queue_id, attempts, locked_at, locked_by, claim_token)
  values (1, '"leased in a queue"', 2, 1, now() - interval '1 hour', 'dead', 7);
"""


async def test_jobs_in_every_state_survive_it(empty_database: str) -> None:
    with psycopg.connect(empty_database, autocommit=True) as connection:
        for migration in sql.migrations():
            if migration.number <= OLDEST:
                connection.execute(migration.text)
                connection.execute(
                    sql.query("install/record_migration"),
                    {"number": migration.number, "name": migration.name, "breaking": migration.breaking},
                )
        connection.execute(JOBS)
        report = migrate(empty_database)
        assert [text[:4] for text in report.applied] == [
            f"{migration.number:04}" for migration in sql.migrations() if migration.number > OLDEST
        ]
        ran: list[Any] = []
        async with App(empty_database) as app:
            app.task("t")(lambda payload: ran.append(payload))
            await run_all(app)
        # The leases of the dead worker have run out: whatever runs next sweeps them.
        assert sorted(ran) == ["keyed", "leased", "leased in a queue", "queued", "ready", "retried"]
        left = connection.execute(
            "select payload, state, last_error from tidemill.jobs order by id"
        ).fetchall()
        assert left == [("scheduled", "scheduled", None), ("failed", "failed", "is bad")]
