"""Fixtures: a test of the database has a database of its own, on each server version that it is to run on."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.support import commands, running
from tests.support.servers import EMPTY, TEMPLATE, Server, available, reachable_directory
from tidemill.database import installer

# Tests of SQL run on these; those with a mark run on the versions that it names.
_WANTED = (18, 16)
# The code here is Python's: what it calls in the database is tested in the other folders.
_ON_ONE = {"cli", "docs", "worker"}
# What a module imports that runs workers so that there can be two of them.
_RUNS = {"one_run", "run_all", "run_one", "running"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--pg", type=int, action="append", help="only this version of PostgreSQL")
    parser.addoption(
        "--two", action="store_true", help="only tests that run a worker, with two of them at once"
    )
    parser.addoption("--quick", action="store_true", help="only a sample, in under a minute")
    parser.addoption(
        "--every-case",
        action="store_true",
        help="each case on each version, and each command as a new interpreter; takes longer",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "versions(*numbers): these versions of PostgreSQL are enough for this test",
    )
    config.addinivalue_line("markers", "one_worker(why): with two workers at once it would not hold")
    config.addinivalue_line("markers", "each_version(why): all its cases differ from version to version")
    commands.always_anew = config.getoption("--every-case")
    if config.getoption("--two"):
        running.workers = 2
    config.addinivalue_line("markers", "slow: takes half a second and more, and is left out by --quick")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    for fixture in ("server", "own_server"):
        if fixture in metafunc.fixturenames:
            found = available()
            params = [
                pytest.param(
                    (version, found.get(version)),
                    id=f"pg{version}",
                    marks=[] if version in found else pytest.mark.skip(f"PostgreSQL {version} is not there"),
                )
                for version in _versions(metafunc)
            ]
            metafunc.parametrize(
                fixture, params, indirect=True, scope="session" if fixture == "server" else None
            )


def _versions(metafunc: pytest.Metafunc) -> list[int]:
    """The versions to run a test on, the newest first."""
    found = sorted({*available(), *_WANTED}, reverse=True)
    marker = metafunc.definition.get_closest_marker("versions")
    if marker:
        found = [version for version in found if version in marker.args]
    only = metafunc.config.getoption("--pg")
    if only:
        return [version for version in found if version in only]
    there = [version for version in found if version in available()] or found
    if metafunc.config.getoption("--quick"):
        return there[:1]
    if marker:
        return found
    if metafunc.definition.path.parent.name in _ON_ONE:
        return there[:1]
    return list(_WANTED)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what shows nothing more.

    On older versions of PostgreSQL all cases of a test but one, unless these are asked for. With --two: what
    runs no workers. With --quick: what is slow, and a second test of a server.
    """
    if not config.getoption("--every-case") and not config.getoption("--pg"):
        left_out = _cases_left_out(items)
        _only(config, items, lambda item: item not in left_out)
    if config.getoption("--two"):
        _only(config, items, _runs_two)
    if not config.getoption("--quick"):
        return
    seen: set[str] = set()
    left: list[pytest.Item] = []
    out: list[pytest.Item] = []
    for item in items:
        name = item.nodeid.partition("[")[0]
        repeated = "server" in getattr(item, "fixturenames", ()) and name in seen
        (out if repeated or item.get_closest_marker("slow") else left).append(item)
        seen.add(name)
    items[:] = left
    config.hook.pytest_deselected(items=out)


def _only(config: pytest.Config, items: list[pytest.Item], chosen: Callable[[pytest.Item], bool]) -> None:
    out = [item for item in items if not chosen(item)]
    items[:] = [item for item in items if chosen(item)]
    config.hook.pytest_deselected(items=out)


def _cases_left_out(items: list[pytest.Item]) -> set[pytest.Item]:
    """On all versions but a test's newest: all its cases but one, the choice of which its name makes.

    What differs between versions is what a statement may say and how it is planned, seldom the argument. And
    lanes, dialects and the like turn up in other tests again, where other names choose others of them.
    """
    cases: dict[tuple[str, int], list[pytest.Item]] = {}
    newest: dict[str, int] = {}
    for item in items:
        name, version = item.nodeid.partition("[")[0], _version(item)
        if version is not None and not item.get_closest_marker("each_version"):
            cases.setdefault((name, version), []).append(item)
            newest[name] = max(version, newest.get(name, 0))
    out: set[pytest.Item] = set()
    for (name, version), found in cases.items():
        if version != newest[name]:
            out.update(found)
            out.remove(found[zlib.crc32(name.encode()) % len(found)])
    return out


def _version(item: pytest.Item) -> int | None:
    """The version of PostgreSQL that a case is for."""
    params: dict[str, Any] = getattr(getattr(item, "callspec", None), "params", {})
    found = params.get("server") or params.get("own_server")
    return int(found[0]) if found else None


def _runs_two(item: pytest.Item) -> bool:
    """Whether a test runs workers by the helpers, which can run two, and says the same of two as of one."""
    assert isinstance(item, pytest.Function)
    return not item.get_closest_marker("one_worker") and not _RUNS.isdisjoint(vars(item.module))


@pytest.fixture
def logging_as_before() -> Iterator[None]:
    """Takes back what a worker that runs in this process as a command does to the logs."""
    loggers = (logging.getLogger(), logging.getLogger("tidemill"))
    before = [(logger, logger.handlers[:], logger.level, logger.propagate) for logger in loggers]
    yield
    for logger, handlers, level, propagate in before:
        logger.handlers[:] = handlers
        logger.setLevel(level)
        logger.propagate = propagate


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory that a server can be started in."""
    with reachable_directory("test") as place:
        yield place


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Migrations give up on locks soon."""
    monkeypatch.setattr(installer, "_PATIENCE_SECONDS", 0.5)


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server that tests share; one for each version and test process."""
    version, bin_dir = request.param
    with reachable_directory(f"pg{version}") as place:
        started = Server.start(version, bin_dir, place / "server")
        yield started
        started.release()


@pytest.fixture
def own_server(request: pytest.FixtureRequest, directory: Path) -> Iterator[Server]:
    """A server of the test's own, to stop and restart."""
    version, bin_dir = request.param
    started = Server.start(version, bin_dir, directory / "server")
    yield started
    started.embedded.release()


@pytest.fixture
def database(server: Server) -> Iterator[str]:
    """The conninfo of a fresh migrated database, as its owner, who is an ordinary role."""
    name = server.clone(TEMPLATE)
    yield server.conninfo(name)
    server.drop_soon(name)


@pytest.fixture
def superuser_conninfo(server: Server, database: str) -> str:
    """The same database as `database`, for the superuser."""
    return server.conninfo(str(conninfo_to_dict(database)["dbname"]), "postgres")


@pytest.fixture
def empty_database(server: Server) -> Iterator[str]:
    """The conninfo of a fresh database without the schema, as its owner."""
    name = server.clone(EMPTY)
    yield server.conninfo(name)
    server.drop_soon(name)


@pytest.fixture
def connection(database: str) -> Iterator[psycopg.Connection]:
    """An autocommit connection to `database`."""
    with psycopg.connect(database, autocommit=True) as opened:
        yield opened
