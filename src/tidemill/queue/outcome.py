"""Outcomes: what the end of an attempt means for its job."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from tidemill.context import JobContext
from tidemill.database.lent import is_spared
from tidemill.errors import (
    AttemptError,
    BatchError,
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


class Ended(list[Any]):
    """The results of a batch whose entries have ended well."""


def is_batch(payload: str) -> bool:
    """Whether a payload, as JSON text, is an array."""
    return payload.lstrip().startswith("[")


async def check_result(result: Any, payload: str, context: JobContext) -> Any:
    """Raises what a return value stands for: a Retry, a Cancel, a batch's failures; else returns it."""
    if isinstance(result, Outcome):
        raise result
    if type(result) is Ended:
        return result
    if isinstance(result, list) and is_batch(payload):
        payloads = _payloads(payload)
        return None if _is_other(result, payloads, context) else await _entries(result, payloads)
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


async def to_the_end(call: Callable[..., Awaitable[Any]], context: JobContext, *args: Any) -> Any:
    """A batch job's async task and its entries: middleware around it sees how all of them end."""
    result = await call(*args)
    return result if isinstance(result, Outcome) else await check_result(result, context.raw_payload, context)


def to_the_end_in_thread(call: Callable[..., Any], context: JobContext, *args: Any) -> Any:
    """The same of a plain function; entries that are awaitable are left to the event loop."""
    result = call(*args)
    if isinstance(result, list) and not any(map(inspect.isawaitable, result)):
        payloads = _payloads(context.raw_payload)
        return None if _is_other(result, payloads, context) else _judged(result, payloads)
    return result


def _payloads(payload: str) -> list[msgspec.Raw]:
    return msgspec.json.decode(payload, type=list[msgspec.Raw])


def _is_other(results: list[Any], payloads: list[msgspec.Raw], context: JobContext) -> bool:
    """Whether these are no results of the entries."""
    if len(results) == len(payloads):
        return False
    context.logger.warning(
        "job %s returned %s results for a batch of %s; they are ignored, and the job is done",
        context.id,
        len(results),
        len(payloads),
    )
    for result in results:
        if inspect.iscoroutine(result):
            result.close()
    return True


async def _entries(results: list[Any], payloads: list[msgspec.Raw]) -> Ended:
    """Awaits the entries that a batch job returned; raises BatchError for those that failed."""
    return _judged(
        await asyncio.gather(
            *(_entry(result) if inspect.isawaitable(result) else _ready(result) for result in results),
            return_exceptions=True,
        ),
        payloads,
    )


def _judged(ended: list[Any], payloads: list[msgspec.Raw]) -> Ended:
    failed = [index for index, result in enumerate(ended) if isinstance(result, BaseException)]
    if failed:
        rest = msgspec.json.encode([payloads[index] for index in failed]).decode()
        raise BatchError([ended[index] for index in failed], rest)
    return Ended(ended)


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
