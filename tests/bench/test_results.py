from __future__ import annotations

import pytest

from bench.measure.drain import Drain, sampled
from bench.measure.latency import percentile
from bench.measure.pgbench import parsed
from bench.results import Cell, Results, at_least, at_most, over, shown


def _results(**values: list[float]) -> Results:
    results = Results()
    for system, rounds in values.items():
        for value in rounds:
            results.add(Cell(system, "", dict), {"jobs/s": value})
    return results


def test_ratios_are_of_medians() -> None:
    results = _results(tidemill=[900.0, 100.0, 800.0], other=[200.0, 1.0, 100.0])

    assert results.median("tidemill", "", "jobs/s") == 800
    [_, other] = results.values
    assert results.ours(other) == 8
    assert results.median("nobody", "", "jobs/s") is None


def test_the_best_variant_counts_by_its_median() -> None:
    results = Results()
    for rate in (10.0, 500.0, 20.0):
        results.add(Cell("other", "1 process", dict), {"jobs/s": rate})
        results.add(Cell("other", "2 processes", dict), {"jobs/s": 30.0})

    assert results.best("other", "jobs/s") == 30
    assert results.best("nobody", "jobs/s") is None


@pytest.mark.parametrize(("found", "met"), [(8.0, True), (7.99, False), (None, None)])
def test_a_target_is_met_not_met_or_not_measured(found: float | None, met: bool | None) -> None:
    assert at_least("", found, 8).met is met


def test_small_numbers_can_be_the_target() -> None:
    assert at_most("", 1.9, 2).met
    assert not at_most("", 2.1, 2).met


def test_nothing_is_made_of_what_was_not_measured() -> None:
    assert over(None, 1.0) is None
    assert over(1.0, None) is None
    assert over(1.0, 0.0) is None
    assert shown(None) == "not measured"


@pytest.mark.parametrize(
    ("value", "text"), [(123456.7, "123,457"), (12.34, "12.3"), (1.234, "1.23"), (0.7994, "0.799"), (0, "0")]
)
def test_numbers_have_the_digits_they_deserve(value: float, text: str) -> None:
    assert shown(value) == text


def test_a_rate_leaves_out_what_was_done_by_the_first_look() -> None:
    assert Drain([(0.0, 500.0), (1.0, 1500.0), (2.0, 2500.0)]).rate == 1000


def test_evenness_compares_the_last_fifth_with_the_first() -> None:
    slowing = [(float(n), 100.0 * n) for n in range(6)] + [
        (5 + 2.0 * n, 500 + 100.0 * n) for n in range(1, 6)
    ]

    assert Drain(slowing).evenness == pytest.approx(0.5)
    assert Drain([(0.0, 1.0), (1.0, 2.0)]).evenness == 1


def test_samples_are_spread_and_hold_both_ends() -> None:
    assert sampled(range(101), 5) == [0, 25, 50, 75, 100]
    assert sampled([1, 2], 5) == [1, 2]


def test_percentiles() -> None:
    samples = [float(n) for n in range(100, 0, -1)]

    assert percentile(samples, 0.5) == 50
    assert percentile(samples, 0.99) == 99
    assert percentile([7.0], 0.99) == 7


def test_pgbench_counts_failed_transactions_and_aborted_clients() -> None:
    report = "number of failed transactions: 2 (0.1%)\ntps = 1234.5 (without initial connection time)\n"
    errors = "pgbench: error: client 3 script 0 aborted in command 0 query 0: ERROR:  deadlock detected"

    assert parsed(report, errors) == (1234.5, 3)


def test_pgbench_that_reports_nothing_is_a_failure() -> None:
    with pytest.raises(RuntimeError, match="connection refused"):
        parsed("", "connection refused")
