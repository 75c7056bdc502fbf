"""The command line of the harness."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.options import chosen
from chaos.peers import PEERS
from chaos.scenarios import LANES, SCENARIOS

_SHORT_AT_ONCE = 5


@dataclass(frozen=True)
class Options:
    """What to run, and how much."""

    scenarios: list[str]
    lanes: list[str]
    peers: list[str]
    processes: int
    rounds: int
    at_once: int
    short: bool
    publish: bool
    json: Path | None


def parse(arguments: Sequence[str]) -> Options:
    """Reads the command line; ends the program if it is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m chaos",
        description="Breaks things around Tidemill and its peers under load, and counts what that does.",
    )
    parser.add_argument("--only", default="", metavar="NAMES", help=f"of these: {', '.join(SCENARIOS)}")
    parser.add_argument("--lanes", default="", metavar="LANES", help=f"of these: {', '.join(LANES)}")
    parser.add_argument(
        "--peers", default="", metavar="PEERS", help=f"none, or of these: {', '.join(PEERS)}; all by default"
    )
    parser.add_argument(
        "--processes",
        type=int,
        default=1,
        metavar="N",
        help="so many below a supervisor in each worker of ours (Linux)",
    )
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument(
        "--at-once",
        type=int,
        metavar="N",
        help=f"how many side by side; short: {_SHORT_AT_ONCE}",
    )
    parser.add_argument("--short", action="store_true", help="a short set, with short leases")
    parser.add_argument("--publish", action="store_true", help="replace the table of docs/reliability.md")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    given = parser.parse_args(arguments)
    try:
        scenarios = chosen(given.only, SCENARIOS)
        lanes = chosen(given.lanes, LANES)
        # A short set is about us.
        peers = [] if given.peers == "none" or given.short else chosen(given.peers, PEERS)
    except ValueError as error:
        parser.error(str(error))
    if given.short and not given.only:
        scenarios = [name for name in scenarios if SCENARIOS[name].short]
    # Side by side they disturb each other's rates, but most of their time is waiting.
    at_once = given.at_once or (_SHORT_AT_ONCE if given.short else 1)
    if given.rounds < 1 or at_once < 1 or given.processes < 1:
        parser.error("at least one round, one at once, and one process")
    return Options(
        scenarios,
        lanes,
        peers,
        given.processes,
        given.rounds,
        at_once,
        given.short,
        given.publish,
        given.json,
    )
