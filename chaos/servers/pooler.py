"""PgBouncer between clients and a server."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from chaos.servers.programs import (
    account,
    clean_environment,
    free_port,
    give,
    new_directory,
    program,
    wait_for,
)


@contextmanager
def pgbouncer(
    conninfo: str,
    mode: Literal["transaction", "session"] = "transaction",
    settings: Mapping[str, str] | None = None,
) -> Iterator[str]:
    """Runs PgBouncer with its settings as shipped; yields the conninfo that leads through it to the server.

    It lets the user of the conninfo in, to all databases.

    Raises:
        Unavailable: It is not on this machine.
    """
    binary = program("pgbouncer", "pgbouncer")
    directory = new_directory()
    try:
        give(directory)
        port = free_port()
        pooled = make_conninfo(conninfo, host="127.0.0.1", port=port)
        file = directory / "pgbouncer.ini"
        file.write_text(_configuration(conninfo, port, mode, directory, settings or {}))
        (directory / "users").write_text('"{}" ""\n'.format(conninfo_to_dict(conninfo)["user"]))
        user, group = account() or (None, None)
        with (directory / "log").open("wb") as log:
            process = subprocess.Popen(
                [binary, file],
                env=clean_environment(),
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                user=user,
                group=group,
                extra_groups=None if user is None else [],
            )
        try:
            wait_for(lambda: process.poll() is not None or _answers(pooled), "PgBouncer to answer")
            if process.poll() is not None:
                raise RuntimeError(f"PgBouncer did not start: {(directory / 'log').read_text()}")
            yield pooled
        finally:
            process.kill()
            process.wait()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _answers(conninfo: str) -> bool:
    return bool(pq.PGconn.ping(conninfo.encode()) == pq.Ping.OK)


def _configuration(target: str, port: int, mode: str, directory: Path, settings: Mapping[str, str]) -> str:
    server = conninfo_to_dict(target)
    everything = {
        "listen_addr": "127.0.0.1",
        "listen_port": str(port),
        "unix_socket_dir": str(directory),
        "auth_type": "trust",
        "auth_file": str(directory / "users"),
        "pool_mode": mode,
        # By default it refuses for 15 s after the server has refused one login. The documentation says so.
        "server_login_retry": "1",
        **settings,
    }
    lines = [f"{name} = {value}" for name, value in everything.items()]
    return "\n".join(
        ["[databases]", f"* = host={server['host']} port={server['port']}", "[pgbouncer]", *lines, ""]
    )
