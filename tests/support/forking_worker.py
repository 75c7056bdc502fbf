"""A worker process whose tasks fork: `python forking_worker.py CONNINFO OPTIONS-AS-JSON`.

The option `loop` is "asyncio" or "uvloop". A job's payload names a case, and how processes are made
where it matters. The job writes what its case returns into the table `told`, once.
"""

from __future__ import annotations

import asyncio
import json
import logging
import multiprocessing
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.connection import Connection
from typing import Any

import psycopg

from tidemill import App, JobContext, JobSpec, Middleware, TidemillError, Worker, WorkerOptions

CONNINFO = sys.argv[1]
app = App(CONNINFO)
children: list[int] = []


def context(method: str) -> Any:
    return multiprocessing.get_context(method)


def square(number: int) -> int:
    return number * number


def sleep_for_ever() -> None:
    while True:
        time.sleep(60)


def pool(job: JobContext, method: str) -> Any:
    # Leaving the block terminates the pool's processes.
    with context(method).Pool(2) as processes:
        return processes.map(square, range(4))


def terminate(job: JobContext, method: str) -> Any:
    process = context(method).Process(target=sleep_for_ever)
    process.start()
    process.terminate()
    process.join()
    return process.exitcode


def interrupt(job: JobContext, method: str) -> Any:
    """Most of the time the child is in the middle of its first steps."""
    codes = set()
    for _ in range(20):
        process = context(method).Process(target=sleep_for_ever)
        process.start()
        process.terminate()
        process.join()
        codes.add(process.exitcode)
    return list(codes)


def executor(job: JobContext, method: str) -> Any:
    with ProcessPoolExecutor(2, context(method)) as processes:
        return list(processes.map(square, range(4)))


def add_here(number: int) -> Any:
    """Adds jobs through both faces of the app, and tells which it got."""
    jobs = [app.sync.add_job("nobody", [os.getpid(), number]) for _ in range(5)]

    async def add() -> None:
        jobs.extend([await app.add_job("nobody", [os.getpid(), number]) for _ in range(5)])

    asyncio.run(add())
    return os.getpid(), number, [job.id for job in jobs]


def add_in_children(job: JobContext, method: str) -> Any:
    """Parent and children add jobs at once; returns whether each got its own."""
    with ProcessPoolExecutor(3, context(method)) as processes:
        waiting = [processes.submit(add_here, number) for number in range(9)]
        own = [job.sync.add_job("nobody", [os.getpid(), -1]).id for _ in range(20)]
        added = [future.result() for future in waiting]
    with psycopg.connect(CONNINFO) as connection:
        payloads: dict[int, Any] = dict(
            connection.execute("select id, payload from tidemill._jobs where payload is not null").fetchall()
        )
    right = all(payloads[one] == [pid, number] for pid, number, ids in added for one in ids)
    return [right, all(payloads[one] == [os.getpid(), -1] for one in own), sum(len(ids) for *_, ids in added)]


def work_in(end: Connection) -> None:
    try:
        asyncio.run(app.run_worker(WorkerOptions(once=True)))
    except TidemillError as error:
        end.send(str(error))
    else:
        end.send("it ran")


def worker_in_child(job: JobContext, method: str) -> Any:
    here, there = context(method).Pipe()
    process = context(method).Process(target=work_in, args=(there,))
    process.start()
    said = here.recv()
    process.join()
    return said


def preexec(job: JobContext, method: str) -> Any:
    return subprocess.run(
        [sys.executable, "-c", "import signal; print(signal.getsignal(signal.SIGTERM).name)"],
        preexec_fn=lambda: None,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def spawned(job: JobContext, method: str) -> Any:
    pid = os.posix_spawn(sys.executable, [sys.executable, "-c", "import time; time.sleep(60)"], os.environ)
    os.kill(pid, signal.SIGTERM)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def exit_code(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def kill(job: JobContext, method: str) -> Any:
    """Ends a child, and a child of a child, by signals."""
    codes = []
    for depth in (1, 2):
        here, there = os.pipe()
        pid = os.fork()
        if pid == 0:
            pid = os.fork() if depth == 2 else 0
            if pid:
                os.kill(pid, signal.SIGTERM)
                os._exit(-exit_code(pid))
            os.write(there, b"!")
            sleep_for_ever()
        if depth == 1:
            os.read(here, 1)
            os.kill(pid, signal.SIGTERM)
        codes.append(exit_code(pid))
    return codes


def grandchild(job: JobContext, method: str) -> Any:
    """Both come back to the worker's code, the child of the child with a job that it has added."""
    pid = os.fork()
    if pid == 0:
        pid = os.fork()
        if pid == 0:
            job.sync.add_job("nobody", [os.getpid(), 0])
            sys.exit(3)
        sys.exit(exit_code(pid) + 1)
    return exit_code(pid)


def leave(job: JobContext, method: str) -> Any:
    """Leaves a child, which adds a job once the worker is gone."""
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        while os.getppid() == parent:
            time.sleep(0.01)
        job.sync.add_job("nobody", [os.getpid(), 0])
        sleep_for_ever()
    return pid


PLAIN: dict[str, Callable[[JobContext, str], Any]] = {
    case.__name__: case
    for case in (
        pool,
        terminate,
        interrupt,
        executor,
        add_in_children,
        worker_in_child,
        preexec,
        spawned,
        kill,
        grandchild,
        leave,
    )
}


async def end_of(pid: int) -> int:
    """The exit code of a child, waited for beside the event loop."""
    _, status = await asyncio.to_thread(os.waitpid, pid, 0)
    return os.waitstatus_to_exitcode(status)


async def fork_and(what: str) -> int:
    """Forks; the child does something that brings it back to the worker. Returns its exit code."""
    pid = os.fork()
    if pid == 0:
        match what:
            case "exit":
                sys.exit(3)
            case "return":
                return 0
            case "raise":
                raise ValueError("a mistake of the child")
            case "await":
                await asyncio.sleep(0)
            case "wait":
                await asyncio.sleep(60)
    return await end_of(pid)


async def fork_beside(what: str) -> list[int]:
    """Three children, each forked in an asyncio task of its own."""
    return list(await asyncio.gather(*(fork_and(what) for _ in range(3))))


async def fork_later(what: str) -> int:
    await asyncio.sleep(0.01)
    return await fork_and(what)


async def fork_connected(what: str, job: JobContext) -> int:
    """The child leaves the block of a connection that belongs to the parent."""
    async with job.connection() as connection:
        await connection.execute("insert into told values (%s, 'null')", [job.id])
        code = await fork_and(what)
        await connection.execute("delete from told where job_id = %s", [job.id])
    return code


def fork_in_thread(what: str) -> int:
    pid = os.fork()
    if pid == 0:
        if what == "exit":
            sys.exit(3)
        if what == "raise":
            raise ValueError("a mistake of the child")
        return 0
    return exit_code(pid)


async def in_executor(method: str) -> list[int]:
    """As asyncio's own documentation has it."""
    loop = asyncio.get_running_loop()
    with ProcessPoolExecutor(2, context(method)) as processes:
        return await asyncio.gather(*(loop.run_in_executor(processes, square, n) for n in range(4)))


async def fork_terminal(what: str) -> int:
    pid, terminal = pty.fork()
    if pid == 0:
        return 0
    code = await end_of(pid)
    os.close(terminal)
    return code


class ForkingHook(Middleware):
    """Forks before some jobs, and lets the child come back."""

    def before_job(self, job: JobContext) -> None:
        if job.identifier.startswith("hooked"):
            pid = os.fork()
            if pid == 0:
                sys.exit(3)
            children.append(pid)


def end_of_last() -> int:
    return exit_code(children.pop())


def fork_once() -> list[str]:
    """The forbidden flags: none."""
    if not children:
        pid = os.fork()
        if pid:
            children.append(pid)
    return []


def make_tasks() -> None:
    told = threading.local()
    parent = os.getpid()

    def tell(job: JobContext, value: Any) -> None:
        if os.getpid() != parent:
            # A child that comes back goes on in the task, up to its end.
            return
        connection = told.__dict__.setdefault("connection", psycopg.connect(CONNINFO, autocommit=True))
        connection.execute("insert into told values (%s, %s)", [job.id, json.dumps(value)])

    @app.task
    def plain(payload: Any, job: JobContext) -> None:
        tell(job, PLAIN[payload["case"]](job, payload["how"]))

    @app.task
    def plain_fork(payload: Any, job: JobContext) -> None:
        pid = os.fork()
        if pid == 0:
            if payload["how"] == "exit":
                sys.exit(3)
            return
        tell(job, exit_code(pid))

    @app.task
    async def blocking(payload: Any, job: JobContext) -> None:
        tell(job, PLAIN[payload["case"]](job, payload["how"]))

    @app.task
    async def fork(payload: Any, job: JobContext) -> None:
        how = payload["how"]
        match payload["case"]:
            case "at once":
                result: Any = await fork_and(how)
            case "later":
                result = await fork_later(how)
            case "beside":
                result = await fork_beside(how)
            case "connected":
                result = await fork_connected(how, job)
            case "thread":
                result = await asyncio.to_thread(fork_in_thread, how)
            case "executor":
                result = await in_executor(how)
            case "terminal":
                result = await fork_terminal(how)
        tell(job, result)

    @app.task
    async def hooked(payload: Any, job: JobContext) -> None:
        tell(job, end_of_last())

    @app.task
    def hooked_plain(payload: Any, job: JobContext) -> None:
        tell(job, end_of_last())

    @app.task
    def orphan(payload: Any, job: JobContext) -> None:
        job.sync.add_job("nobody")
        pid = os.fork()
        if pid:
            tell(job, pid)
        sleep_for_ever()

    @app.task
    async def sleeper(payload: Any) -> None:
        await asyncio.sleep(0.001)

    @app.task
    async def many(payload: Any, job: JobContext) -> None:
        await job.app.add_jobs([JobSpec("sleeper")] * 20)
        tell(job, None)


def main() -> None:
    options = json.loads(sys.argv[2])
    loop = options.pop("loop")
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    make_tasks()
    app.middleware.append(ForkingHook())
    if options.pop("fork_in_flags", False):
        options["forbidden_flags"] = fork_once
    factory = None
    if loop == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(Worker(app, WorkerOptions(**options)).run(handle_signals=True))


if __name__ == "__main__":
    main()
