"""The loop watch: names the job whose code holds up the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import sysconfig
import threading
import time
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Literal, NamedTuple

from tidemill.context import JobLogger
from tidemill.coroutines import driver_of_loop
from tidemill.queue.claimed import ClaimedJob

logger = logging.getLogger("tidemill")

_LIMIT_SECONDS = 1.0
# The loop is asked so often; so a hold that is longer than both together is always noticed.
_PAUSE_SECONDS = 0.25
# For so long, the same attempt is not told of twice at the same place.
_QUIET_SECONDS = 60.0
_MOST_JOBS = 5
_ADVICE = "Make it a plain function (def), or await asyncio.to_thread(...) there"
_OF_GIL = "code that lets no other thread run (it keeps Python's GIL)"
_ADVICE_FOR_GIL = "A thread would not help: give it less to do at a time, or a process"
_OURS = f"{Path(__file__).parents[1]}{os.sep}"
_LIBRARIES = (
    "<frozen ",
    *(f"{sysconfig.get_path(name)}{os.sep}" for name in ("stdlib", "platstdlib", "purelib", "platlib")),
)


class Seat:
    """Where a runner notes its job. A job is noted by one assignment, which costs next to nothing."""

    __slots__ = ("job",)

    def __init__(self) -> None:
        self.job: ClaimedJob | None = None


seat_here: ContextVar[Seat] = ContextVar("tidemill_seat")
"""The seat of the runner whose job is running; asyncio tasks that a job makes have it, too."""


class _Moment(NamedTuple):
    time: float
    worked: float
    """How long the loop's thread has had a processor so far; 0 where this is not known."""


@dataclass(frozen=True)
class _Hold:
    """Whose code holds up the loop, and where."""

    who: str
    place: str
    log: logging.Logger | JobLogger


class LoopWatch:
    """Asks the event loop for an answer, over and over, from a thread of its own.

    If the loop owes one for more than a second, a warning tells whose code holds it up, and where.
    """

    def __init__(self, runners: Mapping[asyncio.Task[Any], Seat]) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        # Other systems than Linux may not tell how long a thread has worked.
        clock_of = getattr(time, "pthread_getcpuclockid", None)
        self._clock: int | None = clock_of(self._loop_thread) if clock_of else None
        self._driver = driver_of_loop()
        self._runners = runners
        self._stopped = threading.Event()
        self._looked = self._now()
        self._told: tuple[object, ...] = ()
        self._quiet_until = 0.0
        self._thread = threading.Thread(target=self._run, name="tidemill-loop-watch", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._looked = self._now()
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread; does not wait for it."""
        self._stopped.set()

    def _run(self) -> None:
        # Once the loop is closed, it can be asked no more; once its thread has ended, that has no clock.
        with contextlib.suppress(RuntimeError, OSError):
            while not self._stopped.wait(_PAUSE_SECONDS):
                since = self._looked.time
                # If this thread could not run, either, the loop may answer, and still has held up all.
                if self._was_late(_PAUSE_SECONDS) == "held":
                    self._ask(since, True)
                else:
                    self._ask(self._looked.time, False)

    def _ask(self, since: float, held: bool) -> None:
        answered = threading.Event()
        self._loop.call_soon_threadsafe(answered.set)
        while not held:
            is_answered = answered.wait(_LIMIT_SECONDS)
            late = self._was_late(0.0 if is_answered else _LIMIT_SECONDS)
            held = late == "held"
            if is_answered and not held:
                return
            if late == "no":
                break
        hold = self._find(held)
        if hold is not None:
            hold.log.warning(
                "%s has held up the event loop for over %g s, %s: until it lets go, no async task of this "
                "worker continues. %s",
                hold.who,
                _LIMIT_SECONDS,
                hold.place,
                _ADVICE_FOR_GIL if held else _ADVICE,
            )
        while not answered.wait(_LIMIT_SECONDS):
            if self._stopped.is_set():
                return
        self._looked = self._now()
        if hold is not None:
            hold.log.info("%s held up the event loop for %.1f s", hold.who, time.monotonic() - since)

    def _now(self) -> _Moment:
        return _Moment(time.monotonic(), time.clock_gettime(self._clock) if self._clock is not None else 0.0)

    def _was_late(self, planned: float) -> Literal["no", "held", "stopped"]:
        """Whether this thread waited much longer than planned, and whether the loop's thread worked then.

        If it did, it held the GIL all the time; if not, the process was stopped, or had no processor.
        """
        before, self._looked = self._looked, self._now()
        if self._looked.time < before.time + planned + _LIMIT_SECONDS:
            return "no"
        return "held" if self._looked.worked > before.worked + _LIMIT_SECONDS / 2 else "stopped"

    def _find(self, held: bool) -> _Hold | None:
        """Who holds up the loop; None if no code of users' does, or if this was told a moment ago."""
        frame = self._users_frame()
        if frame is None:
            return _Hold(_OF_GIL, "and was gone when it could be looked for", logger) if held else None
        place = f"at {frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_qualname}"
        jobs = self._jobs()
        found = (place, *((job.id, job.attempt) for job in jobs))
        if found == self._told and time.monotonic() < self._quiet_until:
            return None
        self._told, self._quiet_until = found, time.monotonic() + _QUIET_SECONDS
        names = ", ".join(f"job {job.id} ({job.identifier})" for job in jobs[:_MOST_JOBS])
        who = f"one of {len(jobs)} jobs, {names}" if len(jobs) > 1 else names or "code that belongs to no job"
        if held:
            # The loop's thread may have come a little further before this one could run.
            return _Hold(_OF_GIL, f"{place} or just before ({who})", logger)
        if len(jobs) != 1:
            return _Hold(who, place, logger)
        fields = {"job_id": jobs[0].id, "task": jobs[0].identifier, "attempt": jobs[0].attempt}
        return _Hold(who, place, JobLogger(logger, fields))

    def _users_frame(self) -> FrameType | None:
        """The innermost frame that is neither ours nor a library's; or else what we called."""
        frame = sys._current_frames().get(self._loop_thread)
        users: FrameType | None = None
        called: FrameType | None = None
        before: FrameType | None = None
        while frame is not None and frame.f_code is not self._driver:
            file = frame.f_code.co_filename
            if file.startswith(_OURS):
                # Users' code may be installed as a library, too.
                called = before or called
                before = None
            else:
                before = frame
                if users is None and not file.startswith(_LIBRARIES):
                    users = frame
            frame = frame.f_back
        # Without the loop's own frame below it, this is the code that runs the loop.
        return None if frame is None else users or called

    def _jobs(self) -> list[ClaimedJob]:
        """The job whose code runs on the loop; several if it could be any of them."""
        task = asyncio.current_task(self._loop)
        if task is None:
            return []
        taken = self._runners.get(task)
        if taken is None and sys.version_info >= (3, 12):
            taken = task.get_context().get(seat_here)
        if taken is not None or sys.version_info >= (3, 12):
            seats = [] if taken is None else [taken]
        else:
            seats = list(self._runners.values())
        return [job for job in (one.job for one in seats) if job is not None]
