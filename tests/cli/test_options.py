"""Bundles: options that commands take together."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from tidemill.cli import command_line
from tidemill.cli.jobs_find import JobFilter
from tidemill.cli.options import JsonOption, spread
from tidemill.database import sql


@dataclass(frozen=True)
class Filter:
    name: Annotated[str | None, typer.Argument(help="Only this one.")] = None
    least: Annotated[int, typer.Option("--least", min=1, help="Only so many or more.")] = 1


def test_the_fields_of_a_bundle_are_options() -> None:
    seen: list[Any] = []
    app = typer.Typer()

    @app.command()
    @spread
    def show(
        *, reason: Annotated[str, typer.Option()] = "none", things: Filter, as_json: JsonOption = False
    ) -> None:
        """Show things."""
        seen.append((reason, things, as_json))

    def run(*words: str) -> tuple[int, str]:
        result = CliRunner().invoke(app, words)
        return result.exit_code, result.output

    assert run()[0] == run("x", "--least", "3", "--reason", "why", "--json")[0] == 0
    assert seen == [("none", Filter(), False), ("why", Filter("x", 3), True)]
    code, said = run("--least", "0")
    assert code == 2
    assert "--least" in said
    code, said = run("--help")
    assert "Show things." in said
    assert said.index("--reason") < said.index("Only so many or more.") < said.index("Print JSON.")


@pytest.mark.parametrize("query", ["list_jobs", "find_job_ids"])
def test_each_filter_of_jobs_is_a_condition_of_both_queries(query: str) -> None:
    """Without its condition in one of them, a filter would show some jobs, and remove all."""
    for field in fields(JobFilter):
        assert f"%({field.name})s" in sql.query(query)


def _every_command() -> list[list[str]]:
    """The words of each command, as the program itself knows them."""
    found: list[list[str]] = [[]]
    left: list[tuple[list[str], Any]] = [([], typer.main.get_command(command_line()))]
    while left:
        words, command = left.pop()
        for name, below in getattr(command, "commands", {}).items():
            found.append([*words, name])
            left.append(([*words, name], below))
    return found


@pytest.mark.parametrize("words", _every_command(), ids=" ".join)
def test_flags_are_shown_without_a_type(words: list[str]) -> None:
    shown = CliRunner().invoke(command_line(), [*words, "--help"])
    assert shown.exit_code == 0
    assert "--help" in shown.output
    assert "bool" not in shown.output.lower()


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["worker", "--jobs", "5"], "--concurrency"),
        (["worker", "--jobs=5"], "--concurrency"),
        (["worker", "-j", "5"], "--concurrency"),
        (["worker", "--workers", "5"], "--concurrency"),
        (["worker", "--threads", "5"], "--concurrency"),
        (["worker", "--burst"], "--once"),
        (["jobs", "--url", "postgresql://x"], "--database"),
        (["add", "x", "--job-key", "k"], "--key"),
        (["add", "x", "--delay", "5s"], "--in"),
    ],
    ids=str,
)
def test_options_of_other_systems_give_a_hint(words: list[str], meant: str) -> None:
    refused = CliRunner().invoke(command_line(), words)
    assert refused.exit_code == 2
    told = " ".join(refused.output.split())
    assert "No such option: -" in told
    assert meant in told.partition("No such option")[2]


def test_an_option_that_the_command_lacks_is_no_hint() -> None:
    refused = CliRunner().invoke(command_line(), ["jobs", "list", "--jobs", "5"])
    assert refused.exit_code == 2
    assert "--concurrency" not in refused.output
