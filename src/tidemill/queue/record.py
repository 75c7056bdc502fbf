"""What a worker tells of an attempt whose history is kept."""

from __future__ import annotations

import os
import re
import sysconfig
import time
import traceback
from collections.abc import Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any

import msgspec

from tidemill.errors import AttemptError, ResultError
from tidemill.jobs import Outcome
from tidemill.keeps import DAY, NONE
from tidemill.payloads import no_number
from tidemill.queue.claimed import ClaimedJob, Record, Report
from tidemill.tasks import Task
from tidemill.texts import name_of

LONGEST_RESULT = 1024 * 1024
"""Bytes of a result as JSON: express batches write many of them at once."""
_DEEPEST_RESULT = 500
"""Lists and objects within each other: who reads it has limits, too, in Python of a thousand."""
_BRACKETS = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_NO_BRACKETS = bytes(set(range(256)) - set(_BRACKETS))
_JSON_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_LONGEST_TRACEBACK = 16_000
_LONGEST_FRAME = 200
_OURS = str(Path(__file__).parent.parent) + os.sep
_LIBRARIES = tuple(
    {sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib", "purelib", "platlib")}
)


class Keeper:
    """Knows which jobs' history is kept, and for how long. Thread-safe.

    `default` is for tasks that do not say it themselves.
    """

    def __init__(self, tasks: Mapping[str, Task[Any]], default: int = NONE) -> None:
        self.keeps = {identifier: keep_of_task(task, default) for identifier, task in tasks.items()}
        """By task."""
        self.with_payloads = {identifier: task.keep_payload for identifier, task in tasks.items()}
        self.is_on = any(self.keeps.values())
        """Whether the history of any task is kept."""

    def note(self, job: ClaimedJob, seconds: float) -> None:
        """Notes at a job that ended well just now what history is to have of it."""
        keep = self.keeps[job.identifier] if job.keep is None else job.keep
        if keep:
            job.record = Record(
                keep, self.with_payloads[job.identifier], seconds, time.perf_counter(), job.result, job.told
            )

    def report(self, job: ClaimedJob, error: BaseException, seconds: float) -> Report | None:
        """What history is to have of an attempt that failed; None if nothing."""
        keep = self.keeps[job.identifier] if job.keep is None else job.keep
        if not keep:
            return None
        told = isinstance(error, AttemptError | Outcome)
        return Report(
            keep,
            job.attempt,
            job.run_at,
            seconds,
            time.perf_counter(),
            name_of(error),
            None if told else storable(own_frame(error)),
            None if told else storable(_traceback(error)),
            job.told,
        )


def keep_of_task(task: Task[Any], default: int) -> int:
    """How long the history of a task's jobs is kept; one whose results are kept: a day at least."""
    keep = default if task.keep is None else task.keep
    return keep or DAY if task.keep_result and task.keep is None else keep


def encoded_result(task: Task[Any], result: Any) -> str | None:
    """A task's result as JSON, None for None. Raises ResultError."""
    if result is None:
        return None
    try:
        text = msgspec.json.encode(result)
        depth = _depth(text)
        if depth <= _DEEPEST_RESULT:
            # Of msgspec.Raw nobody has looked at what it holds.
            msgspec.json.decode(text, type=msgspec.Raw)
            decoded = text.decode()
            if (nothing := no_number(result, text)) is not None:
                raise ValueError(f"result{nothing[0]} is {nothing[1]}, and JSON has no such number")
    except Exception as error:
        raise ResultError(
            f"The task has ended, but its result, a {type(result).__name__}, cannot be kept as JSON "
            f"({error}). Return what JSON can hold, or leave keep_result out of task {task.identifier!r}."
        ) from error
    if len(text) > LONGEST_RESULT:
        raise ResultError(
            f"The task has ended, but its result cannot be kept: it has {len(text):,} bytes as JSON, at most "
            f"{LONGEST_RESULT:,} are kept. Store it elsewhere, and return where."
        )
    if depth > _DEEPEST_RESULT:
        raise ResultError(
            f"The task has ended, but its result cannot be kept: it is nested {depth:,} deep as JSON, and "
            f"{_DEEPEST_RESULT:,} are the most. Return something flatter."
        )
    return decoded


def _depth(text: bytes) -> int:
    """How deep lists and objects are within each other; for most texts an upper bound that is low enough."""
    most = text.count(b"[") + text.count(b"{")
    if most <= _DEEPEST_RESULT:
        return most
    brackets = _JSON_STRING.sub(b"", text).translate(None, _NO_BRACKETS)
    return max(accumulate(map(_BRACKETS.__getitem__, brackets)), default=0)


def own_frame(error: BaseException) -> str | None:
    """Where in the task's own code an error was raised: `file.py:12 function`; None if nowhere."""
    found = last = None
    step = error.__traceback__
    while step is not None:
        name = step.tb_frame.f_code.co_filename
        if not name.startswith(_OURS):
            last = step
            if not name.startswith(_LIBRARIES):
                found = step
        step = step.tb_next
    step = found or last
    if step is None:
        return None
    code = step.tb_frame.f_code
    place = "/".join(Path(code.co_filename).parts[-2:])
    return f"{place}:{step.tb_lineno} {code.co_qualname}"[:_LONGEST_FRAME]


def storable(text: str | None) -> str | None:
    """Without what PostgreSQL's text cannot hold: NUL, and halves of surrogate pairs."""
    if text is None:
        return None
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()


def _traceback(error: BaseException) -> str:
    step = error.__traceback__
    while step is not None and step.tb_frame.f_code.co_filename.startswith(_OURS):
        step = step.tb_next
    text = "".join(traceback.format_exception(type(error), error, step, limit=-50))
    # What went wrong stands at the end.
    return text if len(text) <= _LONGEST_TRACEBACK else "... " + text[-_LONGEST_TRACEBACK:]
