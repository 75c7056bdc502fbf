"""Connections that are lent: they answer, opening them has a deadline, errors tell if they were of use."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack
from contextvars import copy_context
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.errors import QueryCanceled
from psycopg.pq import TransactionStatus
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from tests.support.commands import CommandLine
from tests.support.proxy import Link, Proxy, proxy
from tests.support.servers import TEMPLATE, Server
from tests.support.waiting import wait_until
from tidemill import App, pools
from tidemill.database.lent import LentConnection, held_here, is_spared, spare
from tidemill.errors import BatchError, DatabaseUnavailableError

pytestmark = pytest.mark.versions(18)

faces = pytest.mark.parametrize("face", ["async", "blocking"])
Backend = Callable[[App], Awaitable[int]]


@pytest.fixture
def way(database: str) -> Iterator[Proxy]:
    with proxy(database) as opened:
        yield opened


@pytest.fixture
def deaf(way: Proxy) -> list[Link]:
    """The links whose clients hear nothing more of the server."""
    links: list[Link] = []
    way.on_answer = lambda link, message: link not in links
    return links


def backend_of(face: str) -> Backend:
    async def ask(app: App) -> int:
        async with app.connection() as connection:
            [pid] = await (await connection.execute("select pg_backend_pid()")).fetchone() or [0]
            return int(pid)

    def ask_sync(app: App) -> int:
        with app.sync.connection() as connection:
            [pid] = connection.execute("select pg_backend_pid()").fetchone() or [0]
            return int(pid)

    return ask if face == "async" else lambda app: asyncio.to_thread(ask_sync, app)


async def fill(app: App, face: str, count: int) -> None:
    """Leaves so many idle connections in the pool."""
    if face == "async":
        async with AsyncExitStack() as stack:
            for _ in range(count):
                await stack.enter_async_context(app.connection())
        return

    def hold() -> None:
        with ExitStack() as stack:
            for _ in range(count):
                stack.enter_context(app.sync.connection())

    await asyncio.to_thread(hold)


@pytest.fixture
def quick_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each connection is asked each time, and must answer soon."""
    monkeypatch.setattr(pools, "_QUIET_SECONDS", 0)
    monkeypatch.setattr(pools, "_ANSWER_SECONDS", 1)


@faces
async def test_a_quiet_connection_has_to_answer_before_it_is_lent(
    way: Proxy, quick_check: None, face: str
) -> None:
    ask = backend_of(face)
    async with App(way.conninfo) as app:
        first = await ask(app)
        [link] = way.links
        sent = len(link.sent)
        await fill(app, face, 1)
        assert len(link.sent) > sent
        assert await ask(app) == first


@faces
async def test_of_connections_that_fell_silent_one_is_asked_and_all_are_replaced(
    way: Proxy, deaf: list[Link], quick_check: None, face: str
) -> None:
    ask = backend_of(face)
    async with App(way.conninfo) as app:
        await fill(app, face, 4)
        old = list(way.links)
        sent = [len(link.sent) for link in old]
        deaf.extend(old)
        await ask(app)
        # The others were only told goodbye.
        goodbye = 5
        grown = [len(link.sent) - before for link, before in zip(old, sent, strict=True)]
        assert len([more for more in grown if more > goodbye]) == 1


@pytest.mark.slow
@faces
async def test_while_a_server_restarts_a_call_waits_for_it(own_server: Server, face: str) -> None:
    ask = backend_of(face)
    database = own_server.conninfo(own_server.clone(TEMPLATE))
    async with App(database) as app:
        await fill(app, face, 10)
        await asyncio.to_thread(own_server.stop)
        asked = asyncio.ensure_future(asyncio.wait_for(ask(app), 60))
        await asyncio.to_thread(own_server.start_again)
        assert await asked


def test_a_connection_that_was_sent_a_cancel_is_lent_to_nobody_else(database: str) -> None:
    """The cancel goes another way than the statements, and may come late."""

    def cut(connection: LentConnection) -> None:
        wait_until(lambda: connection.pgconn.transaction_status == TransactionStatus.ACTIVE, "a statement")
        connection.cut()

    def borrow() -> LentConnection:
        held_here.set(set())
        with app.sync.connection() as connection:
            assert isinstance(connection, LentConnection)
            cutter = threading.Thread(target=cut, args=[connection])
            cutter.start()
            with pytest.raises(QueryCanceled):
                connection.execute("select pg_sleep(600)")
            cutter.join()
        return connection

    app = App(database)
    with app.sync:
        first = copy_context().run(borrow)
        assert first.closed
        with app.sync.connection() as second:
            assert second.execute("select 1").fetchone() == (1,)


@faces
@pytest.mark.parametrize("pooled", [False, True])
async def test_a_proxy_that_answers_nothing_is_given_up(
    way: Proxy, face: str, pooled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def impatient(*args: Any, **named: Any) -> None:
        made(*args, **named, timeout=1)

    kind = AsyncConnectionPool if face == "async" else ConnectionPool
    made = kind.__init__
    monkeypatch.setattr(kind, "__init__", impatient)
    app = App(make_conninfo(way.conninfo, connect_timeout=2))
    way.stall()
    async with app if pooled else AsyncExitStack():
        with pytest.raises(DatabaseUnavailableError, match="timeout") as caught:
            await asyncio.wait_for(backend_of(face)(app), 60)
    assert is_spared(caught.value)


def test_the_command_line_gives_it_up_too(way: Proxy, tmp_path: Path) -> None:
    way.stall()
    done = CommandLine(tmp_path, make_conninfo(way.conninfo, connect_timeout=2)).run("jobs")
    assert done.returncode != 0
    assert "Cannot reach the database: connection timeout expired" in " ".join(done.stderr.split())


def test_of_several_errors_all_must_be_of_unused_connections() -> None:
    other = ValueError("no")
    unused = psycopg.OperationalError("gone")
    spare(unused)
    assert is_spared(unused)
    assert not is_spared(other)
    assert is_spared(ExceptionGroup("both", [unused, ExceptionGroup("in", [unused])]))
    assert not is_spared(ExceptionGroup("both", [unused, other]))
    assert is_spared(BatchError([unused], "[]"))
    assert not is_spared(BatchError([unused, other], "[]"))


def test_the_cause_counts_and_the_context_unless_it_is_left_out() -> None:
    def raised(how: str) -> BaseException:
        unused = psycopg.OperationalError("gone")
        spare(unused)
        try:
            try:
                raise unused
            except psycopg.Error as error:
                if how == "from":
                    raise ValueError from error
                if how == "from None":
                    raise ValueError from None
                raise ValueError  # noqa: B904
        except ValueError as error:
            return error

    assert is_spared(raised("from"))
    assert is_spared(raised("in its handler"))
    assert not is_spared(raised("from None"))
