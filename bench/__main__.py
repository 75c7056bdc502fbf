"""Measures Tidemill and its peers in the same run, interleaved, on the embedded PostgreSQL 18."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from bench import machine, output, page
from bench.again import merged
from bench.context import Bench
from bench.measure.databases import Databases
from bench.options import Options, parse
from bench.results import OURS, Run, Shape
from bench.run import measure, usable
from bench.shapes import SHAPES
from bench.systems import SYSTEMS
from bench.systems.base import OUT

# Long enough for a steady rate, short enough that all shapes and peers end within half an hour.
_CAP = 5.0
_SMOKE_JOBS = 20_000


def main() -> int:
    """Measures what the command line asks for; returns 1 if Tidemill itself could not be measured."""
    options = parse(sys.argv[1:])
    OUT.mkdir(exist_ok=True)
    wanted = [] if options.smoke else options.peers
    systems, left_out = usable(SYSTEMS, wanted)
    with tempfile.TemporaryDirectory(prefix="tidemill-bench-") as place:
        # If we are root, the server runs as another account, which must reach its files.
        Path(place).chmod(0o711)
        with Databases(Path(place) / "server") as databases:
            with databases.maintenance() as connection:
                about = machine.describe(connection, systems, left_out, sys.argv[1:])
            output.print_about(about)
            bench = Bench(databases, systems, _jobs(options), _CAP, options.full)
            run = Run(about, [measure(shape, bench, options.rounds) for shape in _shapes(options)])
    if options.into is not None:
        run = merged(run, options.into)
    if not options.smoke:
        output.print_verdicts(run)
        print(f"Written: {output.write_json(run)}")
    if options.publish:
        print(f"Published: {page.publish(run)}")
    return int(any(label.startswith(OURS) for measured in run.measured for label in measured.failures))


def _shapes(options: Options) -> list[Shape]:
    shapes = [SHAPES[name] for name in options.shapes]
    # Show figures only: on a machine like CI's, targets mean little.
    return [replace(shape, verdicts=lambda results: []) for shape in shapes] if options.smoke else shapes


def _jobs(options: Options) -> int:
    return options.jobs or (_SMOKE_JOBS if options.smoke else 200_000)


if __name__ == "__main__":
    sys.exit(main())
