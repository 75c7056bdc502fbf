"""Several processes below one supervisor: what a signal, a death and a mistake do."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psycopg
import pytest

from chaos.supervised import is_there
from tests.support import commands
from tests.support.commands import PROGRAM, CommandLine
from tests.support.supervised import supervised
from tests.support.waiting import wait_until
from tidemill.cli.reload import Files

pytestmark = [pytest.mark.slow, pytest.mark.versions(18)]

TASKS = """
import os, time
from pathlib import Path

def task(payload, job):
    with job.sync.connection() as connection:
        connection.execute("insert into ran values (%s, %s)", [job.id, os.getpid()])
    if payload == "wait":
        job.wait_cancelled(60)
        job.raise_if_cancelled()
"""


@pytest.fixture
def ran(cli: CommandLine, connection: psycopg.Connection) -> psycopg.Connection:
    """With a task, and a table in which it tells of its process."""
    (cli.directory / "tasks").mkdir()
    (cli.directory / "tasks" / "works.py").write_text(TASKS)
    connection.execute("create table ran (job bigint, pid integer)")
    return connection


def pids(connection: psycopg.Connection) -> set[int]:
    return {pid for (pid,) in connection.execute("select pid from tidemill.workers").fetchall()}


def test_each_is_a_worker_and_all_jobs_are_done_once(cli: CommandLine, ran: psycopg.Connection) -> None:
    ran.execute("select count(tidemill.add_job('works')) from generate_series(1, 500)")
    done = cli.run("worker", "--once", "--processes", "3")
    assert done.returncode == 0, done.stderr
    for number in (1, 2, 3):
        assert f"[{number}] worker-" in done.stderr
    assert ran.execute("select count(*), count(distinct job) from ran").fetchone() == (500, 500)
    assert ran.execute("select from tidemill.jobs").rowcount == 0


def test_they_are_listed_and_a_signal_reaches_each(cli: CommandLine, ran: psycopg.Connection) -> None:
    with supervised(cli, "--processes", "2") as started:
        started.until("runs 1 task", 2)
        assert pids(ran) == set(started.children())
        ran.execute("select count(tidemill.add_job('works', '\"wait\"')) from generate_series(1, 2)")
        wait_until(lambda: ran.execute("select from ran").rowcount == 2, "the jobs to run")
        started.process.send_signal(signal.SIGTERM)
        started.until("waiting up to 25 s", 2)
        # The same signal within a second would count as one.
        started.process.send_signal(signal.SIGINT)
        assert started.code() == 0
        assert started.log.count("has stopped") == 2
    assert ran.execute("select attempts from tidemill.jobs").fetchall() == [(0,), (0,)]


def test_one_that_is_asked_to_stop_is_not_replaced(cli: CommandLine, ran: psycopg.Connection) -> None:
    with supervised(cli, "--processes", "2") as started:
        started.until("runs 1 task", 2)
        stop = "select tidemill.stop_worker(id) from tidemill.workers order by started_at limit 1"
        ran.execute(stop)
        started.until("was asked to stop, and is not replaced", 1)
        assert len(pids(ran)) == 1
        ran.execute(stop)
        assert started.code() == 0
        assert started.log.count("runs 1 task") == 2


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_whole_group_counts_once(
    cli: CommandLine, ran: psycopg.Connection, signum: signal.Signals
) -> None:
    """As a terminal, systemd and Docker send it."""
    with supervised(cli, "--processes", "2") as started:
        started.until("runs 1 task", 2)
        os.killpg(started.process.pid, signum)
        assert started.code() == 0
        assert started.log.count("no new jobs") == 2
        assert "again" not in started.log.replace("again to hurry", "")


def test_one_that_is_killed_is_replaced(cli: CommandLine, ran: psycopg.Connection) -> None:
    with supervised(cli, "--processes", "2") as started:
        started.until("runs 1 task", 2)
        victim = started.children()[0]
        os.kill(victim, signal.SIGKILL)
        started.until(f"[(]{victim}[)] was ended by SIGKILL; another one starts in 1 s")
        started.until("runs 1 task", 3)
        assert victim not in started.children()
        assert len(started.children()) == 2
        started.process.send_signal(signal.SIGTERM)
        assert started.code() == 0


def test_without_their_supervisor_they_stop(cli: CommandLine, ran: psycopg.Connection) -> None:
    with supervised(cli, "--processes", "2") as started:
        started.until("runs 1 task", 2)
        workers = started.children()
        started.process.kill()
        wait_until(lambda: not any(map(is_there, workers)), f"the workers to end: {started.log}")
        assert started.log.count("the supervisor of this process is gone") == 2
        assert started.log.count("has stopped") == 2
    assert pids(ran) == set()


def test_a_mistake_ends_all_at_once(cli: CommandLine, ran: psycopg.Connection) -> None:
    done = cli.run("worker", "--processes", "2", "--app", "nowhere:app")
    assert done.returncode == 1
    assert "the module 'nowhere' does not import" in done.stderr
    assert "before it was ready: all end" in done.stderr
    assert "Traceback" not in done.stderr


APP = """
import os
from pathlib import Path
from tidemill import App

if Path("ends").exists():
    os._exit(0)
assert not Path("broken").exists()
app = App()

@app.task
async def works(payload): ...
"""


@pytest.fixture
def impatient(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """The options of an app whose module can be broken; those that end are replaced at once."""
    (cli.directory / "shop.py").write_text(APP)
    at_once = "from tidemill.cli import main, supervise; supervise._MOST_PAUSE = 0.01; main()"
    monkeypatch.setattr(commands, "PROGRAM", (*PROGRAM[:-1], at_once))
    return ("--processes", "2", "--app", "shop:app")


def test_a_module_that_ends_the_process_is_not_started_for_ever(
    cli: CommandLine, ran: psycopg.Connection, impatient: tuple[str, ...]
) -> None:
    (cli.directory / "ends").touch()
    with supervised(cli, *impatient) as started:
        assert started.code() == 1
        assert "ended with exit code 0 before it was ready: all end" in started.log


def test_while_another_one_works_it_is_tried_again_and_again(
    cli: CommandLine, ran: psycopg.Connection, impatient: tuple[str, ...]
) -> None:
    """The database may be away, say: those that run ride it out."""
    with supervised(cli, *impatient) as started:
        started.until("runs 1 task", 2)
        (cli.directory / "broken").touch()
        victim, other = started.children()
        os.kill(victim, signal.SIGKILL)
        started.until("ended with exit code 1; another one starts", 7)
        assert other in started.children()
        (cli.directory / "broken").unlink()
        started.until("runs 1 task", 3)
        started.process.send_signal(signal.SIGTERM)
        assert started.code() == 0


def test_files_that_make_a_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for place in ("tasks", "shop", ".git", "venv", "shop/__pycache__"):
        (tmp_path / place).mkdir()
    (tmp_path / "venv" / "pyvenv.cfg").touch()
    files = Files(Path("tasks"), Path("crontab"))
    for name in (
        *("tasks/.send.py.swp", "tasks/send.py~", "shop/notes.txt", ".git/hook.py", "venv/six.py"),
        "shop/__pycache__/shop.py",
    ):
        (tmp_path / name).touch()
        assert files.changed() is None, name
    for name in ("tasks/send", "tasks/send.py", "shop/mail.py", "crontab"):
        (tmp_path / name).touch()
        assert str(files.changed()).endswith(name)
        (tmp_path / name).write_text("# more")
        assert str(files.changed()).endswith(name)
        (tmp_path / name).unlink()
        assert str(files.changed()).endswith(name)
        assert files.changed() is None


def test_a_change_of_a_file_starts_them_anew(cli: CommandLine, ran: psycopg.Connection) -> None:
    with supervised(cli, "--reload") as started:
        started.until("runs 1 task", 1)
        tasks = cli.directory / "tasks"
        (tasks / "more.py").write_text("def task(payload): ...")
        started.until("more.py has changed: all start anew")
        started.until("runs 2 task[(]s[)], 10 at once: more, works")
        (cli.directory / "tasks" / "works.py").unlink()
        (tasks / "more.py").unlink()
        started.until("it starts again when a file changes")
        (tasks / "works.py").write_text(TASKS)
        started.until("runs 1 task", 2)
        started.process.send_signal(signal.SIGTERM)
        assert started.code() == 0


def test_a_mistake_while_files_change_is_waited_out_by_all(cli: CommandLine, ran: psycopg.Connection) -> None:
    with supervised(cli, "--reload", "--processes", "2") as started:
        started.until("runs 1 task", 2)
        works = cli.directory / "tasks" / "works.py"
        works.write_text("nonsense(")
        started.until("it starts again when a file changes", 2)
        assert started.log.count("not loaded: ") == 2
        works.write_text(TASKS)
        started.until("runs 1 task", 4)
        started.process.send_signal(signal.SIGTERM)
        assert started.code() == 0


HOLDS_UP_THE_END = """
import asyncio, time
from pathlib import Path

async def task(payload):
    asyncio.get_running_loop().run_in_executor(None, time.sleep, 60)
    Path("began").touch()
"""


@pytest.mark.parametrize("options", [(), ("--processes", "1", "--reload")], ids=["alone", "supervised"])
def test_a_later_signal_ends_what_holds_up_the_end(
    cli: CommandLine, connection: psycopg.Connection, options: tuple[str, ...]
) -> None:
    (cli.directory / "tasks").mkdir()
    (cli.directory / "tasks" / "works.py").write_text(HOLDS_UP_THE_END)
    connection.execute("select tidemill.add_job('works')")
    with supervised(cli, *options) as started:
        wait_until((cli.directory / "began").exists, "the job")
        started.process.send_signal(signal.SIGTERM)
        started.until("has stopped")

        def asked_again() -> bool:
            started.process.send_signal(signal.SIGTERM)
            return started.process.poll() is not None

        wait_until(asked_again, "the end")
        assert started.code() == 0
    assert connection.execute("select from tidemill.jobs").rowcount == 0


def test_json_has_the_number_of_the_process(cli: CommandLine, ran: psycopg.Connection) -> None:
    done = cli.run("worker", "--once", "--processes", "2", "--log-format", "json")
    assert done.returncode == 0
    assert '"process":1' in done.stderr
    assert '"process":2' in done.stderr


def test_reload_and_once_do_not_go_together(cli: CommandLine) -> None:
    assert "--reload has no effect with --once" in cli.refused("worker", "--reload", "--once")
