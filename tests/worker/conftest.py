"""Fixtures of the worker's tests."""

from __future__ import annotations

import functools
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any

import psycopg
import pytest

from tests.support import processes
from tidemill import App, WorkerOptions
from tidemill.queue import durations, express

LANES = ("lease", "express")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "lane(name): this test is about that lane alone")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    marker = metafunc.definition.get_closest_marker("lane")
    lanes = LANES[-1:] if metafunc.config.getoption("--quick") else LANES
    metafunc.parametrize("lane", marker.args if marker else lanes, indirect=True)


@pytest.fixture(autouse=True)
def lane(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The lane of all workers that choose none, in this process and in those that a test starts."""
    name = str(request.param)
    made = WorkerOptions.__init__

    @functools.wraps(made)
    def make(self: WorkerOptions, *args: Any, **named: Any) -> None:
        made(self, *args, **{"lane": name, **named})

    monkeypatch.setattr(WorkerOptions, "__init__", make)
    monkeypatch.setitem(processes.DEFAULTS, "lane", name)
    return name


@pytest.fixture
async def app(database: str, caplog: pytest.LogCaptureFixture) -> AsyncIterator[App]:
    """An app on a fresh database, without tasks yet."""
    caplog.set_level(logging.INFO, "tidemill")
    async with App(database) as opened:
        yield opened


@pytest.fixture
def table(connection: psycopg.Connection) -> psycopg.Connection:
    """With the table in which the tasks of worker processes tell of themselves."""
    processes.make_runs(connection)
    return connection


@pytest.fixture
def watcher(database: str) -> Iterator[psycopg.Connection]:
    """A connection of its own for what tasks look at."""
    with psycopg.connect(database, autocommit=True) as opened:
        yield opened


@pytest.fixture
def all_is_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes all tasks for quick, however busy this machine is."""
    monkeypatch.setattr(durations, "QUICK_SECONDS", 1000)
    monkeypatch.setattr(durations, "_SLOW_SECONDS", 1001)


@pytest.fixture
def no_hurry(all_is_quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches stay open until all of their jobs have ended."""
    monkeypatch.setattr(express, "_BUDGET_SECONDS", 1000)
    monkeypatch.setattr(express, "_PATIENCE_SECONDS", 1000)
