"""The crontab's plan, without a database: which minutes come when, and which are made up for."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from tests.actions.crontabs import at
from tidemill.actions.crontab import parse_crontab
from tidemill.actions.crontab_clock import CrontabPlan, Due, Known

MINUTE = timedelta(minutes=1)


def plan(crontab: str, start: str, **known: tuple[str, str | None]) -> CrontabPlan:
    """A plan; `known` has an identifier's known_since and last_execution."""
    items = parse_crontab(crontab)
    found = {
        identifier: Known(at(since), None if last is None else at(last))
        for identifier, (since, last) in known.items()
    }
    return CrontabPlan(items, at(start), found)


def take(crontab: CrontabPlan, now: str) -> list[tuple[str, str, bool]]:
    """The jobs that are due by now; moves the plan on to the next minute."""
    found: list[Due] = []
    while crontab.next <= at(now):
        due, following = crontab.due(at(now))
        found += due
        crontab.advance(following)
    return [(f"{one.minute:%H:%M}", one.item.identifier, one.backfilled) for one in found]


class TestPlan:
    def test_the_first_minute_is_the_next_whole_one(self) -> None:
        found = plan("* * * * * t", "12:00:30")
        assert found.next == at("12:01:00")
        assert take(found, "12:00:59.999") == []
        assert take(found, "12:01:00") == [("12:01", "t", False)]
        assert found.next == at("12:02:00")

    def test_a_start_on_the_minute_takes_it(self) -> None:
        assert take(plan("* * * * * t", "12:00:00"), "12:00:00") == [("12:00", "t", False)]

    def test_an_early_timer_adds_nothing(self) -> None:
        found = plan("* * * * * t", "12:00:30")
        for now in ("12:00:59", "12:00:59.9", "12:00:59.999999"):
            assert take(found, now) == []
            assert found.next == at("12:01:00")
        assert take(found, "12:01:00.0005") == [("12:01", "t", False)]

    def test_a_late_timer_catches_up_minute_by_minute(self) -> None:
        found = plan("*/2 * * * * even\n* * * * * all", "12:00:30")
        assert take(found, "12:04:10") == [
            ("12:01", "all", False),
            ("12:02", "even", False),
            ("12:02", "all", False),
            ("12:03", "all", False),
            ("12:04", "even", False),
            ("12:04", "all", False),
        ]

    def test_a_clock_that_steps_back_brings_nothing_twice(self) -> None:
        found = plan("* * * * * t", "12:00:30")
        assert take(found, "12:03:00") == [
            ("12:01", "t", False),
            ("12:02", "t", False),
            ("12:03", "t", False),
        ]
        for now in ("12:01:00", "11:00:00", "12:03:59"):
            assert take(found, now) == []
        assert take(found, "12:04:00") == [("12:04", "t", False)]

    def test_a_refused_batch_is_due_again(self) -> None:
        found = plan("* * * * * t", "12:00:30")
        first, _ = found.due(at("12:02:00"))
        again, _ = found.due(at("12:02:00"))
        assert first == again != []

    @given(st.lists(st.timedeltas(timedelta(minutes=-5), timedelta(minutes=9)), max_size=40))
    def test_however_the_clock_goes_each_minute_comes_once(self, steps: list[timedelta]) -> None:
        now = latest = at("12:00:30")
        found = CrontabPlan(parse_crontab("* * * * * t"), now, {})
        came: list[datetime] = []
        for step in steps:
            now += step
            latest = max(latest, now)
            due, following = found.due(now)
            found.advance(following)
            came += [one.minute for one in due]
        expected = (latest - at("12:00:00")) // MINUTE
        assert came == [at("12:00:00") + n * MINUTE for n in range(1, expected + 1)]


class TestBackfill:
    def test_what_was_missed_since_the_last_execution(self) -> None:
        found = plan("*/10 * * * * t ?fill=1h", "12:05:00", t=("09:00:00", "11:30:00"))
        assert take(found, "12:10:00") == [
            ("11:40", "t", True),
            ("11:50", "t", True),
            ("12:00", "t", True),
            ("12:10", "t", False),
        ]

    def test_no_further_back_than_fill(self) -> None:
        found = plan("*/10 * * * * t ?fill=20m", "12:05:00", t=("09:00:00", "10:00:00"))
        # 11:45 is 20 minutes before 12:05.
        assert take(found, "12:05:00") == [("11:50", "t", True), ("12:00", "t", True)]
        found = plan("*/10 * * * * t ?fill=20m", "12:10:00", t=("09:00:00", "10:00:00"))
        assert take(found, "12:09:59") == [("11:50", "t", True), ("12:00", "t", True)]
        # The minute of the start is no missed one.
        assert take(found, "12:10:00") == [("12:10", "t", False)]

    def test_none_without_fill(self) -> None:
        found = plan("* * * * * t", "12:05:00", t=("09:00:00", "10:00:00"))
        assert take(found, "12:05:00") == [("12:05", "t", False)]

    def test_none_for_a_new_identifier(self) -> None:
        assert take(plan("* * * * * t ?fill=1h", "12:05:30"), "12:05:59") == []
        # So is one that was made known by this very start.
        assert take(plan("* * * * * t ?fill=1h", "12:05:30", t=("12:05:30", None)), "12:05:59") == []

    def test_since_it_was_known_if_it_never_ran(self) -> None:
        found = plan("*/10 * * * * t ?fill=4h", "12:00:30", t=("11:40:00", None))
        assert take(found, "12:00:30") == [("11:40", "t", True), ("11:50", "t", True), ("12:00", "t", True)]

    def test_each_item_has_its_own(self) -> None:
        found = plan(
            "0 * * * * a ?fill=3h\n30 * * * * b ?fill=1h\n0 * * * * c",
            "12:15:00",
            a=("01:00:00", "09:00:00"),
            b=("01:00:00", "09:00:00"),
            c=("01:00:00", "09:00:00"),
        )
        # 11:15 is the earliest for b, 9:15 for a.
        assert take(found, "13:00:00") == [
            ("10:00", "a", True),
            ("11:00", "a", True),
            ("11:30", "b", True),
            ("12:00", "a", True),
            ("12:30", "b", False),
            ("13:00", "a", False),
            ("13:00", "c", False),
        ]

    def test_a_clock_that_was_set_back_before_the_start(self) -> None:
        found = plan("* * * * * t ?fill=1h", "12:05:00", t=("09:00:00", "14:00:00"))
        assert found.next == at("12:05:00")
        # The database passes this one over.
        assert take(found, "12:05:00") == [("12:05", "t", False)]

    def test_fill_may_be_longer_than_there_were_years(self) -> None:
        found = plan("0 0 * * * t ?fill=999999w", "12:00:00", t=("00:00:00", None))
        assert take(found, "12:00:00") == [("00:00", "t", True)]

    def test_a_long_one_goes_in_steps(self) -> None:
        items = parse_crontab("* * * * * t ?fill=52w")
        start = datetime(2026, 7, 1, tzinfo=UTC)
        found = CrontabPlan(items, start, {"t": Known(start - timedelta(days=3), None)})
        due, following = found.due(start, most=100)
        assert len(due) == 100
        assert following == start - timedelta(days=3) + 100 * MINUTE
        rare = CrontabPlan(
            parse_crontab("0 0 1 1 * t ?fill=52w"),
            start,
            {"t": Known(start - timedelta(days=364), None)},
        )
        steps = 0
        while rare.next <= start:
            due, following = rare.due(start)
            rare.advance(following)
            steps += 1
            assert [one.minute for one in due] in ([], [datetime(2026, 1, 1, tzinfo=UTC)])
        assert steps >= 52


def test_the_payload_tells_of_the_minute() -> None:
    [item] = parse_crontab("* * * * * t {a: [1, 'ü'], _cron: 'mine'}")
    for backfilled in (True, False):
        assert json.loads(Due(item, at("04:05:00"), backfilled).payload()) == {
            "a": [1, "ü"],
            "_cron": {"ts": "2026-07-01T04:05:00.000Z", "backfilled": backfilled},
        }
