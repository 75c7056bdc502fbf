"""The HTTP server of a worker's figures: `/metrics`, `/healthz`, `/readyz`."""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tidemill import forks
from tidemill.metrics.from_database import DatabaseFigures
from tidemill.metrics.share import Figures, Share

logger = logging.getLogger("tidemill")

_LEAVE_SECONDS = 2.0
# A process that has left nothing for so long has ended, or hangs.
_SILENT_SECONDS = 15.0
# Each connection is a thread beside the tasks: a few readers at once are all that a worker's figures have.
_MOST_CONNECTIONS = 20
# From the connection to the end of the answer, however it trickles.
_REQUEST_SECONDS = 10.0


class MetricsService:
    """Serves the figures of this process and of its siblings, or leaves its own for the one that does."""

    def __init__(self, share: Share, *, measure: Callable[[], Figures], database: DatabaseFigures) -> None:
        self._share = share
        self._measure = measure
        self._database = database
        self._stop = threading.Event()
        self._server: _Server | None = None
        if share.listening is not None:
            # Here, so that a library that is missing is told before the worker begins.
            from prometheus_client import CollectorRegistry  # noqa: F401

            self._server = _Server(share, self)
        forks.renew_in_children(self)
        run = self._leave if self._server is None else self._serve
        self._thread = threading.Thread(target=run, name="tidemill-metrics", daemon=True)

    def renew(self) -> None:
        """In a forked child: a task's child that outlives the worker must not keep its port."""
        self._share.close()

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self, patience: float) -> None:
        """Ends the thread."""
        self._stop.set()
        if self._thread.is_alive():
            if self._server is not None:
                self._server.shutdown()
            self._thread.join(patience)
        self._share.close()

    def processes(self) -> dict[int, Figures]:
        """The figures of all processes, by number."""
        return {self._share.number: self._measure(), **self._share.of_others()}

    def metrics(self, accept: str) -> tuple[bytes, str]:
        """The page that Prometheus reads, and its type."""
        from prometheus_client import CollectorRegistry
        from prometheus_client.exposition import choose_encoder

        from tidemill.metrics.exposition import Exposition

        registry = CollectorRegistry(auto_describe=False)
        processes = self.processes()
        known = {number: _known(processes.get(number)) for number in range(1, self._share.count + 1)}
        registry.register(Exposition(known, self._of_database()))
        encode, kind = choose_encoder(accept)
        return encode(registry), kind

    def problems(self, *, ready: bool) -> list[str]:
        """What is wrong with the processes; with `ready`, also why they do not claim jobs."""
        found: list[str] = []
        processes = self.processes()
        for number in range(1, self._share.count + 1):
            figures = processes.get(number)
            if figures is None or _is_silent(figures):
                found.append(f"process {number} says nothing")
                continue
            found += [f"process {number}: {problem}" for problem in figures["broken"]]
            if ready:
                found += [f"process {number}: {problem}" for problem in figures["unready"]]
        if ready and not found and self._of_database() is None:
            found.append("the database does not answer")
        return found

    def _of_database(self) -> dict[str, Any] | None:
        """Those of the database; None if it does not answer, or the worker is about to look for it."""
        return self._database.get() if self._measure()["begun"] else None

    def _serve(self) -> None:
        assert self._server is not None
        self._server.serve_forever()

    def _leave(self) -> None:
        while True:
            try:
                self._share.leave(self._measure())
            except OSError as error:
                logger.warning("the figures of this process cannot be left for process 1: %s", error)
            if self._stop.wait(_LEAVE_SECONDS):
                return


def _is_silent(figures: Figures) -> bool:
    return time.monotonic() - float(figures["at"]) > _SILENT_SECONDS


def _known(figures: Figures | None) -> Figures:
    """The figures of a process that still hold; of one that is silent: what it has counted."""
    if figures is not None and not _is_silent(figures):
        return figures
    counted = figures or {"tasks": {}, "troubles": {}}
    return {"tasks": counted["tasks"], "troubles": counted["troubles"], "in_hand": {}, "ready": False}


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, share: Share, service: MetricsService) -> None:
        assert share.listening is not None
        super().__init__(share.listening.getsockname()[:2], _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = share.listening
        self.service = service
        self._lock = threading.Lock()
        self._deadlines: dict[socket.socket, float] = {}

    def process_request(self, request: Any, client_address: Any) -> None:
        """Begins a thread for a connection, if there are not too many."""
        with self._lock:
            is_free = len(self._deadlines) < _MOST_CONNECTIONS
            if is_free:
                self._deadlines[request] = time.monotonic() + _REQUEST_SECONDS
        if not is_free:
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            # No thread: the server closes the connection.
            self._forget(request)
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answers, and makes room for the next."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._forget(request)

    def service_actions(self) -> None:
        """Cuts off who takes too long; called twice a second, and after each connection."""
        at = time.monotonic()
        with self._lock:
            for request, deadline in self._deadlines.items():
                if deadline <= at:
                    # Its thread reads an end, or cannot write, and closes it.
                    with contextlib.suppress(OSError):
                        request.shutdown(socket.SHUT_RDWR)

    def _forget(self, request: socket.socket) -> None:
        with self._lock:
            self._deadlines.pop(request, None)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who asked has gone, most likely."""
        logger.debug("a request for metrics broke", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version = "tidemill"
    sys_version = ""

    def do_GET(self) -> None:
        """Answers."""
        service, path = self.server.service, self.path.partition("?")[0]
        if path == "/metrics":
            body, kind = service.metrics(self.headers.get("Accept", ""))
            self._answer(HTTPStatus.OK, body, kind)
        elif path in ("/healthz", "/readyz"):
            problems = service.problems(ready=path == "/readyz")
            status = HTTPStatus.SERVICE_UNAVAILABLE if problems else HTTPStatus.OK
            said = {"status": "not ok" if problems else "ok", "problems": problems}
            self._answer(status, json.dumps(said).encode() + b"\n", "application/json")
        else:
            self._answer(HTTPStatus.NOT_FOUND, b"Here are /metrics, /healthz and /readyz.\n", "text/plain")

    do_HEAD = do_GET

    def _answer(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: a line for each reading tells nobody anything."""
