"""The shapes of load, in the order in which they are measured."""

from __future__ import annotations

from bench.results import Shape
from bench.shapes import (
    actions,
    backlog,
    bulk_add,
    defaults,
    forms,
    growth,
    history,
    keyed,
    latency,
    limits,
    mixed,
    named_queues,
    old_snapshot,
    processes,
    single_add,
    sleep_5ms,
    startup,
    throughput,
)

SHAPES: dict[str, Shape] = {
    module.SHAPE.name: module.SHAPE
    for module in (
        throughput,
        defaults,
        forms,
        history,
        processes,
        bulk_add,
        single_add,
        latency,
        backlog,
        old_snapshot,
        named_queues,
        keyed,
        limits,
        sleep_5ms,
        mixed,
        actions,
        startup,
        growth,
    )
}
