"""Jobs as users add them and read them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, TypedDict

from tidemill.errors import InvalidJobError
from tidemill.keeps import Keep, keep_text, read_keep
from tidemill.retry import Delay
from tidemill.texts import shown

JobKeyMode = Literal["replace", "preserve_run_at", "unsafe_dedupe"]
State = Literal["ready", "scheduled", "running", "failed", "cancelled"]
PauseKind = Literal["task", "queue", "all"]
_SMALLINT = range(-32768, 32768)


class JobOptions(TypedDict, total=False):
    """The options of a job, beside its task and payload; see `JobSpec`."""

    queue_name: str | None
    run_at: datetime | timedelta | None
    max_attempts: int | None
    job_key: str | None
    priority: int | None
    flags: Sequence[str] | None
    job_key_mode: JobKeyMode | None
    keep: Keep | None
    trace: str | None
    limit_name: str | None


@dataclass(slots=True)
class JobSpec:
    """A job to add. Only the identifier is needed; None means the default.

    Raises InvalidJobError for a number out of range and a `run_at` without a time zone.
    """

    identifier: str
    payload: Any = None
    """Anything that msgspec can write as JSON; default {}."""
    queue_name: str | None = None
    """Jobs of one named queue run one at a time, in order."""
    run_at: datetime | timedelta | None = None
    """Earliest start: a time with a time zone, or a wait counted on the database's clock."""
    max_attempts: int | None = None
    job_key: str | None = None
    priority: int | None = None
    """Smaller runs first; default 0."""
    flags: Sequence[str] | None = None
    job_key_mode: JobKeyMode | None = None
    keep: Keep | None = None
    """How long tidemill.job_history has it, as the option of its task; default what that says."""
    trace: str | None = None
    """The trace context of the caller: a W3C traceparent."""
    limit_name: str | None = None
    """A limit that `tidemill.set_limit` has made; default that of the task."""

    def __post_init__(self) -> None:
        # Callers without a type checker may pass any value.
        identifier: Any = self.identifier
        if not isinstance(identifier, str) or not identifier:
            raise InvalidJobError(
                f"identifier must be the name of a task, not {shown(identifier)}. "
                "With a task object use task.add(payload) or task.spec(payload)."
            )
        for name in ("max_attempts", "priority"):
            value = getattr(self, name)
            if value is None:
                continue
            if not isinstance(value, int) or isinstance(value, bool):
                raise InvalidJobError(f"{name} {shown(value)} of job {self.identifier!r} is not an integer.")
            if value not in _SMALLINT:
                raise InvalidJobError(
                    f"{name} {value} of job {self.identifier!r} is out of range: -32768 to 32767.", "22003"
                )
        for name in ("queue_name", "job_key", "job_key_mode", "trace", "limit_name"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, str):
                raise InvalidJobError(f"{name} {shown(value)} of job {self.identifier!r} is not a string.")
        self.run_at = checked_run_at(self.run_at, f"job {self.identifier!r}")
        if self.keep is not None:
            try:
                self.keep = keep_text(read_keep(self.keep))
            except ValueError as error:
                raise InvalidJobError(f"keep of job {self.identifier!r}: {error}.", "22023") from error
        if isinstance(self.flags, str):
            raise InvalidJobError(
                f"flags of job {self.identifier!r} is one string; use a list: [{shown(self.flags)}]."
            )
        flags: Any = self.flags
        if flags is not None and not (
            isinstance(flags, Collection) and all(isinstance(flag, str) for flag in flags)
        ):
            raise InvalidJobError(
                f"flags {shown(flags)} of job {self.identifier!r} is not a list of strings."
            )


def checked_run_at(run_at: Any, whose: str) -> datetime | timedelta | None:
    """Returns `run_at` as it was given. Raises InvalidJobError unless it names one definite moment."""
    if isinstance(run_at, datetime) and run_at.tzinfo is None:
        raise InvalidJobError(
            f"run_at {run_at.isoformat()} of {whose} has no time zone: "
            "use datetime.now(UTC) + ..., or a timedelta for a wait."
        )
    if run_at is None or isinstance(run_at, datetime | timedelta):
        return run_at
    raise InvalidJobError(
        f"run_at {shown(run_at)} of {whose} is neither a datetime with a time zone nor a timedelta."
    )


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it stands in the database; columns as in the view `tidemill.jobs`."""

    id: int
    identifier: str
    queue_name: str | None
    payload: Any
    state: State
    priority: int
    run_at: datetime
    attempts: int
    max_attempts: int
    last_error: str | None
    created_at: datetime
    updated_at: datetime
    key: str | None
    locked_at: datetime | None
    locked_by: str | None
    revision: int
    flags: list[str] | None


class Outcome(Exception):
    """What a task may return or raise to say how its job ends."""


class Retry(Outcome):
    """Run the job again after `delay`; the attempt counts. Return it or raise it."""

    def __init__(self, delay: Delay, reason: str = "The task asked for a retry") -> None:
        super().__init__(reason)
        self.delay = delay


class Cancel(Outcome):
    """Cancel the job, with `reason` as its last_error: it is not tried again. Return it or raise it."""

    def __init__(self, reason: str = "The task cancelled its job") -> None:
        super().__init__(reason)


@dataclass(frozen=True)
class WhyWaiting:
    """Why a job does not run: see SQL's `tidemill.why_waiting`."""

    reason: str
    """One word: `gone`, `running`, `paused`, `scheduled`, `no_worker`, `ready` and others."""
    message: str
    remedy: str | None
    """What to do, where anything is to be done."""
