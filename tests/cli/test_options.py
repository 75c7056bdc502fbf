"""Bundles: options that commands take together."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import Annotated, Any

import psycopg
import pytest
import typer
from typer.testing import CliRunner

from tidemill.cli import command_line
from tidemill.cli.bulk import as_filter
from tidemill.cli.jobs_find import JobFilter, job_rows
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


def test_each_filter_of_jobs_is_a_condition_of_the_query() -> None:
    for field in fields(JobFilter):
        assert f"%({field.name})s" in sql.query("list_jobs")


@pytest.mark.parametrize(
    ("jobs", "ids"),
    [
        (JobFilter(), [1, 2, 3]),
        (JobFilter(state="ready"), [1]),
        (JobFilter(task="b"), [2, 3]),
        (JobFilter(queue="q"), [2]),
        (JobFilter(error="SOME"), [3]),
        (JobFilter(retrying=True), []),
        (JobFilter(since="1h", task="b"), [2, 3]),
        (JobFilter(until="1h"), []),
    ],
    ids=str,
)
def test_what_is_changed_is_what_is_listed(
    database: str, connection: psycopg.Connection, jobs: JobFilter, ids: list[int]
) -> None:
    connection.execute("select tidemill.add_job('a')")
    connection.execute("select tidemill.add_job('b', queue_name => 'q', run_at => now() + interval '1 day')")
    connection.execute("select tidemill.add_job('b')")
    connection.execute("select tidemill.permanently_fail_jobs(array[3], 'Some error')")
    assert [row["id"] for row in job_rows(database, jobs, payloads=False)] == ids[::-1]
    if not jobs:
        # A bulk act refuses an empty filter.
        return
    given = {"act": "remove", "filter": json.dumps(as_filter(jobs)), "options": "{}"}
    row = connection.execute(sql.query("begin_bulk_act"), given).fetchone()
    assert connection.execute("select changed from tidemill.step_bulk_act(%s)", row).fetchone() == (ids,)


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
