"""Which tasks are quick."""

from __future__ import annotations

import pytest

from tidemill.queue.durations import Durations


def add(durations: Durations, seconds: float, times: int = 1, *, leased: bool = False) -> None:
    for _ in range(times):
        durations.add("t", seconds, leased=leased)


def test_a_task_that_was_never_seen() -> None:
    durations = Durations()
    assert durations.is_quick("t", unknown=True)
    assert not durations.is_quick("t", unknown=False)
    add(durations, 0.001)
    assert durations.is_quick("t", unknown=False)
    # Each task for itself.
    assert not durations.is_quick("other", unknown=False)


def test_one_slow_job_among_many_makes_no_slow_task() -> None:
    durations = Durations()
    add(durations, 0.0, 100)
    add(durations, 0.3)
    assert durations.is_quick("t", unknown=False)
    add(durations, 0.3, 20)
    assert not durations.is_quick("t", unknown=True)


def test_a_task_near_the_limit_does_not_go_back_and_forth() -> None:
    durations = Durations()
    add(durations, 0.01)
    assert durations.is_quick("t", unknown=False)
    add(durations, 0.03, 500)
    assert durations.is_quick("t", unknown=False)
    add(durations, 0.05, 500)
    assert not durations.is_quick("t", unknown=False)
    add(durations, 0.03, 500)
    assert not durations.is_quick("t", unknown=False)
    add(durations, 0.01, 500)
    assert durations.is_quick("t", unknown=False)


def test_a_first_job_between_the_limits_is_not_quick() -> None:
    durations = Durations()
    add(durations, 0.03)
    assert not durations.is_quick("t", unknown=True)


def test_the_mean_of_all_tasks_is_that_of_leased_jobs() -> None:
    durations = Durations()
    add(durations, 0.001, 10)
    assert durations.mean is None
    add(durations, 2.0, leased=True)
    assert durations.mean == 2
    durations.add("other", 1.0, leased=True)
    assert durations.mean == pytest.approx(1.95)


@pytest.mark.parametrize("times", [1, 2, 30, 2000])
def test_a_streak_counts_as_its_jobs_one_by_one(times: int) -> None:
    one_by_one, together = Durations(), Durations()
    for durations in (one_by_one, together):
        add(durations, 0.5, leased=True)
    add(one_by_one, 0.01, times, leased=True)
    together.add_streak("t", 0.01 * times, times)
    assert together.mean == pytest.approx(one_by_one.mean)
    assert together._means == pytest.approx(one_by_one._means)


def test_a_streak_may_be_the_first() -> None:
    durations = Durations()
    durations.add_streak("t", 0.02, 4)
    assert durations.mean == pytest.approx(0.005)
    assert durations.is_quick("t", unknown=False)
