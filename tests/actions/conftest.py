"""Fixtures of the actions' tests."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterator

import psycopg
import pytest

from tests.actions.clock import Clock
from tests.actions.definitions import ROUTINE
from tests.actions.hand_runs import values
from tests.actions.support import make_note
from tidemill import App


@pytest.fixture
async def app(database: str, caplog: pytest.LogCaptureFixture) -> AsyncIterator[App]:
    """An app on a fresh database, without tasks."""
    caplog.set_level(logging.INFO, "tidemill")
    async with App(database) as opened:
        yield opened


@pytest.fixture
def lock(database: str) -> Iterator[psycopg.Connection]:
    """Holds lock 7, for which an action of BLOCKS waits."""
    with psycopg.connect(database, autocommit=True) as holder:
        holder.execute("select pg_advisory_lock(7)")
        yield holder


@pytest.fixture
def other(database: str) -> Iterator[psycopg.Connection]:
    """A second session of the owner."""
    with psycopg.connect(database, autocommit=True) as opened:
        yield opened


@pytest.fixture
def work(connection: psycopg.Connection) -> None:
    """Makes app.work, a routine that actions can call."""
    connection.execute(ROUTINE)


@pytest.fixture
def written(connection: psycopg.Connection) -> Callable[[], list[str]]:
    """The texts in the table `log`, which is made."""
    connection.execute("create table log (nr serial, line text)")
    return lambda: values(connection, "select line from log order by nr")


@pytest.fixture
def clock(connection: psycopg.Connection) -> Clock:
    """Runs what is due at the times that the test says, with a procedure `note` to run."""
    make_note(connection)
    return Clock(connection)


@pytest.fixture
def unpolled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what wakes the scheduler makes it look: beside a poll interval of its own, a sweep does."""
    monkeypatch.setattr("tidemill.actions.scheduler._SWEEP_SECONDS", 600)
