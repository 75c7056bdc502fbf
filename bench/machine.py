"""The machine, the server and the systems of a run."""

from __future__ import annotations

import os
import platform
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import psycopg

from bench.systems.base import AS_IT_COMES, TUNED, System
from bench.systems.settings import settings

_SERVER = (
    *("server_version", "fsync", "synchronous_commit", "full_page_writes", "wal_sync_method"),
    *("shared_buffers", "max_wal_size", "max_connections", "autovacuum"),
)


class Used(NamedTuple):
    """A system, as it was run."""

    name: str
    version: str
    as_it_comes: str
    """Its settings in the rows that say so; all other rows are `tuned`."""
    tuned: str
    most_jobs: str
    """How many jobs it is given at most, if that is fewer than the others."""
    done: str


@dataclass(frozen=True)
class About:
    """Machine, versions, settings and command of a run; nothing that shows whose machine it is."""

    date: str
    command: str
    machine: Mapping[str, str]
    server: Mapping[str, str]
    systems: Sequence[Used]
    left_out: Mapping[str, str]
    again: Sequence[str] = ()
    """Which shapes were measured again later, and when."""


def describe(
    connection: psycopg.Connection[Any],
    systems: Sequence[System],
    left_out: Mapping[str, str],
    arguments: Sequence[str],
) -> About:
    """Asks the machine and the server."""
    server = {}
    for name in _SERVER:
        row = connection.execute("select current_setting(%s)", [name]).fetchone()
        assert row is not None
        server[name] = str(row[0])
    return About(
        date=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        command=shlex.join(["python", "-m", "bench", *arguments]),
        machine={
            "CPU": _cpu(),
            "cores": str(len(os.sched_getaffinity(0))),
            "memory": f"{_memory_gb():.0f} GB",
            "system": f"{platform.system()} {platform.machine()}",
            "Python": platform.python_version(),
        },
        server=server,
        systems=[
            Used(s.name, s.version, settings(s.as_it_comes()), settings(s), _most_jobs(s), s.done)
            for s in systems
        ],
        left_out=left_out,
    )


def _most_jobs(system: System) -> str:
    few, most = system.as_it_comes().most_jobs, system.most_jobs
    limits = {AS_IT_COMES: few, TUNED: most}
    return ", ".join(f"{limit:,} {way}" for way, limit in limits.items() if limit < System.most_jobs)


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def _memory_gb() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
