"""All exceptions that Tidemill raises for its users.

Each message is one paragraph: what happened, why, and what to do next.
"""

from __future__ import annotations

from tidemill.texts import message_of, name_of


class TidemillError(Exception):
    """Base of all errors that Tidemill raises on purpose."""


class DatabaseUnavailableError(TidemillError):
    """The database could not be reached, or refused the login."""


class PoolExhaustedError(TidemillError):
    """All connections of the pool are held by code that waits for one more."""


class UnsupportedServerError(TidemillError):
    """The server is older than the oldest PostgreSQL that Tidemill supports, or the database is SQL_ASCII."""


class EmbeddedServerError(TidemillError):
    """The embedded PostgreSQL could not be prepared, started or stopped."""


class SchemaError(TidemillError):
    """The schema `tidemill` is missing, too old, or too new for this version."""


class MissingRightsError(TidemillError):
    """The database role lacks a right that the operation needs."""


class InvalidJobError(TidemillError):
    """A job was refused: an argument is malformed, too long, out of range, or a name that nobody knows.

    `sqlstate` is PostgreSQL's code for it, for instance `23514` or `GWBKM`.
    """

    def __init__(self, message: str, sqlstate: str | None = None) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


class ActionError(TidemillError):
    """An action does not exist, was refused, or failed when it was run by hand.

    `sqlstate` is PostgreSQL's code for it, for instance `42704`; None if it is not the database's error.
    """

    def __init__(self, message: str, sqlstate: str | None = None) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


class TaskLoadError(TidemillError):
    """A task, a task file or an `--app` could not be loaded."""


class CrontabError(TidemillError):
    """A crontab could not be read; the message names the line."""


class AttemptError(TidemillError):
    """An attempt failed for a reason that the message tells in full, so no traceback is logged."""


class PayloadError(AttemptError):
    """A job's payload does not fit its task, so the job fails for good; the message names the field."""


class JobTimeoutError(AttemptError):
    """An attempt took longer than its task's timeout."""


class ExecutableError(AttemptError):
    """An executable ended with a failure; the message has the end of its stderr."""


class BatchError(AttemptError):
    """Some entries of a batch job failed, with `exceptions`; `payload` is the JSON array of just those."""

    def __init__(self, errors: list[BaseException], payload: str) -> None:
        super().__init__("Batch failures:\n" + "\n".join(message_of(e) or name_of(e) for e in errors))
        self.exceptions = errors
        self.payload = payload


class UnfinishedError(AttemptError):
    """A task, or middleware around it, returned work that nobody waits for, such as a coroutine."""


class ResultError(AttemptError):
    """A task's result is not JSON, too large or too deep: its job fails for good, after its effects.

    Whoever waits for a job gets it for a result that cannot be read.
    """


class JobFailedError(TidemillError):
    """A job that was waited for has failed for good, was cancelled or removed: the `outcome`.

    `job_id`, and `error_type`, the name of the exception's type where it is known.
    """

    def __init__(self, message: str, job_id: int, outcome: str, error_type: str | None = None) -> None:
        super().__init__(message)
        self.job_id = job_id
        self.outcome = outcome
        self.error_type = error_type


class JobCancelledError(TidemillError):
    """Raised by `job.raise_if_cancelled()` in a task that was cancelled or timed out."""
