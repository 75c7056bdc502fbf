"""tidemill top: its frames, and the terminal that it draws on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.cli.actions import add_action
from tests.support.commands import PROGRAM, CommandLine
from tests.support.live import LiveTerminal, live
from tests.support.proxy import pooler, proxy
from tests.support.servers import Server
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

FILL = """
-- In the minute before this one, whose length is known.
insert into tidemill._task_minutes (minute, identifier, done, failed, retried, cancelled, run_time,
  longest_run, wait_time, runs, waits)
  select date_trunc('minute', now()) - interval '1 minute', t.*
  from (values
    ('quick', 6000, 0, 0, 0, interval '60 s', interval '0.6 s', interval '60 s',
     array_fill(0, array[10]) || 6000, array_fill(0, array[10]) || 6000),
    ('broken', 10, 40, 30, 1, interval '500 s', interval '20 s', interval '1 s',
     array_fill(0, array[17]) || 50, array_fill(0, array[7]) || 50)) t;
select tidemill.add_job('quick') from generate_series(1, 3);
select tidemill.add_job('quick', run_at => now() + interval '1 hour');
select tidemill.add_job('nobodys');
select tidemill.add_job('broken', '{"secret": 1}');
select tidemill.permanently_fail_jobs(
  array(select id from tidemill.jobs where identifier = 'broken'), E'no route\\nto host');
select tidemill._register_worker('w', 'build-7', 42, '0.1.0', 4, '{quick,broken,"idle \u001b[2J"}', '1 hour');
select tidemill.pause('task', 'quick', 'they are down');
"""


@pytest.fixture
def filled(routines: psycopg.Connection) -> psycopg.Connection:
    routines.execute(FILL.encode())
    add_action(routines, "nightly")
    failing = add_action(routines, "purge", "app.fail")
    routines.execute(
        "update tidemill._action_states set consecutive_failures = 3 where action_id = %s", [failing]
    )
    return routines


def screen_of(cli: CommandLine, *options: str, size: tuple[int, int] = (100, 30)) -> Any:
    return live([*PROGRAM, "top", *options], cli.directory, cli.environment(), size)


def by_task(frame: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {task["task"]: task for task in frame["tasks"]}


def test_a_frame_as_json(cli: CommandLine, filled: psycopg.Connection) -> None:
    frame = cli.json("top", "--once")
    tasks = by_task(frame)
    assert list(tasks) == ["quick", "broken", "nobodys", "idle \x1b[2J"]
    # The rate is that since the minute before this one began.
    assert 60 <= frame["rate_window"] <= 180
    assert tasks["quick"]["per_minute"]["done"] == pytest.approx(6000 * 60 / frame["rate_window"], rel=0.01)
    assert tasks["broken"]["attempts"] == {"done": 10, "retried": 30, "failed": 10, "cancelled": 1}
    # By the histogram 15.9 s, which is beyond none that was seen; the other one's 1 s would be.
    assert 8 < tasks["broken"]["run"]["p99"] < 16
    assert tasks["broken"]["run"]["longest"] == 20
    assert tasks["quick"]["jobs"] == {
        "ready": 3,
        "running": 0,
        "scheduled": 1,
        "retrying": 0,
        "failed": 0,
        "cancelled": 0,
    }
    assert (tasks["quick"]["paused"], tasks["quick"]["workers"]) == (True, 1)
    assert (tasks["broken"]["jobs"]["failed"], tasks["broken"]["error"]) == (1, "no route\nto host")
    assert (tasks["nobodys"]["workers"], tasks["nobodys"]["oldest_ready"] is None) == (0, False)
    assert (frame["jobs"]["ready"], frame["more_jobs"], frame["not_read"]) == (4, [], {})
    [worker] = frame["workers"]
    assert (worker["host"], worker["version"], worker["concurrency"], worker["tasks"]) == (
        "build-7",
        "0.1.0",
        4,
        3,
    )
    assert frame["actions"][0]["name"] == "purge"
    assert (frame["action_counts"]["failing"], frame["pauses"][0]["reason"]) == (1, "they are down")
    assert "secret" not in json.dumps(frame)


def test_a_frame_for_people_where_there_is_no_terminal(cli: CommandLine, filled: psycopg.Connection) -> None:
    shown = cli.ok("top")
    for words in (
        "PAUSED task quick",
        "they are down",
        "WAITING: no worker that runs knows nobodys",
        "4 ready",
        "FAILING",
        "80% no route to host",
        "SLOWEST",
        "build-7",
        "purge",
        "failed 3 times",
        r"idle \x1b[2J",
    ):
        assert words in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert "\x1b" not in shown


def test_the_filter_is_that_of_the_totals_too(cli: CommandLine, filled: psycopg.Connection) -> None:
    frame = cli.json("top", "--once", "--task", "no*")
    assert (list(by_task(frame)), frame["jobs"]["ready"], frame["per_minute"]["done"]) == (["nobodys"], 1, 0)
    assert "--interval must be from" in cli.refused("top", "--interval", "nan")
    assert "--window must be from 1m to 1h" in cli.refused("top", "--window", "2d")


def test_an_empty_database(cli: CommandLine, connection: psycopg.Connection) -> None:
    frame = cli.json("top", "--once")
    assert (frame["tasks"], frame["workers"], frame["lost"]) == ([], [], None)
    assert "0 workers" in cli.ok("top", "--once")


def test_what_cannot_be_read_keeps_nothing_else_away(cli: CommandLine, filled: psycopg.Connection) -> None:
    with filled.transaction(force_rollback=True):
        filled.execute("lock table tidemill._pauses")
        frame = cli.json("top", "--once")
    assert frame["not_read"] == {"pauses": "what it reads is locked"}
    assert (frame["pauses"], len(frame["tasks"]), len(frame["workers"])) == ([], 4, 1)


def test_behind_a_pooler(cli: CommandLine, filled: psycopg.Connection, database: str) -> None:
    with pooler(database) as between:
        frame = CommandLine(cli.directory, between.conninfo).json("top", "--once")
    assert (len(frame["tasks"]), frame["not_read"]) == (4, {})


@pytest.fixture
def role(server: Server) -> Iterator[str]:
    with server.role() as name:
        yield name


@pytest.mark.versions(18)
def test_a_reader_sees_all_of_it(
    cli: CommandLine, filled: psycopg.Connection, database: str, role: str, tmp_path: Path
) -> None:
    reader = CommandLine(tmp_path, make_conninfo(database, user=role))
    assert "can grant it: tidemill grant reader TO " in reader.refused("top", "--once")
    filled.execute(f"grant usage on schema tidemill to {role}".encode())
    filled.execute(f"grant select on tidemill.workers to {role}".encode())
    frame = reader.json("top", "--once")
    assert len(frame["workers"]) == 1
    assert set(frame["not_read"]) == {"tasks", "jobs", "actions", "pauses", "errors"}
    assert "tidemill grant reader TO ROLE" in frame["not_read"]["jobs"]
    filled.execute("select tidemill.grant_role('reader', %s::regrole)", [role])
    theirs, owners = reader.json("top", "--once"), cli.json("top", "--once")
    assert theirs["not_read"] == {}
    assert theirs["jobs"] == owners["jobs"]
    assert by_task(theirs).keys() == by_task(owners).keys()
    assert by_task(theirs)["broken"]["error"] == "no route\nto host"


def test_json_goes_on_until_ctrl_c(cli: CommandLine, filled: psycopg.Connection) -> None:
    process = subprocess.Popen(
        [*PROGRAM, "top", "--json", "--interval", "0.5"],
        cwd=cli.directory,
        env=cli.environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        filled.execute("select tidemill.add_job('quick')")
        ready = [first["jobs"]["ready"]]
        while ready[-1] == ready[0]:
            ready.append(json.loads(process.stdout.readline())["jobs"]["ready"])
        assert ready[-1] == 5
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        assert process.wait(30) == 0


@pytest.mark.parametrize("end", ["q", "\x03", "term"])
def test_it_ends_cleanly(cli: CommandLine, filled: psycopg.Connection, end: str) -> None:
    with screen_of(cli) as terminal:
        terminal.shows("build-7")
        if end == "term":
            terminal.process.send_signal(signal.SIGTERM)
        else:
            terminal.type(end)
        assert terminal.ended() == 0


@pytest.mark.parametrize("size", [(80, 24), (160, 50), (40, 10), (20, 3)])
def test_lines_fit_the_terminal(cli: CommandLine, filled: psycopg.Connection, size: tuple[int, int]) -> None:
    filled.execute(
        "select tidemill._register_worker('w' || i, 'host-' || i, i, '0', 4, array['many ' || i], '1 hour')"
        " from generate_series(1, 60) i"
    )
    with screen_of(cli, size=size) as terminal:
        # All lines come at once, and are read in parts.
        full = 1 if size[1] < 24 else size[1]
        shown = wait_until(
            lambda: lines if len(lines := terminal.screen()) >= full else [], "lines to the end"
        )
        assert len(shown) <= size[1]
        assert max(map(len, shown)) <= size[0]
        if size[1] >= 24:
            assert any(line.startswith("TASK") and "of 64" in line for line in shown)
            assert any(line.startswith("WORKER") and "of 61" in line for line in shown)
        terminal.resize((120, 40))
        os.killpg(terminal.process.pid, signal.SIGWINCH)
        wait_until(lambda: len(terminal.screen()) == 40, "the new height")
        terminal.type("q")
        assert terminal.ended() == 0


def test_a_key_sorts(cli: CommandLine, filled: psycopg.Connection) -> None:
    def first(terminal: LiveTerminal) -> str:
        lines = terminal.screen()
        return lines[next(n for n, line in enumerate(lines) if line.startswith("TASK")) + 1].split()[0]

    with screen_of(cli) as terminal:
        terminal.shows("busy first")
        assert first(terminal) == "quick"
        terminal.type("s")
        terminal.shows("failing first")
        assert first(terminal) == "broken"
        terminal.type("q")
        assert terminal.ended() == 0


def test_it_steps_aside_for_ctrl_z(cli: CommandLine, filled: psycopg.Connection) -> None:
    with screen_of(cli) as terminal:
        terminal.shows("build-7")
        terminal.type("\x1a")
        wait_until(
            lambda: os.waitid(os.P_PID, terminal.process.pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT),
            "it to stop",
        )
        wait_until(lambda: terminal.sent.endswith(b"\x1b[?1049l"), "the screen to be left")
        terminal.process.send_signal(signal.SIGCONT)
        wait_until(lambda: b"build-7" in terminal.sent.rpartition(b"\x1b[?1049l")[2], "all of it again")
        terminal.type("q")
        assert terminal.ended() == 0


def test_nothing_is_written_where_nothing_changes(cli: CommandLine, connection: psycopg.Connection) -> None:
    """Five frames of an idle database."""
    asked = "select count(*) from pg_stat_activity where application_name = 'tidemill top'"
    with screen_of(cli, "--interval", "0.5") as terminal:
        terminal.shows("Action History Retention")
        assert connection.execute(asked).fetchone() == (1,)
        seen = "select xact_start, query_start from pg_stat_activity where application_name = 'tidemill top'"
        before, times = terminal.sent, set[Any]()

        def frames() -> int:
            times.update(connection.execute(seen).fetchall())
            return len(times)

        wait_until(lambda: frames() > 5, "some frames")
        # The time until an action's start may have become another.
        assert len(terminal.sent) - len(before) < 300
        terminal.type("q")
        assert terminal.ended() == 0


def test_a_lost_database_is_told_and_found_again(
    cli: CommandLine, filled: psycopg.Connection, database: str
) -> None:
    with proxy(database) as between:
        away = CommandLine(cli.directory, between.conninfo)
        with screen_of(away, "--interval", "0.5") as terminal:
            terminal.shows("build-7")
            between.refuses = lambda data: True
            for link in between.links:
                link.cut()
            shown = "\n".join(terminal.shows("LOST since"))
            # What was there stays, and is said to be old.
            assert "what is below is old" in shown
            assert "build-7" in shown
            filled.execute("select tidemill.add_job('new one')")
            between.refuses = lambda data: False
            shown = "\n".join(terminal.shows("new one"))
            assert "LOST" not in shown
            # Keys are heard while there is no answer.
            between.stall()
            terminal.type("s")
            terminal.shows("failing first")
            terminal.type("q")
            assert terminal.ended() == 0


def test_a_lost_database_as_json(cli: CommandLine, filled: psycopg.Connection, database: str) -> None:
    with proxy(database) as between:
        process = subprocess.Popen(
            [*PROGRAM, "top", "--json", "--interval", "0.5"],
            cwd=cli.directory,
            env=CommandLine(cli.directory, between.conninfo).environment(),
            stdout=subprocess.PIPE,
            text=True,
        )
        with process:
            assert process.stdout is not None
            assert json.loads(process.stdout.readline())["lost"] is None
            between.refuses = lambda data: True
            for link in between.links:
                link.cut()
            lost: list[Any] = [None]
            while lost[-1] is None:
                lost.append(json.loads(process.stdout.readline())["lost"])
            assert set(lost[-1]) == {"since", "because"}
            again = json.loads(process.stdout.readline())["lost"]
            assert again["since"] == lost[-1]["since"]
            process.terminate()
            process.stdout.read()
            assert process.wait(30) == 0


def test_one_frame_of_a_database_that_is_away_is_an_error(cli: CommandLine, database: str) -> None:
    nowhere = CommandLine(cli.directory, database.replace("port=", "port=1"))
    assert "Cannot reach the database" in nowhere.refused("top", "--once")
