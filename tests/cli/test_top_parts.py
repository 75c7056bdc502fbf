"""Parts of tidemill top: rates, sorting, what fits, figures in few characters, and what is written."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from rich.console import Console
from rich.text import Text

from tests.support.servers import TEMPLATE, Server
from tidemill.cli import top_words
from tidemill.cli.top_figures import _PARTS, Frame
from tidemill.cli.top_rates import Rates, Speedometer
from tidemill.cli.top_screen import Screen
from tidemill.cli.top_table import Column, Section, fit
from tidemill.cli.top_view import Sort, make
from tidemill.database.sql import query

NOON = datetime(2030, 1, 1, 12, 0, 30, tzinfo=UTC)
MINUTE = int(NOON.timestamp()) - 30


def row(task: str, *minutes: tuple[int, int], **more: Any) -> dict[str, Any]:
    """What a task has done, by minute."""
    return {"task": task, "minutes": [[minute, done, 0, 0] for minute, done in minutes], **more}


class TestRates:
    def test_the_first_ones_stand_on_whole_minutes(self) -> None:
        rates = Speedometer().read(NOON, [row("t", (MINUTE - 120, 500), (MINUTE - 60, 90), (MINUTE, 60))])
        assert (rates.seconds, rates.tasks["t"].done) == (90, 100)

    def test_later_ones_on_what_was_added(self) -> None:
        meter = Speedometer()
        meter.read(NOON, [row("t", (MINUTE, 1000))])
        for seconds in range(5, 31, 5):
            at = NOON + timedelta(seconds=seconds)
            rates = meter.read(at, [row("t", (MINUTE, 1000 + 10 * seconds))])
        assert (rates.seconds, rates.tasks["t"].done) == (15, 600)

    def test_over_the_turn_of_a_minute(self) -> None:
        meter = Speedometer()
        meter.read(NOON, [row("t", (MINUTE, 1000)), row("gone", (MINUTE, 1))])
        rates = meter.read(NOON + timedelta(seconds=40), [row("t", (MINUTE, 1010), (MINUTE + 60, 30))])
        assert (rates.seconds, rates.tasks["t"].done) == (40, 60)
        assert "gone" not in rates.tasks

    @pytest.mark.parametrize("seconds", [-5, 0, 500])
    def test_after_a_gap_or_a_step_of_the_clock_they_begin_anew(self, seconds: int) -> None:
        meter = Speedometer()
        meter.read(NOON, [row("t", (MINUTE, 10))])
        at = NOON + timedelta(seconds=seconds)
        first = int(at.timestamp()) // 60 * 60 - 60
        assert meter.read(at, []).seconds == at.timestamp() - first


FIGURES = {
    "done": 0,
    "retried": 0,
    "failed": 0,
    "cancelled": 0,
    "run_time": 1.0,
    "longest": 9.0,
    "wait_p50": 1.0,
    "wait_p99": 1.0,
    "run_p50": 1.0,
    "run_p99": 1.0,
}


def frame() -> Frame:
    tasks = [
        row("slow", **{**FIGURES, "done": 1, "run_p99": 16.0, "longest": 8.0}),
        row("busy", (MINUTE, 500), **{**FIGURES, "done": 500}),
        row("failing", **{**FIGURES, "failed": 2}),
        row("late", **{**FIGURES, "done": 1, "wait_p99": 100.0}),
    ]
    jobs = [
        {"task": "full[1]", "state": "ready", "jobs": 70, "oldest": NOON, "newest_error": None, "cut": True}
    ]
    return Frame(NOON, {"tasks": tasks, "jobs": jobs})


@pytest.mark.parametrize(
    ("sort", "first"),
    [
        ("busy", "busy"),
        ("failing", "failing"),
        ("ready", "full[1]"),
        ("wait", "late"),
        ("run", "slow"),
        ("name", "busy"),
    ],
)
def test_sorts(sort: Sort, first: str) -> None:
    rates = Speedometer().read(NOON, frame().parts["tasks"])
    assert make(frame(), rates, 300.0, sort=sort).tasks[0].name == first


def test_a_name_with_brackets_is_a_name_and_patterns_are_patterns() -> None:
    def names(*wanted: str) -> list[str]:
        return [task.name for task in make(frame(), Rates(1.0, {}), 300.0, wanted, "name").tasks]

    assert names("full[1]") == ["full[1]"]
    assert names("*l*", "busy") == ["busy", "failing", "full[1]", "late", "slow"]
    assert names("bus", "?ate") == ["late"]


def test_a_quantile_is_not_beyond_the_longest() -> None:
    [slow] = make(frame(), Rates(1.0, {}), 300.0, ["slow"]).tasks
    assert (slow.times["run_p99"], slow.times["longest"]) == (8.0, 8.0)


def section(name: str, rows: int, least: int = 2) -> Section:
    return Section(name, name.upper(), [Column("", left=True)], [[f"{name} {n}"] for n in range(rows)], least)


def test_what_fits() -> None:
    def shown(room: int | None, *sections: Section) -> dict[str, int]:
        return {one.name: one.shown for one in fit(sections, room, ("c", "b"))}

    def three() -> tuple[Section, ...]:
        return section("a", 20, least=4), section("b", 3), section("c", 9), section("none", 0)

    assert shown(None, *three()) == {"a": 20, "b": 3, "c": 9}
    # The heads count, too.
    assert shown(35, *three()) == {"a": 20, "b": 3, "c": 9}
    assert shown(11, *three()) == {"a": 4, "b": 2, "c": 2}
    assert shown(10, *three()) == {"a": 6, "b": 2}
    assert shown(7, *three()) == {"a": 6}
    assert shown(3, *three()) == {"a": 2}
    assert shown(1, *three()) == {}
    for room in range(40):
        assert sum(1 + rows for rows in shown(room, *three()).values()) <= room


def test_a_mark_is_not_cut_off() -> None:
    table = Section(
        "t", "T", [Column("", left=True), Column("n", 3)], [[("a long name", "", " paused"), "1"]]
    )
    table.shown = 1
    assert [line.plain for line in table.lines(17, 13)] == ["T               n", "a lon… paused   1"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "-"),
        (7, "7"),
        (9999, "9999"),
        (10_000, "10.0k"),
        (123_456, "123k"),
        (2.5e6, "2.5M"),
        (9e9, "9.0G"),
    ],
)
def test_numbers(value: float, shown: str) -> None:
    assert top_words.number(value) == shown


def test_short_words() -> None:
    assert [top_words.number(n, more=True) for n in (12, 5001, 20_004)] == ["12+", "5001+", "20k+"]
    assert [top_words.rate(r) for r in (0, 0.01, 0.25, 9.96, 12_345)] == ["-", "<0.1", "0.2", "10", "12.3k"]
    times = (None, 0, 0.0123, 0.99999, 9.4, 64, 150, 9000, 1e6)
    assert [top_words.seconds(t) for t in times] == [
        "-",
        "<1ms",
        "12ms",
        "1.0s",
        "9.4s",
        "64s",
        "2m",
        "2h",
        "12d",
    ]
    moments = [NOON + timedelta(seconds=s) for s in (90, 0, -60)]
    assert [top_words.until(m, NOON) for m in moments] == ["in 90s", "now", "60s late"]


def test_lines_that_are_there_are_not_written_again() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=20, height=5, color_system=None)

    def written(*lines: str) -> str:
        before = len(out.getvalue())
        screen.draw(lambda width, height: [Text(line) for line in lines])
        return out.getvalue()[before:]

    with Screen(console) as screen:
        assert written("one", "two").startswith("\x1b[2J\x1b[1;1H")
        assert written("one", "two") == ""
        assert written("one", "2") == "\x1b[2;1H\x1b[2K2"
        # A line that is gone is erased.
        assert written("one") == "\x1b[2;1H\x1b[2K"
    assert out.getvalue().endswith("\x1b[?25h\x1b[?1049l")


GROWING = ("_jobs", "_done_jobs", "_ended_attempts", "_action_runs", "_acts", "_task_hours")


@pytest.mark.slow
@pytest.mark.versions(18, 16)
def test_no_table_that_grows_is_walked(server: Server) -> None:
    """Never analysed, with a long history of tasks and actions."""
    name = server.clone(TEMPLATE)
    try:
        with psycopg.connect(server.conninfo(name), autocommit=True) as connection:
            connection.execute(FILL.encode())
        with psycopg.connect(server.conninfo(name)) as fresh:
            params = {"window": timedelta(minutes=5), "most": 100, "ids": [1, 2, 3]}
            for statement in (*_PARTS.values(), "top_errors"):
                assert fresh.execute(query(statement), params).fetchall() or statement == "list_pauses"
            read = dict[str, int](
                fresh.execute(
                    "select relname, seq_tup_read + coalesce(idx_tup_fetch, 0) from pg_stat_xact_all_tables"
                    " where schemaname = 'tidemill'"
                ).fetchall()
            )
    finally:
        server.drop(name)
    # Seven kinds of jobs up to a hundred, and the levels.
    assert 700 <= read["_jobs"] < 900
    # Twenty tasks in five or six minutes.
    assert 100 <= read["_task_minutes"] <= 200
    assert {table: read[table] for table in GROWING[1:] if read.get(table)} == {}


FILL = """
select tidemill.add_job('t' || i, E'{}') from generate_series(1, 20) i;
update tidemill._jobs set last_error = 'x';
insert into tidemill._jobs (task_id, priority, run_at)
  select 1 + i % 20, i % 3, now() + (i % 2) * interval '1 day' from generate_series(1, 20000) i;
insert into tidemill._queues (queue_name) select 'q' || i from generate_series(1, 500) i;
insert into tidemill._jobs (task_id, queue_id, run_at)
  select 1 + i % 20, 1 + i % 500, now() + (i % 2) * interval '1 day' from generate_series(1, 20000) i;
insert into tidemill._jobs (task_id, locked_at, locked_by)
  select 1, now(), 'w' from generate_series(1, 2000) i;
select tidemill.set_limit('few', 1);
select tidemill.add_job('t1', limit_name => 'few') from generate_series(1, 500) i;
insert into tidemill._task_minutes
  select date_trunc('minute', now()) - n * interval '1 minute', 't' || i, 1, 0, 0, 0, '1 s', '1 s', '1 s',
    '{1}', '{1}'
  from generate_series(0, 1000) n, generate_series(1, 20) i;
insert into tidemill._task_hours
  select date_trunc('hour', now()) - n * interval '1 hour', 't' || i, 1, 0, 0, 0, '1 s', '1 s', '1 s',
    '{1}', '{1}'
  from generate_series(48, 700) n, generate_series(1, 20) i;
insert into tidemill._action_runs (action_id, application_name, owner, started_at, finished_at, outcome)
  select 3, 'x', current_user::regrole, now(), now(), 'success' from generate_series(1, 20000) n;
select tidemill._register_worker('w', 'h', 1, '0', 4, '{t1}', '1 hour');
"""
