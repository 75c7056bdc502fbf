"""The built-in action 3: what it deletes of the history, and what it keeps."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

pytestmark = pytest.mark.versions(18, 16)

Connection = psycopg.Connection

CONFIG = {"drop_after": "1 month", "max_successes_per_job": 10, "max_failures_per_job": 10}


def add_runs(
    connection: Connection,
    count: int,
    action_id: int = 1000,
    outcome: str | None = "success",
    age: str = "1 day",
) -> None:
    """Adds runs that started so long ago, each a second after the one before."""
    connection.execute(
        "insert into tidemill._action_runs (action_id, application_name, owner, started_at, outcome)"
        " select %s, 'x', current_user::regrole, now() - %s::interval + i * interval '1 s', %s"
        " from generate_series(1, %s) i",
        [action_id, age, outcome, count],
    )


def prune(connection: Connection, **config: Any) -> None:
    connection.execute("call tidemill.prune_action_history(3, %s)", [Jsonb(CONFIG | config)])


def kept(connection: Connection) -> dict[tuple[int, str | None], int]:
    return {
        (action, outcome): count
        for action, outcome, count in connection.execute(
            "select action_id, outcome, count(*) from tidemill._action_runs group by 1, 2"
        )
    }


def test_what_is_older_goes(connection: Connection) -> None:
    add_runs(connection, 3, age="32 days")
    add_runs(connection, 2, outcome="failure", age="32 days")
    add_runs(connection, 4, age="27 days")
    add_runs(connection, 1, outcome="failure", age="27 days")
    prune(connection)
    assert kept(connection) == {(1000, "success"): 4, (1000, "failure"): 1}
    prune(connection, drop_after="2 weeks")
    assert kept(connection) == {}


def test_of_each_action_the_newest_are_kept(connection: Connection) -> None:
    add_runs(connection, 30)
    add_runs(connection, 30, action_id=1001)
    add_runs(connection, 15, outcome="failure")
    add_runs(connection, 9, outcome="timeout", age="1 hour")
    add_runs(connection, 12, action_id=1002, outcome="skipped")
    prune(connection, max_successes_per_job=20)
    assert kept(connection) == {
        (1000, "success"): 20,
        (1001, "success"): 20,
        # Whatever is no success counts as a failure.
        (1000, "failure"): 1,
        (1000, "timeout"): 9,
        (1002, "skipped"): 10,
    }
    oldest = connection.execute(
        "select min(id), max(id) from tidemill._action_runs where action_id = 1000 and outcome = 'success'"
    ).fetchone()
    assert oldest == (11, 30)


def test_runs_that_go_on_are_kept(connection: Connection) -> None:
    add_runs(connection, 15, outcome=None, age="1 year")
    add_runs(connection, 12)
    prune(connection)
    assert kept(connection) == {(1000, None): 15, (1000, "success"): 10}


def test_an_empty_history(connection: Connection) -> None:
    prune(connection)
    assert kept(connection) == {}


def test_it_deletes_in_batches_by_the_indexes(connection: Connection) -> None:
    add_runs(connection, 12_000, age="2 months")
    for action_id in range(1000, 1010):
        add_runs(connection, 2_000, action_id)
    connection.execute("select pg_stat_force_next_flush()")
    scans = "select seq_scan, n_tup_del from pg_stat_user_tables where relname = '_action_runs'"
    before = connection.execute(scans).fetchone()
    prune(connection, max_successes_per_job=1000)
    connection.execute("select pg_stat_force_next_flush()")
    after = connection.execute(scans).fetchone()
    assert before is not None
    assert after == (before[0], 22_000)
    assert kept(connection) == {(action_id, "success"): 1000 for action_id in range(1000, 1010)}
    # Between the batches it commits.
    add_runs(connection, 1, age="2 months")
    with pytest.raises(psycopg.errors.InvalidTransactionTermination), connection.transaction():
        prune(connection)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (None, "config cannot be NULL, and must contain drop_after"),
        ({}, "drop_after interval not provided"),
        ({"drop_after": None}, "drop_after interval not provided"),
        ({"drop_after": "1 day"}, "max_successes_per_job not provided"),
        ({"drop_after": "1 day", "max_successes_per_job": 3}, "max_failures_per_job not provided"),
        (CONFIG | {"max_successes_per_job": 9}, "max_successes_per_job has to be at least 10"),
        (CONFIG | {"drop_after": 30}, "drop_after is 30, which has no unit"),
        (CONFIG | {"drop_acts_after": "90"}, "drop_acts_after is 90, which has no unit"),
        (CONFIG | {"max_failures_per_job": 9}, "max_failures_per_job has to be at least 10"),
    ],
)
def test_configs_that_are_refused(
    connection: Connection, config: dict[str, Any] | None, message: str
) -> None:
    value = None if config is None else Jsonb(config)
    for query in (
        "select tidemill.check_history_retention(%s)",
        "call tidemill.prune_action_history(3, %s)",
    ):
        with pytest.raises(psycopg.errors.InvalidParameterValue) as raised:
            connection.execute(query, [value])
        assert raised.value.diag.message_primary == message


def test_the_built_in_action_checks_its_config(connection: Connection) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="at least 10"):
        connection.execute(
            "select tidemill.alter_action(3, config => %s)", [Jsonb(CONFIG | {"max_failures_per_job": 1})]
        )
    connection.execute("select tidemill.alter_action(3, config => %s)", [Jsonb(CONFIG)])
    add_runs(connection, 11)
    connection.execute("call tidemill.run_action(3)")
    assert kept(connection) == {(1000, "success"): 10, (3, "success"): 1}
