"""What a system is run with, read from the command that runs it, so that the page cannot say otherwise."""

from __future__ import annotations

import shlex
from pathlib import Path

from bench.systems.base import System, url

_SAMPLE = "host=/server user=bench port=5432 dbname=jobs"


def settings(system: System) -> str:
    """A worker's command as a shell would take it, without paths; and what it notes beside it."""
    words = [f"{name}={value}" for name, value in system.variables().items()]
    words += [_shown(word) for word in system.command(_SAMPLE)]
    # Shells would keep a quoted variable as it is, and readers know what is meant.
    command = shlex.join(words).replace("'$DATABASE_URL'", "$DATABASE_URL")
    notes = system.notes()
    return f"{command}; {notes}" if notes else command


def _shown(word: str) -> str:
    if word in (_SAMPLE, url(_SAMPLE)):
        return "$DATABASE_URL"
    return Path(word).name if word.startswith("/") else word
