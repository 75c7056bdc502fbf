"""A run: every shape, round by round, the systems interleaved."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from bench import output
from bench.context import Bench
from bench.results import OURS, Measured, Results, Shape
from bench.systems.base import HERE, System, Unavailable


def usable(known: Mapping[str, System], peers: Sequence[str]) -> tuple[list[System], dict[str, str]]:
    """Installs us and these peers; returns those that work, and why the others do not."""
    systems, left_out = [], {}
    for name in (OURS, *peers):
        print(f"Installing {name} ..." if name != OURS else "Tidemill is here", flush=True)
        try:
            known[name].install()
            systems.append(known[name])
        except Unavailable as error:
            left_out[name] = str(error)
    return systems, left_out


def measure(shape: Shape, bench: Bench, rounds: int) -> Measured:
    """Runs each cell once in each round, one after the other; a cell that fails is named and left out."""
    print(f"\n{shape.title}\n{shape.how}", flush=True)
    began = time.perf_counter()
    results, failures = Results(), dict[str, str]()
    for number in range(rounds):
        for cell in shape.cells(bench):
            label = " ".join(filter(None, (cell.system, cell.variant)))
            if label in failures:
                continue
            try:
                found = cell.run()
            except Exception as error:
                # This may be published, so leave out where the files lie on this machine.
                failures[label] = f"{type(error).__name__}: {error}".replace(str(HERE.parent), ".")
                print(f"  {label}: FAILED, {failures[label]}", flush=True)
                continue
            results.add(cell, found)
            print(f"  round {number + 1}, {label}: {output.in_a_line(found)}", flush=True)
    bench.databases.forget_filled()
    unsupported: dict[str, list[str]] = {}
    for system in bench.systems:
        if missing := ", ".join(sorted(need.value for need in shape.needs - system.can)):
            unsupported.setdefault(missing, []).append(system.name)
    measured = Measured(shape, results, failures, unsupported, time.perf_counter() - began)
    output.print_measured(measured)
    return measured
