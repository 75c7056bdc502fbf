"""Retry strategies, which need no database."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tidemill.retry import constant, delays, exponential, seconds


def test_seconds() -> None:
    assert seconds(timedelta(minutes=2)) == 120
    assert seconds(1.5) == 1.5
    assert seconds(-3) == 0
    assert seconds("1h30m") == 5400
    assert seconds("500ms") == 0.5
    assert seconds(float("inf")) == seconds(timedelta.max) == pytest.approx(100 * 365.25 * 86400)


@pytest.mark.parametrize("value", ["soon", "", "5 parsecs", float("nan"), True, None, [1], "-5s"])
def test_values_that_are_no_delay(value: Any) -> None:
    for make in (seconds, constant, exponential, lambda wait: delays([wait])):
        with pytest.raises((ValueError, TypeError)):
            make(value)


@pytest.mark.parametrize("options", [{"factor": 0}, {"factor": -1}, {"jitter": 2}, {"jitter": -0.1}])
def test_an_exponential_that_is_none(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"{min(options)} is"):
        exponential(1, **options)


def test_exponential_grows_to_its_maximum() -> None:
    strategy = exponential(2, factor=3, maximum=100, jitter=0)
    assert [strategy(attempt) for attempt in range(1, 7)] == [2, 6, 18, 54, 100, 100]
    for attempt in (64, 1000, 32767):
        assert strategy(attempt) == 100


def test_exponential_of_a_huge_factor_does_not_overflow() -> None:
    assert exponential(1, factor=1e300, maximum=60, jitter=0)(32767) == 60
    assert exponential(1, factor=10, maximum=60, jitter=0)(32767) == 60


def test_exponential_varies_by_its_jitter() -> None:
    strategy = exponential(100, jitter=0.2)
    waits = [strategy(1) for _ in range(200)]
    assert all(isinstance(wait, float) and 80 <= wait <= 120 for wait in waits)
    assert len(set(waits)) > 1


def test_constant() -> None:
    strategy = constant(timedelta(seconds=7))
    assert [strategy(1), strategy(2), strategy(32767)] == [7, 7, 7]


def test_delays_give_up_at_their_end() -> None:
    strategy = delays([1, timedelta(minutes=1), 600])
    assert [strategy(attempt) for attempt in range(1, 6)] == [1, 60, 600, None, None]
    assert delays([])(1) is None
