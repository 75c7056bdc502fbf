"""Sessions whose server is to notice that the client has vanished."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.support.proxy import pooler
from tests.support.servers import available
from tidemill import App
from tidemill.database import embedded
from tidemill.database.connect import connect, settle_own_session
from tidemill.database.dead_peers import OF_SERVER
from tidemill.database.patient import connect_patiently


@pytest.fixture
def over_tcp(directory: Path) -> Iterator[str]:
    """A database that is reached over TCP."""
    version, bin_dir = max(available().items())
    # Embedded servers have one port, so this one gets an address of its own.
    address = f"127.{random.randint(1, 254)}.{random.randint(1, 254)}.{random.randint(1, 254)}"
    server = embedded.start(
        directory / "server", version=version, bin_dir=bin_dir, settings={"listen_addresses": address}
    )
    try:
        with psycopg.connect(server.conninfo(), autocommit=True) as connection:
            [(rules,)] = connection.execute("show hba_file").fetchall()
            with Path(rules).open("a") as file:
                file.write("host all all 127.0.0.0/8 trust\n")
            connection.execute("select pg_reload_conf()")
        yield make_conninfo(server.conninfo(), host=address)
    finally:
        server.release()


def settings(connection: psycopg.Connection) -> dict[str, str]:
    rows = connection.execute(
        "select name, setting from pg_settings where name = any(%s)", [[*OF_SERVER]]
    ).fetchall()
    return dict(rows)


async def test_sessions_over_a_network(over_tcp: str) -> None:
    for opened in (
        connect(over_tcp),
        connect_patiently(over_tcp, 30.0),
        connect(over_tcp, runs_users_code=True),
    ):
        with opened as connection:
            assert settings(connection) == OF_SERVER
    app = App(over_tcp)
    with app.sync, app.sync.connection() as connection:
        assert settings(connection) == OF_SERVER
        connection.rollback()
        assert settings(connection) == OF_SERVER
    async with app, app.connection() as of_pool:
        found: Any = await (await of_pool.execute("show tcp_user_timeout")).fetchone()
        assert found == ("20000",)


def test_a_unix_socket_takes_none(database: str) -> None:
    with connect(database) as connection:
        assert set(settings(connection).values()) == {"0"}


def test_a_session_of_ours_that_waits_ends_with_its_client(database: str) -> None:
    with connect(database) as connection:
        assert connection.execute("show client_connection_check_interval").fetchone() == ("2s",)
    with pooler(database) as pooled, psycopg.connect(pooled.conninfo) as connection:
        settle_own_session(connection)
        assert connection.execute("show client_connection_check_interval").fetchone() == ("0",)


async def test_only_behind_a_pooler_nothing_is_prepared(database: str) -> None:
    def prepared(connection: psycopg.Connection) -> int:
        for _ in range(10):
            connection.execute("select 'again'")
        [(count,)] = connection.execute(
            "select count(*) from pg_prepared_statements where statement like '%again%'", prepare=False
        ).fetchall()
        return int(count)

    async def prepared_by(app: App) -> tuple[int, int]:
        with app.sync, app.sync.connection() as connection:
            of_blocking = prepared(connection)
        async with app, app.connection() as of_pool:
            for _ in range(10):
                await of_pool.execute("select 'again'")
            cursor = await of_pool.execute(
                "select count(*) from pg_prepared_statements where statement like '%again%'", prepare=False
            )
            row: Any = await cursor.fetchone()
        return of_blocking, row[0]

    assert await prepared_by(App(database)) == (1, 1)
    with pooler(database) as pooled:
        assert await prepared_by(App(pooled.conninfo)) == (0, 0)
