# mypy: disable-error-code="import-not-found,import-untyped,untyped-decorator,attr-defined"
# Its packages are in the virtual environment that runs it, not in ours.
"""Oban's workers, which its own command finds by the names in their jobs."""

from __future__ import annotations

from oban import worker


@worker(queue="default")
class Noop:
    async def process(self, job: object) -> None:
        pass
