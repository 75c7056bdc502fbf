"""Actions that add a job for a task."""

from __future__ import annotations

import psycopg

from tests.actions.clock import Clock
from tests.actions.support import HOUR, NOON, SECOND, add_action, history, outcomes, state


def test_a_task_action_adds_a_job(connection: psycopg.Connection, clock: Clock) -> None:
    action = add_action(connection, task="report", config='{"of": "sales"}', initial_start=NOON)
    assert clock.enqueue(NOON - SECOND) == 0
    assert clock.enqueue(NOON + SECOND) == 1
    assert clock.start(NOON + SECOND) == []
    jobs = connection.execute("select id, identifier, payload, run_at from tidemill.jobs").fetchall()
    [run] = history(connection, action)
    assert jobs == [(run["job_id"], "report", {"of": "sales"}, NOON)]
    assert (run["outcome"], run["slot"]) == ("success", NOON)
    assert state(connection, action)["next_start"] == NOON + HOUR
    assert clock.enqueue(NOON + 2 * SECOND) == 0


def test_many_task_actions_keep_their_jobs_apart(connection: psycopg.Connection, clock: Clock) -> None:
    wanted = {
        add_action(connection, task=f"t{n % 3}", config=f'{{"n": {n}}}', initial_start=NOON): n
        for n in range(30)
    }
    assert [clock.enqueue(NOON, most=20), clock.enqueue(NOON, most=20), clock.enqueue(NOON)] == [20, 10, 0]
    rows = connection.execute(
        "select r.action_id, j.identifier, (j.payload ->> 'n')::integer"
        " from tidemill._action_runs r join tidemill.jobs j on j.id = r.job_id"
    ).fetchall()
    assert {action: (task, n) for action, task, n in rows} == {
        action: (f"t{n % 3}", n) for action, n in wanted.items()
    }


def test_a_task_action_with_options(connection: psycopg.Connection, clock: Clock) -> None:
    options = '{"queue_name": "q", "priority": -5, "max_attempts": 3, "job_key": "k", "flags": ["x"]}'
    add_action(connection, task="report", job_options=options, initial_start=NOON)
    clock.enqueue(NOON)
    clock.enqueue(NOON + HOUR)
    jobs = connection.execute(
        "select queue_name, priority, max_attempts, key, flags, run_at, revision from tidemill.jobs"
    ).fetchall()
    assert jobs == [("q", -5, 3, "k", ["x"], NOON + HOUR, 1)]


def test_options_without_a_key_hold_in_one_statement(connection: psycopg.Connection, clock: Clock) -> None:
    options = [None, '{"queue_name": "q", "priority": -5}', '{"max_attempts": 1e1, "flags": ["x"]}', "{}"]
    for given in options:
        add_action(connection, task="report", initial_start=NOON, **({"job_options": given} if given else {}))
    assert clock.enqueue(NOON) == 4
    jobs = connection.execute(
        "select queue_name, priority, max_attempts, flags from tidemill.jobs order by id"
    ).fetchall()
    assert jobs == [(None, 0, 25, None), ("q", -5, 25, None), (None, 0, 10, ["x"]), (None, 0, 25, None)]


def test_a_job_that_cannot_be_added_is_a_failed_run(connection: psycopg.Connection, clock: Clock) -> None:
    good = add_action(connection, task="good", initial_start=NOON)
    bad = add_action(connection, task="bad", initial_start=NOON)
    connection.execute("update tidemill._actions set task = repeat('x', 200) where id = %s", [bad])
    assert clock.enqueue(NOON) == 2
    assert outcomes(connection, good) == ["success"]
    [run] = history(connection, bad)
    assert (run["outcome"], run["sqlstate"]) == ("failure", "23514")
    assert "identifier has 200 characters" in run["message"]
    assert connection.execute("select identifier from tidemill.jobs").fetchall() == [("good",)]


def test_null_flags_are_none(connection: psycopg.Connection, clock: Clock) -> None:
    action = add_action(connection, task="report", job_options='{"flags": null}', initial_start=NOON)
    clock.enqueue(NOON)
    assert outcomes(connection, action) == ["success"]


def test_a_task_action_that_is_changed_is_left_alone(
    connection: psycopg.Connection, clock: Clock, database: str
) -> None:
    action = add_action(connection, task="report", job_options='{"job_key": "k"}', initial_start=NOON)
    with psycopg.connect(database) as changes:
        # alter_action locks this row first, and then its state's.
        changes.execute("select from tidemill._actions where id = %s for update", [action])
        connection.execute("set lock_timeout = '1s'")
        assert clock.enqueue(NOON) == 0
    assert clock.enqueue(NOON) == 1


def test_a_job_key_that_is_held_holds_nobody_up(
    connection: psycopg.Connection, clock: Clock, database: str
) -> None:
    held = add_action(connection, task="report", job_options='{"job_key": "k"}', initial_start=NOON)
    other = add_action(connection, task="other", initial_start=NOON)
    connection.execute("set statement_timeout = '20s'")
    with psycopg.connect(database) as producer:
        producer.execute("select tidemill.add_job('report', job_key => 'k')")
        clock.enqueue(NOON)
        assert outcomes(connection, other) == ["success"]
        assert outcomes(connection, held) == []
    assert clock.enqueue(NOON) == 1
    assert outcomes(connection, held) == ["success"]


def test_a_new_task_that_is_held_holds_nobody_up(
    connection: psycopg.Connection, clock: Clock, database: str
) -> None:
    for _ in range(200):
        add_action(connection, task="report", initial_start=NOON)
    other = add_action(connection, task="other", initial_start=NOON)
    connection.execute("set statement_timeout = '20s'")
    with psycopg.connect(database) as producer:
        producer.execute("select tidemill.add_job('report')")
        assert clock.enqueue(NOON, 250) == 1
        assert outcomes(connection, other) == ["success"]
    assert clock.enqueue(NOON, 250) == 200
