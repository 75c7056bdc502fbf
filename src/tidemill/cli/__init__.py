"""The command line: one module for each group of commands."""

from __future__ import annotations

import os
import sys
from importlib.metadata import version as package_version
from typing import Annotated

import psycopg
import typer

from tidemill.cli import add, demo, jobs, schema, workers
from tidemill.cli.output import fail
from tidemill.database.connect import explain
from tidemill.errors import TidemillError

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
    try:
        app()
    except (TidemillError, psycopg.Error) as error:
        if debug:
            raise
        ours = explain(error) if isinstance(error, psycopg.Error) else error
        fail(ours or f"{' '.join(str(error).split())} (add --debug for the traceback)")
    except BrokenPipeError:
        # Whoever read our output has left, as `head` does. Nothing may be flushed to it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
