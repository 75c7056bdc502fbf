"""Bundles: options that commands take together."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

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
