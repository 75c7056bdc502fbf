"""What a server stands on, where that can fail: its clock and the disk of its WAL."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from chaos.servers.programs import Unavailable, give, program

_MB = 1 << 20
_LEAST_MB = 32


class Clock:
    """A wall clock that can be stepped under the programs that are started with its environment.

    libfaketime answers their questions for the time from a file that it reads each time.
    """

    def __init__(self, file: Path) -> None:
        library = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))), None)
        if library is None:
            raise Unavailable("libfaketime is not on this machine (apt-get install libfaketime)")
        self._file = file
        self._offset = 0.0
        self.step(0)
        self.environment: Mapping[str, str] = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def step(self, seconds: float) -> None:
        """Steps it, on from where it was stepped before."""
        self._offset += seconds
        # Renamed into place: nobody reads half a number.
        new = self._file.with_suffix(".new")
        new.write_text(f"{self._offset:+f}\n")
        new.chmod(0o644)
        new.replace(self._file)


class WalDisk:
    """A small disk for a server's WAL alone: a file system in memory, which only root can mount."""

    def __init__(self, place: Path, size_mb: int) -> None:
        if size_mb < _LEAST_MB:
            raise ValueError(f"wal_disk_mb is {size_mb}, and must be at least {_LEAST_MB}.")
        if os.geteuid() != 0:
            raise Unavailable("a disk of its own for the WAL can only be mounted by root")
        self.place = place
        self._ballast = place / "ballast"
        place.mkdir()
        options = f"size={size_mb}m,mode=0711"
        mounted = subprocess.run(
            [program("mount", "mount"), "-t", "tmpfs", "-o", options, "tidemill-chaos", place],
            capture_output=True,
            text=True,
            check=False,
        )
        if mounted.returncode != 0:
            raise Unavailable(f"a disk of its own for the WAL: {mounted.stderr.strip()}")
        wal = place / "pg_wal"
        wal.mkdir(0o700)
        give(wal)
        # Small files, and not many of them in reserve, so that a full disk is felt soon.
        self.initdb_options = (f"--waldir={wal}", "--wal-segsize=1")
        self.settings = {"min_wal_size": "2MB", "max_wal_size": f"{size_mb // 2}MB"}

    @property
    def is_filled(self) -> bool:
        return self._ballast.exists()

    def fill(self) -> None:
        """Writes a file of ours until nothing more goes in."""
        with suppress(OSError), self._ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(_MB))

    def free(self) -> None:
        """Removes the file that fills it."""
        self._ballast.unlink(missing_ok=True)

    def remove(self) -> None:
        """Unmounts it."""
        if self.place.is_mount():
            subprocess.run([program("umount", "mount"), "--lazy", self.place], check=False)
