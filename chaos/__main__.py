"""Breaks things around Tidemill and its peers under load, and says what that did."""

from __future__ import annotations

import shlex
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import NoReturn

from bench.systems.base import Unavailable
from chaos import output, page
from chaos.options import Options, parse
from chaos.peers import PEERS
from chaos.run import Measured, measure
from chaos.scenarios import SCENARIOS
from chaos.stage import FULL, OUT, SHORT, interrupt


def main() -> int:
    """Runs what the command line asks for; returns 1 if a target was missed, or something did not run."""
    # Otherwise servers and workers would be left behind.
    signal.signal(signal.SIGTERM, _interrupt)
    options = parse(sys.argv[1:])
    OUT.mkdir(exist_ok=True)
    began = time.monotonic()
    peers = list(_install(options.peers))
    print(output.head(), flush=True)
    try:
        measured = list(_measure(options, peers))
    except KeyboardInterrupt:
        print("Interrupted; all processes have ended.", file=sys.stderr)
        return 130
    _print_verdict(measured, time.monotonic() - began)
    about = _about(peers)
    output.write_json(options.json or OUT / "results.json", about, measured)
    if options.publish:
        print(f"Published: {page.publish(about, measured)}")
    return int(not all(one.passed for one in measured if not one.peer))


def _install(names: Sequence[str]) -> Iterator[str]:
    for name in names:
        print(f"Installing {name} ...", flush=True)
        try:
            PEERS[name].install()
            yield name
        except Unavailable as error:
            print(f"{name} is left out: {error}", flush=True)


def _measure(options: Options, peers: Sequence[str]) -> Iterator[Measured]:
    size = SHORT if options.short else FULL
    scenarios = [SCENARIOS[name] for name in options.scenarios]
    runs = [
        (scenario, name)
        for scenario in scenarios
        for name in (*options.lanes, *(peers if scenario.peers else ()))
    ]
    with ThreadPoolExecutor(options.at_once) as pool:
        try:
            waiting = [pool.submit(measure, *run, size, options.processes) for run in runs * options.rounds]
            for future in waiting:
                yield _told(future.result())
        except KeyboardInterrupt:
            interrupt()
            pool.shutdown(cancel_futures=True)
            raise


def _told(one: Measured) -> Measured:
    print(output.line(one), flush=True)
    return one


def _about(peers: Sequence[str]) -> dict[str, str]:
    """When and how it was run; nothing that shows whose machine it is."""
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "command": f"`{shlex.join(['python', '-m', 'chaos', *sys.argv[1:]])}`",
        "machine": "two shared cores",
        **{name: f"{PEERS[name].version}, {PEERS[name].settings}" for name in peers},
    }


def _print_verdict(measured: Sequence[Measured], seconds: float) -> None:
    wrong = [one for one in measured if not one.passed]
    print(f"\n{len(measured)} runs in {seconds:.0f} s; {len(wrong)} missed a target")
    for one in wrong:
        print(f"  {one.scenario} {one.lane}: {one.failure or '; '.join(output.misses(one))}")


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
