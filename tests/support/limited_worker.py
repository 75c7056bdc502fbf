"""A worker process for tests of limits: `python limited_worker.py CONNINFO OPTIONS-AS-JSON`.

Its tasks write when each attempt began and ended, by the database's clock, into the table `spans`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from typing import Any

from tidemill import App, JobContext, Limit, Rate, Worker, WorkerOptions

TABLE = b"""
create table spans (job_id bigint not null, key text not null, worker text not null,
  began timestamptz not null default clock_timestamp(), ended timestamptz)
"""


def make_app(conninfo: str) -> App:
    app = App(conninfo)

    async def span(job: JobContext, key: str, seconds: float) -> None:
        async with job.connection() as connection:
            await connection.execute(
                "insert into spans (job_id, key, worker) values (%s, %s, %s)", [job.id, key, job.worker_id]
            )
        await asyncio.sleep(seconds)
        async with job.connection() as connection:
            await connection.execute(
                "update spans set ended = clock_timestamp()"
                " where job_id = %s and worker = %s and ended is null",
                [job.id, job.worker_id],
            )

    @app.task(limit=Limit(2, per="customer.id"))
    async def of_customer(payload: Any, job: JobContext) -> None:
        await span(job, f"customer {payload['customer']['id']}", 0.004)

    @app.task(limit=Rate(100, "1 second", burst=10))
    async def rated(payload: Any, job: JobContext) -> None:
        await span(job, "rate", 0)

    @app.task
    async def named(payload: Any, job: JobContext) -> None:
        await span(job, "named", 0.002)

    @app.task
    async def named_too(payload: Any, job: JobContext) -> None:
        await span(job, "named", 0.002)

    return app


def main() -> None:
    conninfo, options = sys.argv[1], json.loads(sys.argv[2])
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    worker = Worker(make_app(conninfo), WorkerOptions(**options))
    asyncio.run(worker.run(handle_signals=True))


if __name__ == "__main__":
    main()
