"""Apps whose address leads to a server that cannot write, for a while: a standby, or a read-only database."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.support.servers import TEMPLATE, Server
from tidemill import App
from tidemill.database.lent import AnyLent, AsyncLentConnection, LentConnection
from tidemill.errors import DatabaseUnavailableError


async def used(app: App, face: str) -> AnyLent:
    """The connection that the pool lends, which has it back by now."""
    if face == "async":
        async with app.connection() as connection:
            await connection.execute("select")
            assert isinstance(connection, AsyncLentConnection)
            return connection

    def blocking() -> AnyLent:
        with app.sync.connection() as connection:
            connection.execute("select")
            assert isinstance(connection, LentConnection)
            return connection

    return await asyncio.to_thread(blocking)


async def add(app: App, face: str) -> None:
    if face == "async":
        await app.add_job("works")
    else:
        await asyncio.to_thread(app.sync.add_job, "works")


@pytest.mark.slow
@pytest.mark.parametrize("face", ["async", "sync"])
async def test_connections_to_a_standby_are_not_kept(own_server: Server, face: str) -> None:
    # A pool that kept them would go on with them once the address leads to the primary.
    database = own_server.conninfo(own_server.clone(TEMPLATE))
    own_server.stop("fast")
    embedded = own_server.embedded
    (embedded.directory / f"data-{embedded.version}" / "standby.signal").touch()
    own_server.start_again()
    async with App(database) as app:
        first = await used(app, face)
        with pytest.raises(DatabaseUnavailableError, match="It may be a standby"):
            await add(app, face)
        others = {await used(app, face) for _ in range(3)}
        assert first not in others
        # Nothing has failed on these; but they were silent for a while.
        for connection in others:
            connection.heard_at -= 60
        assert await used(app, face) not in others


@pytest.mark.parametrize("face", ["async", "sync"])
async def test_sessions_that_began_while_the_database_was_read_only(
    server: Server, database: str, face: str
) -> None:
    # As hosts have it while a disk is full: sessions keep the setting with which they began.
    name = str(conninfo_to_dict(database)["dbname"])
    with server.superuser() as superuser:
        superuser.execute(f"alter database {name} set default_transaction_read_only = on".encode())
        async with App(database) as app:
            with pytest.raises(DatabaseUnavailableError, match="read-only"):
                await add(app, face)
            superuser.execute(f"alter database {name} reset default_transaction_read_only".encode())
            # The pool may have opened another one by then; each fails once, and is gone.
            for _ in range(3):
                with suppress(DatabaseUnavailableError):
                    await add(app, face)
    with psycopg.connect(database) as connection:
        assert connection.execute("select from tidemill.jobs").rowcount >= 1
