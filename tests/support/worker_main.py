"""A worker process for tests: `python worker_main.py CONNINFO OPTIONS-AS-JSON`.

Its tasks tell of themselves in the table `runs`, and `hold` waits for the
advisory lock (payload, attempt), by which a test says when it may end.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from functools import cache
from typing import Any

import psycopg

from tidemill import App, JobContext, Middleware, Worker, WorkerOptions


class Counted(Middleware):
    """Writes the ids of all `count` jobs when the worker ends: nothing that costs time in between."""

    def __init__(self, conninfo: str) -> None:
        self.conninfo = conninfo
        self.ids: list[int] = []

    def worker_stopped(self, worker_id: str) -> None:
        with (
            psycopg.connect(self.conninfo) as connection,
            connection.cursor().copy("copy runs (job_id, worker) from stdin") as copy,
        ):
            for job_id in self.ids:
                copy.write_row((job_id, worker_id))


def make_app(conninfo: str) -> App:
    counted = Counted(conninfo)
    app = App(conninfo, middleware=[counted])

    @app.task
    async def count(payload: Any, job: JobContext) -> None:
        counted.ids.append(job.id)

    @app.task
    async def record(payload: Any, job: JobContext) -> None:
        async with job.connection() as connection:
            await connection.execute("insert into runs values (%s, %s)", [job.id, job.worker_id])

    @cache
    def teller() -> psycopg.Connection:
        return psycopg.connect(conninfo, autocommit=True)

    @app.task
    async def tell(payload: Any, job: JobContext) -> None:
        # Never waits, so that a worker runs hundreds in a batch.
        teller().execute("insert into runs values (%s, %s)", [job.id, job.worker_id])

    @app.task
    async def die(payload: Any, job: JobContext) -> None:
        teller().execute("insert into runs values (%s, %s)", [job.id, job.worker_id])
        os._exit(9)

    @app.task
    async def hold(payload: int, job: JobContext) -> None:
        async with job.connection() as connection:
            await connection.execute("insert into runs values (%s, %s)", [job.id, job.worker_id])
            await connection.commit()
            await connection.execute("select pg_advisory_xact_lock_shared(%s, %s)", [payload, job.attempt])

    return app


def main() -> None:
    conninfo, options = sys.argv[1], json.loads(sys.argv[2])
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("tidemill").addFilter(lambda record: "done in" not in str(record.msg))
    worker = Worker(make_app(conninfo), WorkerOptions(**options))
    asyncio.run(worker.run(handle_signals=True))


if __name__ == "__main__":
    main()
