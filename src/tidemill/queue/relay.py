"""Relays: the thread of a plain function goes on with the next job by itself."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tidemill.queue.claimed import ClaimedJob
from tidemill.queue.hands import Hand
from tidemill.tasks import Task

# The event loop hears of what has ended this often: to tell it of each job takes longer than short ones run.
_NEWS_SECONDS = 0.01


class Relay:
    """What a thread needs to go on with the jobs of one hand.

    hand       where they come from
    may_start  whether a job may start; if not, or if it is none for a thread, the event loop decides
    on_news    tells the event loop to read `news`. Thread-safe
    """

    __slots__ = (
        "_may_start",
        "_news_at",
        "_on_news",
        "_tasks",
        "began",
        "ended",
        "hand",
        "is_settled",
        "left",
    )

    def __init__(
        self,
        hand: Hand,
        tasks: Mapping[str, Task[Any]],
        began: float,
        may_start: Callable[[ClaimedJob], bool],
        on_news: Callable[[Relay], None],
    ) -> None:
        self.hand = hand
        self._tasks = tasks
        self._may_start = may_start
        self._on_news = on_news
        self.began = began
        """When the present job began."""
        self._news_at = began + _NEWS_SECONDS
        self.ended: deque[tuple[ClaimedJob, float]] = deque()
        """Jobs that ended well and are settled, and how many seconds they took."""
        self.is_settled = False
        """The last job that the thread has run is settled as well."""
        self.left: ClaimedJob | None = None
        """Then: the job that follows it, for the event loop to start."""

    def next(self, job: ClaimedJob) -> tuple[ClaimedJob, Task[Any]] | None:
        """Settles a job that ended well; returns the one to go on with. Belongs to the thread."""
        now = time.perf_counter()
        self.ended.append((job, now - self.began))
        self.began = now
        following = self.hand.done(job) or self.hand.take_in_thread()
        if now > self._news_at:
            self._news_at = now + _NEWS_SECONDS
            # Without its event loop nobody wants to know.
            with contextlib.suppress(RuntimeError):
                self._on_news(self)
        if following is not None:
            task = self._tasks[following.identifier]
            if is_for_threads(task) and self._may_start(following):
                return following, task
        self.is_settled = True
        self.left = following
        return None

    def news(self) -> Iterator[tuple[ClaimedJob, float]]:
        """What has ended since it was last asked."""
        while self.ended:
            yield self.ended.popleft()


def is_for_threads(task: Task[Any]) -> bool:
    """Whether a thread can go on with its jobs: a time limit needs the event loop."""
    return not task.is_async and task.timeout is None
