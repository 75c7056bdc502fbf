"""Processes that fork while an app of theirs is open, as web servers do with their workers."""

from __future__ import annotations

import socket
import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.versions(18)

# In a process of its own: a fork of the test's could hang.
_COMMON = """
import asyncio, os, sys
from concurrent.futures import ThreadPoolExecutor
from tidemill import App

app = App(sys.argv[1])

def right(added):
    return all(job.payload == [os.getpid(), number] for number, job in enumerate(added))

def fork(work):
    children = []
    for _ in range(3):
        pid = os.fork()
        if pid == 0:
            work()
            sys.exit(0)
        children.append(pid)
    return children

def wait(children):
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]

def backend():
    with app.sync.connection() as connection:
        return connection.info.backend_pid

async def abackend():
    async with app.connection() as connection:
        return connection.info.backend_pid

def add():
    assert right([app.sync.add_job("nobody", [os.getpid(), number]) for number in range(50)])

async def aadd():
    assert right([await app.add_job("nobody", [os.getpid(), number]) for number in range(50)])
"""


def run(conninfo: str, script: str) -> None:
    """Runs a script that asserts."""
    done = subprocess.run(
        # Newer Pythons warn of each fork beside threads.
        [
            sys.executable,
            "-W",
            "ignore::DeprecationWarning",
            "-c",
            _COMMON + textwrap.dedent(script),
            conninfo,
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_children_have_a_blocking_pool_of_their_own(database: str) -> None:
    run(
        database,
        """
        app.sync.open()
        mine = backend()

        def work():
            own = backend()
            assert own != mine and backend() == own
            add()
            app.sync.close()
            assert backend() != own

        children = fork(work)
        add()
        assert wait(children) == [0, 0, 0]
        assert backend() == mine
        app.sync.close()
        """,
    )


def test_children_open_the_async_face_for_themselves(database: str) -> None:
    run(
        database,
        """
        async def main():
            await app.open()
            mine = await abackend()

            def work():
                assert not app.is_open
                # On event loops of their own, one after the other.
                assert asyncio.run(abackend()) != mine
                asyncio.run(aadd())
                add()
                asyncio.run(again())
                os._exit(0)

            children = fork(work)
            await aadd()
            assert wait(children) == [0, 0, 0]
            assert await abackend() == mine
            await app.close()

        async def again():
            async with app:
                own = await abackend()
                assert await abackend() == own
            await app.close()

        asyncio.run(main())
        """,
    )


def test_a_child_of_a_server_may_run_a_worker(database: str) -> None:
    run(
        database,
        """
        done = []
        app.task("nobody")(lambda payload: done.append(payload))
        app.sync.open()
        add()

        def work():
            app.sync.run_until_empty()
            assert len(done) == 50
            app.sync.close()

        pid = os.fork()
        if pid == 0:
            work()
            sys.exit(0)
        assert wait([pid]) == [0]
        app.sync.close()
        """,
    )


def test_a_fork_while_other_threads_open_connections(database: str) -> None:
    run(
        database,
        """
        def churn():
            for _ in range(10):
                app.sync.open()
                backend()
                app.sync.close()

        with ThreadPoolExecutor(4) as threads:
            waiting = [threads.submit(churn) for _ in range(4)]
            children = []
            while not all(one.done() for one in waiting):
                pid = os.fork()
                if pid == 0:
                    # The locks of the other threads are not held here.
                    assert backend() and app.database()
                    os._exit(0)
                children.append(pid)
                assert wait([pid]) == [0]
            [one.result() for one in waiting]
        """,
    )


@pytest.mark.parametrize(
    "face", ["connect_patiently(c, 30)", "pools.connect(c)", "run(pools.connect_async(c))"]
)
def test_a_child_does_not_hold_a_connection_that_was_being_opened(face: str) -> None:
    script = f"""
        from asyncio import run
        from threading import Thread
        from tidemill import pools
        from tidemill.database.patient import connect_patiently

        c = sys.argv[1]
        Thread(target=lambda: {face}, daemon=True).start()
        sys.stdin.readline()
        if os.fork() == 0:
            sys.stdin.readline()
        os._exit(0)
    """
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        silent.settimeout(30)
        with subprocess.Popen(
            [
                sys.executable,
                "-W",
                "ignore",
                "-c",
                _COMMON + textwrap.dedent(script),
                f"host=127.0.0.1 port={port}",
            ],
            stdin=subprocess.PIPE,
            text=True,
        ) as parent:
            assert parent.stdin is not None
            connection, _ = silent.accept()
            with connection:
                connection.settimeout(30)
                # libpq has asked something, and waits for an answer.
                assert connection.recv(1)
                parent.stdin.write("fork\n")
                parent.stdin.flush()
                assert parent.wait(30) == 0
                while connection.recv(4096):
                    pass
