"""What a worker tells of its process: figures for metrics, and whether it is well."""

from __future__ import annotations

import time
from typing import Any

from tidemill.complaints import struck
from tidemill.parts import Parts


def measure(parts: Parts | None, *, concurrency: int, stopping: bool) -> dict[str, Any]:
    """The figures of a process whose worker has these parts; None: it is about to begin. Thread-safe.

    at       by `time.monotonic`, which the processes of a machine share
    begun    whether the worker knows its database
    broken   threads that have ended although the worker has not been told to stop
    unready  why it does not claim jobs
    """
    unready = _unready(parts, stopping=stopping)
    figures: dict[str, Any] = {
        "at": time.monotonic(),
        "begun": parts is not None,
        "broken": [] if parts is None or stopping else _broken(parts),
        "unready": unready,
        "ready": not unready,
        "slots": concurrency,
        "troubles": dict(struck),
        "in_hand": {},
        "tasks": {},
    }
    if parts is None:
        return figures
    figures["free_slots"] = parts.executor.free_slots
    figures["in_hand"] = {"express": parts.lanes.express.in_hand, "lease": parts.lanes.leases.in_hand}
    figures["express"] = parts.lanes.has_express
    if parts.listener is not None:
        figures["listener"] = parts.listener.is_well
    for tally in parts.executor.tallies.all():
        counts = tally.counts()
        # Each attempt counts once here.
        counts["failed"] -= counts["retried"]
        figures["tasks"][tally.identifier] = counts
    return figures


def _unready(parts: Parts | None, *, stopping: bool) -> list[str]:
    if stopping:
        return ["it is stopping"]
    if parts is None or not parts.heartbeat.is_registered:
        return ["it has not begun"]
    found = []
    if parts.own_lease.term.is_over:
        found.append("its lease is over: heartbeats do not arrive")
    elif not parts.heartbeat.is_well:
        found.append("its last heartbeat has failed")
    return found


def _broken(parts: Parts) -> list[str]:
    """Threads that should run."""
    threads: dict[str, Any] = {
        "engine": parts.engine,
        "heartbeat": parts.heartbeat,
        "listener": parts.listener,
    }
    return [
        f"the thread of the {name} has ended"
        for name, part in threads.items()
        if part is not None and part.has_ended
    ]
