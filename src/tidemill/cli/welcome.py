"""What `tidemill up` says when everything is up: how to add a job, look, and stop."""

from __future__ import annotations

import os
import shutil
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tidemill.app import App


def program() -> str:
    """The command to type here: `tidemill` if the shell finds it, else its path as in `make demo`."""
    return "tidemill" if shutil.which("tidemill") else os.path.relpath(sys.argv[0])


def welcome(app: App, *, named: bool) -> str:
    """The lines for an app whose worker runs; `named`: its database was named by --database."""
    database = app.database()
    task = next(iter(sorted(app.tasks)), "hello")
    how = program()
    with_it = " --database URL" if named else ""
    lines = [
        "Up: the schema, a worker for jobs, and the scheduler of actions. In another terminal:",
        f'  {how} add {task} \'{{"name": "you"}}\'{with_it}',
        f"  {how} jobs{with_it}; {how} actions{with_it}; {how} doctor{with_it}",
        f"  {how} psql{with_it}",
    ]
    if database.server is not None:
        lines += [
            f'Other programs connect by: "{database.server.conninfo()}"',
            f"The data stays in {database.server.directory}/ when this ends, by Ctrl-C.",
        ]
    else:
        lines += ["It ends by Ctrl-C."]
    return "\n".join(lines)
