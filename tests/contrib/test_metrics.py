"""Figures as observable instruments."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, NumberDataPoint, Sum

from tests.support.running import eventually, run_all, running, within
from tidemill import App
from tidemill.contrib.opentelemetry import Metrics
from tidemill.metrics.families import OF_DATABASE, OF_PROCESS
from tidemill.metrics.from_database import DatabaseFigures

pytestmark = [
    pytest.mark.versions(18),
    pytest.mark.one_worker("each worker has series of its own"),
]


class Meter:
    """A meter provider, and what it collects."""

    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        self.provider = MeterProvider([self.reader])

    def collect(self) -> dict[str, Any]:
        data = self.reader.get_metrics_data()
        return {
            metric.name: metric
            for resource in ([] if data is None else data.resource_metrics)
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def points(self, name: str) -> dict[tuple[str, ...], float]:
        """Values by those of their attributes, in the order of the attributes' names."""
        metric = self.collect().get(name)
        found = [] if metric is None else metric.data.data_points
        assert all(isinstance(point, NumberDataPoint) for point in found)
        return {
            tuple(str(value) for _, value in sorted(point.attributes.items())): point.value for point in found
        }


@pytest.fixture
def meter() -> Meter:
    return Meter()


async def test_a_worker_is_measured(database: str, meter: Meter, connection: psycopg.Connection) -> None:
    app = App(database, middleware=[Metrics(meter.provider)])
    started, go_on = asyncio.Event(), asyncio.Event()

    @app.task
    async def waits(payload: Any) -> None:
        started.set()
        await go_on.wait()

    @app.task(max_attempts=1)
    async def breaks(payload: Any) -> None:
        raise KeyError("gone")

    connection.execute("select tidemill.add_job('unknown', run_at => now() - interval '1 hour')")
    async with running(app, concurrency=3):
        await app.add_job("breaks")
        await app.add_job("waits")
        await within(started)
        await eventually(
            lambda: meter.points("tidemill.jobs").get(("failed", "breaks", "1")) == 1, "a failure"
        )
        assert meter.points("tidemill.slots") == {("1",): 3}
        assert meter.points("tidemill.slots_free") == {("1",): 2}
        assert meter.points("tidemill.ready") == {("1",): 1}
        assert sum(meter.points("tidemill.jobs_in_hand").values()) == 1
        assert meter.points("tidemill.database_up") == {(): 1}
        assert meter.points("tidemill.workers") == {(): 1}
        assert 3600 <= meter.points("tidemill.oldest_ready")["unknown",] < 3700
        go_on.set()
        await eventually(lambda: meter.points("tidemill.jobs").get(("done", "waits", "1")) == 1, "its end")
        assert meter.points("tidemill.job_run_buckets")["+Inf", "waits", "1"] == 1
        assert meter.points("tidemill.job_run_sum")["waits", "1"] > 0
        # All that Prometheus has, but for what has no value here.
        names = {
            f"{name}{more}"
            for family in (*OF_PROCESS, *OF_DATABASE)
            for name in [family.name.removesuffix("_seconds").replace("_", ".", 1)]
            for more in (("_buckets", "_sum") if family.kind == "histogram" else ("",))
        }
        found = meter.collect()
        assert names - found.keys() <= {"tidemill.troubles"}
        assert found["tidemill.job_run_sum"].unit == found["tidemill.action_late"].unit == "s"
        assert isinstance(found["tidemill.action_failures"].data, Sum)


async def test_counters_go_on(database: str, meter: Meter) -> None:
    app = App(database, middleware=[Metrics(meter.provider)])

    @app.task
    async def first(payload: Any) -> None: ...

    @app.task
    def second(payload: Any) -> None: ...

    await app.add_job("first")
    await run_all(app)
    assert meter.points("tidemill.jobs")["done", "first", "1"] == 1
    for name in app.tasks:
        await app.add_job(name)
    await run_all(app)
    counted = meter.points("tidemill.jobs")
    assert (counted["done", "first", "1"], counted["done", "second", "1"]) == (2, 1)
    assert meter.points("tidemill.job_run_buckets")["+Inf", "first", "1"] == 2
    # What is so at a moment is not, once no worker runs.
    gone = {"tidemill.slots", "tidemill.jobs_in_hand", "tidemill.workers", "tidemill.database_up"}
    assert gone.isdisjoint(meter.collect())


def test_the_database_is_asked_once(database: str, meter: Meter) -> None:
    opened = []

    def connect() -> psycopg.Connection:
        opened.append(psycopg.connect(database, autocommit=True))
        return opened[-1]

    metrics, figures = Metrics(meter.provider), DatabaseFigures(connect)
    metrics._worker_measured("a", lambda: {"tasks": {}, "in_hand": {}, "troubles": {}}, figures.get)
    assert meter.points("tidemill.leases") == {(): 0}
    opened[0].close()
    # All of them come from the answer that is there.
    assert meter.points("tidemill.database_up") == {(): 1}
    assert len(opened) == 1
    figures.close()
    assert meter.points("tidemill.database_up") == {(): 0}
    assert "tidemill.leases" not in meter.collect()
