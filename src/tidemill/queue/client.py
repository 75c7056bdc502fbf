"""The queue's SQL calls, written once for both the async and the blocking face."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from operator import attrgetter
from typing import Any, Generic, LiteralString, NoReturn, TypeVar

import msgspec
import psycopg

from tidemill.database import sql
from tidemill.database.connect import explain
from tidemill.errors import InvalidJobError
from tidemill.jobs import Job, JobSpec, PauseKind, WhyWaiting, checked_run_at
from tidemill.limits import Limit, Rate, read_limit
from tidemill.payloads import encode_payload
from tidemill.retry import seconds
from tidemill.texts import shown
from tidemill.times import moment

T = TypeVar("T")
Row = tuple[Any, ...]

ATTEMPTS = 5
# After a serialization failure or a deadlock the same call may succeed.
_TRANSIENT = {"40001", "40P01"}


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One statement with its parameters, and how its rows are read."""

    query: LiteralString
    params: dict[str, Any]
    read: Callable[[list[Row]], T]


COLUMN_NAMES = (
    "id", "identifier", "queue_name", "payload", "state", "priority", "run_at", "attempts", "max_attempts",
    "last_error", "created_at", "updated_at", "key", "locked_at", "locked_by", "revision", "flags",
)  # fmt: skip
"""The fields of tidemill.job, of Job, and of every row that a call reads."""
_TIMES = ("run_at", "created_at", "updated_at", "locked_at")


def _column(name: str) -> str:
    if name in _TIMES:
        # PostgreSQL's binary form is exact, whatever the DateStyle of the caller's connection.
        return f"pg_catalog.timestamptz_send({name})"
    return "payload::pg_catalog.text" if name == "payload" else name


_COLUMNS = ", ".join(map(_column, COLUMN_NAMES))


def _time(wire: bytes) -> datetime:
    return moment(int.from_bytes(wire, signed=True))


def _jobs(rows: list[Row]) -> list[Job]:
    # Jobs that were added together share most of their times.
    time = lru_cache(_time)
    return [
        Job(
            job_id,
            identifier,
            queue_name,
            None if payload is None else _payload(payload),
            state,
            priority,
            time(run_at),
            attempts,
            max_attempts,
            last_error,
            time(created_at),
            time(updated_at),
            key,
            None if locked_at is None else time(locked_at),
            locked_by,
            revision,
            flags,
        )
        for (
            job_id, identifier, queue_name, payload, state, priority, run_at, attempts, max_attempts,
            last_error, created_at, updated_at, key, locked_at, locked_by, revision, flags,
        ) in rows
        if job_id is not None
    ]  # fmt: skip


def _payload(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, ValueError, RecursionError):
        # PostgreSQL's json accepts values that Python cannot hold. The call has taken effect: do not fail.
        return msgspec.Raw(text.encode())


def _maybe_job(rows: list[Row]) -> Job | None:
    return next(iter(_jobs(rows)), None)


def _select(source: LiteralString, **params: Any) -> Call[list[Job]]:
    return Call(f"select {_COLUMNS} from {source}", params, _jobs)


_DEFAULT_PAYLOAD = msgspec.Raw(b"{}")
_NULL = b"null"


def _payload_of(spec: JobSpec) -> msgspec.Raw:
    text = encode_payload(spec.payload, spec.identifier)
    return _DEFAULT_PAYLOAD if text is None or bytes(text) == _NULL else text


def _run_at(spec: JobSpec) -> str | None:
    return spec.run_at.isoformat() if isinstance(spec.run_at, datetime) else None


def _run_in(spec: JobSpec) -> str | None:
    return f"{spec.run_at.total_seconds():.6f} seconds" if isinstance(spec.run_at, timedelta) else None


_FIELDS: dict[str, Callable[[JobSpec], Any]] = {
    "identifier": attrgetter("identifier"),
    "payload": _payload_of,
    "queue_name": attrgetter("queue_name"),
    "run_at": _run_at,
    "run_in": _run_in,
    "max_attempts": attrgetter("max_attempts"),
    "job_key": attrgetter("job_key"),
    "priority": attrgetter("priority"),
    "flags": lambda spec: None if spec.flags is None else list(spec.flags),
    "job_key_mode": attrgetter("job_key_mode"),
    "keep": attrgetter("keep"),
    "limit_name": attrgetter("limit_name"),
}


_FOR_ALL: tuple[LiteralString, ...] = ("keep", "trace")
"""What add_jobs takes once for all specs."""


def _texts(name: LiteralString) -> LiteralString:
    """The texts of a field, in the order of the specs."""
    return (
        f"array(select e.text from pg_catalog.json_array_elements_text(%({name})s::pg_catalog.json)"
        " with ordinality as e(text, place) order by e.place)"
    )


def _as_json(values: list[Any]) -> str | None:
    return None if values.count(None) == len(values) else msgspec.json.encode(values).decode()


def add_jobs(specs: Sequence[JobSpec], trace: str | None = None) -> Call[list[Job]]:
    """Adds jobs and returns them in the order of the specs; `trace` is for those that name none."""
    traces = [trace if spec.trace is None else spec.trace for spec in specs]
    try:
        given = {name: _as_json([read(spec) for spec in specs]) for name, read in _FIELDS.items()}
        given["trace"] = _as_json(traces)
    except (TypeError, ValueError, UnicodeError) as error:
        raise InvalidJobError(f"A job's options cannot be written as JSON: {error}.") from error
    # Only the private function takes these for each spec, but producers may call only the public one.
    kinds = {(spec.job_key_mode or "replace", spec.keep) for spec in specs}
    alike = len(kinds) <= 1 and len(set(traces)) <= 1
    more: LiteralString = ""
    if given["limit_name"] is not None:
        more += f", limit_names => {_texts('limit_name')}"
    for name in _FOR_ALL:
        if given[name] is not None:
            more += f", {name} => ({_texts(name)})[1]" if alike else f", {name}s => {_texts(name)}"
    add: LiteralString = (
        f"tidemill.add_jobs(given.specs, job_key_mode => given.modes[1]{more})"
        if alike
        else f"tidemill._add_jobs(given.specs, given.modes{more})"
    )
    return Call(f"select {_COLUMNS} from {sql.query('specs_from_json')} {add}", given, _jobs)


def remove_job(job_key: str) -> Call[Job | None]:
    """Removes the job with this key; None if there is none."""
    return Call(f"select {_COLUMNS} from tidemill.remove_job(%(job_key)s)", {"job_key": job_key}, _maybe_job)


def _ids(job_ids: Sequence[int]) -> list[int]:
    """Ids as a list. Raises InvalidJobError for other values; a string would be read digit by digit."""
    for job_id in [job_ids] if isinstance(job_ids, str | bytes) else job_ids:
        if not isinstance(job_id, int) or isinstance(job_id, bool) or not 0 < job_id < 2**63:
            raise InvalidJobError(f"{job_id!r} is not the id of a job; pass a list of integers such as [42].")
    return list(job_ids)


def complete_jobs(job_ids: Sequence[int]) -> Call[list[Job]]:
    """Marks jobs as done."""
    return _select("tidemill.complete_jobs(%(ids)s::bigint[])", ids=_ids(job_ids))


def permanently_fail_jobs(job_ids: Sequence[int], error_message: str | None) -> Call[list[Job]]:
    """Marks jobs as failed for good."""
    return _select(
        "tidemill.permanently_fail_jobs(%(ids)s::bigint[], %(message)s)",
        ids=_ids(job_ids),
        message=error_message,
    )


def reschedule_jobs(
    job_ids: Sequence[int],
    run_at: datetime | timedelta | None,
    priority: int | None,
    attempts: int | None,
    max_attempts: int | None,
) -> Call[list[Job]]:
    """Changes when and how jobs run."""
    checked_run_at(run_at, f"jobs {list(job_ids)[:5]}")
    return _select(
        "tidemill.reschedule_jobs(%(ids)s::bigint[], coalesce(%(run_at)s::timestamp with time zone, "
        "pg_catalog.now() operator(pg_catalog.+) %(run_in)s::interval), "
        "%(priority)s::integer, %(attempts)s::integer, %(max_attempts)s::integer)",
        ids=_ids(job_ids),
        run_at=run_at if isinstance(run_at, datetime) else None,
        run_in=run_at if isinstance(run_at, timedelta) else None,
        priority=priority,
        attempts=attempts,
        max_attempts=max_attempts,
    )


def cancel_jobs(job_ids: Sequence[int], reason: str | None) -> Call[list[Job]]:
    """Cancels waiting jobs, and asks running ones to stop."""
    return _select("tidemill.cancel_jobs(%(ids)s::bigint[], %(reason)s)", ids=_ids(job_ids), reason=reason)


def force_unlock_workers(worker_ids: Sequence[str]) -> Call[None]:
    """Frees the jobs and named queues that these workers hold."""
    if isinstance(worker_ids, str):
        raise InvalidJobError(f"worker_ids is one string; use a list: [{worker_ids!r}].")
    return Call(
        "select tidemill.force_unlock_workers(%(ids)s::pg_catalog.text[])",
        {"ids": list(worker_ids)},
        lambda rows: None,
    )


def stop_worker(worker_id: str, reason: str | None) -> Call[None]:
    """Asks a worker to stop."""
    return Call(
        "select tidemill.stop_worker(%(id)s::pg_catalog.text, %(reason)s::pg_catalog.text)",
        {"id": worker_id, "reason": reason},
        lambda rows: None,
    )


def set_limit(name: str, limit: Limit | Rate) -> Call[None]:
    """Makes or changes a limit that jobs can name."""
    one = read_limit(name, limit)
    if not isinstance(one, Limit):
        raise InvalidJobError(f"limit {shown(limit)} is no limit: write Limit(5), or Rate(100, '1 minute').")
    rate = one.rate
    return Call(
        "select tidemill.set_limit(%(name)s::pg_catalog.text, %(concurrency)s::integer, %(rate)s::integer, "
        "%(period)s::interval, %(burst)s::integer, %(per)s::pg_catalog.text)",
        {
            "name": name,
            "concurrency": one.concurrency,
            "rate": None if rate is None else rate.count,
            "period": None if rate is None else timedelta(seconds=seconds(rate.period)),
            "burst": None if rate is None else rate.burst,
            "per": one.per,
        },
        lambda rows: None,
    )


def pause(kind: PauseKind, name: str | None, reason: str | None) -> Call[bool]:
    """Pauses a task, a named queue, or everything; False if it is paused already."""
    return Call(
        "select tidemill.pause(%(kind)s::pg_catalog.text, %(name)s::pg_catalog.text, "
        "%(reason)s::pg_catalog.text)",
        {"kind": kind, "name": name, "reason": reason},
        lambda rows: bool(rows[0][0]),
    )


def resume(kind: PauseKind, name: str | None) -> Call[bool]:
    """Ends a pause; False if there was none."""
    return Call(
        "select tidemill.resume(%(kind)s::pg_catalog.text, %(name)s::pg_catalog.text)",
        {"kind": kind, "name": name},
        lambda rows: bool(rows[0][0]),
    )


def why_waiting(job_id: int) -> Call[WhyWaiting]:
    """Why a job does not run."""
    return Call(
        "select reason, message, remedy from tidemill.why_waiting(%(id)s::bigint)",
        {"id": job_id},
        lambda rows: WhyWaiting(*rows[0]),
    )


def remove_limit(name: str) -> Call[None]:
    """Removes a limit."""
    return Call("select tidemill.remove_limit(%(name)s::pg_catalog.text)", {"name": name}, lambda rows: None)


def get_job(job_id: int | None, key: str | None) -> Call[Job | None]:
    """One job by id or by key; None if there is none."""
    return Call(
        f"select {_COLUMNS} from tidemill.jobs "
        "where id operator(pg_catalog.=) %(id)s::bigint "
        "or key operator(pg_catalog.=) %(key)s::pg_catalog.text",
        {"id": job_id, "key": key},
        _maybe_job,
    )


def expect(connection: object, kind: type, other: str) -> None:
    """Raises TypeError for a connection of the other kind."""
    if connection is not None and not isinstance(connection, kind):
        raise TypeError(
            f"connection must be a psycopg.{kind.__name__}, not {type(connection).__name__}; "
            f"for the other kind call the same method on {other}."
        )


def may_repeat(error: psycopg.Error, connection: object, attempt: int) -> bool:
    """Whether to repeat a call that failed with this error."""
    # In the caller's transaction, only the caller could repeat what came before the call.
    return connection is None and error.sqlstate in _TRANSIENT and attempt < ATTEMPTS


def raise_explained(error: psycopg.Error) -> NoReturn:
    """Raises Tidemill's own error for an error of the driver, or that error itself if there is none."""
    ours = explain(error)
    if ours is None:
        raise error
    raise ours from error
