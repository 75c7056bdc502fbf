"""A worker starts fast: it imports only what it uses, and reads plain words without Typer."""

from __future__ import annotations

import inspect
import subprocess
import sys
from dataclasses import replace
from typing import Any

import psycopg
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

import tidemill
from tests.support.commands import CommandLine
from tidemill.cli import command_line, worker_words
from tidemill.cli.run_worker import run_worker

# Each costs more than a millisecond, some as much as all the rest of the start.
_HEAVY = {
    "click",
    "json5",
    "psycopg_pool",
    "pydantic",
    "rich",
    "tidemill.actions.crontab",
    "tidemill.cli.demo",
    "tidemill.cli.output",
    "tidemill.database.embedded",
    "tidemill.task_directory",
    "typer",
}
_GROUP: Any = typer.main.get_command(command_line())
_WORKER: Any = _GROUP.commands["worker"]


def test_a_worker_imports_only_what_it_uses(cli: CommandLine, connection: psycopg.Connection) -> None:
    (cli.directory / "shop.py").write_text(
        "import gc, sys\n"
        "from pathlib import Path\n"
        "from tidemill import App\n"
        "app = App()\n"
        "@app.task\n"
        "def look(payload):\n"
        "    Path('seen').write_text(' '.join(sys.modules))\n"
        "    Path('collects').write_text(str(gc.isenabled()))\n"
    )
    connection.execute("select tidemill.add_job('look')")
    replace(cli, anew=True).ok("worker", "--app", "shop:app", "--once")
    seen = set((cli.directory / "seen").read_text().split())
    assert "tidemill.worker" in seen
    assert seen & _HEAVY == set()
    assert (cli.directory / "collects").read_text() == "True"


@pytest.mark.slow
def test_adding_jobs_needs_no_worker() -> None:
    code = "import sys; from tidemill import App, JobSpec; assert 'tidemill.worker' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_public_names_are_found_on_first_use() -> None:
    for name in (*tidemill.__all__, "errors", "retry"):
        assert getattr(tidemill, name) is not None
        assert name in dir(tidemill)
    unknown = "nope"
    with pytest.raises(AttributeError, match="no attribute 'nope'"):
        getattr(tidemill, unknown)


@pytest.mark.parametrize("name", _GROUP.commands)
def test_a_command_is_there_without_the_others(name: str) -> None:
    alone: Any = typer.main.get_command(command_line([name]))
    assert name in alone.commands
    assert len(alone.commands) < len(_GROUP.commands)


def test_words_that_name_no_command_get_all_of_them() -> None:
    for words in ([], ["nope"], ["--version"]):
        found: Any = typer.main.get_command(command_line(words))
        assert list(found.commands) == list(_GROUP.commands)


# Plain words


def test_every_option_is_known() -> None:
    known = {**worker_words.FLAGS, **{option: name for option, (name, _) in worker_words.OPTIONS.items()}}
    told = {option: parameter.name for parameter in _WORKER.params for option in parameter.opts}
    assert known == told
    assert {*known.values(), "welcomes"} == set(inspect.signature(run_worker).parameters)


def test_defaults_are_the_same() -> None:
    defaults = {name: p.default for name, p in inspect.signature(run_worker).parameters.items()}
    # `tidemill up` gives this one.
    assert _WORKER.make_context("worker", []).params | {"welcomes": False} == defaults


@pytest.mark.parametrize(
    "words",
    [
        "",
        "--once",
        "--app shop:app --concurrency 50",
        "--app=shop:app -c 7 -d postgresql://localhost/x?sslmode=off --no-listen",
        "--tasks jobs/daily --forbid-flag a --forbid-flag=b",
        "--lane express --lease 12.5 --poll-interval 2 --grace-period 0",
        "--log-format json --log-level debug --no-migrate --log-jobs",
        "--concurrency 3 --concurrency 4",
        "--action-concurrency 0 --crontab jobs/crontab",
        "--action-concurrency=12",
        "--processes 4 --reload",
        "--processes=auto",
    ],
)
def test_plain_words_mean_the_same(words: str) -> None:
    assert worker_words.read(words.split()) is not None
    _check(words.split())


@pytest.mark.parametrize(
    "words",
    [
        "-h",
        "--help",
        "--once --help",
        "-c5",
        "-c=5",
        "--nope",
        "tasks",
        "--app",
        "--app --once",
        "--app=",
        "--concurrency 0",
        "--concurrency x",
        "--concurrency 1_0",
        "--action-concurrency -1",
        "--action-concurrency 1.5",
        "--action-concurrency 01",
        "--crontab",
        "--lease -1",
        "--lease 1e3",
        "--lease inf",
        "--lane nope",
        "--processes 0",
        "--processes all",
        "--log-level INFO",
        "--once=true",
        "--on",
        "-- --once",
        "--app \udcff",
    ],
)
def test_other_words_are_left_to_typer(words: str) -> None:
    assert worker_words.read(words.split()) is None


_VALUES = ("shop:app", "5", "0", "1.5", "auto", "json", "debug", "-c", "", "=", "a b", "ü", "\udcff")
_WORDS = st.one_of(
    st.sampled_from([*worker_words.FLAGS, *worker_words.OPTIONS, "--help", "--"]),
    st.sampled_from(_VALUES),
    st.builds("{}={}".format, st.sampled_from(list(worker_words.OPTIONS)), st.sampled_from(_VALUES)),
)


@given(st.lists(_WORDS, max_size=6))
def test_any_words_mean_the_same(words: list[str]) -> None:
    _check(words)


def _check(words: list[str]) -> None:
    plain = worker_words.read(words)
    if plain is not None:
        defaults = _WORKER.make_context("worker", []).params
        assert {**defaults, **plain} == _WORKER.make_context("worker", list(words)).params
