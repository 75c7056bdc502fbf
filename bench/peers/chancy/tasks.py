# mypy: disable-error-code="import-not-found,import-untyped,untyped-decorator,attr-defined"
# Its packages are in the virtual environment that runs it, not in ours.
"""Chancy's jobs, and the app of its own command: `chancy --app tasks.chancy worker start`."""

from __future__ import annotations

import os

from chancy import Chancy, job

chancy = Chancy(os.environ["DATABASE_URL"])


@job()
async def noop(id: int) -> None:
    pass
