"""Measures Tidemill and its peers in the same run, interleaved, on the embedded PostgreSQL 18.

python -m bench                                     everything
python -m bench --only throughput --peers graphile-worker
"""

from __future__ import annotations

import argparse
import platform
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import psycopg

from bench.graphile_worker import GraphileWorker
from bench.systems import System
from bench.tidemill_system import Tidemill
from tidemill.database import embedded

SHAPES: dict[str, tuple[str, Callable[[System, str, int], float]]] = {
    "throughput": ("jobs/s, no-op jobs, one worker process", lambda s, c, n: s.throughput(c, n)),
    "bulk_add": ("jobs/s added, one add_jobs call in SQL", lambda s, c, n: s.bulk_add(c, n)),
    "single_add": (
        "add_job calls/s, 8 clients, an idle worker listening",
        lambda s, c, n: s.single_add(c, clients=8, calls=n // 100),
    ),
    "latency": ("ms from add_job to the task's start, median", lambda s, c, n: s.latency(c, 300)),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--only", action="append", choices=SHAPES, help="only this shape")
    parser.add_argument("--peers", nargs="*", default=["graphile-worker"], help="peers beside Tidemill")
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()

    systems: list[System] = [Tidemill()]
    if "graphile-worker" in options.peers:
        systems.append(GraphileWorker())
    for system in systems:
        system.install()

    with tempfile.TemporaryDirectory(prefix="tidemill-bench-") as place:
        Path(place).chmod(0o711)
        with embedded.start(Path(place) / "server") as server:
            _describe(server.conninfo())
            for shape in options.only or SHAPES:
                _run(shape, systems, server, options.jobs, options.rounds)


def _describe(conninfo: str) -> None:
    with psycopg.connect(conninfo) as connection:
        settings = {
            name: connection.execute("select current_setting(%s)", [name]).fetchone()
            for name in ("server_version", "fsync", "synchronous_commit", "shared_buffers")
        }
    print(f"Machine: {platform.machine()}, Python {platform.python_version()}")
    print("Server: " + ", ".join(f"{name} {value[0]}" for name, value in settings.items() if value))


def _run(shape: str, systems: list[System], server: embedded.EmbeddedServer, jobs: int, rounds: int) -> None:
    unit, measure = SHAPES[shape]
    results: dict[str, list[float]] = {system.name: [] for system in systems}
    for number in range(rounds):
        for system in systems:
            name = f"bench_{system.name.replace('-', '_')}"
            with psycopg.connect(server.conninfo(), autocommit=True) as connection:
                connection.execute(f"drop database if exists {name} with (force)".encode())
                connection.execute(f"create database {name}".encode())
                connection.execute("checkpoint")
            conninfo = server.conninfo(name)
            system.prepare(conninfo)
            results[system.name].append(measure(system, conninfo, jobs))
            print(
                f"  {shape}, round {number + 1}, {system.name}: {results[system.name][-1]:,.1f}", flush=True
            )
    ours = statistics.median(results[systems[0].name])
    print(f"{shape} ({unit})")
    for system in systems:
        median = statistics.median(results[system.name])
        print(f"  {system.name:16} {system.version:10} {median:12,.1f}  {ours / median:6.2f} x")


if __name__ == "__main__":
    main()
