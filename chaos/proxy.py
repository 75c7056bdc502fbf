"""A proxy between workers and their server, which can be as bad as a network."""

from __future__ import annotations

import select
import socket
import struct
import threading
from contextlib import suppress

from psycopg.conninfo import conninfo_to_dict, make_conninfo

# An RST instead of a FIN.
_RESET = struct.pack("ii", 1, 0)
_LOOK_SECONDS = 0.1


class Proxy:
    """Forwards TCP connections to a server, which may be on a Unix socket; `conninfo` leads through it."""

    def __init__(self, conninfo: str) -> None:
        target = conninfo_to_dict(conninfo)
        self._host, self._port = str(target["host"]), int(target["port"] or 5432)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.conninfo = make_conninfo(conninfo, host="127.0.0.1", port=self._listener.getsockname()[1])
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._flowing = threading.Event()
        self._flowing.set()
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.reset()
        self._flowing.set()

    def freeze(self) -> None:
        """Forwards nothing more; acknowledges all, keeps connections open, and takes new ones."""
        self._flowing.clear()

    def flow(self) -> None:
        """Forwards again."""
        self._flowing.set()

    def reset(self) -> None:
        """Resets all connections on both sides."""
        pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for end in pair:
                with suppress(OSError):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                # Without a shutdown, which would say farewell.
                end.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._connect, args=[client], daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        self._flowing.wait()
        try:
            server = self._reach()
        except OSError:
            client.close()
            return
        self._pairs.append((client, server))
        threading.Thread(target=self._pump, args=[client, server], daemon=True).start()
        self._pump(server, client)

    def _reach(self) -> socket.socket:
        if not self._host.startswith("/"):
            return socket.create_connection((self._host, self._port))
        server = socket.socket(socket.AF_UNIX)
        server.connect(f"{self._host}/.s.PGSQL.{self._port}")
        return server

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        # A socket that was closed meanwhile is no number that can be waited for.
        with suppress(OSError, ValueError):
            while data := _received(source):
                self._flowing.wait()
                target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def _received(source: socket.socket) -> bytes:
    """The next bytes. Waits in short steps: a socket is not closed while somebody waits for it."""
    while not select.select([source], [], [], _LOOK_SECONDS)[0]:
        pass
    return source.recv(65536)
