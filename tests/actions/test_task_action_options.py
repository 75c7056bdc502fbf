"""Task actions in SQL: a job's options, and a pause at the last moment."""

from __future__ import annotations

import psycopg
import pytest

from tests.actions.definitions import row, rows
from tests.actions.support import HOUR, NOON, add_action, outcomes

pytestmark = pytest.mark.versions(18, 16)


@pytest.mark.parametrize(("mode", "priority"), [("unsafe_dedupe", 0), ("replace", 7), (None, 7)])
def test_the_mode_of_the_key(connection: psycopg.Connection, mode: str | None, priority: int) -> None:
    connection.execute("select tidemill.add_job('other', job_key => 'k')")
    key_mode = "" if mode is None else f', "job_key_mode": "{mode}"'
    options = f'{{"job_key": "k", "priority": 7{key_mode}}}'
    action = add_action(connection, task="report", initial_start=NOON, job_options=options)
    assert row(connection, "select tidemill._enqueue_actions(9, %s) as n", [NOON]) == {"n": 1}
    assert outcomes(connection, action) == ["success"]
    assert rows(connection, "select key, priority from tidemill.jobs") == [{"key": "k", "priority": priority}]


@pytest.mark.parametrize("scheduled", [True, False])
def test_one_that_was_paused_a_moment_ago_adds_no_job(
    connection: psycopg.Connection, scheduled: bool
) -> None:
    action = add_action(
        connection, task="report", initial_start=NOON, scheduled=scheduled, job_options='{"priority": 7}'
    )
    # As a worker that found it due, before the pause.
    added = row(
        connection,
        "select tidemill._enqueue_action(row(a, s, s.next_start)::tidemill._due_task, %s) as added"
        " from tidemill._actions a join tidemill._action_states s on s.action_id = a.id where a.id = %s",
        [NOON, action],
    )
    assert added == {"added": scheduled}
    assert outcomes(connection, action) == ["success"] * scheduled
    assert len(rows(connection, "select from tidemill.jobs")) == scheduled
    next_start = row(connection, "select next_start from tidemill.actions where id = %s", [action])
    assert next_start == {"next_start": NOON + HOUR * scheduled}


def test_jobs_of_actions_have_limits(connection: psycopg.Connection) -> None:
    """By their name, also with a key; and that of their task, which may refuse them."""
    connection.execute("select tidemill.set_limit('l', 1)")
    connection.execute(
        'select * from tidemill._declare_limits(\'{"own": {"concurrency": 1, "field": "customer"}}\')'
    )
    good = [
        add_action(connection, task="a", initial_start=NOON, job_options='{"limit_name": "l"}'),
        add_action(
            connection, task="b", initial_start=NOON, job_options='{"limit_name": "l", "job_key": "k"}'
        ),
        add_action(connection, task="own", initial_start=NOON, config='{"customer": 1}'),
    ]
    bad = add_action(connection, task="own", initial_start=NOON)
    assert row(connection, "select tidemill._enqueue_actions(9, %s) as n", [NOON]) == {"n": 4}
    assert [outcomes(connection, action) for action in good] == [["success"]] * 3
    assert outcomes(connection, bad) == ["failure"]
    assert rows(connection, "select name, waiting from tidemill.limits order by name") == [
        {"name": "l", "waiting": 2},
        {"name": "own", "waiting": 1},
    ]
