from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench import output, svg
from bench.again import merged
from bench.machine import About, Used
from bench.options import chosen, parse
from bench.page import publish
from bench.results import Cell, Chart, Measured, Results, Run, Shape, at_least
from bench.shapes import SHAPES
from bench.systems import PEERS


def _texts(drawing: str) -> list[str | None]:
    return [text.text for text in ElementTree.fromstring(drawing).iter("{http://www.w3.org/2000/svg}text")]


def test_bars_stand_under_their_groups_and_are_as_long_as_their_values() -> None:
    drawing = svg.bars(
        "A < B", [svg.Bar("1 process", "tidemill", 2000, True), svg.Bar("1 process", "other", 500, False)]
    )

    assert _texts(drawing) == ["A < B", "1 process", "tidemill", "2,000", "other", "500"]
    rects = ElementTree.fromstring(drawing).findall("{http://www.w3.org/2000/svg}rect")
    _, ours, other = (float(rect.attrib["width"]) for rect in rects)
    assert ours == pytest.approx(4 * other, rel=0.01)


def test_lines_have_ticks_and_names() -> None:
    texts = _texts(svg.lines("Rate", "jobs", {"tidemill": [(1000, 70_000), (1_000_000, 150_000)]}))

    assert {"Rate", "jobs", "tidemill", "1k", "1M", "0", "160,000"} <= set(texts)


def test_a_line_may_have_a_single_point() -> None:
    assert "tidemill" in _texts(svg.lines("Rate", "jobs", {"tidemill": [(1000, 5)]}))


def test_all_shapes_and_peers_are_the_default() -> None:
    options = parse([])

    assert options.shapes == list(SHAPES)
    assert options.peers == PEERS
    assert (options.rounds, options.jobs) == (3, None)


def test_shapes_and_peers_can_be_narrowed() -> None:
    options = parse(
        ["--only", "latency,throughput,single-add", "--peers", "none", "--jobs", "5000", "--rounds", "1"]
    )

    assert options.shapes == ["throughput", "single_add", "latency"]
    assert (options.peers, options.jobs, options.rounds) == ([], 5000, 1)


def test_the_smoke_test_is_one_round_of_throughput() -> None:
    options = parse(["--smoke"])

    assert (options.shapes, options.rounds) == (["throughput"], 1)


@pytest.mark.parametrize("wrong", ["--only=speed", "--peers=celery", "--rounds=0", "--jobs=9"])
def test_wrong_arguments_are_refused(wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse([wrong])
    assert "bench: error:" in capsys.readouterr().err


def test_unknown_names_are_told_with_the_known() -> None:
    with pytest.raises(ValueError, match="there is no c; there are: a, b"):
        chosen("a,c", ["a", "b"])


def test_every_shape_has_plots_of_its_own() -> None:
    files = [chart.file for shape in SHAPES.values() for chart in shape.charts]

    assert len(set(files)) == len(files)
    assert all(shape.charts for shape in SHAPES.values())


def test_a_run_becomes_a_page_with_plots_in_place_of_the_last(tmp_path: Path) -> None:
    (tmp_path / "old.svg").touch()
    results = Results()
    results.add(Cell("tidemill", "", dict), {"jobs/s": 100_000.0})
    results.add(Cell("other", "", dict), {"jobs/s": 10_000.0})
    shape = Shape(
        "throughput",
        "Throughput",
        "No-op jobs.",
        lambda bench: [],
        lambda results: [at_least("8 times other's", 10, 8, "times")],
        charts=[Chart("jobs/s", "throughput", "Jobs per second"), Chart("ms", "none", "Not measured")],
    )
    about = About(
        "2026-01-01 00:00 UTC",
        "python -m bench",
        {"CPU": "fast"},
        {"fsync": "on"},
        [Used("tidemill", "1", "tidemill worker", "tidemill worker -c 24", "9 tuned", "its row is gone")],
        {"oban": "it needs Python 3.12"},
    )

    publish(Run(about, [Measured(shape, results, {}, {"job keys": ["pgqueuer"]}, 1.0)]), tmp_path)

    assert [file.name for file in tmp_path.glob("*.svg")] == ["throughput.svg"]
    page = (tmp_path / "README.md").read_text()
    for part in (
        "| Throughput | 8 times other's | 10.0 times | **met** |",
        "| other |  | 10,000 jobs/s | 10.00 |",
        "![Jobs per second](throughput.svg)",
        "oban is left out: it needs Python 3.12.",
        "Unsupported: pgqueuer; they lack, or this harness does not use: job keys.",
        "| fsync | on |",
        "| tidemill | 1 | tidemill worker | tidemill worker -c 24 | 9 tuned | its row is gone |",
        "`python -m bench`",
    ):
        assert part in page


def test_shapes_that_were_measured_again_replace_those_of_the_earlier_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(date: str, rates: dict[str, float], fsync: str = "on") -> Run:
        measured = []
        for name, rate in rates.items():
            results = Results()
            results.add(Cell("tidemill", "", dict), {"jobs/s": rate})
            measured.append(Measured(SHAPES[name], results, {}, {}, 1.0))
        used = Used("tidemill", "1", "tidemill worker", "tidemill worker -c 24", "", "its row is gone")
        return Run(About(date, "python -m bench", {"CPU": "fast"}, {"fsync": fsync}, [used], {}), measured)

    monkeypatch.setattr(output, "OUT", tmp_path / "bench/out")
    earlier = tmp_path / output.write_json(run("2026-01-01", {"throughput": 1, "startup": 2}))

    both = merged(run("2026-01-02", {"startup": 3, "latency": 4}), earlier)

    assert {one.shape.name: one.results.median("tidemill", "", "jobs/s") for one in both.measured} == {
        "throughput": 1,
        "startup": 3,
        "latency": 4,
    }
    assert (both.about.date, both.about.again) == ("2026-01-01", ["at 2026-01-02: startup, latency"])
    with pytest.raises(ValueError, match="another server"):
        merged(run("2026-01-02", {"startup": 3}, fsync="off"), earlier)
