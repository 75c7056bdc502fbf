"""Lanes without the thread of an engine."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NoReturn

import psycopg

from tidemill.queue.claim import Finder, Look
from tidemill.queue.execute import Executor
from tidemill.queue.lanes import Lanes

WORKER = "by hand"
CONCURRENCY = 2


def refuse() -> NoReturn:
    raise psycopg.OperationalError("no connection")


@dataclass
class Bench:
    """Both lanes and an executor, without the engine's thread."""

    lanes: Lanes
    executor: Executor
    wake: threading.Event
    begun: asyncio.Event
    """Set once as many jobs wait as there are slots."""

    def finders(self) -> tuple[Finder, Finder]:
        return self.lanes.leases.finder, self.lanes.express.finder

    def plan(self, *, regular: bool = False) -> Look:
        return self.lanes.plan([], regular=regular, thorough=False)

    def seen_all(self) -> None:
        """As if both lanes had looked everywhere."""
        for finder in self.finders():
            finder.marks.scanned([], full=True, filled=False, until=datetime.now(UTC), seconds=0)
            finder._queue_searches.spend(0)


Make = Callable[..., Bench]
