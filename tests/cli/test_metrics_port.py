"""The port of a worker's figures under clients that do not end."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack

import psycopg
import pytest

from tests.support.waiting import wait_until
from tidemill.metrics import server
from tidemill.metrics.from_database import DatabaseFigures
from tidemill.metrics.server import MetricsService
from tidemill.metrics.share import open_share

BEGUN = b"GET /else HTTP/1.0\r\nX: "


@pytest.fixture
def address() -> Iterator[tuple[str, int]]:
    """Where a service listens."""
    share = open_share("127.0.0.1:0")
    assert share.listening is not None
    host, port = share.listening.getsockname()[:2]
    service = MetricsService(share, measure=dict, database=DatabaseFigures(psycopg.connect))
    service.start()
    yield host, port
    service.stop(10)


def rest(connection: socket.socket) -> bytes:
    """What comes until the connection is closed."""
    found = b""
    try:
        while got := connection.recv(1000):
            found += got
    except ConnectionResetError:
        pass
    return found


def answer(address: tuple[str, int]) -> bytes:
    with socket.create_connection(address, timeout=30) as connection:
        try:
            connection.sendall(BEGUN + b"\r\n\r\n")
        except ConnectionError:
            return b""
        return rest(connection)


def threads() -> int:
    return sum("process_request" in thread.name for thread in threading.enumerate())


def test_connections_are_bounded(address: tuple[str, int]) -> None:
    most = server._MOST_CONNECTIONS
    with ExitStack() as stack:
        opened = [
            stack.enter_context(socket.create_connection(address, timeout=30)) for _ in range(most + 30)
        ]
        assert [rest(each) for each in opened[most:]] == [b""] * 30
        assert threads() == most
        assert answer(address) == b""
        # One that ends makes room, and the others were not touched by those that were refused.
        opened[0].close()
        wait_until(lambda: b" 404 " in answer(address), "an answer")
        opened[1].sendall(BEGUN + b"\r\n\r\n")
        assert b" 404 " in rest(opened[1])
    wait_until(lambda: threads() == 0, "their end")


def test_a_request_has_a_deadline_however_it_trickles(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_REQUEST_SECONDS", 0.2)
    with socket.create_connection(address, timeout=0.05) as connection:
        connection.sendall(BEGUN)
        wait_until(lambda: is_cut_off(connection), "the deadline")
    wait_until(lambda: threads() == 0, "the end of its thread")
    monkeypatch.undo()
    assert b" 404 " in answer(address)


def is_cut_off(connection: socket.socket) -> bool:
    """Sends one more byte; whether the other side has closed."""
    try:
        connection.sendall(b"x")
        return connection.recv(1) == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True
