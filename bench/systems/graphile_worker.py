"""Graphile Worker, from npm, in its own best documented settings (those of its performance test)."""

from __future__ import annotations

from pathlib import Path

from bench.systems.base import Can, System, url
from bench.systems.install import NodePeer


class GraphileWorker(NodePeer, System):
    """Is configured by the preset beside its tasks, and started by its own command."""

    name = "graphile-worker"
    package = "graphile-worker@^0.17"
    settings = (
        "concurrentJobs 24, maxPoolSize 25, localQueue.size 500 (refetchDelay 10 ms), "
        "completeJobBatchDelay 0, failJobBatchDelay 0, NO_LOG_SUCCESS"
    )
    pending = "select id from graphile_worker._private_jobs"
    add_one = "select graphile_worker.add_job('{task}', '{payload}'::json)"
    add_many = (
        "select count(*) from graphile_worker.add_jobs(array(select "
        "row('{task}', json_build_object('id', n), {queue}, {run_at}, null, null, {priority}, null)::"
        "graphile_worker.job_spec from generate_series(1, {jobs}) n))"
    )
    add_keyed = "select graphile_worker.add_job('noop', job_key => {key})"
    fail_all = (
        "select count(*) from graphile_worker.permanently_fail_jobs("
        "array(select id from graphile_worker._private_jobs), 'for the benchmark')"
    )
    can = frozenset(Can) - {Can.SCHEDULE}

    def prepare(self, conninfo: str) -> None:
        self.run(conninfo, self._cli, "-c", url(conninfo), "--schema-only")

    def worker(self, conninfo: str, concurrency: int) -> list[str]:
        sizes = ["-j", str(concurrency), "-m", str(concurrency + 1)]
        return [self.program(), str(self._cli), "-c", url(conninfo), *sizes]

    def environment(self, conninfo: str) -> dict[str, str]:
        return {**super().environment(conninfo), "NO_LOG_SUCCESS": "1"}

    def add_from_language(self, conninfo: str, jobs: int) -> float:
        return float(self.run(conninfo, self.place / "add.js", str(jobs)))

    @property
    def _cli(self) -> Path:
        return self.place / "node_modules" / "graphile-worker" / "dist" / "cli.js"
