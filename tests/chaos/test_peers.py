"""The peers' tasks leave what the harness reads."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import psycopg
import pytest

from bench.systems.base import Unavailable
from chaos.peers import PEERS
from chaos.servers import ChaosServer
from tests.support.waiting import wait_until

# Installing takes minutes and needs registries: only where that was done before.
pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_runs_the_mix_of_jobs(name: str, tmp_path: Path) -> None:
    peer = PEERS[name]
    if not peer.files.parent.exists():
        pytest.skip(f"{name} is not installed (make chaos installs it)")
    try:
        peer.install()
    except Unavailable as error:
        pytest.skip(str(error))
    journal = tmp_path / "journal"
    with ChaosServer() as server, psycopg.connect(server.conninfo, autocommit=True) as connection:
        peer.prepare(server.conninfo)
        for number, (task, queue, attempts, key) in enumerate(
            [
                ("quick", None, None, None),
                ("plain", "a", None, "k"),
                ("slow", "a", None, None),
                ("flaky", None, None, None),
                ("flaky", None, 1, None),
            ]
        ):
            payload = json.dumps({"number": number})
            values = {"task": task, "payload": payload, "queue": queue, "attempts": attempts, "key": key}
            connection.execute(peer.add.encode(), values)
        with (tmp_path / "log").open("wb") as log:
            worker = subprocess.Popen(
                peer.worker(server.conninfo, 4),
                env=peer.environment(server.conninfo, journal) | {"PATH": os.environ["PATH"]},
                stdout=log,
                stderr=log,
            )
        try:
            wait_until(lambda: connection.execute(peer.left.encode()).fetchall() == [(4, True)], "its jobs")
        finally:
            worker.kill()
            worker.wait()
        rows = connection.execute("select number, attempt from chaos.runs order by 1").fetchall()
    assert rows == [(0, 1), (1, 1), (2, 1), (3, 2)]
    lines = journal.read_text().splitlines()
    assert all(re.fullmatch(r"(start|end) \d \d \S+ \d+ \d+\.\d+( (ok|failed))?", line) for line in lines)
    ends = [line.split() for line in lines if line.startswith("end")]
    assert sorted((int(number), how) for _, number, *_, how in ends) == [
        (0, "ok"), (1, "ok"), (2, "ok"), (3, "failed"), (3, "ok"), (4, "failed"),
    ]  # fmt: skip
