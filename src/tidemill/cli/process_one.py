"""As process 1, the command runs below a tiny init of our own.

The kernel gives process 1 two duties that no command fulfils: it has to wait for orphans that end,
or each stays behind as a zombie; and signals without a handler are lost on it. So the command goes
on in a child, and process 1 only passes signals on, waits for whatever ends, and ends as the child.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Collection
from typing import NoReturn

# The kernel raises these for a mistake of the process itself.
_FAULTS = {
    signal.SIGABRT,
    signal.SIGBUS,
    signal.SIGFPE,
    signal.SIGILL,
    signal.SIGSEGV,
    signal.SIGSYS,
    signal.SIGTRAP,
}
# A terminal sends these to the whole process group: the child has had them, too.
_FROM_TERMINAL = {signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU}
_SENT_BY_KERNEL = 0x80


def step_down() -> None:
    """Returns at once, unless this is process 1: then in a child, with process 1 as its init.

    Call it before anything has a thread, a connection or unwritten output.
    """
    if os.getpid() != 1:
        return
    # An ignored SIGCHLD would hide how children end.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    waited_for = signal.valid_signals() - _FAULTS
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, waited_for)
    child = os.fork()
    if child:
        _serve(child, waited_for)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _serve(child: int, waited_for: Collection[int]) -> NoReturn:
    while True:
        received = signal.sigwaitinfo(waited_for)
        if received.si_signo == signal.SIGCHLD:
            _reap(child)
        elif received.si_signo not in _FROM_TERMINAL or received.si_code != _SENT_BY_KERNEL:
            # Unless we have waited for the child, and are gone, its number is its own.
            os.kill(child, received.si_signo)


def _reap(child: int) -> None:
    """Waits for all that have ended. If the child has, so does this process, and with it all others."""
    while True:
        try:
            ended, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if ended == 0:
            return
        if ended == child:
            code = os.waitstatus_to_exitcode(status)
            # As shells tell of a signal. Without exit handlers, which belong to the child.
            os._exit(code if code >= 0 else 128 - code)
