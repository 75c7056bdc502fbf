"""Times as PostgreSQL holds them: microseconds since 2000, also in years that Python does not have."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
# Python's years are 1 to 9999; a day is kept free at each end, for time zones.
_EARLIEST = datetime(1, 1, 2, tzinfo=UTC)
_LATEST = datetime(9999, 12, 30, tzinfo=UTC)


def moment(microseconds: int) -> datetime:
    """The time so many microseconds after 2000, in UTC; infinity and far years become Python's first or last.

    This is the number that `timestamptz_send` writes.
    """
    try:
        return max(_EARLIEST, min(_LATEST, _EPOCH + timedelta(microseconds=microseconds)))
    except OverflowError:
        return _EARLIEST if microseconds < 0 else _LATEST
