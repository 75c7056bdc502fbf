"""Reads the plain options of `tidemill worker` without Typer.

Typer would double the time that a worker takes to start. It is used only for other words: help, a
mistake, a rare spelling. A test holds both to the same options and values.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

from tidemill.worker_options import LaneChoice

_NUMBER = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?", re.ASCII)
_COUNT = re.compile(r"[1-9][0-9]{0,8}", re.ASCII)
_COUNT_OR_NONE = re.compile(r"0|[1-9][0-9]{0,8}", re.ASCII)

FLAGS = {
    "--once": "once",
    "--no-listen": "no_listen",
    "--no-migrate": "no_migrate",
    "--log-jobs": "log_jobs",
    "--reload": "reload",
}


def _count(text: str) -> int:
    return int(_matching(_COUNT, text))


def _count_or_none(text: str) -> int:
    return int(_matching(_COUNT_OR_NONE, text))


def processes(text: str) -> int:
    """How many processes are meant. Raises ValueError."""
    if text != "auto":
        return _count(text)
    # As many as this process may use, which a container may limit.
    affinity = getattr(os, "sched_getaffinity", None)
    return os.cpu_count() or 1 if affinity is None else len(affinity(0))


def _seconds(text: str) -> float:
    return float(_matching(_NUMBER, text))


def _matching(pattern: re.Pattern[str], text: str) -> str:
    if not pattern.fullmatch(text):
        raise ValueError(text)
    return text


def _one_of(*known: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in known:
            raise ValueError(text)
        return text

    return read


OPTIONS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "--tasks": ("tasks", Path),
    "--app": ("app", str),
    "--crontab": ("crontab", Path),
    "--executable-timeout": ("executable_timeout", _seconds),
    "--concurrency": ("concurrency", _count),
    "-c": ("concurrency", _count),
    "--action-concurrency": ("action_concurrency", _count_or_none),
    "--max-connections": ("max_connections", _count),
    "--processes": ("processes", processes),
    "--forbid-flag": ("forbid_flag", str),
    "--poll-interval": ("poll_interval", _seconds),
    "--grace-period": ("grace_period", _seconds),
    "--lease": ("lease", _seconds),
    "--metrics": ("metrics", str),
    "--lane": ("lane", _one_of(*get_args(LaneChoice))),
    "--keep": ("keep", str),
    "--log-format": ("log_format", _one_of("text", "json")),
    "--log-level": ("log_level", _one_of("debug", "info", "warning", "error")),
    "--database": ("database", str),
    "-d": ("database", str),
}


def read(words: Sequence[str]) -> dict[str, Any] | None:
    """The arguments for `run_worker`; None if Typer has to read the words."""
    given: dict[str, Any] = {}
    left = iter(words)
    for word in left:
        if word in FLAGS:
            given[FLAGS[word]] = True
            continue
        option, joined, value = word.partition("=")
        if not joined:
            value = next(left, "")
        if option not in OPTIONS or (joined and not option.startswith("--")):
            return None
        name, understood = OPTIONS[option]
        # Half of a surrogate pair, for instance.
        if not value or value.startswith("-") or not value.isprintable():
            return None
        try:
            meant = understood(value)
        except ValueError:
            return None
        given[name] = [*given.get(name, ()), meant] if name == "forbid_flag" else meant
    return given
