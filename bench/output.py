"""A run, as text and as JSON."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path

from bench.machine import About
from bench.results import OURS, Measured, Run, Verdict, shown
from bench.systems.base import OUT


def print_about(about: About) -> None:
    """Prints the machine, the server and the systems."""
    print(f"\n{about.date}: {about.command}")
    print("Machine: " + ", ".join(f"{name} {value}" for name, value in about.machine.items()))
    print("Server: " + ", ".join(f"{name} {value}" for name, value in about.server.items()))
    for used in about.systems:
        print(f"{used.name} {used.version}: a job is done when {used.done}")
        print(f"  as it comes: {used.as_it_comes}")
        print(f"  tuned: {used.tuned}")
        if used.most_jobs:
            print(f"  jobs at most: {used.most_jobs}")
    for name, reason in about.left_out.items():
        print(f"{name} is left out: {reason}")


def in_a_line(found: Mapping[str, float]) -> str:
    """The values of one measurement, in one line."""
    return ", ".join(f"{shown(value)} {metric}" for metric, value in found.items())


def print_measured(measured: Measured) -> None:
    """Prints the medians, our value divided by each, and the verdicts."""
    print(f"{measured.shape.name}: medians, and tidemill's divided by each ({measured.seconds:.0f} s)")
    results = measured.results
    for key in results.values:
        ratio = results.ours(key)
        beside = f"{ratio:8.2f} x" if ratio is not None and key.system != OURS else ""
        value = shown(results.median(*key))
        print(f"  {key.system:16} {key.variant:28} {value:>12} {key.metric:16} {beside}".rstrip())
    for label, reason in measured.failures.items():
        print(f"  {label}: failed, {reason}")
    for line in unsupported(measured):
        print(f"  {line}")
    for verdict in measured.shape.verdicts(results):
        print(f"  {verdict_word(verdict):12} {verdict.target}: {verdict.found}")


def print_verdicts(run: Run) -> None:
    """Prints all targets together, at the end of a long run."""
    print("\nTargets")
    for measured in run.measured:
        for verdict in measured.shape.verdicts(measured.results):
            print(f"  {verdict_word(verdict):12} {measured.shape.name}: {verdict.target}: {verdict.found}")
    took = sum(measured.seconds for measured in run.measured)
    print(f"Measured in {took / 60:.0f} minutes")


def unsupported(measured: Measured) -> list[str]:
    """The systems that were not measured in a shape, and why."""
    return [
        f"Unsupported: {', '.join(systems)}; they lack, or this harness does not use: {missing}."
        for missing, systems in measured.unsupported.items()
    ]


def verdict_word(verdict: Verdict) -> str:
    """Says whether a target was met."""
    return {True: "met", False: "not met", None: "not measured"}[verdict.met]


def write_json(run: Run) -> Path:
    """Writes the run to `bench/out/`, and returns the file's path."""
    data = {
        "about": {**dataclasses.asdict(run.about), "systems": [used._asdict() for used in run.about.systems]},
        "shapes": [
            {
                "name": measured.shape.name,
                "title": measured.shape.title,
                "how": measured.shape.how,
                "seconds": measured.seconds,
                "results": measured.results.as_data(),
                "failures": dict(measured.failures),
                "unsupported": dict(measured.unsupported),
                "verdicts": [verdict._asdict() for verdict in measured.shape.verdicts(measured.results)],
            }
            for measured in run.measured
        ],
    }
    file = OUT / "results" / (re.sub(r"\D+", "-", run.about.date).strip("-") + ".json")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(data, indent=1))
    return file.relative_to(OUT.parent.parent)
