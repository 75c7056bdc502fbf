"""pg-boss, from npm: the newest version that runs on Node 20."""

from __future__ import annotations

import json

from bench.systems.base import Can
from bench.systems.install import NodePeer

# Where all jobs are no-ops, its loops for the task `started` ask every half second.
_TUNED = {"PgBoss": {"max": 10}, "loops": 2, "fetch": {"batchSize": 1000}, "pause": 500}


class PgBoss(NodePeer):
    """https://github.com/timgit/pg-boss; versions from 11 on need Node 22."""

    name = "pg-boss"
    package = "pg-boss@^10"
    done = "its row is marked completed"
    pending = "select id from pgboss.job where name = 'noop' and state < 'completed'"
    # Its documentation describes adds in SQL as INSERTs.
    add_one = "insert into pgboss.job (name, data) values ('{task}', '{payload}')"
    add_many = (
        "insert into pgboss.job (name, data) "
        "select '{task}', jsonb_build_object('id', n) from generate_series(1, {jobs}) n"
    )
    can = frozenset({Can.ADD_IN_SQL, Can.ADD_MANY_IN_SQL, Can.TELL_START})
    most_jobs = 100_000
    # As it comes, it asks for one job every two seconds.
    few_jobs = 400

    def prepare(self, conninfo: str) -> None:
        self.run(conninfo, self.place / "peer.js", "schema")

    def plain_worker(self, conninfo: str) -> list[str]:
        return [self.program(), str(self.place / "peer.js"), "work"]

    def worker(self, conninfo: str, concurrency: int) -> list[str]:
        return [self.program(), str(self.place / "peer.js"), "loops", json.dumps(_TUNED)]

    def notes(self) -> str:
        how = "fetch() and complete() in loops" if self.tuned else "work(queue, handler)"
        return f"{how}, the database in DATABASE_URL"

    def add_from_language(self, conninfo: str, jobs: int) -> float:
        return float(self.run(conninfo, self.place / "peer.js", "add", str(jobs)))
