"""Producers, which add jobs over a connection of their own, whatever happens."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import psycopg

from chaos.records import Added

_QUEUES = 4


class Job(NamedTuple):
    """What a producer adds."""

    task: str
    number: int
    queue: str = ""
    attempts: int | None = None
    keyed: bool = False


def mixed(number: int) -> Job:
    """The job of this number in the mix: single, with one attempt, keyed, queued, retried, slow ones."""
    place = number % 20
    if place in (3, 8, 13):
        return Job("quick", number, queue=f"queue-{number // 20 % _QUEUES}")
    if place in (4, 14):
        return Job("quick", number, attempts=1)
    if place in (5, 15):
        return Job("plain", number, keyed=True)
    if place == 9:
        return Job("flaky", number)
    if place in (10, 19):
        return Job("slow", number)
    return Job("plain" if place % 3 == 0 else "quick", number)


class Producer:
    """Adds jobs; notes each, and whether it is known that it was added."""

    def __init__(self, conninfo: str, statement: str, added: list[Added]) -> None:
        self._conninfo, self._statement, self._added = conninfo, statement.encode(), added
        self._connection: psycopg.Connection[Any] | None = None
        self.longest = 0.0

    def add(self, job: Job) -> None:
        """Adds a job in a transaction of its own."""
        self.add_together([job])

    def add_together(self, jobs: Sequence[Job]) -> None:
        """Adds jobs in one transaction. If the server refuses it, or is not there, there are none."""
        try:
            if self._connection is None or self._connection.closed:
                self._connection = psycopg.connect(self._conninfo, autocommit=True, connect_timeout=2)
        except psycopg.Error:
            return
        began, known = time.monotonic(), True
        try:
            if len(jobs) == 1:
                self._connection.execute(self._statement, _values(jobs[0]))
            else:
                with self._connection.transaction(), self._connection.cursor() as cursor:
                    cursor.executemany(self._statement, [_values(job) for job in jobs])
        except psycopg.Error:
            if not self._connection.closed:
                # The server has refused it, and is there to say so.
                return
            known = False
        at = time.monotonic()
        self.longest = max(self.longest, at - began)
        self._added += [Added(job.number, at, job.queue, job.attempts == 1, known) for job in jobs]

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()


def _values(job: Job) -> dict[str, Any]:
    return {
        "task": job.task,
        "payload": json.dumps({"number": job.number}),
        "queue": job.queue or None,
        "attempts": job.attempts,
        "key": f"key-{job.number}" if job.keyed else None,
    }


class Load:
    """Adds the mix at a steady rate, in a thread, until it is ended or has added the most."""

    def __init__(self, producer: Producer, rate: float, most: int) -> None:
        self.producer, self._rate, self._most = producer, rate, most
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.began = time.monotonic()
        self._thread.start()

    def end(self) -> float:
        """Ends it; returns when."""
        self._ended.set()
        # An add may wait for a lock as long as the fault lasts.
        self._thread.join(60)
        return time.monotonic()

    def _run(self) -> None:
        number = 0
        while self._rate and not self._ended.is_set() and number < self._most:
            due = self.began + number / self._rate
            if self._ended.wait(max(0.0, due - time.monotonic())):
                return
            self.producer.add(mixed(number))
            number += 1
            if time.monotonic() - due > 1:
                # What a fault has held up is not made up for at once: that would be another load.
                self.began = time.monotonic() - number / self._rate
