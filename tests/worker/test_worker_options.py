"""Options that make no sense are refused where they are given: of workers, apps and tasks."""

from __future__ import annotations

import math
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tidemill import App, Middleware, Retry, Task, TidemillError, Worker, WorkerOptions, task
from tidemill.errors import TaskLoadError
from tidemill.retry import constant, delays, exponential
from tidemill.task_options import TaskOptions

pytestmark = pytest.mark.lane("lease")

# For each option: values of a wrong type, then values out of range, each with the words of its error.
WORKER: dict[str, list[tuple[Any, str]]] = {
    "concurrency": [
        ("5", "concurrency is '5'; it must be a whole number"),
        (2.5, "concurrency is 2.5; it must be a whole number"),
        (True, "concurrency is True; it must be a whole number"),
        (0, "concurrency is 0; it must be more than 0"),
    ],
    "once": [(1, "once is 1; it must be True or False"), ("no", "once is 'no'")],
    "poll_interval": [
        ("1s", "poll_interval is '1s'; it must be a number of seconds"),
        (timedelta(seconds=1), "it must be a number of seconds"),
        (0, "poll_interval is 0; it must be more than 0"),
        (math.nan, "poll_interval is nan"),
        (math.inf, "poll_interval is inf"),
    ],
    "listen": [(None, "listen is None; it must be True or False")],
    "forbidden_flags": [
        ("slow", "forbidden_flags is 'slow'; it must be a list of texts"),
        (5, "forbidden_flags is 5"),
        (["slow", 1], "forbidden_flags has 1; each flag must be a text"),
        (["x" * 129], "forbidden_flags has one of 129 characters, at most 128 are allowed"),
        ([str(n) for n in range(1001)], "forbidden_flags has 1,001 entries; at most 1,000 are allowed"),
    ],
    "grace_period": [(None, "grace_period is None"), (-1, "grace_period is -1; it must be 0 to 10,000,000")],
    "lease": [
        ("30s", "lease is '30s'"),
        (1e10, "lease is 10000000000.0; it must be more than 0, at most 10,000,000"),
        (5, "at least two heartbeats"),
    ],
    "heartbeat_interval": [(False, "heartbeat_interval is False"), (0, "heartbeat_interval is 0")],
    "lane": [
        ("fast", "lane is 'fast'; it must be one of auto, lease, express"),
        (["auto"], "lane is ['auto']"),
    ],
    "migrate": [("yes", "migrate is 'yes'; it must be True or False")],
    "log_jobs": [("yes", "log_jobs is 'yes'; it must be True or False")],
    "max_connections": [
        (2.5, "max_connections is 2.5"),
        (0, "max_connections is 0; it must be 1 to 10,000,000"),
    ],
    "action_concurrency": [(1.0, "action_concurrency is 1.0"), (-1, "action_concurrency is -1")],
    "crontab": [(5, "crontab is 5; it must be a Path, or the text of a crontab")],
    "keep": [
        ("soon", "keep: 'soon' is not how long history can be kept"),
        ("7", "keep: '7' has no unit; write 7d or 7s"),
        (5, "keep: 5 is not how long history can be kept"),
        (timedelta(0), "keep: "),
    ],
    "metrics": [
        (9090, "metrics is 9090; it must be a text such as '127.0.0.1:9090'"),
        ("localhost", "metrics is 'localhost'; it must be HOST:PORT, such as 127.0.0.1:9090"),
    ],
}
APP: dict[str, list[tuple[Any, str]]] = {
    "database": [(5, "database is int; it must be a text"), (Path("x"), "it must be a text")],
    "pool_size": [
        ("10", "pool_size is '10'; it must be a whole number, 1 to 10,000"),
        (True, "pool_size is True"),
        (0, "pool_size is 0"),
        (10_001, "pool_size is 10001"),
    ],
    "middleware": [
        (Middleware(), "it must be a list of instances"),
        ([Middleware], "it must be a list of instances"),
        (["log"], "it must be a list of instances"),
        (None, "middleware is None"),
    ],
}
TASK: dict[str, list[tuple[Any, str]]] = {
    "max_attempts": [
        ("3", "max_attempts '3' of task 't' is not an integer"),
        (3.0, "is not an integer"),
        (True, "is not an integer"),
        (0, "max_attempts 0 of task 't' is out of range: 1 to 32767"),
        (32768, "is out of range"),
    ],
    "keep": [
        ("soon", "keep of task 't': 'soon' is not how long history can be kept"),
        (7, "keep of task 't': 7 is not"),
        (timedelta(0), "keep of task 't'"),
    ],
    "limit": [
        (0, "limit 0 of task 't'"),
        ([1], "limit [1] of task 't'"),
    ],
    "keep_result": [("yes", "keep_result 'yes' of task 't' is not True or False")],
    "keep_payload": [(1, "keep_payload 1 of task 't' is not True or False")],
    "retry": [
        (3, "retry 3 of task 't' is not a retry strategy. It says how long to wait"),
        (3, "for the number of attempts use max_attempts, for instance max_attempts=3"),
        ("30s", "is not a retry strategy"),
        ([1, 2], "is not a retry strategy"),
        (True, "is not a retry strategy"),
        (Retry, "is not a retry strategy"),
        (exponential, "must be called: write retry=exponential(...)"),
        (constant, "must be called"),
        (delays, "must be called"),
    ],
    "timeout": [
        ("soon", "timeout 'soon' of task 't' is not a time: use seconds, a timedelta, or for instance '30s'"),
        (True, "is not a time"),
        ([30], "is not a time"),
        (math.nan, "is not a time"),
        (0, "timeout 0 of task 't' must be more than 0 seconds"),
        (-1, "must be more than 0"),
        ("0s", "must be more than 0"),
        (timedelta(0), "must be more than 0"),
    ],
    "queue": [
        (5, "queue 5 of task 't' is not a string"),
        ("", "has 0 characters; 1 to 128 are allowed"),
        ("x" * 129, "has 129 characters"),
    ],
    "priority": [
        ("high", "priority 'high' of task 't' is not an integer"),
        (40000, "priority 40000 of task 't' is out of range: -32768 to 32767"),
    ],
    "every": [
        (True, "every True of task 't' is not a time"),
        ("1 fortnight", "is not a time"),
        (0, "must be at least 1 second"),
    ],
    "cron": [(5, "cron 5 of task 't' must be a text"), ("", "must be a text")],
    "timezone": [(1, "timezone 1 of task 't' needs `every` or `cron`")],
    "missed": [("never", "missed 'never' of task 't' needs `every` or `cron`")],
}


def cases(table: dict[str, list[tuple[Any, str]]]) -> list[Any]:
    return [
        pytest.param(name, value, words, id=f"{name}-{number}")
        for name, values in table.items()
        for number, (value, words) in enumerate(values)
    ]


def test_the_tables_have_every_option() -> None:
    assert WORKER.keys() == WorkerOptions.__dataclass_fields__.keys()
    assert TASK.keys() == TaskOptions.__annotations__.keys()
    assert APP.keys() == App.__init__.__annotations__.keys() - {"return"}


@pytest.mark.parametrize(("name", "value", "words"), cases(WORKER))
def test_options_of_a_worker(name: str, value: Any, words: str) -> None:
    with pytest.raises(TidemillError) as refused:
        WorkerOptions(**{name: value})
    assert words in str(refused.value)


@pytest.mark.parametrize(("name", "value", "words"), cases(APP))
def test_options_of_an_app(name: str, value: Any, words: str) -> None:
    with pytest.raises(TidemillError) as refused:
        App(**{name: value})
    assert words in str(refused.value)


@pytest.mark.parametrize(("name", "value", "words"), cases(TASK))
def test_options_of_a_task(name: str, value: Any, words: str) -> None:
    def function(payload: Any) -> None: ...

    options: dict[str, Any] = {name: value}
    app = App("dbname=unused")
    for decorate in (task("t", **options), app.task("t", **options)):
        with pytest.raises(TaskLoadError) as refused:
            decorate(function)
        assert words in str(refused.value)
    assert not app.tasks


@pytest.mark.parametrize("name", [5, "", "x" * 129, ["t"]])
def test_names_of_tasks(name: Any) -> None:
    with pytest.raises(TaskLoadError):
        task(name)(lambda payload: None)


def test_an_unknown_option_and_options_beside_a_function() -> None:
    def function(payload: Any) -> None: ...

    bind: dict[str, Any] = {"bind": True}
    with pytest.raises(TaskLoadError, match="unknown option 'bind'; known are max_attempts, retry"):
        task("t", **bind)(function)
    app = App("dbname=unused")
    assert app.task(function, max_attempts=3).max_attempts == app.tasks["function"].max_attempts == 3


@pytest.mark.parametrize("options", [{"concurrency": 5}, 5, "once"])
async def test_options_that_are_none(options: Any) -> None:
    app = App("dbname=unused")
    with pytest.raises(TidemillError, match="it must be WorkerOptions"):
        Worker(app, options)
    for run in (app.run_until_empty, app.run_worker):
        with pytest.raises(TidemillError, match="it must be WorkerOptions"):
            await run(options)


@pytest.mark.parametrize(
    ("timeout", "seconds"), [(30, 30), ("30s", 30), ("1m30s", 90), (timedelta(minutes=2), 120), (0.5, 0.5)]
)
def test_forms_of_a_timeout(timeout: Any, seconds: float) -> None:
    assert Task[Any](lambda payload: None, "t", timeout=timeout).timeout == seconds
