"""Many clients that call one statement, by PostgreSQL's own pgbench, so that clients are not the limit."""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

from bench.systems.base import environment


class Calls(NamedTuple):
    """What pgbench reports."""

    per_second: float
    errors: int


def call(pgbench: Path, conninfo: str, script: str, *, clients: int, seconds: int) -> Calls:
    """Has so many clients call the script's statement, prepared, each call in its own transaction."""
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
        file.write(script)
        file.flush()
        command = [str(pgbench), "--no-vacuum", "--protocol=prepared", "--file", file.name]
        command += [f"--client={clients}", f"--jobs={min(clients, 2)}", f"--time={seconds}"]
        done = subprocess.run(
            command,
            env=environment(conninfo),
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds + 60,
        )
    return parsed(done.stdout, done.stderr)


def parsed(report: str, errors: str) -> Calls:
    """Reads the report; a client that was aborted is an error, as is a failed transaction."""
    rate = re.search(r"^tps = ([\d.]+)", report, re.MULTILINE)
    if rate is None:
        raise RuntimeError(f"pgbench failed: {errors.strip()[-500:]}")
    failed = re.search(r"^number of failed transactions: (\d+)", report, re.MULTILINE)
    aborted = len(re.findall(r"client \d+ (?:aborted|script \d+ aborted)", errors))
    return Calls(float(rate[1]), aborted + (int(failed[1]) if failed else 0))
