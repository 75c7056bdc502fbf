"""The scenarios: what happens, and what is asked beside the targets that all have."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial

from chaos.failover import FailoverServer
from chaos.faults import connections, locks, poison, processes, servers
from chaos.servers import ChaosServer, pgbouncer
from chaos.stage import FULL, Stage

LANES = ("lease", "express", "auto")


@dataclass(frozen=True)
class Scenario:
    """Something that goes wrong under load."""

    name: str
    what: str
    """What happens, in a sentence."""
    fault: Callable[[Stage], None]
    short: bool = False
    """Whether it belongs to the short set."""
    peers: bool = False
    """Whether peers are put under it, too."""
    workers: int = 2
    processes: int = 1
    """How many each worker has, below a supervisor of its own; at least."""
    proxied: bool = False
    """Whether each worker has a proxy between itself and the server."""
    server: Callable[[], ChaosServer] = ChaosServer
    """Makes a server of its own."""
    through: Callable[[str], AbstractContextManager[str]] | None = None
    """What stands between workers and server; yields how to connect."""
    late: float = 0.0
    """By how many seconds more retries may be late at the end."""
    rate: float | None = None
    """Jobs a second, in place of those of the size."""
    options: Sequence[str] = ()
    """More options of the workers."""
    limits: Mapping[str, float] = field(default_factory=dict)
    """The most of some figures, in place of or beside those of `chaos.targets.limits`."""
    without: frozenset[str] = frozenset()
    """Targets that cannot be asked of it."""


# Three leases take longer than the most jobs at the usual rate.
_SLOWLY = 20.0
# What waits beside a job that kills its workers may have three of them lost, one after the other.
_THREE_LEASES = 3 * (FULL.lease + 5)

# What stops in its own time ends its jobs, or gives them back.
_NOTHING_CUT = {"failed": 0, "twice": 0, "side_by_side": 0}

_ALL = (
    Scenario(
        "kill9", "kill -9 of one worker of three", processes.kill_one, short=True, peers=True, workers=3
    ),
    Scenario("kill9-all", "kill -9 of both workers at once, started again", processes.kill_all, peers=True),
    Scenario("kill9-loop", "kill -9 of one worker after the other, six times", processes.kill_in_a_loop),
    Scenario(
        "kill9-process",
        "kill -9 of one of two processes below one supervisor",
        processes.kill_one,
        short=True,
        workers=1,
        processes=2,
    ),
    Scenario(
        "kill9-supervisor",
        "kill -9 of one supervisor of two, started again after its two processes have stopped",
        processes.kill_supervisor,
        short=True,
        processes=2,
        limits=_NOTHING_CUT,
    ),
    Scenario(
        "term-group",
        "SIGTERM to one supervisor of two and its two processes, started again",
        processes.terminate_group,
        short=True,
        processes=2,
        limits=_NOTHING_CUT,
    ),
    Scenario(
        "stop-supervisor",
        "SIGSTOP of a supervisor for longer than a lease, and kill -9 of one of its two processes",
        processes.freeze_supervisor,
        workers=1,
        processes=2,
    ),
    Scenario(
        "stop",
        "SIGSTOP of one worker for longer than its lease, then SIGCONT",
        processes.freeze_one,
        peers=True,
        short=True,
    ),
    Scenario(
        "stop-all",
        "SIGSTOP of both workers for longer than their leases, then SIGCONT",
        processes.freeze_all,
        # Nobody is there to start them.
        without=frozenset({"orphan"}),
    ),
    Scenario(
        "silence",
        "one worker's connections are acknowledged and never answered, for longer than its lease",
        connections.freeze_one_workers_sockets,
        peers=True,
        proxied=True,
    ),
    Scenario(
        "cut-off",
        "one worker's connections fall silent for longer than its lease, then are reset",
        connections.cut_one_worker_off,
        proxied=True,
    ),
    Scenario(
        "silence-all",
        "all workers' connections fall silent for half a lease",
        connections.freeze_all_sockets,
        proxied=True,
    ),
    Scenario(
        "reset",
        "all workers' connections are reset, three times",
        connections.reset_sockets,
        peers=True,
        short=True,
        proxied=True,
    ),
    *(
        Scenario(
            f"backends-{kind}",
            f"pg_terminate_backend of the workers' connections: {kind}",
            connections.kill_backends(kind),
        )
        for kind in ("heartbeat", "listener", "engine", "tasks", "actions")
    ),
    Scenario(
        "backends",
        "pg_terminate_backend of all connections of workers and producers, three times",
        connections.kill_all_backends,
        peers=True,
        short=True,
    ),
    Scenario(
        "heartbeat-refused",
        "one worker's heartbeat gets no connection for longer than its lease; its others stay",
        connections.refuse_heartbeats,
    ),
    Scenario(
        "connections-refused",
        "all connections end, and workers get none for half a lease",
        connections.refuse_connections,
    ),
    Scenario("lock", "LOCK TABLE for five seconds", locks.lock_table, short=True, limits={"longest_add": 7}),
    Scenario(
        "vacuum-full",
        "VACUUM FULL of the jobs' table, three times",
        locks.vacuum_full,
        limits={"longest_add": 2},
    ),
    Scenario(
        "alter-table",
        "ALTER TABLE adds and drops columns of the jobs' table, six times",
        locks.alter_table,
        short=True,
        limits={"longest_add": 1},
    ),
    Scenario(
        "poison",
        "a job with one attempt kills its worker; 199 with one attempt were added with it",
        poison.poison(1),
        short=True,
    ),
    Scenario(
        "poison-3",
        "the same with three attempts",
        poison.poison(3),
        rate=_SLOWLY,
        limits={"orphan": _THREE_LEASES},
    ),
    Scenario(
        "poison-keys",
        "the same with three attempts, and keys",
        poison.poison(3, keyed=True),
        rate=_SLOWLY,
        limits={"orphan": _THREE_LEASES},
    ),
    Scenario("restart", "restart of the server, mode fast", servers.restart("fast"), short=True, peers=True),
    Scenario("restart-immediate", "restart of the server, mode immediate", servers.restart("immediate")),
    Scenario("crash", "kill -9 of all the server's processes", servers.crash, short=True, peers=True),
    Scenario("away", "the server is stopped for longer than a lease", servers.away, peers=True),
    Scenario(
        "idle-restart",
        "restart of the server while the workers idle; then 20 jobs with one attempt at once",
        servers.restart_while_idle,
        rate=0,
        limits={"failed": 0},
    ),
    Scenario(
        "failover",
        "kill -9 of the primary; its asynchronous standby is promoted",
        servers.fail_over,
        server=FailoverServer,
        # The last commits may not have reached the standby.
        without=frozenset({"lost", "undone"}),
    ),
    Scenario(
        "disk-full",
        "the disk of the WAL is full; the server ends, and is started with room again",
        servers.fill_wal_disk,
        server=partial(
            ChaosServer, wal_disk_mb=96, settings={"max_wal_size": "48MB", "min_wal_size": "32MB"}
        ),
    ),
    *(
        Scenario(
            f"clock-{name}",
            f"the server's clock steps {what}",
            servers.step_clock(seconds),
            server=partial(ChaosServer, clock=True),
            # What was to be tried again half a second later waits until the clock has caught up.
            late=max(0.0, -seconds),
            limits={"side_by_side": 0},
            # Leases and the order of a queue are told by that clock.
            without=frozenset({"past_lease", "order"}),
        )
        for name, what, seconds in (
            ("forward", "forward by a minute", 60.0),
            ("back", "back by a minute", -60.0),
        )
    ),
    *(
        Scenario(
            f"pgbouncer-{name}",
            f"{what}, with PgBouncer (transaction mode) between",
            fault,
            through=pgbouncer,
            options=("--no-listen", "--no-migrate"),
        )
        for name, what, fault in (
            ("kill9", "kill -9 of one worker", processes.kill_one),
            ("restart", "restart of the server, mode fast", servers.restart("fast")),
        )
    ),
    *(
        Scenario(f"pg16-{name}", f"{what}, on PostgreSQL 16", fault, server=partial(ChaosServer, 16))
        for name, what, fault in (
            ("kill9", "kill -9 of one worker", processes.kill_one),
            ("crash", "kill -9 of all the server's processes", servers.crash),
        )
    ),
)
SCENARIOS = {scenario.name: scenario for scenario in _ALL}
