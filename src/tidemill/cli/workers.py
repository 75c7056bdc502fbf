"""`tidemill worker` and `tidemill workers`: running tasks, and seeing who does."""

from __future__ import annotations

import asyncio
import importlib
import os
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from psycopg.rows import dict_row

from tidemill.app import App
from tidemill.cli import logs
from tidemill.cli.output import DatabaseOption, JsonOption, note, open_database, print_json, print_table
from tidemill.database.connect import connect
from tidemill.errors import TaskLoadError
from tidemill.task_directory import load_directory
from tidemill.worker import Worker, WorkerOptions

_COLUMNS = ("id", "state", "in_hand", "concurrency", "tasks", "hostname", "pid", "started_at", "heartbeat_at")
_DEFAULTS = WorkerOptions()


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command(
        "worker",
        epilog="Examples:\n\n`tidemill worker` (tasks in ./tasks)\n\n"
        "`tidemill worker --app shop.jobs:app --concurrency 50`\n\n`tidemill worker --once`",
    )(worker)
    app.command("workers", epilog="Example: `tidemill workers --json`")(workers)


def worker(
    tasks: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Directory of tasks [default: ./tasks if there is one]."),
    ] = None,
    app: Annotated[str | None, typer.Option(metavar="MODULE:APP", help="An App in a module.")] = None,
    concurrency: Annotated[int, typer.Option("--concurrency", "-c", min=1, help="Jobs at once.")] = (
        _DEFAULTS.concurrency
    ),
    once: Annotated[bool, typer.Option("--once", help="End when nothing is ready.")] = False,
    forbid_flag: Annotated[
        list[str] | None, typer.Option(metavar="FLAG", help="Leave jobs with this flag alone; repeatable.")
    ] = None,
    poll_interval: Annotated[float, typer.Option(metavar="S", help="Seconds between looks.")] = (
        _DEFAULTS.poll_interval
    ),
    no_listen: Annotated[
        bool, typer.Option("--no-listen", help="Poll alone, for poolers without LISTEN.")
    ] = False,
    grace_period: Annotated[
        float, typer.Option(metavar="S", help="How long jobs may go on after SIGTERM.")
    ] = _DEFAULTS.grace_period,
    lease: Annotated[
        float, typer.Option(metavar="S", help="A worker silent for so long loses its jobs.")
    ] = _DEFAULTS.lease,
    no_migrate: Annotated[
        bool, typer.Option("--no-migrate", help="Do not bring the schema up to date.")
    ] = False,
    log_format: Annotated[Literal["text", "json"], typer.Option(help="Log lines.")] = "text",
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], typer.Option(help="Least level to log.")
    ] = "info",
    database: DatabaseOption = None,
) -> None:
    """Run jobs until stopped.

    SIGTERM or Ctrl-C lets running jobs finish within the grace period and gives the rest back;
    a second one hurries.
    """
    logs.set_up(log_format, log_level)
    options = WorkerOptions(
        concurrency=concurrency,
        once=once,
        poll_interval=poll_interval,
        listen=not no_listen,
        forbidden_flags=forbid_flag or (),
        grace_period=grace_period,
        lease=lease,
        heartbeat_interval=min(_DEFAULTS.heartbeat_interval, lease / 6),
        migrate=not no_migrate,
    )
    loaded = _load(app, tasks)
    if database is not None:
        loaded.database_url = database
    _run(Worker(loaded, options).run(handle_signals=True))


def workers(database: DatabaseOption = None, as_json: JsonOption = False) -> None:
    """List the workers that run now."""
    found = open_database(database)
    with connect(found.conninfo) as connection, connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute("select * from tidemill.workers order by started_at").fetchall()
    if as_json:
        print_json(rows)
    else:
        print_table(rows, _COLUMNS, empty="No worker is running; start one with: tidemill worker")


def _load(app_name: str | None, directory: Path | None) -> App:
    # As for `python -m`: users' modules are found from where they stand.
    sys.path.insert(0, os.fspath(Path.cwd()))
    app = _load_app(app_name) if app_name else App()
    if directory is None and app_name is None:
        directory = Path("tasks")
    if directory is not None:
        tasks, problems = load_directory(directory)
        for problem in problems:
            note(problem, label="Not loaded:", style="yellow")
        for task in tasks:
            app.register(task)
        if not app.tasks:
            raise TaskLoadError(f"The directory {str(directory)!r} has no task that loads.")
    return app


def _load_app(name: str) -> App:
    module_name, _, attribute = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise TaskLoadError(
            f"--app {name}: the module {module_name!r} does not import: {type(error).__name__}: {error}"
        ) from error
    found = getattr(module, attribute or "app", None)
    if not isinstance(found, App):
        raise TaskLoadError(
            f"--app {name}: {module_name!r} has no App called {attribute or 'app'!r}; write MODULE:NAME."
        )
    return found


def _run(main: Coroutine[Any, Any, None]) -> None:
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    try:
        import uvloop
    except ImportError:
        pass
    else:
        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main)
