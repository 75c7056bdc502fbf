from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from chaos import output, page
from chaos.figures import Figures
from chaos.load import mixed
from chaos.options import parse
from chaos.peers import PEERS
from chaos.run import Measured
from chaos.scenarios import LANES, SCENARIOS
from chaos.targets import Missed, limits, missed

GOOD = Figures(
    jobs=100,
    lost=0,
    unrun=0,
    unstarted=0,
    failed=3,
    waiting=0,
    twice=2,
    side_by_side=0,
    stale=0,
    past_lease=None,
    overlaps=0,
    order=0,
    undone=0,
    gap=1.5,
    orphan=34.0,
    slots_missed=0,
    slots_twice=0,
    longest_add=0.1,
    log_lines=10,
    alive=2,
    workers=2,
    back=5.0,
)


def most(lane: str = "lease", lost: int = 0, hits: int = 1) -> dict[str, float]:
    return limits(lane, 30, lost, 10, hits)


def test_good_figures_miss_nothing() -> None:
    assert missed(GOOD, most()) == []


@pytest.mark.parametrize(
    ("figure", "found"),
    [("lost", 1), ("waiting", 1), ("stale", 1), ("past_lease", 1), ("orphan", 35.1), ("back", math.inf)],
)
def test_a_target_that_is_missed_is_named(figure: str, found: float) -> None:
    [one] = missed(replace(GOOD, **{figure: found}), most())  # type: ignore[arg-type]

    assert (one.figure, one.found) == (figure, found)


def test_a_worker_that_has_ended_is_a_missed_target() -> None:
    assert missed(replace(GOOD, alive=1), most()) == [Missed("alive", 2, 1)]


def test_what_cannot_be_asked_of_a_scenario_is_left_out() -> None:
    assert missed(replace(GOOD, undone=4), most(), frozenset({"undone"})) == []


def test_the_express_lane_has_its_minute_of_caution() -> None:
    late = replace(GOOD, back=60.0)

    assert missed(late, most("express")) == []
    assert [one.figure for one in missed(late, most("lease"))] == ["back"]


def test_each_blow_has_ten_lines_and_each_lost_worker_what_it_was_about_to_start() -> None:
    found = replace(GOOD, log_lines=30, unstarted=20)

    assert missed(found, most(lost=1, hits=3)) == []
    assert [one.figure for one in missed(found, most())] == ["unstarted", "log_lines"]


def test_a_line_says_what_was_missed() -> None:
    line = output.line(Measured("kill9", "lease", replace(GOOD, lost=2), (Missed("lost", 0, 2),)))

    assert line.startswith("kill9 lease")
    assert "MISSED lost: 2, allowed 0" in line
    assert "FAILED: no" in output.line(Measured("kill9", "lease", failure="no"))


def test_json_has_no_infinity() -> None:
    [data] = output.as_data([Measured("kill9", "lease", replace(GOOD, back=math.inf))])

    assert json.loads(json.dumps(data, allow_nan=False))["figures"]["back"] == "never"


def test_what_waits_for_a_clock_that_was_put_back_has_the_time_to() -> None:
    late = {name: scenario.late for name, scenario in SCENARIOS.items() if scenario.late}

    assert late == {"clock-back": 60}


def test_the_mix_has_all_kinds() -> None:
    jobs = [mixed(number) for number in range(200)]

    assert {job.task for job in jobs} == {"quick", "plain", "slow", "flaky"}
    assert len({job.queue for job in jobs}) == 5
    assert any(job.attempts == 1 for job in jobs)
    assert any(job.keyed for job in jobs)


def test_all_scenarios_in_all_lanes_are_the_default() -> None:
    options = parse([])

    assert options.scenarios == list(SCENARIOS)
    assert (options.lanes, options.peers) == (list(LANES), list(PEERS))
    assert (options.rounds, options.at_once, options.short) == (1, 1, False)
    assert (options.processes, parse(["--processes", "2"]).processes) == (1, 2)


def test_the_short_set_is_a_part_and_can_be_narrowed() -> None:
    assert set(parse(["--short"]).scenarios) < set(SCENARIOS)
    assert {SCENARIOS[name].processes for name in parse(["--short"]).scenarios} == {1, 2}
    options = parse(["--short", "--only", "away"])
    assert (options.scenarios, options.peers) == (["away"], [])


@pytest.mark.parametrize(
    "wrong", ["--only=flood", "--lanes=fast", "--rounds=0", "--processes=0", "--peers=celery"]
)
def test_wrong_arguments_are_refused(wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse([wrong])
    assert "chaos: error:" in capsys.readouterr().err


def test_figures_are_published_between_the_two_comments(tmp_path: Path) -> None:
    file = tmp_path / "page.md"
    text = page.PAGE.read_text()
    file.write_text(text)
    measured = [
        Measured("kill9", "lease", replace(GOOD, lost=2), (Missed("lost", 0, 2),)),
        Measured("kill9", "graphile-worker", replace(GOOD, orphan=math.inf)),
    ]

    page.publish({"date": "today"}, measured, file)
    published = file.read_text()
    page.publish({"date": "today"}, measured, file)

    assert file.read_text() == published
    assert published.split("## The figures")[0] == text.split("## The figures")[0]
    assert "Runs: 1, with 100 jobs; 0 of them met all targets." in published
    assert "| kill -9 of one worker of three | graphile-worker | 100 |" in published
