"""Names in filters of jobs that nobody knows: which ones may be meant."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from difflib import get_close_matches

from psycopg.errors import InsufficientPrivilege

from tidemill.cli.output import note
from tidemill.cli.visible import visible
from tidemill.database import sql
from tidemill.database.connect import connect


def say_unknown_names(conninfo: str, *, task: str | None = None, queue: str | None = None) -> None:
    """Says on stderr that a filter which has found nothing names a task or queue that is not known."""
    # Whoever may not read the names has been told what was found.
    with suppress(InsufficientPrivilege), connect(conninfo) as connection:
        if task is not None:
            found = connection.execute(sql.query("known_tasks")).fetchall()
            _say("task", task, {name for (name,) in found})
        if queue is not None:
            found = connection.execute(sql.query("complete_queues"), {"start": ""}).fetchall()
            _say("queue", queue, {name for (name,) in found})


def _say(kind: str, given: str, known: Collection[str]) -> None:
    if given in known:
        return
    meant = " or ".join(map(visible, get_close_matches(given, known, 3, 0.7)))
    question = f" Is {meant} meant?" if meant else ""
    if kind == "task":
        note(f'No task has the name "{visible(given)}".{question}')
    elif meant:
        # A queue without jobs is one, too.
        note(f'No job is in a queue of the name "{visible(given)}".{question}')
