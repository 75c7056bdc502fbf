"""Measures hypertables beside plain tables with the same rows, on the embedded PostgreSQL 18."""

from __future__ import annotations

import argparse
import contextlib
import shlex
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import psycopg

from bench import machine
from bench.hypertables import measures, page
from bench.hypertables.measures import Section, Sizes
from bench.hypertables.timing import Connection
from bench.output import verdict_word
from bench.results import shown
from tidemill.database import embedded
from tidemill.database.migrate import migrate


def main(arguments: Sequence[str]) -> int:
    """Measures, and prints or publishes it."""
    given = _parser().parse_args(arguments)
    rows = given.rows
    sizes = Sizes(rows, given.recent_rows or 3 * rows, given.chunks, given.rounds)
    with _database() as connection:
        about = machine.describe(connection, [], {}, arguments)
        about = replace(about, command=shlex.join(["python", "-m", "bench.hypertables", *arguments]))
        sections = []
        for section in measured(connection, sizes):
            sections.append(section)
            if not given.json:
                _show(section)
    if given.json:
        print(page.as_json(about, sections))
    if given.publish:
        print(f"Published: {page.publish(about, sections).name}", file=sys.stderr)
    return 0


def measured(connection: Connection, sizes: Sizes) -> Iterator[Section]:
    """All sections, one by one."""
    yield measures.million(connection, sizes)
    yield measures.recent(connection, sizes)
    yield measures.plans(connection, sizes)
    yield from measures.shapes(connection, sizes)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.hypertables", description=__doc__)
    parser.add_argument(
        "--rows", type=int, default=1_000_000, help="rows of the chunk of metrics (default %(default)s)"
    )
    parser.add_argument(
        "--recent-rows",
        type=int,
        help="rows of the long table (default 3 times --rows; the target is 30000000)",
    )
    parser.add_argument(
        "--chunks", type=int, default=1000, help="packed chunks of which plans are made (default %(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--publish", action="store_true", help="replace docs/benchmarks/hypertables.md with this run"
    )
    return parser


@contextlib.contextmanager
def _database() -> Iterator[Connection]:
    with tempfile.TemporaryDirectory(prefix="tidemill-bench-") as place:
        # If we are root, the server runs as another account, which must reach its files.
        Path(place).chmod(0o711)
        with embedded.start(Path(place) / "server") as server:
            migrate(server.conninfo())
            # Each statement is planned anew, as the pairs compare.
            with psycopg.connect(server.conninfo(), autocommit=True, prepare_threshold=None) as connection:
                yield connection


def _show(section: Section) -> None:
    print(f"\n{section.title}: {section.how}")
    for label, value in section.values.items():
        print(f"  {shown(value):>12}  {label}")
    for verdict in section.verdicts:
        print(f"  {verdict_word(verdict):12}  {verdict.target}: {verdict.found}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
