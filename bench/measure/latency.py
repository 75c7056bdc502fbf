"""How long jobs wait for their start, on a clock that producer and worker share."""

from __future__ import annotations

import json
import time

import psycopg

from bench.measure.workers import Worker
from bench.systems.base import System


def one_by_one(system: System, conninfo: str, worker: Worker, count: int, seconds: float) -> list[float]:
    """Adds jobs to an idle worker, each when the last has started; returns milliseconds from add to start.

    Ends after so many seconds, too: a worker that polls would take minutes.
    The clock runs from just before the call that adds the job to the task's first line.
    """
    samples: list[float] = []
    deadline = time.monotonic() + seconds
    with psycopg.connect(conninfo, autocommit=True) as connection:
        for number in range(count):
            if time.monotonic() > deadline:
                break
            payload = json.dumps({"id": number})
            called = time.time()
            connection.execute(system.add_one.format(task="started", payload=payload).encode())
            samples.append((worker.next_start().at - called) * 1000)
    return samples


def steadily(
    system: System, conninfo: str, worker: Worker, *, per_second: float, seconds: float, long_every: int = 0
) -> list[float]:
    """Adds jobs at a steady rate, and returns the milliseconds from add to start of the short ones.

    With `long_every`, one job in so many takes two seconds.
    """
    count = int(per_second * seconds)
    called: dict[str, float] = {}
    short = set[str]()
    with psycopg.connect(conninfo, autocommit=True) as connection:
        began = time.perf_counter()
        for number in range(count):
            is_long = long_every and number % long_every == 0
            payload = json.dumps({"id": str(number), **({"seconds": 2} if is_long else {})})
            # This sleep keeps the producer at its rate.
            time.sleep(max(0.0, began + number / per_second - time.perf_counter()))
            called[str(number)] = time.time()
            connection.execute(system.add_one.format(task="started", payload=payload).encode())
            if not is_long:
                short.add(str(number))
    samples = []
    for _ in range(count):
        start = worker.next_start()
        if start.id in short:
            samples.append((start.at - called[start.id]) * 1000)
    return samples


def percentile(samples: list[float], share: float) -> float:
    """The smallest sample for which at least this share of samples is as small or smaller."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, max(0, -(-int(share * 1000) * len(ordered) // 1000) - 1))]
