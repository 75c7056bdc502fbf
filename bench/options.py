"""The command line of the harness."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.shapes import SHAPES
from bench.systems import PEERS


@dataclass(frozen=True)
class Options:
    """What to measure, and how much."""

    shapes: list[str]
    peers: list[str]
    jobs: int | None
    rounds: int
    publish: bool
    into: Path | None
    full: bool
    smoke: bool


def parse(arguments: Sequence[str]) -> Options:
    """Reads the command line; ends the program if it is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measures Tidemill and its peers in the same run, interleaved, on PostgreSQL 18.",
    )
    parser.add_argument("--only", default="", metavar="SHAPES", help=f"of these: {', '.join(SHAPES)}")
    parser.add_argument(
        "--peers", default="", metavar="PEERS", help=f"none, or of these: {', '.join(PEERS)}; all by default"
    )
    parser.add_argument(
        "--jobs", type=int, help="jobs in a measurement, 200000 by default; all other numbers scale with it"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--publish", action="store_true", help="replace docs/benchmarks with this run")
    parser.add_argument(
        "--into", type=Path, metavar="FILE", help="replace these shapes in the results of an earlier run"
    )
    parser.add_argument("--full", action="store_true", help="up to 10 million jobs in `growth`")
    parser.add_argument("--smoke", action="store_true", help="a short throughput of Tidemill alone")
    given = parser.parse_args(arguments)
    try:
        shapes = chosen(given.only.replace("-", "_"), SHAPES)
        peers = [] if given.peers == "none" else chosen(given.peers, PEERS)
    except ValueError as error:
        parser.error(str(error))
    if given.smoke:
        shapes, given.rounds = ["throughput"], 1
    if given.rounds < 1 or (given.jobs is not None and given.jobs < 1000):
        parser.error("at least one round, and at least 1000 jobs")
    return Options(
        shapes, peers, given.jobs, given.rounds, given.publish, given.into, given.full, given.smoke
    )


def chosen(text: str, known: Collection[str]) -> list[str]:
    """The names in a comma-separated list; all known ones if it is empty. Raises ValueError for others."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"there is no {', '.join(unknown)}; there are: {', '.join(known)}")
    return [name for name in known if name in names or not names]
