"""The figures in Prometheus's words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from tidemill.metrics.families import DATABASE_UP, OF_DATABASE, OF_PROCESS, Family
from tidemill.metrics.share import Figures


class Exposition(Collector):
    """Metrics of these processes, by number, and of the database."""

    def __init__(self, processes: Mapping[int, Figures], database: Mapping[str, Any] | None) -> None:
        self._processes: dict[tuple[str, ...], Figures] = {
            (str(number),): figures for number, figures in processes.items()
        }
        self._database = database

    def collect(self) -> Iterable[Metric]:
        """All of them."""
        for family in OF_PROCESS:
            yield _metric(family, self._processes, ("process",))
        yield GaugeMetricFamily(*DATABASE_UP, float(self._database is not None))
        if self._database is not None:
            for family in OF_DATABASE:
                yield _metric(family, {(): self._database}, ())


def _metric(
    family: Family, sources: Mapping[tuple[str, ...], Mapping[str, Any]], source_labels: tuple[str, ...]
) -> Metric:
    """The values of a family, from each source, with the labels that name it."""
    labels = [*family.labels, *source_labels]
    values = [
        ([*own, *source], value) for source, found in sources.items() for own, value in family.read(found)
    ]
    if family.kind == "histogram":
        histogram = HistogramMetricFamily(family.name, family.words, labels=labels)
        for names, times in values:
            histogram.add_metric(names, times.buckets, times.sum)
        return histogram
    kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    metric = kind(family.name, family.words, labels=labels)
    for names, value in values:
        metric.add_metric(names, value)
    return metric
