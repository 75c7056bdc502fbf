"""The connections that calls share: kept for the last user, and closed with it."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from tidemill import App

pytestmark = pytest.mark.lane("lease")


async def backend(app: App) -> int:
    async with app.connection() as connection:
        return connection.info.backend_pid


def sync_backend(app: App) -> int:
    with app.sync.connection() as connection:
        return connection.info.backend_pid


async def test_the_first_of_two_users_leaves_the_pool_to_the_other(database: str) -> None:
    app = App(database)
    async with app:
        async with app:
            shared = await backend(app)
        assert app.is_open
        assert await backend(app) == shared
    assert not app.is_open
    assert await backend(app) != shared


async def test_what_was_opened_for_the_async_face_is_closed_with_it(
    database: str, connection: psycopg.Connection
) -> None:
    app = App(database)
    async with app:
        shared = await asyncio.to_thread(sync_backend, app)
        assert await asyncio.to_thread(sync_backend, app) == shared
    assert await asyncio.to_thread(sync_backend, app) != shared


async def test_what_the_user_opened_stays_open(database: str) -> None:
    app = App(database)
    with app.sync:
        kept = await asyncio.to_thread(sync_backend, app)
        async with app:
            assert await asyncio.to_thread(sync_backend, app) == kept
        assert await asyncio.to_thread(sync_backend, app) == kept


async def test_the_user_takes_over_what_was_opened_for_the_async_face(database: str) -> None:
    app = App(database)
    async with app:
        kept = await asyncio.to_thread(sync_backend, app)
        app.sync.open()
    try:
        assert await asyncio.to_thread(sync_backend, app) == kept
    finally:
        app.sync.close()
