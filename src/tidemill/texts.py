"""Texts that come from users' code, on their way to the log and to `last_error`: all are bounded."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

LONGEST_ERROR = 10_000
_LONGEST_TRACEBACK = 30_000
_LONGEST_SHOWN = 200
_OURS = f"{Path(__file__).parent}{os.sep}"


def bounded(text: str, most: int = LONGEST_ERROR) -> str:
    """The text, or its head and its tail if it has more than `most` characters."""
    if len(text) <= most:
        return text
    # The sentence in the middle counts, too.
    kept = max(0, most - 40)
    head = kept // 2
    tail = kept - head
    return f"{text[:head]} ... {len(text) - kept:,} characters left out ... {text[len(text) - tail :]}"


def message_of(error: BaseException, most: int = LONGEST_ERROR) -> str:
    """An error's message, bounded; a remark in its place if it cannot be read."""
    try:
        return bounded(str(error), most)
    except BaseException:
        return "(its message cannot be read)"


def name_of(error: BaseException) -> str:
    """The name of an error's type."""
    return bounded(type(error).__name__, _LONGEST_SHOWN)


def shown(value: object) -> str:
    """A wrong value for a message: its repr, which may be long."""
    return bounded(repr(value), _LONGEST_SHOWN)


def log_error(
    log: logging.Logger | logging.LoggerAdapter[logging.Logger],
    error: BaseException,
    message: str,
    *args: object,
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Logs an error of users' code with its traceback, which begins with the first frame of theirs.

    Formatters write the message of an exception, its notes, its causes and the exceptions of a group
    without a limit. So if these are long, the record has their bounded text in place of the exception.
    """
    if not log.isEnabledFor(logging.ERROR):
        return
    frames = _from_users_code(error.__traceback__)
    try:
        text = "".join(traceback.format_exception(type(error), error, frames))
    except BaseException as broken:
        text = f"{name_of(error)}, whose traceback cannot be written: {name_of(broken)}"
    else:
        if len(text) <= _LONGEST_TRACEBACK:
            log.error(message, *args, exc_info=(type(error), error, frames), extra=extra)
            return
    log.error(message + "\n%s", *args, bounded(text, _LONGEST_TRACEBACK), extra=extra)


def _from_users_code(frames: TracebackType | None) -> TracebackType | None:
    """The traceback without our own frames at its head; all of it if it has no others."""
    left = frames
    while left is not None and left.tb_frame.f_code.co_filename.startswith(_OURS):
        left = left.tb_next
    return frames if left is None else left


class _OurLogger(logging.Logger):
    """A logger that users' logging neither silences nor turns against the worker.

    `logging.config.dictConfig` and `fileConfig` disable all loggers that exist and that they do not name.
    Handlers and filters are users' code, which may raise. We log amid what must not be left half-done.
    """

    _has_told = False

    def handle(self, record: logging.LogRecord) -> None:
        """Hands a record to the handlers; of errors that they raise, the first is told on stderr."""
        try:
            super().handle(record)
        except Exception as error:
            if not self._has_told:
                self._has_told = True
                with contextlib.suppress(Exception):
                    traceback.print_exception(error)
                    print(
                        "tidemill: a log handler or filter raised this; further ones are not told",
                        file=sys.stderr,
                    )

    @property
    def disabled(self) -> bool:
        """False."""
        return False

    @disabled.setter
    def disabled(self, value: bool) -> None:
        pass


logging.getLogger("tidemill").__class__ = _OurLogger
