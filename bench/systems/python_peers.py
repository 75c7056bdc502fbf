"""The peers from PyPI, each as it comes and with its best documented settings."""

from __future__ import annotations

import json
from typing import Any

from bench.systems.base import Can, url
from bench.systems.install import PythonPeer


class PgQueuer(PythonPeer):
    """https://github.com/janbjorge/pgqueuer; its command runs on uvloop if that is installed."""

    name = "pgqueuer"
    # Its command fails with newer versions of typer: "'str' object has no attribute 'name'".
    package = "pgqueuer[asyncpg] uvloop typer<0.29"
    done = "its row is gone from pgqueuer (and stands in pgqueuer_log)"
    pending = "select id from pgqueuer where entrypoint in ('noop', 'nap')"
    add_many = (
        "with added as (insert into pgqueuer (priority, entrypoint, payload, status) "
        "select 0, '{task}', convert_to(json_build_object('id', n)::text, 'UTF8'), 'queued' "
        "from generate_series(1, {jobs}) n returning id, entrypoint, priority) "
        "insert into pgqueuer_log (job_id, status, entrypoint, priority) "
        "select id, 'queued', entrypoint, priority from added"
    )
    # Its documentation has no call of SQL: this statement only fills its table.
    has_sql_call = False
    can = frozenset({Can.ADD_MANY_IN_SQL, Can.TELL_START, Can.NAP})
    # Which is no limit.
    concurrency = 0

    def plain_worker(self, conninfo: str) -> list[str]:
        return [self.script("pgq"), "run", "tasks:main"]

    def worker(self, conninfo: str, concurrency: int) -> list[str]:
        # It refuses batches of more than half its limit.
        batch = min(1000, concurrency // 2 or 1000)
        limit = ["--max-concurrent-tasks", str(concurrency)] if concurrency else []
        return [*self.plain_worker(conninfo), "--batch-size", str(batch), *limit]


class Oban(PythonPeer):
    """https://github.com/oban-bg/oban-py; its command needs a queue, whose limit in its README is 10."""

    name = "oban"
    package = "oban"
    least_python = (3, 12)
    done = "its row is marked completed"
    pending = "select id from oban_jobs where state <> 'completed'"
    concurrency = 500
    most_jobs = 60_000
    few_jobs = 10_000

    def plain_worker(self, conninfo: str) -> list[str]:
        return [self.script("oban"), "start", "--dsn", url(conninfo), "--queues", "default:10"]

    def options(self, concurrency: int) -> object:
        return {
            "AsyncConnectionPool": {"min_size": 1, "max_size": 10},
            "Oban": {"queues": {"default": concurrency}},
        }


class Awa(PythonPeer):
    """https://github.com/hardbyte/awa; it has no command that runs Python tasks."""

    name = "awa-pg"
    package = "awa-pg uvloop"
    done = "it is in a stored completion batch"
    pending = "select job_id as id from awa.ready_entries"
    finished = "select coalesce(sum(cardinality(job_ids)), 0) from awa.receipt_completion_batches"
    add_one = "select awa.insert_job_compat('{task}', 'bench', '{payload}'::jsonb)"
    can = frozenset({Can.ADD_IN_SQL, Can.TELL_START})
    concurrency = 256
    most_jobs = 100_000
    few_jobs = 10_000

    def plain_worker(self, conninfo: str) -> list[str]:
        return [self.program(), str(self.files / "peer.py"), "worker", json.dumps([["bench", 4]])]

    def worker(self, conninfo: str, concurrency: int) -> list[str]:
        queues = [{"name": "bench", "max_workers": concurrency, "claimers": 4}]
        return [self.program(), str(self.files / "peer.py"), "worker-on-uvloop", json.dumps(queues)]


class Procrastinate(PythonPeer):
    """https://github.com/procrastinate-org/procrastinate"""

    name = "procrastinate"
    package = "procrastinate"
    done = "its row is marked succeeded, or gone"
    pending = (
        "select id from procrastinate_jobs where task_name in ('noop', 'nap') and status in ('todo', 'doing')"
    )
    add_one = (
        "select procrastinate_defer_jobs_v1(array["
        "row('default', '{task}', 0, null, null, '{payload}', null)::procrastinate_job_to_defer_v1])"
    )
    # Jobs of the same lock run one at a time, in the order in which they were added.
    add_many = (
        "select cardinality(procrastinate_defer_jobs_v1(array(select "
        "row('default', '{task}', 0, {queue}, null, jsonb_build_object('id', n), null)::"
        "procrastinate_job_to_defer_v1 from generate_series(1, {jobs}) n)))"
    )
    can = frozenset({Can.ADD_IN_SQL, Can.ADD_MANY_IN_SQL, Can.TELL_START, Can.NAP, Can.NAMED_QUEUES})
    most_jobs = 5000
    few_jobs = 2000

    def plain_worker(self, conninfo: str) -> list[str]:
        return [self.script("procrastinate"), "--app", "tasks.app", "worker"]

    def options(self, concurrency: int) -> object:
        return {
            "PsycopgConnector": {"max_size": 25},
            "run_worker_async": {"concurrency": concurrency, "delete_jobs": "always"},
        }


_CHANCY_QUEUE: dict[str, Any] = {"name": "default"}


class Chancy(PythonPeer):
    """https://github.com/TkTech/chancy; its command runs the queues that were declared in the database."""

    name = "chancy"
    package = "chancy[cli]"
    done = "its row is marked succeeded"
    pending = "select id from chancy_jobs where state <> 'succeeded'"
    concurrency = 1000
    most_jobs = 40_000
    few_jobs = 400

    def prepare(self, conninfo: str) -> None:
        self.run(conninfo, self.files / "peer.py", "schema", json.dumps(_CHANCY_QUEUE))

    def plain_worker(self, conninfo: str) -> list[str]:
        return [self.script("chancy"), "--app", "tasks.chancy", "worker", "start"]

    def notes(self) -> str:
        return "" if self.tuned else f"its queue was declared with {json.dumps(_CHANCY_QUEUE)}"

    def options(self, concurrency: int) -> object:
        queue = {
            **_CHANCY_QUEUE,
            "concurrency": concurrency,
            "executor": "chancy.executors.asyncex.AsyncExecutor",
            "eager_polling": True,
            "polling_interval": 1,
        }
        # Its default logger prints a line for each job.
        return {"log": "WARNING", "Queue": queue}
