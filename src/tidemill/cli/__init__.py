"""The command line: one module for each group of commands."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from tidemill.cli import early_stop, worker_words
from tidemill.cli.collector import paused
from tidemill.cli.process_one import step_down
from tidemill.cli.run_worker import run_worker
from tidemill.errors import EmbeddedServerError, MissingRightsError, TidemillError

if TYPE_CHECKING:
    import typer

# Each command and its module, in the order of the help. A command imports only its own module.
_MODULES = {
    "demo": "demo",
    "up": "up",
    "worker": "workers",
    "workers": "workers",
    "add": "add",
    "jobs": "jobs",
    "pause": "control",
    "resume": "control",
    "pauses": "control",
    "acts": "control",
    "bulk": "bulk",
    "top": "top",
    "tasks": "tasks",
    "queues": "tasks",
    "cleanup": "cleanup",
    "limits": "limits",
    "actions": "actions",
    "hypertables": "hypertables",
    "doctor": "doctor",
    "migrate": "schema",
    "uninstall": "schema",
    "dialect": "schema",
    "grant": "roles",
    "revoke": "roles",
    "grants": "roles",
    "psql": "schema",
}


def command_line(words: Sequence[str] = ()) -> typer.Typer:
    """The command line. If the words begin with a command, it has that command only."""
    from tidemill.cli import program

    made = program.make()
    called = _MODULES.get(words[0]) if words else None
    for module in dict.fromkeys(_MODULES.values()) if called is None else (called,):
        import_module(f"tidemill.cli.{module}").register(made)
    return made


def main() -> None:
    """Runs the command line; errors become one paragraph unless --debug is given."""
    try:
        _main()
    except early_stop.EarlyStop:
        # It comes at any time, also while an error is told.
        sys.exit(0)


def _main() -> None:
    debug = "--debug" in sys.argv
    sys.argv = [argument for argument in sys.argv if argument != "--debug"]
    if sys.stdout is None:
        _fail("Standard output is closed. Redirect it to /dev/null if nobody reads it.")
    try:
        try:
            step_down()
            if sys.argv[1:2] in (["worker"], ["up"]):
                early_stop.arm()
            _run(sys.argv[1:])
        finally:
            # Flush here, where a failure can still be told in our words.
            sys.stdout.flush()
    except BrokenPipeError:
        # The reader of our output has left, as `head` does.
        _discard_output()
        sys.exit(1)
    except Exception as error:
        if not isinstance(error, (TidemillError, OSError, UnicodeError, RecursionError, _driver_error())):
            raise
        _discard_output()
        if debug:
            raise
        _fail(_paragraph(error))


def _run(words: Sequence[str]) -> None:
    if words[:1] == ["worker"] and (plain := worker_words.read(words[1:])) is not None:
        try:
            run_worker(**plain)
        except KeyboardInterrupt:
            # The exit code of Typer, for a Ctrl-C before the worker handles signals.
            sys.exit(130)
        return
    with paused():
        run = command_line(words)
    run()


def _driver_error() -> type[Exception]:
    from psycopg import Error

    return Error


def _fail(message: str) -> NoReturn:
    from tidemill.cli.output import fail

    fail(message)


def _discard_output() -> None:
    """Drops unwritten output, so that the flush at exit does not fail again."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _paragraph(error: Exception) -> str:
    import psycopg

    from tidemill.database.connect import explain
    from tidemill.database.words import words

    match error:
        case FileNotFoundError() | EmbeddedServerError() if not _has_working_directory():
            return "The working directory is gone. Change to one that exists."
        case psycopg.Error():
            ours = explain(error)
            if ours is not None:
                return _told(ours)
            return f"{words(error)} (add --debug for the traceback)"
        case TidemillError():
            return _told(error)
        case UnicodeError():
            return "An argument, or a text that was read, is not UTF-8 (add --debug for the traceback)."
        case RecursionError():
            return "JSON is nested too deep to be read (add --debug for the traceback)."
        case OSError() if error.strerror:
            place = "" if error.filename is None else f": {error.filename!r}"
            return f"{error.strerror}{place} (add --debug for the traceback)."
    return f"{' '.join(str(error).split())} (add --debug for the traceback)"


def _told(error: TidemillError) -> str:
    if not isinstance(error, MissingRightsError):
        return str(error)
    from tidemill.cli.output import with_role

    return with_role(str(error))


def _has_working_directory() -> bool:
    try:
        return Path.cwd().exists()
    except FileNotFoundError:
        return False
