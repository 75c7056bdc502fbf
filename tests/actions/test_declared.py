"""Schedules on tasks: what the decorator takes, and the actions that workers make of it."""

from __future__ import annotations

import logging
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row

from tests.support.waiting import wait_until
from tidemill import App, Task, task
from tidemill.actions.declared import declare_schedules
from tidemill.errors import TaskLoadError
from tidemill.schedule import Schedule
from tidemill.task_directory import load_directory

pytestmark = pytest.mark.versions(18, 16)


def job(payload: Any) -> None: ...


def scheduled(name: str = "t", **options: Any) -> Task[Any]:
    return Task(job, name, **options)


# The decorator


@pytest.mark.parametrize(
    ("every", "interval"),
    [
        ("10m", "10 minutes"),
        ("90s", "90 seconds"),
        ("1h30m", "90 minutes"),
        ("24h", "24 hours"),
        ("1d", "1 days"),
        ("1w2d12h", "9 days 12 hours"),
        (timedelta(minutes=10), "10 minutes"),
        (timedelta(days=1, hours=6), "1 days 6 hours"),
        (timedelta(milliseconds=1500), "1.5 seconds"),
        (90, "90 seconds"),
        (1.25, "1.25 seconds"),
        (86400, "24 hours"),
    ],
)
def test_every(every: Any, interval: str) -> None:
    assert scheduled(every=every).schedule == Schedule(every=interval)


def test_both_decorators_take_a_schedule() -> None:
    @task(cron="30 4 * * 1", timezone="Europe/Berlin", missed="skip")
    def weekly(payload: Any) -> None: ...

    @task
    def never(payload: Any) -> None: ...

    app = App()

    @app.task("hourly", every="1h")
    async def hours(payload: Any) -> None: ...

    assert weekly.schedule == Schedule(cron="30 4 * * 1", timezone="Europe/Berlin", missed="skip")
    assert never.schedule is None
    assert app.tasks["hourly"].schedule == Schedule(every="1 hours")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"every": "1h", "cron": "* * * * *"}, "Task 't' has both `every` and `cron`"),
        ({"every": "0s"}, "every '0s' of task 't' must be at least 1 second"),
        ({"every": 0}, "every 0 of task 't' must be at least 1 second"),
        ({"every": -1.5}, "every -1.5 of task 't' must be at least 1 second"),
        ({"every": timedelta(days=-1)}, "must be at least 1 second"),
        ({"every": "10"}, "every '10' of task 't' is not a time: use for instance 90s"),
        ({"every": "1 hour"}, "is not a time"),
        ({"every": ""}, "is not a time"),
        ({"every": "9" * 40 + "w"}, "is not a time"),
        ({"every": float("nan")}, "is not a time"),
        ({"every": float("inf")}, "is not a time"),
        ({"every": [1]}, "is not a time"),
        ({"every": True}, "every True of task 't' is not a time"),
        ({"every": b"1h"}, "is not a time"),
        ({"every": timedelta(milliseconds=999)}, "must be at least 1 second"),
        ({"every": "1h", "timezone": True}, "timezone True of task 't' must be a text"),
        ({"every": "1h", "missed": True}, "missed True of task 't' must be one of"),
        ({"cron": True}, "cron True of task 't' must be a text"),
        ({"timezone": "UTC"}, "timezone 'UTC' of task 't' needs `every` or `cron`"),
        ({"missed": "skip"}, "missed 'skip' of task 't' needs `every` or `cron`"),
        ({"cron": ""}, "cron '' of task 't' must be a text"),
        ({"cron": 5}, "cron 5 of task 't' must be a text"),
        ({"every": "1h", "timezone": " "}, "timezone ' ' of task 't' must be a text"),
        (
            {"every": "1h", "missed": "never"},
            "missed 'never' of task 't' must be one of run_once, skip, backfill",
        ),
    ],
)
def test_what_python_can_tell_is_refused_at_once(options: dict[str, Any], words: str) -> None:
    with pytest.raises(TaskLoadError) as caught:
        scheduled(**options)
    assert words in str(caught.value)


def test_a_task_directory(tmp_path: Path) -> None:
    (tmp_path / "rollup.py").write_text(
        "from tidemill import task\n@task(every='1h', timezone='Asia/Kolkata')\ndef rollup(payload): ...\n"
    )
    (tmp_path / "wrong.py").write_text(
        "from tidemill import task\n@task(every='x')\ndef wrong(payload): ...\n"
    )
    [found], [problem] = load_directory(tmp_path)
    assert (found.identifier, found.schedule) == ("rollup", Schedule("1 hours", timezone="Asia/Kolkata"))
    assert "every 'x' of task 'wrong' is not a time" in str(problem)


# The actions


def declare(connection: psycopg.Connection, *tasks: Task[Any]) -> None:
    declare_schedules(connection, {each.identifier: each for each in tasks})


def actions(connection: psycopg.Connection) -> list[dict[str, Any]]:
    """The declared actions, by their tasks' names."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            "select a.*, a.schedule_interval::text as every, s.next_start from tidemill._actions a"
            " join tidemill._action_states s on s.action_id = a.id where a.declared order by a.task"
        ).fetchall()


def action(connection: psycopg.Connection) -> dict[str, Any]:
    [found] = actions(connection)
    return found


def test_a_worker_makes_actions(connection: psycopg.Connection) -> None:
    declare(
        connection,
        scheduled("plain"),
        scheduled("hourly", every="1h", missed="skip"),
        scheduled("weekly", cron="30 4 * * 1", timezone="Europe/Berlin"),
    )
    hourly, weekly = actions(connection)
    assert (hourly["name"], hourly["task"], hourly["every"], hourly["cron"]) == (
        "hourly",
        "hourly",
        "01:00:00",
        None,
    )
    assert (hourly["fixed_schedule"], hourly["missed"], hourly["config"]) == (True, "skip", None)
    assert (weekly["name"], weekly["every"], weekly["cron"]) == ("weekly", None, "30 4 * * 1")
    assert (weekly["timezone"], weekly["missed"]) == ("Europe/Berlin", "run_once")
    assert all(found["scheduled"] and found["owner"] == connection.info.user for found in (hourly, weekly))
    # The next ones, and none at once.
    now = datetime.now(UTC)
    for found, longest in ((hourly, timedelta(hours=1)), (weekly, timedelta(days=7, hours=1))):
        assert now - timedelta(minutes=1) < found["next_start"] <= now + longest + timedelta(minutes=1)
    assert (hourly["next_start"].minute, hourly["next_start"].second) == (0, 0)


def postpone(connection: psycopg.Connection, action_id: int) -> None:
    connection.execute("select tidemill.alter_action(%s, next_start => '2030-01-01 00:00+00')", [action_id])


FIRST = "select * from tidemill._declare_action('t', %s::interval, timezone => %s, at => %s)"


@pytest.mark.parametrize(
    ("every", "timezone", "now", "first"),
    [
        ("10 minutes", None, "2026-07-01 12:03:07+00", "2026-07-01 12:10:00+00"),
        ("7 minutes", None, "2000-01-03 00:00:00+00", "2000-01-03 00:07:00+00"),
        ("1 day", None, "2026-07-01 12:03:00+00", "2026-07-02 00:00:00+00"),
        # Midnight in Berlin, summer and winter.
        ("1 day", "Europe/Berlin", "2026-07-01 12:03:00+00", "2026-07-01 22:00:00+00"),
        ("1 day", "Europe/Berlin", "2026-12-01 12:03:00+00", "2026-12-01 23:00:00+00"),
        # Mondays.
        ("7 days", None, "2026-07-01 12:03:00+00", "2026-07-06 00:00:00+00"),
        # A midnight that the clocks of Chile skipped: the slot is at one, and the next one at midnight.
        ("1 day", "America/Santiago", "2022-09-10 12:00:00+00", "2022-09-11 04:00:00+00"),
    ],
)
def test_the_grid_does_not_depend_on_the_start(
    connection: psycopg.Connection, every: str, timezone: str | None, now: str, first: str
) -> None:
    connection.execute(FIRST, [every, timezone, now])
    found = action(connection)
    assert found["next_start"] == datetime.fromisoformat(first)
    [(on_grid,)] = connection.execute(
        "select initial_start at time zone coalesce(timezone, 'UTC') = timestamp '2000-01-03'"
        " from tidemill._actions where declared"
    )
    assert on_grid


def test_nothing_changes_when_nothing_did(connection: psycopg.Connection) -> None:
    tasks = [scheduled("a", every="1d", timezone="Asia/Kolkata"), scheduled("b", cron="0 5 * * *")]
    declare(connection, *tasks)
    # What operators do holds.
    ids = [found["id"] for found in actions(connection)]
    connection.execute(
        "select from tidemill.alter_action(%s, scheduled => false, config => '{\"a\": 1}', max_retries => 3)",
        [ids[0]],
    )
    postpone(connection, ids[1])
    before = actions(connection)
    declare(connection, *tasks)
    assert actions(connection) == before


def test_the_tasks_options_are_those_of_the_actions_jobs(connection: psycopg.Connection) -> None:
    declare(connection, scheduled(every="1d"))
    assert action(connection)["job_options"] is None
    task = scheduled(every="1d", queue="mail", priority=7)
    declare(connection, task)
    own = {"queue_name": "mail", "priority": 7}
    assert action(connection)["job_options"] == own
    # What the code leaves open is the operators', and what it says is restored.
    connection.execute(
        'select from tidemill.alter_action(%s, job_options => \'{"priority": 1, "flags": ["slow"]}\')',
        [action(connection)["id"]],
    )
    declare(connection, task)
    before = action(connection)
    assert before["job_options"] == {**own, "flags": ["slow"]}
    declare(connection, task)
    assert action(connection) == before


def test_changed_code_changes_the_action(connection: psycopg.Connection) -> None:
    declare(connection, scheduled(every="1d", timezone="Asia/Kolkata"))
    first = action(connection)
    connection.execute("select from tidemill.alter_action(%s, scheduled => false)", [first["id"]])

    declare(connection, scheduled(every="24h", timezone="Asia/Kolkata"))
    found = action(connection)
    assert (found["id"], found["every"], found["scheduled"]) == (first["id"], "24:00:00", False)

    declare(connection, scheduled(cron="0 5 1 1 *", missed="skip"))
    found = action(connection)
    assert (found["id"], found["every"], found["cron"], found["timezone"]) == (
        first["id"],
        None,
        "0 5 1 1 *",
        None,
    )
    assert found["missed"] == "skip"
    assert (found["next_start"].month, found["next_start"].day, found["next_start"].hour) == (1, 1, 5)

    declare(connection, scheduled(cron="0 5 1 1 *", timezone="Europe/Berlin", missed="skip"))
    assert action(connection)["next_start"].astimezone(UTC).hour == 4

    postpone(connection, first["id"])
    declare(connection, scheduled(cron="0 5 1 1 *", timezone="Europe/Berlin", missed="backfill"))
    found = action(connection)
    # Only what is missed changed, so the next start holds.
    assert (found["missed"], found["next_start"]) == ("backfill", datetime(2030, 1, 1, tzinfo=UTC))

    declare(connection, scheduled(every="10m"))
    found = action(connection)
    assert (found["cron"], found["every"], found["missed"]) == (None, "00:10:00", "run_once")
    assert found["next_start"] < datetime.now(UTC) + timedelta(minutes=11)
    assert found["next_start"].minute % 10 == 0


@pytest.mark.parametrize("changed", [False, True])
def test_the_first_slot_can_be_missed_like_the_others(connection: psycopg.Connection, changed: bool) -> None:
    if changed:
        declare(connection, scheduled(every="2h", missed="skip"))
    declare(connection, scheduled(every="1h", missed="skip"))
    connection.execute(
        "select tidemill._skip_missed(%s)", [action(connection)["next_start"] + timedelta(minutes=2)]
    )
    assert connection.execute("select outcome from tidemill._action_runs").fetchall() == [("skipped",)]


def test_a_schedule_that_was_taken_back(connection: psycopg.Connection) -> None:
    declare(connection, scheduled("a", every="1h"), scheduled("b", every="1h"), scheduled("c", every="1h"))
    # Added by hand, for the same task and of the same name.
    connection.execute("select tidemill.add_action(task => 'a', name => 'a', schedule_interval => '1 day')")
    # This worker does not know c.
    declare(connection, scheduled("a"), scheduled("b", every="1h"))
    assert [found["task"] for found in actions(connection)] == ["b", "c"]
    assert connection.execute("select count(*) from tidemill._actions where task = 'a'").fetchone() == (1,)


def test_what_was_added_by_hand_is_left_alone(connection: psycopg.Connection) -> None:
    connection.execute("select tidemill.add_action(task => 't', name => 't', schedule_interval => '1 day')")
    mine = "select * from tidemill._actions where task = 't' and not declared"
    before = connection.execute(mine).fetchall()
    declare(connection, scheduled(every="1h"))
    assert action(connection)["every"] == "01:00:00"
    assert connection.execute(mine).fetchall() == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"cron": "61 * * * *"}, "61"),
        ({"cron": "0 0 * *"}, "cron"),
        ({"every": "1h", "timezone": "Europe/Berlinn"}, 'time zone "Europe/Berlinn" not recognized.'),
        ({"cron": "0 5 * * *", "timezone": "Mars"}, 'time zone "Mars" not recognized.'),
        ({"every": 1e13}, "interval"),
        ({"name": "n" * 80, "every": "1h"}, "application name too long."),
    ],
)
def test_what_only_the_database_can_tell(
    connection: psycopg.Connection, options: dict[str, Any], words: str
) -> None:
    bad = scheduled(**{"name": "z", **options})
    with pytest.raises(TaskLoadError) as caught:
        declare(connection, scheduled("good", every="1h"), bad)
    told = str(caught.value)
    assert told.startswith(f"The schedule of task '{bad.identifier}' is refused: ")
    assert words in told
    assert told.endswith((".", "?"))
    # All or none; and the connection is still good.
    assert actions(connection) == []


def test_errors_of_the_database_are_passed_on(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("set default_transaction_read_only = on")
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            declare(connection, scheduled(every="1h"))


@pytest.mark.parametrize("isolation", ["read committed", "serializable"])
def test_two_workers_at_once(connection: psycopg.Connection, database: str, isolation: str) -> None:
    options = f"-c default_transaction_isolation={isolation.replace(' ', chr(92) + ' ')}"
    tasks = {name: scheduled(name, every="1h") for name in "abc"}
    with (
        psycopg.connect(database) as first,
        psycopg.connect(make_conninfo(database, options=options), autocommit=True) as second,
    ):
        for name in tasks:
            first.execute("select tidemill._declare_action(%s, '1 hour')", [name])
        thread = threading.Thread(target=declare_schedules, args=[second, tasks])
        thread.start()
        wait_until(
            lambda: connection.execute(
                "select from pg_stat_activity where pid = %s and wait_event_type = 'Lock'",
                [second.info.backend_pid],
            ).fetchall(),
            "the second worker to wait",
        )
        first.commit()
        thread.join(30)
        assert not thread.is_alive()
    assert [found["task"] for found in actions(connection)] == ["a", "b", "c"]


def test_what_changed_is_logged(connection: psycopg.Connection, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "tidemill")
    a_task = scheduled("a", every="10m")
    declare(connection, a_task, scheduled("b", cron="0 5 * * *", timezone="Asia/Kolkata"))
    declare(connection, a_task, scheduled("b"))
    a = action(connection)["id"]
    assert [record.getMessage() for record in caplog.records] == [
        f"task a runs by itself: every 10 minutes (UTC); action {a} is added",
        f"task b runs by itself: cron 0 5 * * * (Asia/Kolkata); action {a + 1} is added",
        f"task b has no schedule any more: action {a + 1} is deleted",
    ]


def test_a_check_of_the_operators_runs_as_they_wrote_it(connection: psycopg.Connection) -> None:
    declare(connection, scheduled(every="1h"))
    connection.execute("create table allowed (name text)")
    connection.execute("insert into allowed values ('yes')")
    connection.execute(
        "create function check_it(config jsonb) returns void language plpgsql as"
        " 'begin if not exists (select from allowed where name = config ->> ''name'')"
        " then raise exception ''not allowed''; end if; end'"
    )
    connection.execute(
        "select from tidemill.alter_action(%s, config => '{\"name\": \"yes\"}', check_config => 'check_it')",
        [action(connection)["id"]],
    )
    declare(connection, scheduled(every="2h"))
    assert action(connection)["every"] == "02:00:00"
