"""One database, and the two pools of connections to it: one for coroutines, one for blocking code."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import wait
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import psycopg

from tidemill import forks, pools
from tidemill.coroutines import finish
from tidemill.database.connect import explained
from tidemill.database.find import Database, find_database
from tidemill.database.lent import lending, spare
from tidemill.database.migrate import migrate
from tidemill.errors import DatabaseUnavailableError, TidemillError
from tidemill.slots import Slots

if TYPE_CHECKING:
    from tidemill.pools import AsyncPool, Pool

_DEFAULT_NAME = "tidemill"
_SIZE = 10
# Who waits longer than this for a connection of the pool is told, each time, who has them.
_LONG_WAIT = 10.0


class Connections:
    """The connections of both faces of an app.

    database_url  as for `App`
    pool_size     most connections of each pool; None: 10, and for a worker as many as its slots need

    Before `open` and after `close` each call opens its own connection. Both pools are made when
    they are first used: many workers use neither, and importing psycopg_pool takes time.

    While the async face is open, blocking code shares connections, too, as plain tasks of a
    running worker do. A blocking pool made for this reason is called shared, and closes with the
    async pool. One that `open_sync` has asked for stays until `close_sync`.

    A forked child has connections of its own. There the async face is closed, since the event loop
    that it was opened on is the parent's; the blocking face stays as open as it was.

    The async methods belong to one event loop. The blocking methods may be called by any thread.
    """

    def __init__(self, database_url: str | None, pool_size: int | None) -> None:
        self.database_url = database_url
        self._given_size = pool_size
        self._name = _DEFAULT_NAME
        self._size = self._sync_size = pool_size or _SIZE
        self._slots = Slots(self._size)
        self._sync_slots = Slots(self._sync_size)
        self._database: Database | None = None
        self._database_lock = threading.Lock()
        self._users = 0
        self._silence = pools.Silence()
        self._pool: AsyncPool | None = None
        self._sync_pool: Pool | None = None
        self._sync_lock = threading.Lock()
        self._sync_is_open = False
        self._of_parent: list[object] = []

    def database(self) -> Database:
        """The database, which is found on first use; an embedded one is migrated, too."""
        forks.renew_in_children(self)
        with self._database_lock:
            if self._database is None:
                self._database = find_database(self.database_url, origin="App(database=...)")
                if self._database.server is not None:
                    migrate(self._database.conninfo)
            return self._database

    def name_database(self, url: str | None) -> None:
        """Names another database. Raises TidemillError if one is in use already."""
        with self._database_lock:
            if self._database is not None and url != self.database_url:
                raise TidemillError(
                    "app.database_url cannot be changed any longer: the app uses a database already. Set it "
                    "before the app's first call, or make another App."
                )
            self.database_url = url

    def fit(self, name: str, size: int, sync_size: int, *, at_most: bool) -> None:
        """Sets a worker's name for new sessions, so that they end if it is lost, and the sizes of the pools.

        `at_most`: a smaller size that the user gave stays. Otherwise any that the user gave stays.
        """
        self._name = name
        for pool in (self._pool, self._sync_pool):
            if pool is not None:
                pool.conninfo = self.database().for_application(name)
        # What is idle now has the old name, and is not lent any more.
        self._silence.since = time.monotonic()
        given = self._given_size
        if given is not None:
            size, sync_size = (min(given, size), min(given, sync_size)) if at_most else (given, given)
        self._size, self._sync_size = size, sync_size
        self._slots.resize(size)
        self._sync_slots.resize(sync_size)

    @property
    def is_open(self) -> bool:
        """Whether `open` was called more often than `close`."""
        return self._users > 0

    def renew(self) -> None:
        """Leaves the pools to the parent. Called in a forked child."""
        for pool in (self._pool, self._sync_pool):
            if pool is not None:
                # An open one that is forgotten would talk to its threads, which are not here.
                pool._closed = True
                self._of_parent.append(pool)
        self._database_lock = threading.Lock()
        self._sync_lock = threading.Lock()
        self._slots, self._sync_slots = Slots(self._size), Slots(self._sync_size)
        self._users = 0
        self._pool = self._sync_pool = None

    async def open(self) -> None:
        """Adds a user of the pools."""
        await asyncio.to_thread(self.database)
        self._users += 1

    async def close(self) -> None:
        """Removes a user of the pools; the last one closes them."""
        if self._users == 0:
            # Opened in the parent of this process, perhaps.
            return
        self._users -= 1
        if self._users == 0:
            # A pool whose close is cancelled half-way would keep its connections.
            await finish(self._close_pools())

    async def _close_pools(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close()
        await asyncio.to_thread(self.close_sync, only_shared=True)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[psycopg.AsyncConnection]:
        """A connection in a transaction that commits at the end, or rolls back on an exception."""
        async with AsyncExitStack() as stack:
            connection = await self._async_pooled_connection(stack)
            if connection is None:
                connection = await stack.enter_async_context(self._own_connection())
            yield connection

    @asynccontextmanager
    async def _own_connection(self) -> AsyncIterator[psycopg.AsyncConnection]:
        database = await asyncio.to_thread(self.database)
        with _opening():
            connection = await pools.connect_async(database.for_application(self._name))
        with lending(connection):
            async with connection:
                yield connection

    async def _async_pooled_connection(self, stack: AsyncExitStack) -> psycopg.AsyncConnection | None:
        """See `_pooled_connection`."""
        pool = await self._kept_pool()
        if pool is None:
            return None
        from psycopg_pool import PoolClosed, PoolTimeout

        slot = stack.enter_context(self._slots.ask())
        # To wait for what has come already costs more than all the rest of a lend.
        if not slot.granted.done():
            granted = asyncio.wrap_future(slot.granted)
            while not (await asyncio.wait([granted], timeout=_LONG_WAIT))[0]:
                self._slots.warn(slot)
        try:
            return await stack.enter_async_context(pools.lent_async(pool, self._silence))
        except (PoolClosed, PoolTimeout):
            # If the pool could not connect, a connection of one's own tells why.
            return None

    async def _kept_pool(self) -> AsyncPool | None:
        if self._pool is None and self.is_open:
            self._pool = pools.make_async_pool(self.database().for_application(self._name), self._size)
        if self._pool is not None and self._pool.closed:
            await self._pool.open()
        if self._pool is not None and self._pool.max_size != self._size:
            await self._pool.resize(0, self._size)
        return self._pool

    def open_sync(self) -> None:
        """Opens the blocking pool, or keeps the open one until `close_sync`."""
        # Before a lock is taken, which a child that is forked meanwhile could not release.
        forks.renew_in_children(self)
        with self._sync_lock:
            if self._sync_pool is None:
                self._sync_pool = pools.make_pool(
                    self.database().for_application(self._name), self._sync_size
                )
            self._sync_is_open = True

    def close_sync(self, *, only_shared: bool = False) -> None:
        """Closes the blocking pool; with `only_shared` only one that closes with the async pool."""
        with self._sync_lock:
            if only_shared and self._sync_is_open:
                return
            self._sync_is_open = False
            pool, self._sync_pool = self._sync_pool, None
        if pool is not None:
            pool.close()

    @contextmanager
    def sync_connection(self) -> Iterator[psycopg.Connection]:
        """See `connection`."""
        with ExitStack() as stack:
            connection = self._pooled_connection(stack)
            if connection is None:
                connection = stack.enter_context(self._own_sync_connection())
            yield connection

    @contextmanager
    def _own_sync_connection(self) -> Iterator[psycopg.Connection]:
        conninfo = self.database().for_application(self._name)
        with _opening():
            connection = pools.connect(conninfo)
        with lending(connection), connection:
            yield connection

    def _pooled_connection(self, stack: ExitStack) -> psycopg.Connection | None:
        """A connection of the blocking pool, given back by the stack; None if there is no pool."""
        pool = self._kept_sync_pool()
        if pool is None:
            return None
        from psycopg_pool import PoolClosed, PoolTimeout

        slot = stack.enter_context(self._sync_slots.ask())
        while not slot.granted.done() and wait([slot.granted], timeout=_LONG_WAIT).not_done:
            self._sync_slots.warn(slot)
        try:
            return stack.enter_context(pools.lent(pool, self._silence))
        except (PoolClosed, PoolTimeout):
            # If the pool could not connect, a connection of one's own tells why.
            return None

    def _kept_sync_pool(self) -> Pool | None:
        with self._sync_lock:
            if self._sync_pool is None and (self.is_open or self._sync_is_open):
                self._sync_pool = pools.make_pool(
                    self.database().for_application(self._name), self._sync_size
                )
            pool = self._sync_pool
        if pool is not None and pool.max_size != self._sync_size:
            pool.resize(0, self._sync_size)
        return pool


@contextmanager
def _opening() -> Iterator[None]:
    """A connection is opened here. Raises DatabaseUnavailableError, which spends no last attempt."""
    try:
        with explained():
            yield
    except DatabaseUnavailableError as error:
        spare(error)
        raise
