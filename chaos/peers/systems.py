"""The peers, each with the settings of its own documentation."""

from __future__ import annotations

from bench.systems import graphile_worker, python_peers
from bench.systems.base import url
from chaos.peers.base import Peer


class GraphileWorker(Peer):
    """https://github.com/graphile/worker"""

    settings = "all settings by default, but for concurrentJobs and maxPoolSize"
    add = (
        "select graphile_worker.add_job(%(task)s::text, %(payload)s::json, queue_name => %(queue)s::text,"
        " max_attempts => %(attempts)s::integer, job_key => %(key)s::text)"
    )
    left = (
        "select (payload ->> 'number')::bigint, attempts >= max_attempts and locked_at is null"
        " from graphile_worker._private_jobs"
    )

    def __init__(self) -> None:
        super().__init__(graphile_worker.GraphileWorker())

    def worker(self, conninfo: str, concurrency: int) -> list[str]:
        command = self._system.worker(conninfo, concurrency)[:2]
        sizes = ["-j", str(concurrency), "-m", str(concurrency + 1)]
        return [*command, "-C", str(self.files / "graphile.config.js"), "-c", url(conninfo), *sizes]


class Procrastinate(Peer):
    """https://github.com/procrastinate-org/procrastinate"""

    settings = (
        "all settings by default, but for concurrency; the periodic task of its documentation that"
        " retries stalled jobs, each minute in place of each ten"
    )
    # The attempts of a job are those of its task.
    add = (
        "select procrastinate_defer_jobs_v1(array[row('default',"
        " %(task)s::text || case when %(attempts)s::integer = 1 then '_once' else '' end, 0,"
        " %(queue)s::text, %(key)s::text, %(payload)s::jsonb, null)::procrastinate_job_to_defer_v1])"
    )
    left = (
        "select (args ->> 'number')::bigint, status in ('failed', 'cancelled', 'aborted')"
        " from procrastinate_jobs where args ->> 'number' is not null and status <> 'succeeded'"
    )

    def __init__(self) -> None:
        super().__init__(python_peers.Procrastinate())

    def worker(self, conninfo: str, concurrency: int) -> list[str]:
        return [self._system.program(), str(self.files / "peer.py"), str(concurrency)]
