"""Fixtures of the actions' tests."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator

import pytest

from tidemill import App


@pytest.fixture
async def app(database: str, caplog: pytest.LogCaptureFixture) -> AsyncIterator[App]:
    """An app on a fresh database, without tasks."""
    caplog.set_level(logging.INFO, "tidemill")
    async with App(database) as opened:
        yield opened
