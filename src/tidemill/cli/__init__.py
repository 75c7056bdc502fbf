"""The command line: one module for each group of commands."""

from __future__ import annotations

import os
import sys
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Annotated

import psycopg
import typer

from tidemill.cli import add, demo, jobs, schema, workers
from tidemill.cli.output import fail
from tidemill.database.connect import explain
from tidemill.errors import EmbeddedServerError, TidemillError

app = typer.Typer(
    name="tidemill",
    help="A job system inside PostgreSQL. Without --database and DATABASE_URL, commands use an "
    "embedded PostgreSQL under .tidemill/ of the working directory.",
    epilog="Start with: tidemill demo. An error's traceback: add --debug to any command.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
demo.register(app)
workers.register(app)
add.register(app)
jobs.register(app)
schema.register(app)


def _version(show: bool) -> None:
    if show:
        typer.echo(f"tidemill {package_version('tidemill')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Runs the command line; errors become one paragraph unless --debug is given."""
    debug = "--debug" in sys.argv
    sys.argv = [argument for argument in sys.argv if argument != "--debug"]
    if sys.stdout is None:
        fail("Standard output is closed. Redirect it to /dev/null if nobody reads it.")
    try:
        try:
            app()
        finally:
            # Here, where it can still fail in our words.
            sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has left, as `head` does.
        _discard_output()
        sys.exit(1)
    except (TidemillError, psycopg.Error, OSError, UnicodeError, RecursionError) as error:
        _discard_output()
        if debug:
            raise
        fail(_paragraph(error))


def _discard_output() -> None:
    """What could not be written yet shall not fail once more at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _paragraph(error: Exception) -> str:
    match error:
        case FileNotFoundError() | EmbeddedServerError() if not _has_working_directory():
            return "The working directory is gone. Change to one that exists."
        case psycopg.Error():
            ours = explain(error)
            if ours is not None:
                return str(ours)
        case TidemillError():
            return str(error)
        case UnicodeError():
            return "An argument, or a text that was read, is not UTF-8 (add --debug for the traceback)."
        case RecursionError():
            return "JSON is nested too deep to be read (add --debug for the traceback)."
        case OSError() if error.strerror:
            place = "" if error.filename is None else f": {error.filename!r}"
            return f"{error.strerror}{place} (add --debug for the traceback)."
    return f"{' '.join(str(error).split())} (add --debug for the traceback)"


def _has_working_directory() -> bool:
    try:
        return Path.cwd().exists()
    except FileNotFoundError:
        return False
