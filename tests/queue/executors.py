"""An executor without a database, for tests of how jobs are run."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.queue.jobs import job, kind
from tests.queue.lanes import refuse
from tidemill import App
from tidemill.middleware import Hooks
from tidemill.queue.claimed import ClaimedJob
from tidemill.queue.done_log import DoneLog
from tidemill.queue.durations import Durations
from tidemill.queue.execute import Executor
from tidemill.queue.record import Keeper
from tidemill.queue.settlement import FreedQueue, Settlement
from tidemill.queue.starts import Starts
from tidemill.tallies import Tallies


class ExecutorBench:
    """An executor of two slots, its tasks, and what it says of its jobs."""

    def __init__(self) -> None:
        self.app = App()
        self.settled: list[Settlement | FreedQueue] = []
        self.begun: list[int] = []
        self.event = asyncio.Event()
        """Set by a task that has come to where the test wants it."""
        self.gate = asyncio.Event()
        self.release = threading.Event()
        self.executor: Executor

    def start(self, concurrency: int = 2) -> Executor:
        self.executor = Executor(
            self.app.tasks,
            self.app,
            "worker",
            concurrency=concurrency,
            hooks=Hooks([]),
            settle=self.settled.append,
            starts=Starts("worker", refuse, 30),
            durations=Durations(),
            done_log=DoneLog(each=True),
            keeper=Keeper(self.app.tasks),
            tallies=Tallies(),
        )
        return self.executor

    def news(self) -> list[tuple[str, int]]:
        return [(kind(one), one.id) for one in self.settled]

    def messages(self) -> list[str | None]:
        return [one.message for one in self.settled if isinstance(one, Settlement)]


@asynccontextmanager
async def executor_bench() -> AsyncIterator[ExecutorBench]:
    """One that is stopped at the end of the block, whatever runs then."""
    made = ExecutorBench()
    yield made
    made.gate.set()
    made.release.set()
    made.executor.stop()
    made.executor.abandon()
    await asyncio.wait_for(made.executor.wait_idle(), 30)
    made.executor.close()


def named(number: int, task: str, queue_id: int | None = None) -> ClaimedJob:
    made = job(number, queue_id)
    made.identifier = task
    return made
