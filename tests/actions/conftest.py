"""Fixtures of the actions' tests."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest

from tidemill import App


@pytest.fixture
async def app(database: str, caplog: pytest.LogCaptureFixture) -> AsyncIterator[App]:
    """An app on a fresh database, without tasks."""
    caplog.set_level(logging.INFO, "tidemill")
    async with App(database) as opened:
        yield opened


@pytest.fixture
def lock(database: str) -> Iterator[psycopg.Connection]:
    """Holds lock 7, so that whoever runs BLOCKS waits."""
    with psycopg.connect(database, autocommit=True) as holder:
        holder.execute("select pg_advisory_lock(7)")
        yield holder
