"""`tidemill up`: the schema, a worker and the scheduler in one command."""

from __future__ import annotations

import inspect
from typing import Any

import typer

from tidemill.cli.run_worker import run_worker
from tidemill.cli.workers import worker

# It stays up, and brings the schema up, too.
_NOT_HERE = {"once", "no_migrate"}


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(
        "up",
        epilog="Examples:\n\n`tidemill up` (tasks in ./tasks, if there are any)\n\n`tidemill up --reload`\n\n"
        "`tidemill up --app shop.jobs:app --database postgresql://localhost/shop`",
    )(up)


def up(**options: Any) -> None:
    """Bring everything up: the schema, a worker for jobs, and the scheduler of actions.

    Without --database and DATABASE_URL on an embedded PostgreSQL, whose data stays when this ends. It takes
    the options of `tidemill worker`, and says when it is ready and what to type next.
    """
    options["forbid_flag"] = options["forbid_flag"] or ()
    run_worker(**options, welcomes=True)


def _of_worker() -> inspect.Signature:
    whole = inspect.signature(worker, eval_str=True)
    return whole.replace(
        parameters=[each for name, each in whole.parameters.items() if name not in _NOT_HERE],
        return_annotation=None,
    )


# Typer reads the options of a command from here.
vars(up)["__signature__"] = _of_worker()
