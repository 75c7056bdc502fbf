"""Finds the database that a user means: one that was named, or the one where there is none."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tidemill.database import conninfo as conninfos
from tidemill.database.dead_peers import OF_CLIENT
from tidemill.errors import DatabaseUnavailableError

if TYPE_CHECKING:
    from tidemill.database.embedded import EmbeddedServer

_DEFAULTS = {"connect_timeout": "10", **OF_CLIENT, "client_encoding": "UTF8"}
_FOLDER = ".tidemill"
_OF_TESTS = "TIDEMILL_TEST_DATABASE"
_EMBEDDED = "embedded"


@dataclass(frozen=True)
class Database:
    """Where Tidemill works: a conninfo, and the embedded server if that is what runs it."""

    conninfo: str = field(repr=False)
    server: EmbeddedServer | None = None
    default: str | None = None
    """What was used since nobody named a database: `DATABASE_URL`, or the embedded server's directory."""

    def for_application(self, name: str) -> str:
        """The conninfo with an `application_name`, unless the user set one."""
        return make_conninfo(self.conninfo, **_missing(self.conninfo, {"application_name": name}))

    def close(self) -> None:
        """Releases the embedded server, which stops after its last user."""
        if self.server is not None:
            self.server.release()


def find_database(
    database: str | None = None, *, origin: str = "--database", directory: Path | None = None
) -> Database:
    """The database that a user means.

    In this order: `database` (a `postgresql://` URL or a libpq conninfo), which came from `origin`;
    under pytest the environment's `TIDEMILL_TEST_DATABASE`; the environment's `DATABASE_URL`; an
    embedded server, which is started and named in one line on stderr: that of `directory`, or of
    `.tidemill/` in the working directory, or else in the nearest parent that has one of ours.

    Raises DatabaseUnavailableError for a malformed conninfo, EmbeddedServerError.
    """
    if database:
        return _named(database, origin)
    of_tests = os.environ.get(_OF_TESTS) if is_under_pytest() else None
    if of_tests == _EMBEDDED:
        return _embedded(Path(f"{_FOLDER}-test"), is_default=False)
    if of_tests:
        return _named(of_tests, _OF_TESTS)
    if url := os.environ.get("DATABASE_URL"):
        return _named(url, "DATABASE_URL", is_default=True)
    return _embedded(directory or nearest_folder(), is_default=True)


def _named(given: str, origin: str, *, is_default: bool = False) -> Database:
    conninfo = conninfos.read(given, origin)
    return Database(
        make_conninfo(conninfo, **_missing(conninfo, _DEFAULTS)), default=origin if is_default else None
    )


def _embedded(folder: Path, *, is_default: bool) -> Database:
    from tidemill.database import embedded

    is_new = not folder.exists()
    server = embedded.start(folder)
    print(
        f"{'Made a new' if is_new else 'Using the'} embedded PostgreSQL {server.version} "
        f"in {folder.absolute()}/ "
        "(set DATABASE_URL or --database to use your own).",
        file=sys.stderr,
    )
    conninfo = make_conninfo(server.conninfo(), **_missing(server.conninfo(), _DEFAULTS))
    return Database(conninfo, server, f"{folder.absolute()}/" if is_default else None)


def running_embedded() -> str | None:
    """The conninfo of the embedded server that `find_database` would use, if that is running by itself."""
    from tidemill.database.server_programs import ask

    folder = nearest_folder()
    if not _is_ours(folder):
        return None
    answers = (ask(cluster) for cluster in sorted(folder.glob("data-*"), reverse=True))
    found = next((answer for answer in answers if answer.ping == pq.Ping.OK), None)
    if found is None:
        return None
    return make_conninfo(host=str(found.socket_dir), port=found.port, dbname="postgres", user="postgres")


def nearest_folder() -> Path:
    """`.tidemill` in the working directory, or in a parent that has one of our own."""
    here = Path(_FOLDER)
    if here.exists() or here.is_symlink():
        return here
    return next((place / _FOLDER for place in _parents() if _is_ours(place / _FOLDER)), here)


def _parents() -> Iterator[Path]:
    """The parents that may belong to the same project, the nearest first.

    They end before the home directory, at another file system, and at a directory in which other
    accounts may make what they want.
    """
    here = Path.cwd()
    device, home = here.stat().st_dev, Path("~").expanduser().resolve()
    if here == home:
        return
    for place in here.parents:
        seen = place.stat()
        if place == home or seen.st_dev != device or seen.st_uid != os.geteuid() or seen.st_mode & 0o002:
            return
        yield place


def _is_ours(folder: Path) -> bool:
    """Whether it is a directory, not a link to one, and belongs to this account."""
    return folder.is_dir() and not folder.is_symlink() and folder.stat().st_uid == os.geteuid()


def _missing(conninfo: str, values: dict[str, str]) -> dict[str, str]:
    given = conninfo_to_dict(conninfo)
    return {name: value for name, value in values.items() if name not in given}


def is_under_pytest() -> bool:
    """Whether this process runs tests by pytest, as its workers of pytest-xdist do, too.

    A process that a test starts has these variables, too, but not the module. An application that
    imports pytest has the module alone.
    """
    return "pytest" in sys.modules and not {"PYTEST_CURRENT_TEST", "PYTEST_VERSION"}.isdisjoint(os.environ)


def refuse_in_tests(database: Database) -> None:
    """Keeps a test from running, and so using up, the jobs of the database that one works on.

    Raises DatabaseUnavailableError under pytest if nobody has named the database.
    """
    if database.default is not None and is_under_pytest():
        raise DatabaseUnavailableError(
            f"A test would run the jobs of a database that it does not name ({database.default}): those of "
            "your development, perhaps. No job was run. Name a database for tests: set "
            f"{_OF_TESTS} to its URL, or to `{_EMBEDDED}` for an embedded PostgreSQL in {_FOLDER}-test/; or "
            "set app.database_url in a fixture; or make the app with App(database=...)."
        )
