from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.hypertables import __main__ as harness
from bench.hypertables import page
from bench.hypertables.measures import Section
from bench.machine import About
from bench.results import Verdict


@pytest.fixture
def about() -> About:
    return About(
        "2026-01-01 00:00 UTC", "python -m bench.hypertables", {"CPU": "fast"}, {"fsync": "on"}, [], {}
    )


def test_a_small_run_measures_every_target(capsys: pytest.CaptureFixture[str]) -> None:
    assert harness.main(["--rows", "10000", "--chunks", "8", "--rounds", "1", "--json"]) == 0

    run = json.loads(capsys.readouterr().out)
    verdicts = {v["target"]: v["met"] for section in run["sections"] for v in section["verdicts"]}
    assert len(verdicts) == 12
    assert None not in verdicts.values()
    assert [section["title"] for section in run["sections"]] == [
        "A chunk of metrics",
        "Recent rows of a long table",
        "Planning at 7 packed chunks",
        "Many columns",
        "Logs",
        "Prices",
    ]
    for section in run["sections"]:
        assert all(value > 0 for value in section["values"].values())
    values = {label: value for section in run["sections"] for label, value in section["values"].items()}
    assert 0 < values["rows that are not packed"] < 3000


def test_a_published_run_says_what_was_reached_and_why_not(tmp_path: Path, about: About) -> None:
    sections = [
        Section(
            "Sizes",
            "Ten rows.",
            {"plain, with its index, MB": 10.0, "ratio, plain to packed": 2.5},
            [Verdict("16 to 1", "2.5 to 1", False)],
            "Rows are few.",
        ),
        Section(
            "Scans", "All rows.", {"plain, ms": 3.0}, [Verdict("4 times", "3 times", True)], "Never shown."
        ),
    ]

    page.publish(about, sections, tmp_path)

    text = (tmp_path / "hypertables.md").read_text()
    for part in (
        "| Sizes | 16 to 1 | 2.5 to 1 | **not met** |",
        "| Scans | 4 times | 3 times | **met** |",
        "| plain, with its index | MB | 10.0 |",
        "| ratio, plain to packed |  | 2.50 |",
        "Rows are few.",
        "`python -m bench.hypertables`",
    ):
        assert part in text
    assert "Never shown." not in text
    assert json.loads((tmp_path / "hypertables.json").read_text())["sections"][1]["values"] == {
        "plain, ms": 3.0
    }
