"""Executable tasks: JSON on stdin, the job in the environment, the exit code as outcome."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.support.running import eventually, run_all, running, until_leased
from tidemill import App
from tidemill.executables import executable_task
from tidemill.jobs import Job
from tidemill.task_directory import load_directory

# What it is about does not depend on the lane.
pytestmark = pytest.mark.lane("express")

Program = Callable[[str], None]


@pytest.fixture
def program(app: App, tmp_path: Path) -> Program:
    """Makes the task `tool` of a shell script that may name the directory as $PLACE."""

    def make(script: str, timeout: float | None = 600.0) -> None:
        path = tmp_path / "tool.sh"
        path.write_text(f"#!/bin/sh\nPLACE={tmp_path}\n{script}\n")
        path.chmod(0o755)
        app.register(executable_task(path, "tool", timeout=timeout))

    return make


async def run_tool(app: App, payload: Any = None, **options: Any) -> Job | None:
    job = await app.add_job("tool", payload, **options)
    await run_all(app)
    return await app.get_job(job.id)


async def test_what_the_program_is_handed(
    app: App, program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INHERITED", "yes")
    monkeypatch.setenv("TIDEMILL_JOB_KEY", "of another job")
    monkeypatch.delenv("TIDEMILL_ALL_PROGRAMS", raising=False)
    program('cat > "$PLACE/stdin"; env > "$PLACE/env"')
    due = datetime(2021, 3, 4, 5, 6, 7, 890_000, tzinfo=UTC)
    await app.add_job("tool", {"a": [1, "ü"]}, run_at=due, max_attempts=4, priority=-2)
    await run_all(app)
    assert json.loads((tmp_path / "stdin").read_text()) == {"payload": {"a": [1, "ü"]}}
    lines = (tmp_path / "env").read_text().splitlines()
    for prefix in ("TIDEMILL", "GRAPHILE_WORKER"):
        own = {line for line in lines if line.startswith(f"{prefix}_")}
        assert own == {
            f"{prefix}_PAYLOAD_FORMAT=json",
            f"{prefix}_TASK_IDENTIFIER=tool",
            f"{prefix}_JOB_ID=1",
            f"{prefix}_JOB_ATTEMPTS=1",
            f"{prefix}_JOB_MAX_ATTEMPTS=4",
            f"{prefix}_JOB_PRIORITY=-2",
            f"{prefix}_JOB_RUN_AT=2021-03-04T05:06:07.890Z",
            f"{prefix}_JOB_SLOT=2021-03-04T05:06:07.890Z",
        }
    assert "INHERITED=yes" in lines

    await app.add_job("tool", job_key="k")
    await run_all(app)
    assert "TIDEMILL_JOB_KEY=k" in (tmp_path / "env").read_text().splitlines()


async def test_the_time_is_utc_whatever_the_sessions_zone(
    app: App, program: Program, tmp_path: Path, connection: psycopg.Connection
) -> None:
    connection.execute(f"alter database {connection.info.dbname} set timezone = 'Asia/Tokyo'".encode())
    program('echo "$TIDEMILL_JOB_RUN_AT" > "$PLACE/due"')
    await app.add_job("tool", run_at=datetime(2021, 3, 4, 23, tzinfo=UTC))
    await run_all(app)
    assert (tmp_path / "due").read_text() == "2021-03-04T23:00:00.000Z\n"


async def test_exit_code_and_the_end_of_stderr_are_recorded(
    app: App, program: Program, caplog: pytest.LogCaptureFixture
) -> None:
    program("echo working; echo 'the printer is out of paper' >&2; exit 3")
    job = await run_tool(app)
    assert job is not None
    assert job.last_error == "tool.sh ended with exit code 3: the printer is out of paper"
    messages = [record.getMessage() for record in caplog.records]
    assert "working" in messages
    assert "the printer is out of paper" in messages


async def test_a_silent_failure_and_a_signal(app: App, program: Program) -> None:
    program('[ "$TIDEMILL_JOB_PRIORITY" = 1 ] && kill -9 $$; exit 7')
    silent = await run_tool(app)
    killed = await run_tool(app, priority=1)
    assert silent is not None
    assert killed is not None
    assert silent.last_error == "tool.sh ended with exit code 7"
    assert killed.last_error == "tool.sh ended with signal 9"


async def test_only_the_tail_of_a_long_stderr_is_kept(app: App, program: Program) -> None:
    program("head -c 3000000 /dev/zero | tr '\\0' x >&2; printf 'ü the end' >&2; exit 1")
    job = await run_tool(app)
    assert job is not None
    assert job.last_error is not None
    assert len(job.last_error) < 2100
    assert job.last_error.endswith("xxxü the end")


async def test_a_program_that_ignores_its_stdin(app: App, program: Program) -> None:
    program("exit 0")
    assert await run_tool(app, "x" * 3_000_000) is None


async def test_a_program_that_floods_its_stdout(app: App, program: Program) -> None:
    program("head -c 5000000 /dev/zero | tr '\\0' x")
    assert await run_tool(app) is None


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
async def test_a_flood_is_logged_with_its_head_and_its_tail(
    app: App, program: Program, caplog: pytest.LogCaptureFixture, stream: str
) -> None:
    caplog.set_level(logging.INFO, "tidemill")
    to = " >&2" if stream == "stderr" else ""
    program(f"{{ echo begins; head -c 5000000 /dev/zero | tr '\\0' x; echo; echo ends; }}{to}")
    assert await run_tool(app) is None
    logged = [record.getMessage() for record in caplog.records if record.funcName == "_log"]
    assert logged[0].startswith("begins")
    left_out, _, tail = logged[-1].partition("\n")
    assert left_out == "... 4,898,013 characters left out ..."
    assert tail.startswith("xxx")
    assert tail.endswith("xxx\nends")
    assert 100_000 < sum(map(len, logged)) < 103_000


@pytest.mark.parametrize("status", [0, 3])
async def test_a_child_that_is_left_running_does_not_hold_the_job(
    app: App, program: Program, tmp_path: Path, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    """The child has all three streams of the program; they must not be waited for."""
    caplog.set_level(logging.INFO, "tidemill")
    program(f'sleep 300 & echo $! > "$PLACE/child"; echo the last words; echo no ink >&2; exit {status}')
    job = await run_tool(app)
    pid = int((tmp_path / "child").read_text())
    try:
        assert alive(pid)
        assert (job and job.last_error) == ("tool.sh ended with exit code 3: no ink" if status else None)
        assert "the last words" in [record.getMessage() for record in caplog.records]
    finally:
        os.kill(pid, signal.SIGKILL)


async def test_a_program_that_takes_too_long(app: App, program: Callable[..., None]) -> None:
    program("sleep 300 & sleep 300", timeout=0.3)
    job = await run_tool(app)
    assert job is not None
    assert job.last_error == "Timed out after 0.3 s"


def test_four_hours_are_the_limit_unless_it_is_said(tmp_path: Path) -> None:
    (tmp_path / "tool").write_text("#!/bin/sh\n")
    (tmp_path / "tool").chmod(0o755)
    assert [task.timeout for task in load_directory(tmp_path)[0]] == [4 * 3600]
    assert [task.timeout for task in load_directory(tmp_path, executable_timeout=None)[0]] == [None]


@pytest.mark.parametrize(
    ("text", "mode", "why"),
    [
        (
            "no interpreter named",
            0o755,
            "Exec format error; begin its first line with an interpreter, for instance #!/bin/sh",
        ),
        (
            "#!/no/such/sh -e\n",
            0o755,
            "No such file or directory; the interpreter in its first line, '#!/no/such/sh -e', "
            "must be there and executable",
        ),
        (
            "#!/bin/sh\r\n",
            0o755,
            "No such file or directory; the interpreter in its first line, '#!/bin/sh\\r', "
            "must be there and executable",
        ),
        (
            "#!/etc/passwd\n",
            0o755,
            "Permission denied; the interpreter in its first line, '#!/etc/passwd', "
            "must be there and executable",
        ),
        ("#!/bin/sh\n", 0o644, "Permission denied; make it executable: chmod +x {path}"),
        (
            None,
            0o755,
            "No such file or directory; it was there when the worker started: put it back, "
            "or start the worker again",
        ),
    ],
)
async def test_a_program_that_cannot_be_started(
    app: App, tmp_path: Path, text: str | None, mode: int, why: str
) -> None:
    path = tmp_path / "tool"
    if text is not None:
        path.write_bytes(text.encode())
        path.chmod(mode)
    app.register(executable_task(path, "tool"))
    job = await run_tool(app)
    assert job is not None
    assert job.last_error == f"tool cannot be started: {why.format(path=path)}"


def alive(pid: int) -> bool:
    state = subprocess.run(
        ["ps", "-o", "state=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return state.stdout.strip() not in ("", "Z")


@pytest.mark.slow
@pytest.mark.parametrize("how", ["timeout", "cancel", "stop"])
async def test_it_is_ended_with_its_children(
    app: App,
    connection: psycopg.Connection,
    program: Callable[..., None],
    tmp_path: Path,
    how: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tidemill.executables._KILL_AFTER", 0.2)
    # The child does not heed SIGTERM.
    program(
        "(trap '' TERM; sleep 300; sleep 300) & echo $! > \"$PLACE/child.new\"; "
        'mv "$PLACE/child.new" "$PLACE/child"; wait',
        timeout=1.0 if how == "timeout" else 600.0,
    )
    child = tmp_path / "child"
    async with running(app, heartbeat_interval=0.1, grace_period=0):
        job = await app.add_job("tool")
        await eventually(child.exists, "the child to run")
        pid = int(child.read_text())
        assert alive(pid)
        if how == "cancel":
            await until_leased(connection)
            await app.cancel_jobs([job.id])
        if how != "stop":
            await eventually(lambda: not alive(pid), "the child's end")
    await eventually(lambda: not alive(pid), "the child's end")
    left = await app.get_job(job.id)
    assert left is not None
    assert (left.locked_by, left.last_error) == (
        None,
        {"timeout": "Timed out after 1 s", "cancel": "Cancelled", "stop": None}[how],
    )
