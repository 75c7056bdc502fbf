"""The peers from PyPI, each in its own best documented settings."""

from __future__ import annotations

from bench.systems.install import PythonPeer


class PgQueuer(PythonPeer):
    """https://github.com/janbjorge/pgqueuer"""

    name = "pgqueuer"
    package = "pgqueuer[asyncpg]"
    settings = "asyncpg, uvloop, batch_size 1000, no limit of concurrent tasks, durable tables"
    done = "its row is gone from pgqueuer (and stands in pgqueuer_log)"
    pending = "select id from pgqueuer"


class Oban(PythonPeer):
    """https://github.com/oban-bg/oban-py"""

    name = "oban"
    package = "oban"
    least_python = (3, 12)
    settings = "uvloop, one queue with a limit of 500, 10 connections"
    done = "its row is marked completed"
    pending = "select id from oban_jobs where state <> 'completed'"
    concurrency = 500
    most_jobs = 60_000


class Awa(PythonPeer):
    """https://github.com/hardbyte/awa"""

    name = "awa-pg"
    package = "awa-pg uvloop"
    settings = "queue storage, one queue of 256 max_workers with 4 claimers, added by enqueue_many_copy"
    done = "it is in a stored completion batch"
    pending = "select job_id as id from awa.ready_entries"
    finished = "select coalesce(sum(cardinality(job_ids)), 0) from awa.receipt_completion_batches"
    concurrency = 256
    most_jobs = 100_000


class Procrastinate(PythonPeer):
    """https://github.com/procrastinate-org/procrastinate"""

    name = "procrastinate"
    package = "procrastinate"
    settings = "asyncio, concurrency 24, 25 connections, delete_jobs always"
    pending = "select id from procrastinate_jobs"
    most_jobs = 5000


class Chancy(PythonPeer):
    """https://github.com/TkTech/chancy"""

    name = "chancy"
    package = "chancy"
    settings = "AsyncExecutor, concurrency 1000, eager_polling, polling_interval 1 s"
    done = "its row is marked succeeded"
    pending = "select id from chancy_jobs where state <> 'succeeded'"
    concurrency = 1000
    most_jobs = 40_000
