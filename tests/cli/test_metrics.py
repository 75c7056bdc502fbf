"""`tidemill worker --metrics`: figures, health, readiness, one port for all processes."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.support.commands import CommandLine
from tests.support.documents import ROOT
from tests.support.running import eventually, running, within
from tests.support.supervised import supervised
from tests.support.waiting import wait_until
from tidemill import App, Retry, TidemillError, WorkerOptions
from tidemill.database.patient import connect_patiently
from tidemill.measures import measure
from tidemill.metrics import from_database
from tidemill.metrics.from_database import DatabaseFigures
from tidemill.metrics.server import MetricsService
from tidemill.metrics.share import open_share
from tidemill.worker_options import metrics_address

pytestmark = pytest.mark.one_worker("it has one port")


def read(port: int, path: str = "/metrics") -> tuple[int, str]:
    """Status and text of an answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def figures(port: int) -> dict[str, float]:
    status, text = read(port)
    assert status == 200
    lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


async def test_figures(
    database: str, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(from_database, "_KEPT_SECONDS", 0.0)
    gate, begun = asyncio.Event(), asyncio.Event()
    port = free_port()
    connection.execute("select tidemill.add_job('unknown', run_at => now() - interval '1 hour')")
    connection.execute(
        "select tidemill.add_job('queued', queue_name => 'q', run_at => now() - interval '2 hours')"
    )
    async with App(database) as app:

        @app.task
        async def works(payload: Any) -> Retry | None:
            if payload == "wait":
                begun.set()
                await gate.wait()
            return Retry("1h") if payload == "again" else None

        options = {"concurrency": 4, "lane": "lease", "metrics": f"127.0.0.1:{port}"}
        async with running(app, **options):
            for payload in ("done", "again", "wait"):
                await app.add_job("works", payload)
            await within(begun)

            def settled() -> dict[str, float] | None:
                found = figures(port)
                in_hand = found['tidemill_jobs_in_hand{lane="lease",process="1"}']
                return found if in_hand == found["tidemill_leases"] == 1 else None

            found = await eventually(settled, "the figures") or {}
            for name, value in {
                'jobs_total{outcome="done",process="1",task="works"}': 1,
                'jobs_total{outcome="retried",process="1",task="works"}': 1,
                'jobs_total{outcome="failed",process="1",task="works"}': 0,
                'job_run_seconds_count{process="1",task="works"}': 2,
                'job_wait_seconds_bucket{le="4096.0",process="1",task="works"}': 2,
                'jobs_in_hand{lane="lease",process="1"}': 1,
                'slots{process="1"}': 4,
                'slots_free{process="1"}': 3,
                'express_open{process="1"}': 0,
                'ready{process="1"}': 1,
                "database_up": 1,
                "workers": 1,
            }.items():
                assert found[f"tidemill_{name}"] == value, name
            assert 3600 <= found['tidemill_oldest_ready_seconds{task="unknown"}'] < 3700
            assert 7200 <= found['tidemill_oldest_ready_seconds{task="queued"}'] < 7300
            assert 'tidemill_action_late_seconds{action="Action History Retention",id="3"}' in found
            shown = {name.partition("{")[0] for name in found}
            page = (ROOT / "docs/how-to/monitor-with-prometheus.md").read_text()
            told = set(re.findall(r"`(tidemill_\w+)`", page.partition("## Prometheus")[0]))
            kinds = re.compile(r"_(bucket|count|sum|created)$")
            assert {kinds.sub("", name) for name in shown} <= told
            asked = set(re.findall(r"tidemill_\w+", json.dumps(json.loads(_dashboard()))))
            assert {kinds.sub("", name) for name in asked} <= told
            assert (await asyncio.to_thread(read, port, "/healthz"))[0] == 200
            assert (await asyncio.to_thread(read, port, "/readyz"))[0] == 200
            assert (await asyncio.to_thread(read, port, "/else"))[0] == 404
            gate.set()
        with pytest.raises(urllib.error.URLError):
            read(port)


def _dashboard() -> str:
    return (ROOT / "docs/grafana-dashboard.json").read_text()


async def test_when_it_is_not_ready(database: str, connection: psycopg.Connection) -> None:
    gate, begun, port = asyncio.Event(), asyncio.Event(), free_port()
    async with App(database) as app:

        @app.task
        async def waits(payload: Any) -> None:
            begun.set()
            await gate.wait()

        def problems() -> list[str]:
            status, text = read(port, "/readyz")
            found = json.loads(text)["problems"]
            assert (status == 503) == bool(found)
            return list(found)

        async with running(app, heartbeat_interval=0.1, metrics=f"127.0.0.1:{port}") as worker:
            await app.add_job("waits")
            await within(begun)
            assert await asyncio.to_thread(problems) == []
            connection.execute("alter function tidemill._heartbeat rename to _gone")
            await eventually(
                lambda: problems() == ["process 1: its last heartbeat has failed"], "the problem"
            )
            connection.execute("alter function tidemill._gone rename to _heartbeat")
            await eventually(lambda: problems() == [], "the end of it")
            worker.stop()
            assert await asyncio.to_thread(problems) == ["process 1: it is stopping"]
            assert (await asyncio.to_thread(read, port, "/healthz"))[0] == 200
            gate.set()


async def test_a_port_in_use_is_refused_before_anything_else(database: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        app = App(database)
        app.task("t")(lambda payload: None)
        await app.add_job("t")
        with pytest.raises(
            TidemillError, match=rf"{address}.*cannot be used: Address already in use. Stop what"
        ):
            await app.run_until_empty(WorkerOptions(metrics=address))
        with psycopg.connect(database) as connection:
            assert connection.execute("select count(*) from tidemill.jobs").fetchone() == (1,)
            assert connection.execute("select from tidemill.tasks where last_seen is not null").rowcount == 0
        await app.close()


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("9090", ("127.0.0.1", 9090)),
        ("0.0.0.0:1", ("0.0.0.0", 1)),
        ("[::1]:9090", ("::1", 9090)),
        ("localhost:0", ("localhost", 0)),
    ],
)
def test_addresses(text: str, meant: tuple[str, int]) -> None:
    assert metrics_address(text) == meant


@pytest.mark.parametrize("text", ["", "localhost", ":9090", "localhost:", "localhost:65536", "1:2x", "9090:"])
def test_addresses_that_are_none(text: str) -> None:
    with pytest.raises(TidemillError, match="must be HOST:PORT"):
        WorkerOptions(metrics=text)


def test_a_child_of_a_task_does_not_keep_the_port() -> None:
    share = open_share("127.0.0.1:0")
    assert share.listening is not None
    service = MetricsService(share, measure=dict, database=DatabaseFigures(psycopg.connect))
    pid = os.fork()
    if pid == 0:
        os._exit(0 if share.listening.fileno() == -1 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert share.listening.fileno() != -1
    service.stop(1)


def test_a_silent_process_is_not_ready(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    share = open_share("127.0.0.1:0", 3)

    def measured() -> dict[str, Any]:
        return {
            **measure(None, concurrency=4, stopping=False),
            "ready": True,
            "free_slots": 3,
            "express": True,
            "in_hand": {"lease": 1},
            "troubles": {"lock": 7},
        }

    service = MetricsService(share, measure=measured, database=DatabaseFigures(psycopg.connect))
    # The second one is stopped, of the third nothing was ever heard.
    share.of_process(2).leave(measured() | {"at": time.monotonic() - 16})
    lines = [line.rpartition(" ") for line in service.metrics("")[0].decode().splitlines() if line[0] != "#"]
    of_each: dict[str, dict[str, float]] = {"1": {}, "2": {}, "3": {}}
    for name, _, value in lines:
        if (found := re.search(r'process="(\d)"', name)) is not None:
            of_each[found[1]][name.partition("{")[0]] = float(value)
    assert of_each["1"] == {
        "tidemill_troubles_total": 7,
        "tidemill_jobs_in_hand": 1,
        "tidemill_slots": 4,
        "tidemill_slots_free": 3,
        "tidemill_express_open": 1,
        "tidemill_ready": 1,
    }
    assert of_each["2"] == {"tidemill_troubles_total": 7, "tidemill_ready": 0}
    assert of_each["3"] == {"tidemill_ready": 0}
    assert service.problems(ready=False) == ["process 2 says nothing", "process 3 says nothing"]
    share.remove()


def test_figures_of_the_database_outlive_their_session(
    database: str, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(from_database, "_KEPT_SECONDS", 0.0)
    opened: list[psycopg.Connection] = []

    def connect() -> psycopg.Connection:
        opened.append(connect_patiently(database, 30))
        return opened[-1]

    asked = DatabaseFigures(connect)
    assert asked.get() is not None
    # Whoever ends it sees its end: the answer comes when the server process is gone.
    connection.execute("select pg_terminate_backend(%s, 30000)", [opened[0].info.backend_pid])
    assert asked.get() is not None
    assert len(opened) == 2
    asked.close()


def test_that_the_database_does_not_answer_is_soon_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    tries, clock = [], [1000.0]
    monkeypatch.setattr("tidemill.metrics.from_database.time.monotonic", lambda: clock[0])

    def connect() -> psycopg.Connection:
        tries.append(clock[0])
        raise psycopg.OperationalError("it is away")

    asked = DatabaseFigures(connect)
    for clock[0] in (1000.0, 1000.5, 1001.0, 1001.5, 1002.5):
        assert asked.get() is None
    assert tries == [1000.0, 1001.0, 1002.5]


@pytest.mark.slow
@pytest.mark.versions(18)
def test_one_port_for_all_processes(
    cli: CommandLine, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(cli.directory))
    (cli.directory / "tasks").mkdir()
    (cli.directory / "tasks" / "works.py").write_text("def task(payload): ...\n")
    connection.execute("select count(tidemill.add_job('works')) from generate_series(1, 100)")
    port = free_port()
    with supervised(cli, "--processes", "2", "--metrics", str(port)) as started:
        started.until("runs 1 task", 2)

        def done() -> dict[str, float]:
            name = re.compile(r'tidemill_jobs_total{outcome="done",process="(\d)",task="works"}')
            return {at[1]: value for key, value in figures(port).items() if (at := name.fullmatch(key))}

        wait_until(lambda: sum(done().values()) == 100, "all jobs to be counted")
        wait_until(lambda: read(port, "/readyz")[0] == 200, "both to be ready")
        assert {f'tidemill_slots{{process="{number}"}}' for number in (1, 2)} <= figures(port).keys()
        error = cli.refused("worker", "--processes", "2", "--metrics", str(port))
        assert "cannot be used: Address already in use" in error
        assert len(list(cli.directory.glob("tidemill-metrics-*"))) == 1
        started.process.terminate()
        assert started.code() == 0
    assert list(cli.directory.glob("tidemill-metrics-*")) == []
