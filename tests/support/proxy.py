"""A proxy between a worker and its server, which can be as bad as a network."""

from __future__ import annotations

import socket
import struct
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict, make_conninfo

Message = tuple[bytes, bytes]
NOTIFICATION = b"A"
_KEY = b"K"


class Link:
    """One connection through the proxy."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client = client
        self.server = server
        self.sent = b""
        """What the client has said, from the first byte on."""

    def cut(self) -> None:
        """Ends the connection on both sides."""
        for end in (self.client, self.server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


class Proxy:
    """Forwards connections; see `proxy`. Hooks are called in the threads of the links.

    refuses    gets what a client says; True ends its connection before the server hears it
    on_answer  gets the link and each of the server's messages; False drops the message
    change     gets each message, and returns what the client gets instead
    """

    def __init__(self, conninfo: str, directory: Path) -> None:
        target = conninfo_to_dict(conninfo)
        self._target = f"{target['host']}/.s.PGSQL.{target['port']}"
        self.conninfo = make_conninfo(conninfo, host=str(directory))
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(f"{directory}/.s.PGSQL.{target['port']}")
        self._listener.listen()
        self.links: list[Link] = []
        self.refuses: Callable[[bytes], bool] = lambda data: False
        self.on_answer: Callable[[Link, Message], bool] = lambda link, message: True
        self.change: Callable[[Message], Message] = lambda message: message
        self._flowing = threading.Event()
        self._flowing.set()
        threading.Thread(target=self._accept, daemon=True).start()

    def stall(self) -> None:
        """Forwards nothing more, but keeps all connections open and takes new ones."""
        self._flowing.clear()

    def flow(self) -> None:
        """Forwards again."""
        self._flowing.set()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._flowing.set()
        for link in self.links:
            link.cut()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._target)
                link = Link(client, server)
                self.links.append(link)
                for pump in (self._to_server, self._to_client):
                    threading.Thread(target=pump, args=[link], daemon=True).start()

    def _to_server(self, link: Link) -> None:
        with suppress(OSError):
            while data := link.client.recv(65536):
                self._flowing.wait()
                if self.refuses(data):
                    break
                link.sent += data
                link.server.sendall(data)
        link.cut()

    def _to_client(self, link: Link) -> None:
        with suppress(OSError):
            for message in _messages(link.server):
                self._flowing.wait()
                if self.on_answer(link, message):
                    kind, body = self.change(message)
                    link.client.sendall(kind + struct.pack("!i", len(body) + 4) + body)
        link.cut()


def _messages(server: socket.socket) -> Iterator[Message]:
    with server.makefile("rb") as stream:
        while len(head := stream.read(5)) == 5:
            yield head[:1], stream.read(struct.unpack("!i", head[1:])[0] - 4)


@contextmanager
def proxy(conninfo: str) -> Iterator[Proxy]:
    """A proxy to a server on a Unix socket."""
    with tempfile.TemporaryDirectory(prefix="proxy-") as directory:
        opened = Proxy(conninfo, Path(directory))
        try:
            yield opened
        finally:
            opened.close()


@contextmanager
def pooler(conninfo: str) -> Iterator[Proxy]:
    """A proxy that hands out made-up process numbers, as poolers do."""

    def make_up(message: Message) -> Message:
        kind, body = message
        return (kind, struct.pack("!i", 4711) + body[4:]) if kind == _KEY else message

    with proxy(conninfo) as opened:
        opened.change = make_up
        yield opened
