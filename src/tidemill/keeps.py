"""Keeps: for how long the history of a job is kept. The database has them as numbers: see `_keeps.sql`."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

from tidemill.retry import NoUnitError, in_seconds

Keep = str | timedelta

NONE = 0
DAY = 1
FOREVER = 5
_DAY_SECONDS = 86400.0
# A keep is rounded up to one of these.
_SECONDS = {DAY: _DAY_SECONDS, 2: 7 * _DAY_SECONDS, 3: 31 * _DAY_SECONDS, 4: 366 * _DAY_SECONDS}
_TEXTS = ("none", "1 day", "1 week", "1 month", "1 year", "forever")
_WORDS = re.compile(r"(\d+)\s*(day|week|month|year)s?", re.ASCII)
# As PostgreSQL counts where it compares intervals, so that a text means the same there.
_DAYS = {"day": 1, "week": 7, "month": 30, "year": 360}


def read_keep(value: Any) -> int:
    """The number of a keep: a timedelta, or a text such as "1 week", "30d", "forever" or "none".

    Rounds up to a day, a week, a month or a year; more than that is forever. Raises ValueError.
    """
    if isinstance(value, timedelta):
        wanted = value.total_seconds()
    elif isinstance(value, str):
        given = value.strip().lower()
        if given in ("none", "forever"):
            return NONE if given == "none" else FOREVER
        words = _WORDS.fullmatch(given)
        try:
            wanted = (
                int(words[1]) * _DAYS[words[2]] * _DAY_SECONDS
                if words
                else in_seconds(given, needs_unit=True)
            )
        except NoUnitError:
            raise
        except ValueError:
            wanted = 0.0
    else:
        wanted = 0.0
    if wanted <= 0:
        raise ValueError(
            f"{value!r} is not how long history can be kept: use a timedelta, or a text such as '1 day', "
            "'1 week', '90d', 'forever' or 'none'"
        )
    return next((keep for keep, seconds in _SECONDS.items() if wanted <= seconds), FOREVER)


def keep_text(keep: int) -> str:
    """A keep as the database reads it."""
    return _TEXTS[keep]
