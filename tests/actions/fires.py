"""Slots and fires: as the SQL functions tell them, and as Python's own calendar does."""

from __future__ import annotations

import calendar
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import psycopg

MICROSECOND = timedelta(microseconds=1)


def utc(text: str) -> datetime:
    """The instant that an ISO text without offset names in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def at(text: str, zone: str) -> datetime:
    """The instant of a wall-clock time that the zone's clocks show once."""
    shown = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone))
    instant = shown.astimezone(UTC)
    assert instant.astimezone(ZoneInfo(zone)).replace(tzinfo=None) == shown.replace(tzinfo=None)
    assert shown.utcoffset() == shown.replace(fold=1).utcoffset()
    return instant


@dataclass(frozen=True)
class Grid:
    """A fixed schedule, with its interval in parts."""

    months: int
    days: int
    seconds: float
    initial: datetime
    zone: str | None

    @property
    def interval(self) -> str:
        return f"{self.months} months {self.days} days {self.seconds} seconds"

    def slots(self) -> Iterator[datetime]:
        """The slots one by one, as zoneinfo has them."""
        if not self.months and not self.days:
            step = timedelta(seconds=self.seconds)
            while True:
                yield self.initial
                self = Grid(0, 0, self.seconds, self.initial + step, self.zone)
        zone = ZoneInfo(self.zone or "UTC")
        begun = self.initial.astimezone(zone).replace(tzinfo=None, fold=0)
        yield self.initial
        k = 1
        while True:
            shown = _plus_months(begun, k * self.months)
            shown += timedelta(days=k * self.days, seconds=k * self.seconds)
            yield as_postgresql_reads(shown, zone)
            k += 1

    def after(self, finished: datetime) -> datetime:
        """The first slot after an instant, by looking at all of them."""
        return next(slot for slot in self.slots() if slot > finished)


def _plus_months(shown: datetime, months: int) -> datetime:
    years, month = divmod(shown.month - 1 + months, 12)
    year = shown.year + years
    last = calendar.monthrange(year, month + 1)[1]
    return shown.replace(year=year, month=month + 1, day=min(shown.day, last))


def as_postgresql_reads(shown: datetime, zone: ZoneInfo) -> datetime:
    """The instant of a wall-clock time by the documented rule.

    Of two the later one; what clocks skip by the offset before the turn.
    """
    first = shown.replace(tzinfo=zone, fold=0).utcoffset()
    second = shown.replace(tzinfo=zone, fold=1).utcoffset()
    assert first is not None
    assert second is not None
    return (shown - min(first, second)).replace(tzinfo=UTC)


def next_starts(connection: psycopg.Connection, questions: Sequence[tuple[Grid, datetime]]) -> list[datetime]:
    """What tidemill.next_start answers for each grid and instant."""
    rows = connection.execute(
        """
        select tidemill.next_start(q.length, q.initial, q.zone, q.finished)
        from unnest(%s::interval[], %s::timestamptz[], %s::text[], %s::timestamptz[]) with ordinality
             q (length, initial, zone, finished, i)
        order by q.i
        """,
        (
            [grid.interval for grid, _ in questions],
            [grid.initial for grid, _ in questions],
            [grid.zone for grid, _ in questions],
            [finished for _, finished in questions],
        ),
    ).fetchall()
    return [slot.astimezone(UTC) for (slot,) in rows]


def chain(connection: psycopg.Connection, grid: Grid, count: int) -> list[datetime]:
    """The first slots of a grid, each asked for from the one before."""
    slots = next_starts(connection, [(grid, grid.initial - MICROSECOND)])
    while len(slots) < count:
        slots += next_starts(connection, [(grid, slots[-1])])
    return slots


def cron_fires(
    connection: psycopg.Connection, questions: Sequence[tuple[str, str | None, datetime]], count: int
) -> list[list[datetime]]:
    """The first fires of each line, zone and start; shorter where there are no more."""
    rows = connection.execute(
        """
        with recursive questions as materialized (
          select i, tidemill._read_cron(line) as fields, zone, start
          from unnest(%s::text[], %s::text[], %s::timestamptz[]) with ordinality q (line, zone, start, i)
        ), fires as (
          select i, 0 as n, start as fire from questions
          union all
          select f.i, f.n + 1, tidemill._next_cron(q.fields, q.zone, f.fire)
          from fires f join questions q using (i) where f.n < %s and f.fire is not null
        )
        select array_agg(fire order by n) filter (where n > 0 and fire is not null)
        from fires group by i order by i
        """,
        (
            [line for line, _, _ in questions],
            [zone for _, zone, _ in questions],
            [start for _, _, start in questions],
            count,
        ),
    ).fetchall()
    return [[fire.astimezone(UTC) for fire in fires or ()] for (fires,) in rows]
