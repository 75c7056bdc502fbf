"""The figures in Prometheus's words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from tidemill.metrics.share import Figures
from tidemill.tallies import BUCKETS, FIRST_BUCKET

# Prometheus keeps a series for each bucket: of a tally's those from a millisecond to a good hour.
_FIRST, _LAST = 3, 25


class Exposition(Collector):
    """Metrics of these processes, by number, and of the database."""

    def __init__(self, processes: Mapping[int, Figures], database: Mapping[str, Any] | None) -> None:
        self._processes = {str(number): figures for number, figures in processes.items()}
        self._database = database

    def collect(self) -> Iterable[Metric]:
        """All of them."""
        yield from self._of_tasks()
        yield from self._of_processes()
        yield from self._of_database()

    def _of_tasks(self) -> Iterator[Metric]:
        jobs = CounterMetricFamily(
            "tidemill_jobs",
            "Attempts that have ended: done, retried (failed, another follows), failed for good, cancelled.",
            labels=["task", "outcome", "process"],
        )
        runs = HistogramMetricFamily(
            "tidemill_job_run_seconds", "How long attempts ran.", labels=["task", "process"]
        )
        waits = HistogramMetricFamily(
            "tidemill_job_wait_seconds", "From run_at to the start of an attempt.", labels=["task", "process"]
        )
        for process, figures in self._processes.items():
            for task, tally in figures["tasks"].items():
                for outcome in ("done", "retried", "failed", "cancelled"):
                    jobs.add_metric([task, outcome, process], tally[outcome])
                runs.add_metric([task, process], _buckets(tally["runs"]), tally["run_seconds"])
                waits.add_metric([task, process], _buckets(tally["waits"]), tally["wait_seconds"])
        yield from (jobs, runs, waits)

    def _of_processes(self) -> Iterator[Metric]:
        def gauge(name: str, words: str, values: Mapping[str, float]) -> Metric:
            family = GaugeMetricFamily(name, words, labels=["process"])
            for process, value in values.items():
                family.add_metric([process], value)
            return family

        def each(name: str) -> dict[str, float]:
            return {
                process: float(figures[name])
                for process, figures in self._processes.items()
                if name in figures
            }

        in_hand = GaugeMetricFamily(
            "tidemill_jobs_in_hand", "Jobs claimed and not settled, by lane.", labels=["lane", "process"]
        )
        troubles = CounterMetricFamily(
            "tidemill_troubles",
            "What went wrong with the database, by kind: its log line may be held back, this is not.",
            labels=["kind", "process"],
        )
        for process, figures in self._processes.items():
            for lane, count in figures["in_hand"].items():
                in_hand.add_metric([lane, process], count)
            for kind, count in figures["troubles"].items():
                troubles.add_metric([kind, process], count)
        yield from (in_hand, troubles)
        yield gauge("tidemill_slots", "Jobs that may run at once.", each("slots"))
        yield gauge("tidemill_slots_free", "Slots in which no job runs.", each("free_slots"))
        yield gauge("tidemill_express_open", "1 while quick tasks go by the express lane.", each("express"))
        yield gauge("tidemill_listener_up", "1 while notifications come through.", each("listener"))
        yield gauge("tidemill_ready", "1 while the process claims jobs.", each("ready"))

    def _of_database(self) -> Iterator[Metric]:
        found = self._database
        yield GaugeMetricFamily(
            "tidemill_database_up", "1 while the database answers.", float(found is not None)
        )
        if found is None:
            return
        yield GaugeMetricFamily("tidemill_workers", "Live workers of this database.", found["workers"])
        yield GaugeMetricFamily("tidemill_leases", "Jobs that are leased to workers.", found["leases"])
        oldest = GaugeMetricFamily(
            "tidemill_oldest_ready_seconds",
            "How long the oldest job has been ready, among the first 1,000 in line of each priority.",
            labels=["task"],
        )
        for task, seconds in found["oldest"].items():
            oldest.add_metric([task], seconds)
        yield oldest
        labels = ["id", "action"]
        late = GaugeMetricFamily(
            "tidemill_action_late_seconds", "How long ago an action should have started.", labels=labels
        )
        failures = CounterMetricFamily("tidemill_action_failures", "Runs that failed.", labels=labels)
        in_a_row = GaugeMetricFamily(
            "tidemill_action_failures_in_a_row",
            "Failed runs since the last one that ended well.",
            labels=labels,
        )
        for action in found["actions"]:
            values = [str(action["id"]), action["name"]]
            late.add_metric(values, action["late"])
            failures.add_metric(values, action["failures"])
            in_a_row.add_metric(values, action["in_a_row"])
        yield from (late, failures, in_a_row)


def _buckets(counts: list[int]) -> list[tuple[str, float]]:
    """Cumulative buckets, with their upper bounds in seconds."""
    found: list[tuple[str, float]] = []
    total = 0
    for bucket in range(BUCKETS):
        total += counts[bucket]
        if _FIRST <= bucket <= _LAST:
            found.append((repr(FIRST_BUCKET * 2**bucket), total))
    return [*found, ("+Inf", total)]
