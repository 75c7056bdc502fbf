"""`tidemill tasks show`, and words that are no commands."""

from __future__ import annotations

import json

import psycopg
import pytest

from tests.support.commands import CommandLine
from tidemill import App, Limit, Rate, task
from tidemill.errors import TaskLoadError
from tidemill.queue.publish import _options
from tidemill.worker_options import WorkerOptions


async def test_a_task(cli: CommandLine, connection: psycopg.Connection) -> None:
    app = App(cli.database)

    @app.task(max_attempts=3, keep="1 week", limit=Limit(2, per="customer"))
    async def send(customer: int, note: str = "") -> None:
        """Sends it.

        Not this.
        """

    await send.add(customer=1)
    await app.run_until_empty(WorkerOptions())
    app.sync.pause("task", "send", "no ink")
    row = json.loads(cli.ok("tasks", "show", "send", "--json"))
    assert (row["task"], row["summary"], row["workers"]) == ("send", "Sends it.", 0)
    limit = {"concurrency": 2, "per": "customer"}
    assert row["options"] == {"max_attempts": 3, "keep": "1 week", "limit": limit}
    assert row["payload_schema"]["required"] == ["customer"]
    assert row["paused"]["reason"] == "no ink"
    assert (row["done_in_an_hour"], row["done_in_a_day"], row["failed_in_a_day"]) == (1, 1, 0)
    assert "summary" in cli.ok("tasks", "show", "send")


def test_an_unknown_task(cli: CommandLine, connection: psycopg.Connection) -> None:
    connection.execute("select tidemill.add_job('send_mail')")
    done = cli.run("tasks", "show", "send_mial")
    assert done.returncode == 1
    assert 'No task has the name "send_mial". Is send_mail meant?' in done.stderr
    shown = json.loads(cli.ok("tasks", "show", "send_mail", "--json"))
    assert (shown["options"], shown["payload_schema"], shown["done_in_a_day"]) == (None, None, 0)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["jobs", "histroy"], "jobs has no command 'histroy'; did you mean history?"),
        (["bulk", "explain", "1"], "bulk has no command 'explain'; it has list, run, abort."),
        (["jobs", "show", "1x"], "Invalid value for 'ID': it must be a whole number"),
        (["jobs", "--state", "faild"], "Invalid value for '--state': 'faild' is not one of"),
        (["top", "--interval", "x"], "it must be a number"),
    ],
)
def test_words_that_are_no_commands_or_values(cli: CommandLine, words: list[str], said: str) -> None:
    done = cli.run(*words)
    assert done.returncode == 2
    assert said in " ".join(done.stderr.replace("\u2502", " ").split())


@pytest.mark.parametrize("word", ["name", "identifier"])
def test_the_name_of_a_task_has_no_word_before_it(word: str) -> None:
    with pytest.raises(TaskLoadError, match=r"stands first.*@app\.task\('mail', \.\.\.\)"):
        task(**{word: "mail"})  # type: ignore[call-overload]


def test_options_of_limits() -> None:
    @task(limit=Rate(100, "1 minute", burst=1), keep_result=True, keep_payload=False)
    def limited() -> None: ...

    @task(limit="mailer")
    def named() -> None: ...

    assert _options(limited) == {
        "keep_result": True,
        "keep_payload": False,
        "limit": {"rate": 100, "period": 60.0, "burst": 1},
    }
    assert _options(named) == {"limit": "mailer"}
