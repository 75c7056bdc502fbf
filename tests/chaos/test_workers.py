"""What is done to processes and connections."""

from __future__ import annotations

import socket
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from chaos.proxy import Proxy
from chaos.records import Loss
from chaos.workers import Worker, stop
from tests.support.waiting import wait_until

_SLEEP = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]


def test_a_killed_worker_is_a_loss_and_can_be_started_again(tmp_path: Path) -> None:
    losses: list[Loss] = []
    worker = Worker(_SLEEP, {}, tmp_path / "log", losses)
    first = worker.pid

    worker.kill()
    wait_until(lambda: losses, "the loss")
    worker.start()

    assert (losses[0].pid, losses[0].until) == (first, None)
    assert worker.alive
    stop([worker])
    assert not worker.alive


def test_only_a_worker_that_has_ended_by_itself_is_started_by_its_supervisor(tmp_path: Path) -> None:
    worker = Worker(_SLEEP, {}, tmp_path / "log", [])
    worker.kill()
    worker.start_if_ended()
    assert not worker.alive

    worker.start()
    worker.process.kill()
    worker.process.wait()
    worker.start_if_ended()

    assert worker.alive
    assert worker.ends == 1
    stop([worker])


def test_a_frozen_worker_is_a_loss_until_it_goes_on(tmp_path: Path) -> None:
    losses: list[Loss] = []
    worker = Worker(_SLEEP, {}, tmp_path / "log", losses)

    worker.freeze()
    worker.thaw()

    [loss] = losses
    assert loss.frozen
    assert loss.until is not None
    stop([worker])


def test_warnings_of_the_workers_own_are_counted_since_a_place(tmp_path: Path) -> None:
    log = tmp_path / "log"
    worker = Worker([sys.executable, "-c", ""], {}, log, [])
    worker.process.wait()
    log.write_text('{"level": "warning", "message": "before"}\n')
    size = log.stat().st_size
    with log.open("a") as lines:
        lines.write('{"level": "info"}\n{"level": "warning"}\n{"level": "error"}\nFatal: no JSON\n')
        lines.write('{"level": "error", "job_id": 7, "message": "job 7 failed"}\n')

    assert worker.lines_since(size) == 3


@pytest.fixture
def echo() -> socket.socket:
    """A server that answers with what it gets."""
    server = socket.create_server(("127.0.0.1", 0))

    def answer(client: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(99):
                client.sendall(data)

    def accept() -> None:
        while True:
            client, _ = server.accept()
            threading.Thread(target=answer, args=[client], daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return server


def test_a_proxy_forwards_falls_silent_and_goes_on(echo: socket.socket) -> None:
    with Proxy(f"host=127.0.0.1 port={echo.getsockname()[1]}") as proxy, _client(proxy) as client:
        client.sendall(b"one")
        assert client.recv(9) == b"one"

        proxy.freeze()
        client.sendall(b"two")
        client.settimeout(0.1)
        with pytest.raises(TimeoutError):
            client.recv(9)

        proxy.flow()
        client.settimeout(10)
        assert client.recv(9) == b"two"


def test_a_proxy_resets_what_is_open_and_takes_new_connections(echo: socket.socket) -> None:
    with Proxy(f"host=127.0.0.1 port={echo.getsockname()[1]}") as proxy:
        with _client(proxy) as client:
            client.sendall(b"one")
            assert client.recv(9) == b"one"
            proxy.reset()
            with pytest.raises(ConnectionResetError):
                client.recv(9)
        with _client(proxy) as client:
            client.sendall(b"two")
            assert client.recv(9) == b"two"


def _client(proxy: Proxy) -> socket.socket:
    port = proxy.conninfo.partition("port=")[2].split()[0]
    return socket.create_connection(("127.0.0.1", int(port)), timeout=10)
