"""The lease lane: a claim writes a lease into each job's row, and completion deletes the row."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence

import psycopg

from tidemill.queue.arrays import MOST_BYTES
from tidemill.queue.claim import MOST_OF_ONE_QUEUE, Finder, Look, Search
from tidemill.queue.claimed import ClaimedJob, chain
from tidemill.queue.durations import QUICK_SECONDS, Durations
from tidemill.queue.limited import Limited
from tidemill.queue.settle import Settled, Settlements
from tidemill.queue.settlement import FreedQueue, Settlement

_LARGEST_CLAIM = 500
# Quick jobs are claimed ahead, as many as run in about this time; slow ones only into free slots.
_AHEAD_SECONDS = 0.05
_BUSY_ROW_RETRY = 0.02


class LeaseLane:
    """Claims jobs by a lease, knows which ones are in hand, and settles them.

    All methods belong to the engine's thread, but for `settle`, `claim_only`, `in_hand`, `has_in_hand`
    and `ids_in_hand`, which are thread-safe.
    `wake` tells the engine that a job waits to be settled.
    """

    def __init__(
        self,
        worker_id: str,
        identifiers: Sequence[str],
        *,
        concurrency: int,
        durations: Durations,
        wake: Callable[[], None],
        poll_interval: float = 1.0,
    ) -> None:
        self._worker_id = worker_id
        self._concurrency = concurrency
        self._durations = durations
        self._wake = wake
        self.finder = Finder("lease", worker_id, identifiers)
        self.limited = Limited(worker_id, identifiers, poll_interval=poll_interval)
        self._inbox: deque[Settlement | FreedQueue] = deque()
        self._in_hand: set[tuple[int, int]] = set()
        # A queue is leased for longer than its jobs if a plain function outlives its time limit.
        self._held_queues: set[tuple[int, int]] = set()
        # Settlements that were sent over a connection that broke: they may have been written.
        self._uncertain: set[tuple[int, int]] = set()
        self.open_keeps: set[int] = set()
        """The keeps that have partitions for history. The engine's thread alone adds to it."""
        self._retry_at: float | None = None
        # The last claim found no room. The room changes with each duration: asked again, it may be another.
        self._turned_away = False

    def claim_only(self, identifiers: Sequence[str]) -> None:
        """Claims jobs of these tasks alone from now on. Thread-safe."""
        self.finder.identifiers = identifiers
        self.limited.claim_only(identifiers)

    @property
    def in_hand(self) -> int:
        """How many jobs are leased and not settled."""
        return len(self._in_hand)

    def has_in_hand(self, job_id: int, token: int) -> bool:
        """Whether a job of this claim is leased and not settled."""
        return (job_id, token) in self._in_hand

    @property
    def ids_in_hand(self) -> list[int]:
        """The ids of the jobs in hand."""
        return [job_id for job_id, _ in list(self._in_hand)]

    @property
    def is_busy(self) -> bool:
        """Whether a job is in hand, or waits to be settled."""
        return bool(self._in_hand or self._inbox)

    @property
    def holds_queues(self) -> bool:
        """Whether a named queue is leased."""
        return bool(self._held_queues)

    @property
    def room(self) -> int:
        """How many jobs may be leased now; more if jobs are quick."""
        mean = self._durations.mean
        ahead = 0
        if mean is not None and mean < QUICK_SECONDS:
            ahead = int(self._concurrency * _AHEAD_SECONDS / max(mean, 1e-6))
        wanted = min(self._concurrency + ahead, max(_LARGEST_CLAIM, self._concurrency))
        # Refill at half; otherwise each finished job would cost a claim for one job.
        if ahead and len(self._in_hand) > wanted // 2:
            return 0
        return max(0, wanted - len(self._in_hand))

    @property
    def next_due(self) -> float | None:
        """When to settle again, if producers held rows the last time; None if they did not."""
        return self._retry_at

    def claim(self, connection: psycopg.Connection, look: Look) -> tuple[list[ClaimedJob], bool]:
        """Claims jobs that are not for the express lane, as `Finder.find` does."""
        room = self.room
        self._turned_away = not room
        if not room:
            return [], False
        per_queue = self._queue_run()
        most_queues = max(min(room, self._concurrency), room // per_queue)
        start_now = max(0, self._concurrency - self.in_hand)
        search = Search(look, room, most_queues, per_queue, start_now, group_size=self._concurrency)
        heads, more = self.finder.find(connection, search)
        for head in heads:
            self.take_in_hand(chain(head))
        self.hold_queues((head.queue_id, head.token) for head in heads if head.queue_id is not None)
        return heads, more

    @property
    def next_limited(self) -> float | None:
        """When to look for limited jobs; None if there is no room, or there are no limits."""
        due = self.limited.next_due
        return None if due is None or self.room <= 0 else due

    def claim_limited(
        self, connection: psycopg.Connection, forbidden_flags: Sequence[str], *, thorough: bool = False
    ) -> list[ClaimedJob]:
        """Claims limited jobs, as `Limited.find` does."""
        room = self.room
        if room <= 0:
            return []
        jobs = self.limited.find(
            connection,
            room,
            start_now=max(0, self._concurrency - self.in_hand),
            group_size=self._concurrency,
            forbidden_flags=forbidden_flags,
            thorough=thorough,
        )
        self.take_in_hand(jobs)
        return jobs

    def take_in_hand(self, jobs: Iterable[ClaimedJob]) -> None:
        """Counts jobs that are leased to this worker as in hand."""
        self._in_hand.update((job.id, job.token) for job in jobs)

    def hold_queues(self, queues: Iterable[tuple[int, int]]) -> None:
        """Takes named queues that are leased to this worker, by id and claim token."""
        self._held_queues.update(queues)

    def settle(self, ended: Settlement | FreedQueue) -> None:
        """Notes how a job ended; the next `settle_due` writes it."""
        self._inbox.append(ended)
        self._wake()

    def settle_due(self, connection: psycopg.Connection) -> Settled | None:
        """Writes how jobs ended; None if none did."""
        self._retry_at = None
        ended, queues = self._read_inbox()
        if not ended and not queues:
            return None
        try:
            self._open_history(connection, ended)
            result = Settlements.write(connection, self._worker_id, ended, queues)
        except psycopg.Error:
            self._inbox.extendleft([*queues, *ended])
            self._uncertain.update((settlement.id, settlement.token) for settlement in ended)
            raise
        settled = {(settlement.id, settlement.token) for settlement in ended}
        self._in_hand -= settled
        self._held_queues.difference_update((queue.id, queue.token) for queue in queues)
        result.log(self._uncertain)
        busy = {(settlement.id, settlement.token) for settlement in result.busy}
        self._uncertain &= busy
        self.limited.ended(settled - busy)
        if self._inbox:
            # It was too much for one statement, or has ended meanwhile.
            self._retry_at = time.monotonic()
        elif busy:
            self._retry_at = time.monotonic() + _BUSY_ROW_RETRY
        if busy:
            self._in_hand |= busy
            self._inbox.extend(result.busy)
        look_again = self._turned_away and self.room > 0
        self._turned_away = self._turned_away and not look_again
        return Settled(freed_queues=bool(queues), look_again=look_again)

    def _open_history(self, connection: psycopg.Connection, ended: Sequence[Settlement]) -> None:
        """Makes the partitions of keeps that are used for the first time."""
        keeps = {kept.keep for one in ended for kept in (one.record, one.report) if kept is not None}
        for keep in keeps - self.open_keeps:
            connection.execute("select tidemill._open_history(%s::smallint)", [keep])
            self.open_keeps.add(keep)

    def return_unknown(self, connection: psycopg.Connection) -> list[int]:
        """Frees jobs whose claim was never answered; returns their ids.

        These are leased to this worker in the table, but not in hand.
        """
        tokens = [token for _, token in self._in_hand | self._held_queues]
        rows = connection.execute(
            "select tidemill._return_unknown_jobs(%s, %s::bigint[])", [self._worker_id, tokens]
        ).fetchall()
        return [row[0] for row in rows]

    def _read_inbox(self) -> tuple[list[Settlement], list[FreedQueue]]:
        """What has ended, as much as one statement may have; the rest follows at the next turn."""
        ended: list[Settlement] = []
        queues: list[FreedQueue] = []
        left = MOST_BYTES
        while self._inbox and left > 0:
            one = self._inbox.popleft()
            if isinstance(one, FreedQueue):
                queues.append(one)
            elif (one.id, one.token) in self._in_hand:
                # A job that was lost with the connection of its express batch is not in hand.
                ended.append(one)
                if one.record is not None or one.kind == "failed":
                    left -= one.size
        return ended, queues

    def _queue_run(self) -> int:
        """How many jobs of one named queue to lease: they run one after the other."""
        mean = self._durations.mean
        if mean is None or mean >= QUICK_SECONDS:
            return 1
        # They are in one group, so that they start together.
        return max(1, min(MOST_OF_ONE_QUEUE, self._concurrency, int(_AHEAD_SECONDS / max(mean, 1e-6))))
