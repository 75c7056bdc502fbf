"""The tasks that Tidemill's workers run when they are measured."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

from tidemill import App, JobContext
from tidemill.queue import express

# For the plot of the rate against the batch size; users have no such option.
if size := os.environ.get("TIDEMILL_BENCH_BATCH"):
    express._LARGEST_BATCH = int(size)

app = App()


@app.task
async def noop(payload: Any) -> None:
    """Ends at once; for measuring throughput."""


@app.task
async def noop_job(payload: Any, job: JobContext) -> None:
    """The same, and takes the job."""


@app.task
def noop_plain(payload: Any) -> None:
    """The same as a plain function."""


@app.task
def noop_plain_job(payload: Any, job: JobContext) -> None:
    """The same, and takes the job."""


@app.task
async def nap(payload: Any) -> None:
    """Waits 5 ms without working."""
    await asyncio.sleep(0.005)


@app.task
async def started(payload: dict[str, Any]) -> None:
    """Prints when it started; for measuring latency."""
    print("started", payload["id"], time.time(), flush=True)
    if seconds := payload.get("seconds"):
        await asyncio.sleep(seconds)
