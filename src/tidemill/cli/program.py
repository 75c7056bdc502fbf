"""The program without its commands: help, --version, and settings of Typer."""

from __future__ import annotations

from importlib.metadata import version as package_version
from typing import Annotated

import typer

from tidemill.cli.commands import Commands


def make() -> typer.Typer:
    """The command line without its commands."""
    app = Commands(
        name="tidemill",
        help="A job system inside PostgreSQL. Without --database and DATABASE_URL, commands use an "
        "embedded PostgreSQL under .tidemill/ of the working directory.",
        epilog="Start with: tidemill demo. An error's traceback: add --debug to any command.",
        no_args_is_help=True,
        rich_markup_mode="markdown",
        pretty_exceptions_enable=False,
    )
    app.callback()(_options)
    return app


def _version(show: bool) -> None:
    if show:
        typer.echo(f"tidemill {package_version('tidemill')}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass
