"""pg-boss, from npm: the newest version that runs on Node 20."""

from __future__ import annotations

from bench.systems.install import NodePeer


class PgBoss(NodePeer):
    """https://github.com/timgit/pg-boss; versions from 11 on need Node 22."""

    name = "pg-boss"
    package = "pg-boss@^10"
    settings = "two loops of fetch (batchSize 1000) and complete; 10 connections"
    done = "its row is marked completed"
    pending = "select id from pgboss.job where name = 'noop' and state < 'completed'"
    most_jobs = 100_000

    def prepare(self, conninfo: str) -> None:
        self.run(conninfo, self.place / "peer.js", "schema")

    def worker(self, conninfo: str, concurrency: int) -> list[str]:
        return [self.program(), str(self.place / "peer.js"), "worker"]

    def add_from_language(self, conninfo: str, jobs: int) -> float:
        return float(self.run(conninfo, self.place / "peer.js", "add", str(jobs)))
