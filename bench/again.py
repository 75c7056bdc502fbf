"""Shapes that were measured again, in the place of those of an earlier run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.machine import About, Used
from bench.results import Key, Measured, Results, Run
from bench.shapes import SHAPES


def merged(run: Run, earlier: Path) -> Run:
    """The earlier run, with the shapes of this one; on another machine or server, ValueError."""
    data = json.loads(earlier.read_text())
    about = _about(data["about"])
    for what in ("machine", "server"):
        if getattr(about, what) != getattr(run.about, what):
            raise ValueError(f"{earlier} was measured with another {what}: measure all of it again")
    measured = {shape["name"]: _measured(shape) for shape in data["shapes"] if shape["name"] in SHAPES}
    measured |= {one.shape.name: one for one in run.measured}
    again = f"at {run.about.date}: {', '.join(one.shape.name for one in run.measured)}"
    return Run(
        replace(about, again=[*about.again, again]), [measured[name] for name in SHAPES if name in measured]
    )


def _about(data: dict[str, Any]) -> About:
    return About(**{**data, "systems": [Used(**used) for used in data["systems"]]})


def _measured(data: dict[str, Any]) -> Measured:
    results = Results()
    for line in data["results"]:
        results.values[Key(line["system"], line["variant"], line["metric"])] = line["rounds"]
    return Measured(SHAPES[data["name"]], results, data["failures"], data["unsupported"], data["seconds"])
