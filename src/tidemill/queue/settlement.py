"""Settlements: how jobs ended, on the way to the database; and with other words where it refuses one."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Literal

import msgspec
from msgspec.structs import replace

from tidemill.database.words import words
from tidemill.queue.claimed import ClaimedJob, Record, Report
from tidemill.queue.refused import in_ascii, storable_record

logger = logging.getLogger("tidemill")


class Settlement(msgspec.Struct, frozen=True, gc=False):
    """How one leased job ended. No dataclass, which would take ten times as long to make."""

    kind: Literal["done", "failed", "returned"]
    id: int
    token: int
    identifier: str = ""
    message: str | None = None
    delay: float | None = None
    """Seconds to the next attempt; None for the default backoff."""
    permanent: bool = False
    payload: str | None = None
    """The part of a batch job's payload that has failed."""
    cancelled: bool = False
    """Of a failed one: it was cancelled, by its task or by somebody else."""
    spared: bool = False
    """Of a failed one: its connection broke before it was of use, so this was not the last attempt."""
    record: Record | None = None
    """Of a done one whose history is kept."""
    report: Report | None = None
    """Of a failed one whose history is kept."""

    @classmethod
    def of(cls, job: ClaimedJob, kind: Literal["done", "returned"]) -> Settlement:
        """For a job that succeeded, or goes back as it was."""
        return cls(kind, job.id, job.token, job.identifier, record=job.record)

    @property
    def size(self) -> int:
        """About how many bytes it has of texts that may be long."""
        texts = [self.message, self.payload]
        if self.record is not None:
            texts.append(self.record.result)
        if self.report is not None:
            texts.append(self.report.traceback)
        return sum(len(text) for text in texts if text is not None)


class FreedQueue(msgspec.Struct, frozen=True, gc=False):
    """A leased named queue whose jobs have ended."""

    id: int
    token: int


Settle = Callable[[Settlement | FreedQueue], None]


def storable_failure(refused: Settlement, error: Exception) -> list[Settlement]:
    """One that says the same in ASCII, or, if that was refused too, with nothing but a text of why.

    Empty if there is nothing left to leave out. Then the job is freed as one that nobody has in hand.
    """
    plain = replace(refused, message=in_ascii(refused.message or ""))
    if plain != refused:
        return [plain]
    if refused.delay is None and refused.payload is None:
        logger.error(
            "job %s (%s): its failure cannot be written: %s", refused.id, refused.identifier, words(error)
        )
        return []
    why = f"{refused.message} (What followed could not be stored: {words(error)}. "
    why += "So the default wait applies, and all of the payload runs again.)"
    return [replace(refused, message=in_ascii(why), delay=None, payload=None)]


def storable_success(refused: Settlement, error: Exception) -> Settlement | None:
    """One without what was refused; None if there is nothing left to leave out."""
    assert refused.record is not None
    record = storable_record(refused.record)
    if record is not None and refused.record.result is not None and record.result is None:
        logger.error(
            "job %s (%s) is done, but its result cannot be stored: %s",
            refused.id,
            refused.identifier,
            words(error),
        )
    return None if record is None else replace(refused, record=record)
