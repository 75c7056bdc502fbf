from __future__ import annotations

import json
import shlex

import pytest

from bench.systems import SYSTEMS
from bench.systems.base import System, url
from bench.systems.settings import settings

_CONNINFO = "host=/tmp user=somebody port=5433 dbname=anything"
_BOTH = [*SYSTEMS.values(), *(system.as_it_comes() for system in SYSTEMS.values())]


@pytest.mark.parametrize("system", _BOTH, ids=lambda s: f"{s.name}, {'tuned' if s.tuned else 'as it comes'}")
def test_the_settings_are_the_words_of_the_command_that_runs(system: System) -> None:
    shown = shlex.split(settings(system).split("; ")[0])
    run = system.command(_CONNINFO)

    expected = [f"{name}={value}" for name, value in system.variables().items()]
    for word in run:
        if word in (_CONNINFO, url(_CONNINFO)):
            expected.append("$DATABASE_URL")
        else:
            expected.append(word.rsplit("/", 1)[-1] if word.startswith("/") else word)
    assert shown == expected
    assert system.environment(_CONNINFO).items() >= system.variables().items()


@pytest.mark.parametrize("system", SYSTEMS.values(), ids=lambda system: system.name)
def test_a_system_is_run_in_two_ways(system: System) -> None:
    plain = system.as_it_comes()

    assert settings(plain) != settings(system)
    # No shape may tune a system that is measured as it comes.
    assert plain.command(_CONNINFO, 200) == plain.command(_CONNINFO)
    assert plain.most_jobs <= system.most_jobs
    assert plain.pending == system.pending


def test_our_own_worker_as_it_comes_is_told_only_its_tasks_and_its_database() -> None:
    words = settings(SYSTEMS["tidemill"].as_it_comes())

    assert words == "tidemill worker --app bench.systems.tidemill_tasks:app --database $DATABASE_URL"


def test_a_file_of_settings_is_shown_beside_the_command_that_names_it() -> None:
    command, file = settings(SYSTEMS["graphile-worker"]).split("; ")
    name, found = file.split(" has worker: ")

    assert command.endswith(f"-C {name}")
    assert json.loads(found)["localQueue"]["size"] == 500


def test_every_system_says_when_a_job_is_done() -> None:
    assert all(system.pending and system.done for system in SYSTEMS.values())
