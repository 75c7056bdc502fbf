"""Outcomes: what the end of an attempt means for its job."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable
from typing import Any

import msgspec

from tidemill.context import JobContext
from tidemill.database.lent import is_spared
from tidemill.errors import (
    AttemptError,
    BatchError,
    JobCancelledError,
    PayloadError,
    ResultError,
    UnfinishedError,
)
from tidemill.jobs import Cancel, Outcome, Retry
from tidemill.queue.claimed import ClaimedJob, Report
from tidemill.queue.settlement import Settlement
from tidemill.retry import seconds
from tidemill.tasks import Task
from tidemill.texts import LONGEST_ERROR, log_error, message_of, name_of

logger = logging.getLogger("tidemill")

# From this attempt on none is spared: a statement that kills its server process each time must have an end.
_MOST_SPARED = 100


async def check_result(result: Any, payload: str, context: JobContext) -> Any:
    """Raises what a return value stands for: a Retry, a Cancel, a batch's failures; else returns it."""
    if isinstance(result, Outcome):
        raise result
    if isinstance(result, list) and payload.lstrip().startswith("["):
        return await _check_batch(result, msgspec.json.decode(payload, type=list[msgspec.Raw]), context)
    _expect_no_work(result)
    return result


def _expect_no_work(result: Any) -> None:
    """Raises UnfinishedError for a result that is work which nobody has waited for."""
    if inspect.iscoroutine(result):
        result.close()
        raise UnfinishedError("The attempt returned a coroutine that has not run: write `return await ...`.")
    if inspect.isawaitable(result):
        name = type(result).__name__
        raise UnfinishedError(
            f"The attempt returned a {name} that nobody waits for: write `return await ...`."
        )
    if inspect.isgenerator(result) or inspect.isasyncgen(result):
        raise UnfinishedError("The attempt returned a generator that has not run: no task may `yield`.")


async def _check_batch(results: list[Any], payloads: list[msgspec.Raw], context: JobContext) -> Any:
    """Awaits the entries that a batch job returned; raises BatchError for those that failed."""
    if len(results) != len(payloads):
        context.logger.warning(
            "job %s returned %s results for a batch of %s; they are ignored, and the job is done",
            context.id,
            len(results),
            len(payloads),
        )
        for result in results:
            if inspect.iscoroutine(result):
                result.close()
        return None
    ended = await asyncio.gather(
        *(_entry(result) if inspect.isawaitable(result) else _ready(result) for result in results),
        return_exceptions=True,
    )
    failed = [index for index, result in enumerate(ended) if isinstance(result, BaseException)]
    if failed:
        rest = msgspec.json.encode([payloads[index] for index in failed]).decode()
        raise BatchError([ended[index] for index in failed], rest)
    return ended


async def _entry(result: Awaitable[Any]) -> Any:
    try:
        value = await result
        _expect_no_work(value)
        return value
    except asyncio.CancelledError:
        raise
    except BaseException as error:
        # A SystemExit, for instance, would end the event loop, and the worker with it.
        return error


async def _ready(result: Any) -> Any:
    return result


def meaning(error: BaseException, context: JobContext) -> BaseException:
    """The error, or a Cancel if the job was cancelled and obeyed."""
    obeyed = isinstance(error, asyncio.CancelledError | JobCancelledError) and context.cancelled
    return Cancel(context._cancel_reason) if obeyed else error


def failure(
    job: ClaimedJob, task: Task[Any], context: JobContext, error: BaseException, report: Report | None
) -> Settlement:
    """The settlement of a failed attempt; `report`: for its history."""
    spared = is_spared(error) and job.attempt < _MOST_SPARED
    delay, permanent = _next_attempt(task, context, error, spared)
    return Settlement(
        "failed",
        job.id,
        job.token,
        job.identifier,
        message=describe(error),
        delay=delay,
        permanent=permanent,
        payload=error.payload if isinstance(error, BatchError) else None,
        cancelled=isinstance(error, Cancel),
        spared=spared and not permanent,
        report=report,
    )


def failure_of_ours(job: ClaimedJob, error: BaseException) -> Settlement:
    """The settlement of an attempt whose runner broke: a retry with the default backoff."""
    return Settlement("failed", job.id, job.token, job.identifier, message=describe(error))


def _next_attempt(
    task: Task[Any], context: JobContext, error: BaseException, spared: bool
) -> tuple[float | None, bool]:
    """The wait before the next attempt (None: the default backoff), and whether the job fails for good.

    `spared`: there is a next attempt in any case.
    """
    # A payload that does not fit its task will not fit it the next time; and effects are not repeated.
    if isinstance(error, Cancel | PayloadError | ResultError) or (context.is_last_attempt and not spared):
        return None, True
    try:
        if isinstance(error, Retry):
            return seconds(error.delay), False
        if task.retry is None:
            return None, False
        delay = task.retry(context.attempt)
        return (None, not spared) if delay is None else (seconds(delay), False)
    except Exception as broken:
        log_error(
            logger, broken, "the retry delay of task %s is unusable; the default one is used", task.identifier
        )
        return None, False


def describe(error: BaseException) -> str:
    """The text of `last_error`: the error's message, with its type in front unless it is Tidemill's."""
    name = name_of(error)
    text = message_of(error, LONGEST_ERROR - len(name) - 2)
    if not isinstance(error, Outcome | AttemptError) or not text:
        text = f"{name}: {text}" if text else name
    # PostgreSQL's text cannot hold NUL or half of a surrogate pair.
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()
