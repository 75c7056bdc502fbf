"""Low-water marks, which need no database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from tidemill.queue import marks as module
from tidemill.queue.claimed import ClaimedJob
from tidemill.queue.marks import Marks, Ration
from tidemill.times import moment

NOW = datetime(2025, 1, 1, tzinfo=UTC)
SEEN = NOW - timedelta(milliseconds=100)
EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, as a list of one."""
    now = [1000.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def at(minutes: int) -> datetime:
    return NOW - timedelta(minutes=100 - minutes)


def job(number: int, priority: int = 0, minutes: int | None = None) -> ClaimedJob:
    run_at = at(number if minutes is None else minutes)
    return ClaimedJob(
        id=number,
        identifier="t",
        payload="{}",
        priority=priority,
        run_at=(run_at - EPOCH) // timedelta(microseconds=1),
        attempt=1,
        max_attempts=25,
        created_at=0,
        key=None,
        revision=0,
        flags=None,
    )


def scan(
    marks: Marks, *jobs: ClaimedJob, full: bool = False, filled: bool = False, seconds: float = 1
) -> None:
    marks.scanned(jobs, full=full, filled=filled, until=NOW, seconds=seconds)


def places(marks: Marks) -> dict[int, tuple[datetime, int]]:
    found = marks.places(thorough=False, told=False)
    assert found is not None
    levels, run_ats, ids = found
    assert levels == sorted(levels)
    return dict(zip(levels, zip(run_ats, ids, strict=True), strict=True))


def test_a_ration(clock: list[float]) -> None:
    ration = Ration()
    # The first search is free.
    assert ration.allows
    assert ration.next is not None
    ration.spend(2)
    # None is due by itself; a requested one is, after ten times the last one's duration.
    assert not ration.allows
    assert ration.next is None
    ration.ask()
    assert ration.next == clock[0] + 20
    clock[0] += 19.9
    assert not ration.allows
    clock[0] += 0.2
    assert ration.allows
    ration.spend(3)
    ration.ask(at_once=True)
    assert ration.allows
    assert ration.next is not None
    assert ration.next <= clock[0]


def test_full_searches_are_rationed(clock: list[float]) -> None:
    marks = Marks()
    assert marks.places(thorough=False, told=False) is None
    scan(marks, full=True, seconds=2)
    assert marks.places(thorough=False, told=False) == ([], [], [])
    assert marks.places(thorough=True, told=False) is None
    assert marks.places(thorough=True, told=True) is None
    # A marked scan neither grants another nor costs one.
    scan(marks, seconds=7)
    clock[0] += 19.9
    assert marks.places(thorough=False, told=False) is not None
    clock[0] += 0.2
    assert marks.places(thorough=False, told=False) is None


@pytest.mark.usefixtures("clock")
def test_one_who_was_told_where_to_look_makes_no_full_scan() -> None:
    marks = Marks()
    scan(marks, full=True, seconds=0)
    assert marks.places(thorough=False, told=False) is None
    marks.lower(0, (at(50), 7))
    assert marks.places(thorough=False, told=True) == ([0], [at(50)], [6])


@pytest.mark.usefixtures("clock")
def test_a_scan_that_had_enough_goes_on_behind_the_last(clock: list[float]) -> None:
    marks = Marks()
    scan(marks, job(1, -1), job(2), job(3), full=True, filled=True)
    # All of the first level was seen; of the second up to there; of others nothing.
    assert places(marks) == {-1: (SEEN, 0), 0: (at(3), 3)}
    scan(marks, job(4), job(5, 7), filled=True)
    assert places(marks) == {-1: (SEEN, 0), 0: (SEEN, 0), 7: (at(5), 5)}


@pytest.mark.usefixtures("clock")
def test_a_scan_to_the_end_has_seen_all_but_the_newest() -> None:
    marks = Marks()
    scan(marks, job(1), job(2, 3), full=True)
    assert places(marks) == {0: (SEEN, 0), 3: (SEEN, 0)}


@pytest.mark.usefixtures("clock")
def test_a_scan_to_the_end_takes_a_newer_mark_back() -> None:
    """A job of a transaction that began just before is found."""
    marks = Marks()
    scan(marks, job(1, minutes=100), full=True, filled=True)
    assert places(marks) == {0: (NOW, 1)}
    scan(marks)
    assert places(marks) == {0: (SEEN, 0)}


@pytest.mark.usefixtures("clock")
def test_levels_behind_the_last_keep_their_marks() -> None:
    marks = Marks()
    scan(marks, job(1), job(2, 5), full=True)
    scan(marks, job(3, 0, 10), filled=True)
    assert places(marks) == {0: (at(10), 3), 5: (SEEN, 0)}


@pytest.mark.usefixtures("clock")
def test_lowering_a_mark_finds_that_job_and_what_lies_between() -> None:
    marks = Marks()
    scan(marks, job(1), full=True)
    marks.lower(0, (at(50), 7))
    # A scan looks behind the mark, so it must be before the job itself.
    assert places(marks) == {0: (at(50), 6)}
    marks.lower(0, (at(60), 8))
    assert places(marks) == {0: (at(50), 6)}
    marks.lower(-3, (at(70), 9))
    assert places(marks) == {-3: (at(70), 8), 0: (at(50), 6)}


@pytest.mark.usefixtures("clock")
def test_lowering_a_mark_for_a_job_that_is_due_later_skips_none_before_it() -> None:
    marks = Marks()
    scan(marks, full=True)
    before = datetime.now(UTC)
    marks.lower(4, (before + timedelta(days=1), 7))
    ((run_at, _),) = places(marks).values()
    assert run_at < before


def test_forgetting(clock: list[float]) -> None:
    marks = Marks()
    scan(marks, job(1), full=True, seconds=5)
    marks.forget()
    assert marks.places(thorough=False, told=False) is None
    assert marks.full_searches.next is not None
    assert marks.full_searches.next <= clock[0]


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("asked", [True, False])
def test_a_search_that_was_asked_for_is_adopted(clock: list[float], asked: bool) -> None:
    mine, other = Marks(), Marks()
    mine.full_searches.spend(1)
    other.full_searches.spend(2)
    if asked:
        other.full_searches.ask()
    mine.adopt(other)
    assert mine.full_searches.next == other.full_searches.next == (clock[0] + 20 if asked else None)


def test_endless_priorities_do_not_pile_up() -> None:
    marks = Marks()
    scan(marks, full=True)
    for priority in range(1000):
        marks.lower(priority, (at(1), 1))
        scan(marks, job(1, priority))
        assert len(places(marks)) <= 101


@pytest.mark.parametrize(
    ("microseconds", "expected"),
    [
        (0, EPOCH),
        (-1, EPOCH - timedelta(microseconds=1)),
        (789_004_800_000_000, datetime(2025, 1, 1, tzinfo=UTC)),
        # 'infinity', '-infinity', and times that only PostgreSQL has.
        (2**63 - 1, datetime(9999, 12, 30, tzinfo=UTC)),
        (-(2**63), datetime(1, 1, 2, tzinfo=UTC)),
        (9_000_000_000_000_000_00, datetime(9999, 12, 30, tzinfo=UTC)),
        (-211_810_000_000_000_000, datetime(1, 1, 2, tzinfo=UTC)),
    ],
)
def test_moments(microseconds: int, expected: datetime) -> None:
    assert moment(microseconds) == expected
