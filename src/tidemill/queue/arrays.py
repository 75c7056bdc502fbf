"""Many jobs in one statement: what is written of them, as arrays."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import LiteralString

from tidemill.database.sql import with_nulls
from tidemill.queue.claimed import Record, Report
from tidemill.times import moment

MOST_BYTES = 8 * 1024 * 1024
"""About as many bytes of texts are in one statement: what it costs to send them grows with their square."""


def array(numbers: Iterable[int]) -> str:
    """Numbers, or truth values, as text of a PostgreSQL array: many times cheaper than adapting a list."""
    return f"{{{','.join(map(str, numbers))}}}"


def seconds_array(seconds: Iterable[float]) -> str:
    """Seconds as text of an array of floats, to the microsecond: cheaper still than the text of floats."""
    microseconds = ",".join([f"{int(one * 1e6)}e-6" for one in seconds])
    return f"{{{microseconds}}}"


_TOLD_ARRAYS: LiteralString = "%b::float8[], %b::pg_catalog.text[]"


def _told_arrays(told: Sequence[tuple[float | None, str | None] | None]) -> list[object]:
    """Progress as arrays; nothing where nobody has told of any."""
    if told.count(None) == len(told):
        return [None, None]
    pairs = [one or (None, None) for one in told]
    return [with_nulls([fraction for fraction, _ in pairs]), with_nulls([message for _, message in pairs])]


RECORD_ARRAYS: LiteralString = (
    f"%s::smallint[], %s::boolean[], %s::float8[], %s::float8[], %b::pg_catalog.text[], {_TOLD_ARRAYS}"
)
"""The parameters that `record_arrays` is for."""


def record_arrays(records: Sequence[Record]) -> list[object]:
    """Records as arrays, one for each field."""
    now = time.perf_counter()
    return [
        array(record.keep for record in records),
        array(record.with_payload for record in records),
        seconds_array(record.duration for record in records),
        seconds_array(now - record.ended for record in records),
        with_nulls([record.result for record in records]),
        *_told_arrays([record.told for record in records]),
    ]


# In the order of tidemill._ended_attempt. Times are microseconds since 2000.
REPORT_ARRAYS: LiteralString = f"""array(
  select row(k.id, null, null, k.keep, k.attempt, k.run_at, k.duration, k.age, null, k.error_type,
             k.error_frame, k.traceback)::tidemill._ended_attempt
  from rows from (
    pg_catalog.unnest(%s::bigint[]), pg_catalog.unnest(%s::smallint[]), pg_catalog.unnest(%s::smallint[]),
    pg_catalog.unnest(%s::pg_catalog.timestamptz[]), pg_catalog.unnest(%s::float8[]),
    pg_catalog.unnest(%s::float8[]), pg_catalog.unnest(%b::pg_catalog.text[]),
    pg_catalog.unnest(%b::pg_catalog.text[]), pg_catalog.unnest(%b::pg_catalog.text[]))
    k(id, keep, attempt, run_at, duration, age, error_type, error_frame, traceback)), {_TOLD_ARRAYS}"""
"""The parameters that `report_arrays` is for."""
NO_REPORTS: LiteralString = "null, null, null"


def report_arrays(reported: Sequence[tuple[int, Report]]) -> list[object]:
    """Reports with their jobs' ids as arrays, one for each field; none if there are none."""
    if not reported:
        return []
    now = time.perf_counter()
    reports = [report for _, report in reported]
    return [
        array(job_id for job_id, _ in reported),
        array(report.keep for report in reports),
        array(report.attempt for report in reports),
        [moment(report.run_at) for report in reports],
        seconds_array(report.duration for report in reports),
        seconds_array(now - report.ended for report in reports),
        [report.error_type for report in reports],
        with_nulls([report.error_frame for report in reports]),
        with_nulls([report.traceback for report in reports]),
        *_told_arrays([report.told for report in reports]),
    ]
