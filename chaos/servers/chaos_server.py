"""A PostgreSQL to be put under faults: crashes, steps of its clock, a full disk, failover."""

from __future__ import annotations

import atexit
import shutil
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg
from psycopg.conninfo import make_conninfo

from chaos.servers.cluster import Cluster
from chaos.servers.faults import Clock, WalDisk
from chaos.servers.programs import Unavailable, new_directory, wait_for

__all__ = ["ChaosServer", "Standby", "Unavailable"]


class _Server:
    """What a primary and a standby have in common."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    @property
    def conninfo(self) -> str:
        """Its superuser, in the database postgres; over TCP."""
        return self.cluster.conninfo()

    @property
    def socket_conninfo(self) -> str:
        """The same over the Unix socket."""
        return self.cluster.conninfo(str(self.cluster.directory))

    @property
    def log(self) -> Path:
        """The server's log."""
        return self.cluster.log

    def is_up(self) -> bool:
        """Whether it takes connections."""
        return self.cluster.is_up()

    def start(self) -> None:
        """Starts it, and waits until it takes connections."""
        self.cluster.start()

    def stop(self, mode: str = "fast") -> None:
        """Stops it, and waits until it has ended."""
        self.cluster.stop(mode)

    def restart(self, mode: str = "fast") -> None:
        """Stops it and starts it again. `smart` waits for all clients to go, for a minute."""
        self.cluster.stop(mode)
        self.cluster.start()

    def kill(self) -> None:
        """Kills all its processes at once (SIGKILL), and leaves it down."""
        self.cluster.kill()

    def crash(self) -> None:
        """Kills all its processes at once (SIGKILL), and starts it again: it recovers from its WAL."""
        self.cluster.kill()
        self.cluster.start()


class ChaosServer(_Server):
    """A private PostgreSQL of this version, with its settings as shipped; a context manager.

    Args:
        version: The major version.
        clock: Whether its clock can be stepped (`step_clock`); needs libfaketime.
        wal_disk_mb: Puts its WAL on a disk of its own with so many MB, 32 at least (`fill_wal_disk`);
            needs root.
        settings: Other settings, as in postgresql.conf.

    Raises:
        Unavailable: Something that this needs is not on this machine, or not allowed.
    """

    def __init__(
        self,
        version: int = 18,
        *,
        clock: bool = False,
        wal_disk_mb: int | None = None,
        settings: dict[str, str] | None = None,
    ) -> None:
        self.directory = new_directory()
        self._clock: Clock | None = None
        self._wal_disk: WalDisk | None = None
        self._standbys: list[Standby] = []
        self._settings = settings or {}
        # Also where `with` does not see the end: sys.exit in another thread, an unhandled signal's handler.
        atexit.register(self.close)
        try:
            if clock:
                self._clock = Clock(self.directory / "clock")
            if wal_disk_mb is not None:
                self._wal_disk = WalDisk(self.directory / "wal", wal_disk_mb)
            environment = self._clock.environment if self._clock else {}
            super().__init__(Cluster(version, self.directory / "primary", environment))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        try:
            self._lay()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Kills its servers, and removes everything of them; calling it again does nothing."""
        for server in (*self._standbys, self):
            if hasattr(server, "cluster"):
                server.cluster.kill()
        if self._wal_disk is not None:
            self._wal_disk.remove()
        shutil.rmtree(self.directory, ignore_errors=True)
        atexit.unregister(self.close)

    def step_clock(self, seconds: float) -> None:
        """Steps its wall clock, forwards or (if negative) backwards; running sessions see it at once.

        Its monotonic clock, and the clocks of all other programs, go on as they did.
        """
        if self._clock is None:
            raise ValueError("The server has no clock of its own: make it with clock=True.")
        self._clock.step(seconds)

    def fill_wal_disk(self) -> None:
        """Fills the disk of the WAL: PostgreSQL goes on for the WAL files that it has, then it ends.

        Without space for the next file it panics, and cannot recover either: the server is down soon
        after the next few MB of changes. `wal_is_full` tells.
        """
        self._disk.fill()

    def wal_is_full(self) -> bool:
        """Whether the server has ended because its WAL's disk is full."""
        return self._disk.is_filled and not self.is_up()

    def free_wal_disk(self) -> None:
        """Frees the disk of the WAL, and starts the server if it has ended, as somebody has to."""
        self._disk.free()
        # Between its panic and its end, it is neither up nor down.
        wait_for(lambda: self.is_up() or self.cluster.postmaster() is None, "the server to be up or down")
        if self.cluster.postmaster() is None:
            self.start()

    def standby(self) -> Standby:
        """Starts an asynchronous standby, and returns it when it has what was committed until now."""
        cluster = Cluster(
            self.cluster.version,
            self.directory / f"standby-{len(self._standbys) + 1}",
            self.cluster.environment,
        )
        standby = Standby(cluster, self)
        self._standbys.append(standby)
        standby.copy()
        return standby

    def switchable(self) -> str:
        """`conninfo` with the primary and all standbys as hosts: whichever takes writes is connected to."""
        servers = [self.cluster, *(standby.cluster for standby in self._standbys)]
        return make_conninfo(
            self.conninfo,
            host=",".join("127.0.0.1" for _ in servers),
            port=",".join(str(server.port) for server in servers),
            target_session_attrs="read-write",
        )

    @property
    def _disk(self) -> WalDisk:
        if self._wal_disk is None:
            raise ValueError("The server's WAL is on no disk of its own: make it with wal_disk_mb.")
        return self._wal_disk

    def _lay(self) -> None:
        self.cluster.init(*(self._wal_disk.initdb_options if self._wal_disk else ()))
        self.cluster.listen()
        self.cluster.configure({**(self._wal_disk.settings if self._wal_disk else {}), **self._settings})
        self.cluster.start()


class Standby(_Server):
    """A server that follows a primary over a stream, without making it wait."""

    def __init__(self, cluster: Cluster, primary: ChaosServer) -> None:
        super().__init__(cluster)
        self._primary = primary

    def copy(self) -> None:
        """Copies the primary, and follows it."""
        self.cluster.run(
            "pg_basebackup",
            f"--dbname={self._primary.conninfo}",
            f"--pgdata={self.cluster.data_dir}",
            "--write-recovery-conf",
            "--checkpoint=fast",
            "--no-sync",
        )
        self.cluster.listen()
        self.cluster.start()
        self.catch_up()

    def catch_up(self) -> None:
        """Waits until it has replayed what the primary has committed until now."""
        with psycopg.connect(self._primary.conninfo, autocommit=True) as primary:
            (until,) = primary.execute("select pg_current_wal_flush_lsn()").fetchone() or (None,)
        with psycopg.connect(self.conninfo, autocommit=True) as connection:
            ask = "select pg_last_wal_replay_lsn() >= %s::pg_lsn"
            wait_for(
                lambda: connection.execute(ask, [until]).fetchone() == (True,), "the standby to catch up"
            )

    def promote(self) -> None:
        """Makes it a primary, and waits until it takes writes. End the old one before."""
        self.cluster.run("pg_ctl", "promote", "-w", "-t", "60")
