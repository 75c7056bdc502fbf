"""As process 1 of a container, `tidemill` runs below an init of its own."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache

import pytest

from tests.support.commands import PROGRAM, CommandLine

pytestmark = [pytest.mark.slow, pytest.mark.versions(18)]

NAMESPACES = {
    "root": ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc"),
    "user": ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc"),
}

_COMMON = """
import os, signal, subprocess, sys, time
from pathlib import Path
from tidemill.cli.process_one import step_down

step_down()
assert os.getpid() != 1 and os.getppid() == 1
assert not signal.pthread_sigmask(signal.SIG_BLOCK, [])
got = []

def note(signum, frame):
    got.append(signal.Signals(signum).name)

def wait_until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, (got, Path("/proc/1/status").read_text())
        time.sleep(0.005)

def tell_init(signum):
    signal.signal(signum, note)
    os.kill(1, signum)
    wait_until(lambda: signal.Signals(signum).name in got)
"""


@cache
def refusal(name: str) -> str | None:
    """Why this machine makes no such namespace; None if it does."""
    try:
        done = subprocess.run([*NAMESPACES[name], "true"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "there is no program unshare"
    return done.stderr.strip() if done.returncode else None


@pytest.fixture(params=NAMESPACES)
def namespace(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """The words before a command that make it process 1."""
    if why := refusal(request.param):
        pytest.skip(f"no namespace of processes here: {why}")
    return NAMESPACES[request.param]


@pytest.fixture
def process_1() -> tuple[str, ...]:
    """The same in the first way that works here: in a namespace of users, root cannot reach our servers."""
    refusals = [refusal(name) for name in NAMESPACES]
    if None not in refusals:
        pytest.skip(f"no namespace of processes here: {refusals}")
    return list(NAMESPACES.values())[refusals.index(None)]


def run(namespace: tuple[str, ...], script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*namespace, sys.executable, "-c", _COMMON + script],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def ok(namespace: tuple[str, ...], script: str) -> str:
    done = run(namespace, script)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@contextlib.contextmanager
def on_terminal(*command: str) -> Iterator[Callable[[bytes, str], None]]:
    """Runs a command on a terminal; gives a function that presses keys and waits for what is shown."""
    ours, theirs = pty.openpty()
    shown = ""

    def press(keys: bytes, expected: str) -> None:
        nonlocal shown
        os.write(ours, keys)
        while expected not in shown:
            assert select.select([ours], [], [], 60)[0], shown
            shown += os.read(ours, 1024).decode()

    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        try:
            yield press
        finally:
            process.kill()
            os.close(ours)


def test_other_processes_stay_as_they_are() -> None:
    script = "import os; from tidemill.cli.process_one import step_down; old = os.getpid(); step_down()"
    subprocess.run([sys.executable, "-c", f"{script}; assert os.getpid() == old"], check=True)


def test_signals_are_passed_on(namespace: tuple[str, ...]) -> None:
    names = "SIGHUP SIGINT SIGQUIT SIGUSR1 SIGUSR2 SIGPIPE SIGALRM SIGTERM SIGCONT SIGTSTP SIGWINCH SIGRTMAX"
    script = f"""
for name in {names.split()}:
    tell_init(signal.Signals[name])
print(*got)
"""
    assert ok(namespace, script).split() == names.split()


def test_keys_of_a_terminal_arrive_once(namespace: tuple[str, ...]) -> None:
    # The signal that the init passes on comes after all that the keys have sent to it.
    script = """
for signum in (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP):
    signal.signal(signum, note)
assert input() == "a line"
print("ready", flush=True)
wait_until(lambda: len(got) == 3)
tell_init(signal.SIGUSR1)
print(*sorted(got))
"""
    with on_terminal(*namespace, "setsid", "--ctty", sys.executable, "-c", _COMMON + script) as press:
        press(b"a line\n", "ready")
        press(b"\x03\x1c\x1a", "SIGINT SIGQUIT SIGTSTP SIGUSR1\r\n")


def test_orphans_are_waited_for(namespace: tuple[str, ...]) -> None:
    script = """
orphan = "(setsid sh -c 'exit 1' &); exit 7"
for _ in range(20):
    # The children of the command are its own.
    assert subprocess.run(["sh", "-c", orphan]).returncode == 7
wait_until(lambda: len([entry for entry in os.listdir("/proc") if entry.isdigit()]) == 2)
"""
    assert ok(namespace, script) == ""


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ("sys.exit()", 0),
        ("sys.exit(3)", 3),
        ("os.kill(os.getpid(), signal.SIGKILL)", 128 + signal.SIGKILL),
        ("os.kill(1, signal.SIGTERM); time.sleep(60)", 128 + signal.SIGTERM),
    ],
)
def test_it_ends_as_the_command_does(namespace: tuple[str, ...], end: str, code: int) -> None:
    left = "subprocess.Popen(['sleep', '60'])\n"
    assert run(namespace, left + end).returncode == code


def test_a_worker_as_process_1(process_1: tuple[str, ...], cli: CommandLine) -> None:
    directory = cli.directory / "tasks"
    directory.mkdir()
    leave = directory / "leave"
    leave.write_text("#!/bin/sh\n(setsid true &)\n")
    leave.chmod(0o755)
    (directory / "stop.py").write_text(
        "import os, signal\n"
        "def task(payload):\n"
        "    while len([name for name in os.listdir('/proc') if name.isdigit()]) > 2:\n"
        "        pass\n"
        "    os.kill(1, signal.SIGTERM)\n"
    )
    for _ in range(5):
        cli.ok("add", "leave")
    cli.ok("add", "stop", "--priority", "1")
    done = subprocess.run(
        [*process_1, *PROGRAM, "worker", "--concurrency", "1"],
        cwd=cli.directory,
        env=cli.environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "SIGTERM: no new jobs" in done.stderr
    assert "again" not in done.stderr.replace("(again to hurry)", "")
    assert cli.json("jobs") == []
