"""The stage of one scenario: a server, a database, workers, producers, and what they leave behind."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo

from chaos.failover import FailoverServer
from chaos.load import Load, Producer
from chaos.proxy import Proxy
from chaos.records import Added, Loss, Run, Sample, read_journal
from chaos.servers import ChaosServer
from chaos.subject import Lane, Subject
from chaos.supervised import SupervisedWorker
from chaos.workers import Worker, stop

HERE = Path(__file__).parent
OUT = HERE / "out"
CONCURRENCY = 10
ROLE = DATABASE = "app"
_START_SECONDS = 60
_SAMPLE_SECONDS = 0.2
_SLOTS_SECONDS = 15
_SUPERVISE_SECONDS = 0.5


_interrupted = threading.Event()


def interrupt() -> None:
    """Has all stages end, and their processes with them."""
    _interrupted.set()


def hold(seconds: float) -> None:
    """Lets so much time pass. Raises InterruptedError if all is to end."""
    if _interrupted.wait(seconds):
        raise InterruptedError


def concurrency(processes: int) -> int:
    """How many jobs each process of a worker runs at once: together as many as one alone."""
    return max(1, CONCURRENCY // processes)


@dataclass(frozen=True)
class Size:
    """How large a scenario is: seconds, jobs a second, and jobs at most."""

    lease: float
    before: float
    after: float
    rate: float
    most: int
    drain: float
    """How long the jobs that are left at the end of the load may take."""

    @property
    def past_lease(self) -> float:
        """Long enough for a lease to end, and for a sweep to see it."""
        return self.lease * 1.3


SHORT = Size(lease=6, before=2, after=4.5, rate=25, most=1000, drain=20)
FULL = Size(lease=30, before=6, after=12, rate=50, most=4000, drain=110)


class Stage:
    """One run of a scenario; opened by `staged`."""

    def __init__(
        self, server: ChaosServer, subject: Subject, size: Size, place: Path, processes: int
    ) -> None:
        self.server, self.subject, self.size, self.place = server, subject, size, place
        self.processes = processes
        self.journal = place / "journal"
        self.conninfo = make_conninfo(_conninfo(server), dbname=DATABASE, user=ROLE)
        self.added: list[Added] = []
        self.losses: list[Loss] = []
        self.samples: list[Sample] = []
        self.workers: list[Worker] = []
        self.proxies: list[Proxy] = []
        self.began = self.ended = 0.0
        self.hits = 1
        self.lines_before: list[int] = []
        self.ending = threading.Event()

    @property
    def admin_conninfo(self) -> str:
        """The same database as the superuser."""
        return make_conninfo(_conninfo(self.server), dbname=DATABASE)

    def prepare(self) -> None:
        """Makes the database, whose owner is no superuser, and lays our schema beside Tidemill's."""
        with psycopg.connect(self.server.conninfo, autocommit=True) as connection:
            connection.execute(f"create role {ROLE} login".encode())
            connection.execute(f"create database {DATABASE} owner {ROLE}".encode())
        self.subject.prepare(self.conninfo)

    def start_worker(self, conninfo: str) -> None:
        """One more worker."""
        number = len(self.workers)
        command = self.subject.worker(conninfo, concurrency(self.processes))
        environment = self.subject.environment(conninfo, self.journal)
        log = self.place / f"worker-{number}.log"
        self.workers.append(
            Worker(command, environment, log, self.losses)
            if self.processes == 1
            else SupervisedWorker(command, environment, log, self.losses, self.processes)
        )

    def supervised(self) -> list[SupervisedWorker]:
        """Its workers, where each has a supervisor."""
        return [worker for worker in self.workers if isinstance(worker, SupervisedWorker)]

    def producer(self) -> Producer:
        """A producer with a connection of its own, straight to the server."""
        return Producer(self.conninfo, self.subject.add, self.added)

    def wait_for_workers(self) -> None:
        """Until all have registered. Raises RuntimeError if they do not."""
        deadline = time.monotonic() + _START_SECONDS
        with self.admin() as connection:
            while _one(connection, self._started) < len(self.workers) * self.processes:
                if time.monotonic() > deadline or not all(worker.alive for worker in self.workers):
                    raise RuntimeError(f"the workers did not start; see {self.place}/worker-0.log")
                hold(0.1)

    def hold(self, seconds: float) -> None:
        """Lets so much time pass. Raises InterruptedError if all is to end."""
        hold(seconds)

    @contextmanager
    def fault(self, hits: int = 1) -> Iterator[None]:
        """Around the time in which something is broken, so many times."""
        self.hits = hits
        self.lines_before = [worker.log.stat().st_size for worker in self.workers]
        self.began = time.monotonic()
        try:
            yield
        finally:
            self.ended = time.monotonic()

    def supervise(self) -> None:
        """Starts workers that end by themselves again from now on, as a supervisor does."""
        threading.Thread(target=self._supervise, daemon=True).start()

    def _supervise(self) -> None:
        while not self.ending.wait(_SUPERVISE_SECONDS):
            for worker in self.workers:
                worker.start_if_ended()

    def lost(self, pids: Sequence[int], began: float) -> None:
        """Notes that these processes could not reach the database since then, until now."""
        self.losses += [Loss(pid, began, time.monotonic()) for pid in pids]

    @contextmanager
    def admin(self) -> Iterator[psycopg.Connection[Any]]:
        """A superuser's connection to the database, straight to the server."""
        with psycopg.connect(self.admin_conninfo, autocommit=True, connect_timeout=5) as connection:
            yield connection

    @contextmanager
    def sampling(self) -> Iterator[None]:
        """Looks at the workers' leases all the time, as far as the server answers."""
        ended = threading.Event()
        thread = threading.Thread(target=self._sample, args=[ended], daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join(10)

    def _sample(self, ended: threading.Event) -> None:
        if not self.is_ours:
            return
        connection: psycopg.Connection[Any] | None = None
        while not ended.wait(_SAMPLE_SECONDS):
            try:
                if connection is None or connection.closed:
                    connection = psycopg.connect(
                        self.admin_conninfo,
                        autocommit=True,
                        connect_timeout=2,
                        options="-c statement_timeout=2s",
                    )
                rows = connection.execute(
                    "select id, extract(epoch from expires_at - clock_timestamp())::float"
                    " from tidemill._workers"
                ).fetchall()
            except psycopg.Error:
                continue
            self.samples.append(Sample(time.monotonic(), dict(rows)))
        if connection is not None:
            connection.close()

    def runs(self) -> list[Run]:
        """All runs so far."""
        return read_journal(self.journal_lines())

    def journal_lines(self) -> list[str]:
        return self.journal.read_text(errors="replace").splitlines(keepends=True)

    def drain(self) -> None:
        """Waits until no job is left but the failed ones, and then for slots; gives up after a while."""
        self._wait_for_none(
            f"select count(*) from ({self.subject.left}) as jobs (number, failed) where not failed",
            self.size.drain,
        )
        if self.is_ours:
            self._wait_for_none(
                "select count(*) from (select max(slot) from tidemill.action_history group by action_id)"
                " as latest (slot) where slot < clock_timestamp() - interval '2 seconds'",
                _SLOTS_SECONDS,
            )

    @property
    def is_ours(self) -> bool:
        """Whether it is Tidemill, whose tables the harness knows."""
        return isinstance(self.subject, Lane)

    @property
    def _started(self) -> str:
        """A query for how many workers have started."""
        if self.is_ours:
            return "select count(*) from tidemill._workers"
        # Each has a connection or more, and nobody else has one of this role.
        return f"select count(*) from pg_stat_activity where usename = '{ROLE}'"

    def _wait_for_none(self, statement: str, longest: float) -> None:
        deadline = time.monotonic() + longest
        while time.monotonic() < deadline:
            with contextlib.suppress(psycopg.Error), self.admin() as connection:
                if not _one(connection, statement):
                    return
            hold(0.25)


@contextmanager
def staged(
    server: ChaosServer,
    subject: Subject,
    size: Size,
    place: Path,
    workers: int,
    *,
    processes: int,
    through: Callable[[str], AbstractContextManager[str]] | None,
    proxied: bool,
) -> Iterator[Stage]:
    """A stage with workers that have started; at the end all of its processes have ended."""
    stage = Stage(server, subject, size, place, processes)
    stage.prepare()
    with ExitStack() as stack:
        conninfo = stage.conninfo if through is None else stack.enter_context(through(stage.conninfo))
        ways = [conninfo] * workers
        if proxied:
            stage.proxies = [stack.enter_context(Proxy(conninfo)) for _ in range(workers)]
            ways = [proxy.conninfo for proxy in stage.proxies]
        # Before what stands between them and the server has ended.
        stack.callback(lambda: stop(stage.workers))
        stack.callback(stage.ending.set)
        for way in ways:
            stage.start_worker(way)
        stage.wait_for_workers()
        yield stage


@contextmanager
def loaded(stage: Stage) -> Iterator[Load]:
    """The mix of jobs, added all the time."""
    load = Load(stage.producer(), stage.size.rate, stage.size.most)
    try:
        yield load
    finally:
        load.end()


def _conninfo(server: ChaosServer) -> str:
    return server.switchable() if isinstance(server, FailoverServer) else server.conninfo


def _one(connection: psycopg.Connection[Any], statement: str) -> int:
    row = connection.execute(statement.encode()).fetchone()
    assert row is not None
    return int(row[0])
