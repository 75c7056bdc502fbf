"""Connections that fall silent, are reset, are ended by the server, or cannot be had."""

from __future__ import annotations

import time
from collections.abc import Callable

from chaos.stage import ROLE, Stage

_TIMES = 3
_FIND_SECONDS = 3

# The backends of workers by what they have last done; those of producers are theirs alone.
_KINDS = {
    "heartbeat": "pid in (select backend_pid from tidemill._workers)",
    "listener": "query ~* '^\\s*(un)?listen'",
    "engine": "query ~ '_claim_jobs|_complete_jobs|_lock_queued_jobs|_fail_jobs|_lock_jobs|_settle_batch'",
    "tasks": "query ~ 'insert into chaos.runs' or query = 'COMMIT'",
    "actions": "application_name ~ '\\[[0-9]+\\]$'",
}


def freeze_one_workers_sockets(stage: Stage) -> None:
    """One worker's connections are acknowledged and never answered, for longer than its lease."""
    with stage.fault():
        began, pids = time.monotonic(), stage.workers[0].pids()
        stage.proxies[0].freeze()
        stage.hold(stage.size.past_lease)
        stage.proxies[0].flow()
        stage.lost(pids, began)


def cut_one_worker_off(stage: Stage) -> None:
    """One worker's connections fall silent, and are reset when they are back."""
    with stage.fault():
        began, pids = time.monotonic(), stage.workers[0].pids()
        stage.proxies[0].freeze()
        stage.hold(stage.size.past_lease)
        stage.proxies[0].reset()
        stage.proxies[0].flow()
        stage.lost(pids, began)


def freeze_all_sockets(stage: Stage) -> None:
    """All workers' connections fall silent for a few seconds, less than a lease."""
    with stage.fault():
        for proxy in stage.proxies:
            proxy.freeze()
        stage.hold(stage.size.lease / 2)
        for proxy in stage.proxies:
            proxy.flow()


def reset_sockets(stage: Stage) -> None:
    """Resets all workers' connections, three times."""
    with stage.fault(_TIMES):
        for _ in range(_TIMES):
            for proxy in stage.proxies:
                proxy.reset()
            stage.hold(1)


def kill_backends(*kinds: str) -> Callable[[Stage], None]:
    """Ends the workers' backends of these kinds, three times. Raises RuntimeError if there were none."""
    condition = " or ".join(f"({_KINDS[kind]})" for kind in kinds)
    statement = (
        "select count(pg_terminate_backend(pid)) from pg_stat_activity where backend_type = 'client backend'"
        f" and datname = current_database() and usename = '{ROLE}'"
        f" and query !~ 'from tidemill.add_job' and ({condition})"
    )

    def kill(stage: Stage) -> None:
        killed = 0
        with stage.fault(_TIMES), stage.admin() as connection:
            for _ in range(_TIMES):
                deadline = time.monotonic() + _FIND_SECONDS
                found = 0
                while not found and time.monotonic() < deadline:
                    [(found,)] = connection.execute(statement.encode()).fetchall()
                    stage.hold(0.05)
                killed += found
                stage.hold(1)
        if not killed:
            raise RuntimeError(f"no backend of the kind {', '.join(kinds)} was found")

    return kill


def kill_all_backends(stage: Stage) -> None:
    """Ends all backends of workers and producers, three times."""
    with stage.fault(_TIMES), stage.admin() as connection:
        for _ in range(_TIMES):
            connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where backend_type = 'client backend' and datname = current_database()"
                f" and usename = '{ROLE}'".encode()
            )
            stage.hold(1)


def refuse_heartbeats(stage: Stage) -> None:
    """One heartbeat loses its connection and gets no other, while its process keeps its others."""
    with stage.fault(), stage.admin() as connection:
        began, pids = time.monotonic(), stage.workers[0].pids()[:1]
        connection.execute(f"alter role {ROLE} connection limit 1".encode())
        connection.execute(
            "select pg_terminate_backend(backend_pid) from tidemill._workers where pid = any(%s)",
            [pids],
        )
        stage.hold(stage.size.past_lease)
        connection.execute(f"alter role {ROLE} connection limit -1".encode())
        stage.lost(pids, began)


def refuse_connections(stage: Stage) -> None:
    """All connections of workers are ended, and none can be had for a while."""
    with stage.fault(), stage.admin() as connection:
        connection.execute(f"alter role {ROLE} connection limit 1".encode())
        kill = "select pg_terminate_backend(pid) from pg_stat_activity where usename = %s"
        connection.execute(kill.encode(), [ROLE])
        stage.hold(stage.size.lease / 2)
        connection.execute(f"alter role {ROLE} connection limit -1".encode())
