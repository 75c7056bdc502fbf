"""Relays: the thread of a plain function goes on with the next job by itself."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from tidemill.queue.claimed import ClaimedJob
from tidemill.queue.hands import Hand
from tidemill.queue.record import Keeper
from tidemill.tasks import Task

News = deque[tuple[ClaimedJob, float, float]]

# The event loop hears of what has ended this often: to tell it of each job takes longer than short ones run.
_NEWS_SECONDS = 0.01


class Relay:
    """What a thread needs to go on with the jobs of one hand. Made on the event loop.

    hand        where they come from
    began       when the first one began
    may_start   whether a job may start; if not, or if it is none for a thread, the event loop decides.
                Thread-safe
    ended_well  is told on the event loop of jobs that ended well, when each began, and how many seconds it
                ran
    """

    def __init__(
        self,
        hand: Hand,
        tasks: Mapping[str, Task[Any]],
        began: float,
        may_start: Callable[[ClaimedJob], bool],
        ended_well: Callable[[Hand, News], None],
        keeper: Keeper,
    ) -> None:
        self.hand = hand
        self._tasks = tasks
        self._may_start = may_start
        self._ended_well = ended_well
        self._keeper = keeper
        self._loop = asyncio.get_running_loop()
        self.began = began
        """When the present job began."""
        self._news_at = began + _NEWS_SECONDS
        self._news: News = deque()
        self.is_settled = False
        """The last job that the thread has run is settled as well."""
        self.left: ClaimedJob | None = None
        """Then: the job that follows it, for the event loop to start."""

    def next(self, job: ClaimedJob) -> tuple[ClaimedJob, Task[Any]] | None:
        """Settles a job that ended well; returns the one to go on with. Belongs to the thread."""
        now = time.perf_counter()
        self._news.append((job, self.began, now - self.began))
        self._keeper.note(job, now - self.began)
        self.began = now
        following = self.hand.done(job) or self.hand.take_in_thread()
        if now > self._news_at:
            self._news_at = now + _NEWS_SECONDS
            # Without its event loop nobody wants to know.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self.tell)
        if following is not None:
            task = self._tasks[following.identifier]
            if is_for_threads(task) and self._may_start(following):
                return following, task
        self.left = following
        self.is_settled = True
        return None

    def tell(self) -> None:
        """Tells of what has ended since it did so last. Belongs to the event loop."""
        self._ended_well(self.hand, self._news)


def is_for_threads(task: Task[Any]) -> bool:
    """Whether a thread can go on with its jobs: a time limit needs the event loop."""
    return not task.is_async and task.timeout is None
