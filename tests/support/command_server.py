"""A process that has all of the command line in memory, and forks itself for each command.

To import it takes a new process longer than what most commands do. Arguments: the path of a socket. It ends
when its standard input does.
"""

from __future__ import annotations

import gc
import io
import json
import os
import select
import socket
import sys
import time
from importlib import import_module

from tidemill import cli
from tidemill.cli import program

MOST_BYTES = 1 << 20


def serve(listening: socket.socket) -> None:
    """Returns in a process for a command, with the command's arguments, environment and files."""
    while True:
        ready, _, _ = select.select([0, listening.fileno()], [], [])
        if 0 in ready:
            os._exit(0)
        connection, _ = listening.accept()
        if os.fork() == 0:
            listening.close()
            _become_command(connection)
            return
        connection.close()
        while _reap():
            pass


def _reap() -> bool:
    try:
        return os.waitpid(-1, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return False


def _become_command(connection: socket.socket) -> None:
    """Forks once more: the first process waits for the second, and tells how it has ended."""
    length, files, _, _ = socket.recv_fds(connection, 8, 3)
    said = b""
    while len(said) < int.from_bytes(length):
        said += connection.recv(MOST_BYTES)
    request = json.loads(said)
    pid = os.fork()
    if pid != 0:
        connection.sendall(b"%d\n" % pid)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        connection.sendall(b"%d\n" % code)
        os._exit(0)
    connection.close()
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(request["directory"])
    os.environ.clear()
    os.environ.update(request["environment"])
    time.tzset()
    sys.argv[1:] = request["arguments"]
    sys.stdin = _reopened(sys.stdin, 0, "rb")
    sys.stdout = _reopened(sys.stdout, 1, "wb")
    sys.stderr = _reopened(sys.stderr, 2, "wb")


def _reopened(of_server: object, file: int, mode: str) -> io.TextIOWrapper:
    """Nothing that the server's own has in its buffer, and settings as Python would choose them."""
    assert isinstance(of_server, io.TextIOWrapper)
    return io.TextIOWrapper(
        open(file, mode, closefd=False),
        encoding=of_server.encoding,
        errors=of_server.errors,
        line_buffering=of_server.line_buffering,
        write_through=of_server.write_through,
    )


if __name__ == "__main__":
    for name in set(cli._MODULES.values()):
        import_module(f"tidemill.cli.{name}").register(program.make())
    gc.freeze()
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(sys.argv.pop())
        opened.listen(50)
        sys.argv[0] = "-c"
        print("ready", flush=True)
        serve(opened)
    cli.main()
