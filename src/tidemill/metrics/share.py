"""The address where a worker's figures are read, and how several processes share it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tidemill.errors import TidemillError
from tidemill.worker_options import metrics_address

_QUEUE = 64

Figures = Mapping[str, Any]
"""What one process tells of itself: see `tidemill.measures`."""


@dataclass(frozen=True)
class Share:
    """One process's part: the first one answers for all, the others leave their figures in files."""

    listening: socket.socket | None
    directory: Path | None = None
    number: int = 1
    count: int = 1

    def leave(self, figures: Figures) -> None:
        """Leaves figures for the process that answers. Raises OSError."""
        assert self.directory is not None
        place = self.directory / str(self.number)
        draft = place.with_suffix(".new")
        draft.write_text(json.dumps(figures))
        draft.replace(place)

    def of_others(self) -> dict[int, Figures]:
        """What the other processes have left, by number."""
        found: dict[int, Figures] = {}
        for number in range(1, self.count + 1):
            if self.directory is not None and number != self.number:
                try:
                    found[number] = json.loads((self.directory / str(number)).read_text())
                except (OSError, ValueError):
                    # It has not begun yet.
                    continue
        return found

    def of_process(self, number: int) -> Share:
        """The part of one of several processes."""
        if number != 1 and self.listening is not None:
            self.listening.close()
        return Share(self.listening if number == 1 else None, self.directory, number, self.count)

    def close(self) -> None:
        """Gives the address back."""
        if self.listening is not None:
            self.listening.close()

    def remove(self) -> None:
        """Closes it, and removes the files: for the supervisor, when all processes have ended."""
        self.close()
        if self.directory is not None:
            shutil.rmtree(self.directory, ignore_errors=True)


def open_share(address: str, processes: int = 1) -> Share:
    """Takes an address, for so many processes, before any of them begins.

    Raises TidemillError if it is taken, or is none of this machine's, or if prometheus-client is missing.
    """
    if find_spec("prometheus_client") is None:
        raise TidemillError("Metrics need the package prometheus-client: pip install 'tidemill[metrics]'.")
    host, port = metrics_address(address)
    try:
        family, _, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise TidemillError(f"metrics {address!r}: {host} is no address: {error.strerror}.") from error
    try:
        # A port that a worker has just left is free.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(place)
        listening.listen(_QUEUE)
    except OSError as error:
        listening.close()
        raise TidemillError(
            f"metrics {address!r}: the address cannot be used: {os.strerror(error.errno or 0)}. Stop what "
            "listens there (`ss -ltnp` shows it), or choose another port; port 0 takes any that is free."
        ) from error
    directory = Path(tempfile.mkdtemp(prefix="tidemill-metrics-")) if processes > 1 else None
    return Share(listening, directory, 1, processes)
