"""Pools of connections for both faces, which lend only connections that answer."""

from __future__ import annotations

import select
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

import psycopg

from tidemill.database.connect import prepare_async_session, prepare_session
from tidemill.database.lent import AnyLent, AsyncLentConnection, LentConnection, lending
from tidemill.database.patient import closed_on_error

if TYPE_CHECKING:
    from psycopg_pool import AsyncConnectionPool, ConnectionPool

    Pool = ConnectionPool[LentConnection]
    AsyncPool = AsyncConnectionPool[AsyncLentConnection]

T = TypeVar("T")
Steps: TypeAlias = Generator[Callable[..., Any], Any, T]
"""What both faces do: one makes the calls, the other awaits them."""

# The pool tries to connect at growing intervals. After this time it begins anew, if somebody waits.
_RECONNECT_SECONDS = 5.0
# So often those who wait ask anew. They would be left in the queue of a pool that another thread
# closes, and of one that has given up connecting.
_ASK_SECONDS = 1.0
# A connection that was silent for longer has to answer before it is lent.
_QUIET_SECONDS = 2.0
_ANSWER_SECONDS = 3.0


@dataclass(slots=True)
class Silence:
    """Since when connections of an app are known to get no answer, or to be outdated.

    Those that were not heard of since then are not lent.
    """

    since: float = 0.0


def make_pool(conninfo: str, size: int) -> Pool:
    """An open pool for blocking code, which connects when a connection is needed."""
    from psycopg_pool import ConnectionPool

    return ConnectionPool(
        conninfo,
        connection_class=LentConnection,
        min_size=0,
        max_size=size,
        configure=_prepare,
        reconnect_timeout=_RECONNECT_SECONDS,
        open=True,
    )


def make_async_pool(conninfo: str, size: int) -> AsyncPool:
    """A pool for coroutines, which is still to be opened."""
    from psycopg_pool import AsyncConnectionPool

    return AsyncConnectionPool(
        conninfo,
        connection_class=AsyncLentConnection,
        min_size=0,
        max_size=size,
        configure=_prepare_async,
        reconnect_timeout=_RECONNECT_SECONDS,
        open=False,
    )


def connect(conninfo: str) -> LentConnection:
    """A connection outside of a pool. Raises psycopg.Error."""
    connection = LentConnection.connect(conninfo)
    with closed_on_error(connection):
        _prepare(connection)
    return connection


async def connect_async(conninfo: str) -> AsyncLentConnection:
    """See `connect`."""
    connection = await AsyncLentConnection.connect(conninfo)
    try:
        await _prepare_async(connection)
    except BaseException:
        await connection.close()
        raise
    return connection


def _prepare(connection: LentConnection) -> None:
    with _prepared(connection):
        prepare_session(connection)


async def _prepare_async(connection: AsyncLentConnection) -> None:
    with _prepared(connection):
        await prepare_async_session(connection)


@contextmanager
def _prepared(connection: AnyLent) -> Iterator[None]:
    connection.heard_at = time.monotonic()
    with _impatient(connection):
        yield


@contextmanager
def _impatient(connection: AnyLent) -> Iterator[None]:
    """Our own questions are answered soon, or not at all; those of tasks may take long."""
    connection.patience = _ANSWER_SECONDS
    yield
    # One that has failed is closed, as impatiently.
    connection.patience = None


@contextmanager
def lent(pool: Pool, silence: Silence) -> Iterator[LentConnection]:
    """A connection of the pool in a transaction. Raises PoolTimeout, PoolClosed."""
    connection = _carry_out(_answering(pool, silence))
    failed = True
    try:
        with lending(connection), connection:
            yield connection
        failed = False
    finally:
        if failed and _cannot_write(connection):
            connection.close()
        pool.putconn(connection)


@asynccontextmanager
async def lent_async(pool: AsyncPool, silence: Silence) -> AsyncIterator[AsyncLentConnection]:
    """See `lent`."""
    connection = await _carry_out_async(_answering(pool, silence))
    failed = True
    try:
        with lending(connection):
            async with connection:
                yield connection
        failed = False
    finally:
        if failed and _cannot_write(connection):
            await connection.close()
        await pool.putconn(connection)


def _carry_out(steps: Steps[T]) -> T:
    """Makes the calls that a generator yields, tells it how each ended, and returns its result."""
    try:
        call = next(steps)
        while True:
            try:
                result = call()
            except BaseException as error:
                call = steps.throw(error)
            else:
                call = steps.send(result)
    except StopIteration as end:
        return cast(T, end.value)


async def _carry_out_async(steps: Steps[T]) -> T:
    """See `_carry_out`: here the calls return awaitables."""
    try:
        call = next(steps)
        while True:
            try:
                result = await call()
            except BaseException as error:
                call = steps.throw(error)
            else:
                call = steps.send(result)
    except StopIteration as end:
        return cast(T, end.value)


def _answering(pool: Pool | AsyncPool, silence: Silence) -> Steps[Any]:
    """Takes connections from the pool until one answers, and returns it."""
    from psycopg_pool import PoolTimeout

    deadline = time.monotonic() + pool.timeout
    while True:
        left = deadline - time.monotonic()
        try:
            connection = yield partial(pool.getconn, timeout=min(left, _ASK_SECONDS))
        except PoolTimeout:
            if left > _ASK_SECONDS:
                continue
            raise
        answers = False
        try:
            answers = yield from _answers(pool, connection, silence)
        finally:
            if not answers:
                yield connection.close
                yield partial(pool.putconn, connection)
        if answers:
            return connection


def _answers(pool: Pool | AsyncPool, connection: AnyLent, silence: Silence) -> Steps[bool]:
    if (known := _known(connection, silence)) is not None:
        return known
    asked_at = time.monotonic()
    check: Callable[..., Any] = pool.check_connection
    try:
        with _impatient(connection):
            yield partial(check, connection)
    except psycopg.Error:
        _note_silence(silence, asked_at)
        return False
    return True


def _known(connection: AnyLent, silence: Silence) -> bool | None:
    """Whether a connection answers; None if it has to be asked."""
    if connection.closed or connection.heard_at < silence.since:
        return False
    is_fresh = time.monotonic() - connection.heard_at < _QUIET_SECONDS
    if not is_fresh and _is_standby(connection):
        # By now the address may lead to the primary.
        return False
    return True if is_fresh and not _has_news(connection) else None


def _note_silence(silence: Silence, asked_at: float) -> None:
    # Of a connection's end the server tells at once; of a host that is gone, nobody does.
    if time.monotonic() - asked_at >= _ANSWER_SECONDS:
        silence.since = max(silence.since, asked_at)


def _is_standby(connection: AnyLent) -> bool:
    # The server tells of it at the start of a session, and of each change.
    return connection.info.parameter_status("in_hot_standby") == "on"


def _cannot_write(connection: AnyLent) -> bool:
    """Whether a session is read-only; a pool would keep it, since it answers, while a new one may write."""
    if connection.closed:
        return False
    return (
        _is_standby(connection) or connection.info.parameter_status("default_transaction_read_only") == "on"
    )


def _has_news(connection: AnyLent) -> bool:
    # An idle session is told of its end, of settings that change, and of nothing else.
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))
