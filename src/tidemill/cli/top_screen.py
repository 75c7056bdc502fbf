"""For `tidemill top`: the terminal, its keys and signals. Nothing is written that is there already."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any

from rich.console import Console, ConsoleDimensions
from rich.text import Text


class Alarm:
    """Wakes the main thread: by another thread, a key, or a signal.

    Inside of its block Ctrl-C and SIGTERM set `ended`.
    """

    def __init__(self, keys: int | None = None) -> None:
        self.ended = False
        self._keys = keys
        self._hears, self._rings = os.pipe()
        os.set_blocking(self._rings, False)
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Alarm:
        if _hears_signals():
            handlers = {signal.SIGINT: self._end, signal.SIGTERM: self._end, signal.SIGWINCH: self._wake}
            self._before = {signum: signal.signal(signum, handler) for signum, handler in handlers.items()}
        return self

    def __exit__(self, *error: object) -> None:
        for signum, before in self._before.items():
            signal.signal(signum, before)
        # Not closed: the thread that asks the database may ring once more.

    def ring(self) -> None:
        """Ends a wait, or the next one. Thread-safe."""
        # If the pipe is full, it has rung.
        with contextlib.suppress(BlockingIOError):
            os.write(self._rings, b"!")

    def wait(self) -> str:
        """Waits; returns the keys that were typed."""
        sources = [self._hears, *([] if self._keys is None else [self._keys])]
        ready = select.select(sources, [], [])[0]
        if self._hears in ready:
            os.read(self._hears, 4096)
        if self._keys in ready and self._keys is not None:
            typed = os.read(self._keys, 1024)
            # The end of the input: the terminal has gone.
            self.ended = self.ended or not typed
            return typed.decode(errors="replace")
        return ""

    def _end(self, signum: int, frame: FrameType | None) -> None:
        self.ended = True
        self.ring()

    def _wake(self, signum: int, frame: FrameType | None) -> None:
        self.ring()


class Screen:
    """The whole terminal, as lines; left as it was found."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown: list[str] = []
        self._size = ConsoleDimensions(0, 0)

    def __enter__(self) -> Screen:
        self._size = ConsoleDimensions(0, 0)
        self._console.set_alt_screen(True)
        self._console.show_cursor(False)
        return self

    def __exit__(self, *error: object) -> None:
        self._console.show_cursor(True)
        self._console.set_alt_screen(False)

    def draw(self, make: Callable[[int, int], Sequence[Text]]) -> None:
        """Shows lines for a width and a height; writes those that have changed."""
        size = self._console.size = _size(self._console)
        with self._console.capture() as captured:
            for text in make(*size):
                self._console.print(text, no_wrap=True, overflow="crop", crop=True)
        lines = captured.get().split("\n")[:-1][: size[1]]
        orders = []
        if size != self._size:
            self._size, self._shown = size, []
            orders.append("\x1b[2J")
        for number in range(max(len(lines), len(self._shown))):
            line = lines[number] if number < len(lines) else ""
            if number >= len(self._shown) or line != self._shown[number]:
                # Erased first: after a line as wide as the terminal it would take the last character.
                orders.append(f"\x1b[{number + 1};1H\x1b[2K{line}")
        self._shown = lines
        if orders:
            self._console.file.write("".join(orders))
            self._console.file.flush()


def _hears_signals() -> bool:
    # A program may call the command in another thread, which gets none.
    return threading.current_thread() is threading.main_thread()


def _size(console: Console) -> ConsoleDimensions:
    # As it is now. The variables COLUMNS and LINES, which rich prefers, tell how it was.
    try:
        return ConsoleDimensions(*os.get_terminal_size(console.file.fileno()))
    except OSError:
        return console.size


@contextlib.contextmanager
def steps_aside(screen: Screen, keys: int | None) -> Iterator[None]:
    """Inside of the block Ctrl-Z gives the terminal back until the process goes on."""

    def step_aside(signum: int, frame: FrameType | None) -> None:
        screen.__exit__()
        os.kill(os.getpid(), signal.SIGSTOP)
        if keys is not None:
            # Not every shell brings back what a job has set.
            _set_at_once(keys)
        screen.__enter__()
        os.kill(os.getpid(), signal.SIGWINCH)

    if not _hears_signals():
        yield
        return
    before = signal.signal(signal.SIGTSTP, step_aside)
    try:
        yield
    finally:
        signal.signal(signal.SIGTSTP, before)


@contextlib.contextmanager
def keys_at_once() -> Iterator[int | None]:
    """The descriptor of keys that come without Enter and are not echoed; None if there is no keyboard."""
    try:
        import termios

        descriptor = sys.stdin.fileno()
        before = termios.tcgetattr(descriptor)
    except (ImportError, AttributeError, OSError, ValueError, termios.error):
        yield None
        return
    try:
        _set_at_once(descriptor)
        yield descriptor
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _set_at_once(descriptor: int) -> None:
    import termios
    import tty

    # What was typed already counts.
    tty.setcbreak(descriptor, termios.TCSADRAIN)
