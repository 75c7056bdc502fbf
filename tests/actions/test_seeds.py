"""The statements of the document that actions follow, unchanged, and their results."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from tests.actions.definitions import notices, row, rows
from tests.support.dialects import lay_timescaledb
from tests.support.servers import Server

STATEMENTS = Path(__file__).with_name("seed")


@pytest.fixture
def connection(server: Server, connection: psycopg.Connection) -> psycopg.Connection:
    """In a database with the dialect."""
    lay_timescaledb(server, connection.info.dsn)
    return connection


def text(name: str) -> bytes:
    return (STATEMENTS / f"{name}.sql").read_bytes()


def test_there_are_all_three_statements() -> None:
    assert [path.stem for path in sorted(STATEMENTS.iterdir())] == [
        "1_user_defined_action",
        "2_add_job",
        "3_jobs",
    ]


def test_create_and_register(connection: psycopg.Connection) -> None:
    connection.execute(text("1_user_defined_action"))
    assert connection.execute(text("2_add_job")).fetchall() == [(1000,)]
    jobs = rows(connection, text("3_jobs").decode())
    [job] = [found for found in jobs if found["job_id"] >= 1000]
    begun = job.pop("initial_start")
    assert job == {
        "job_id": 1000,
        "application_name": "User-Defined Action [1000]",
        "schedule_interval": timedelta(hours=1),
        "max_runtime": timedelta(0),
        "max_retries": -1,
        "retry_period": timedelta(minutes=5),
        "proc_schema": "app",
        "proc_name": "user_defined_action",
        "owner": "tidemill_owner",
        "scheduled": True,
        "fixed_schedule": True,
        "config": {"hypertable": "metrics"},
        "next_start": begun,
        "hypertable_schema": None,
        "hypertable_name": None,
        "check_schema": None,
        "check_name": None,
    }
    # Beside it there is the built-in action alone.
    assert [found["job_id"] for found in jobs if found["job_id"] < 1000] == [3]


def test_run_by_hand(connection: psycopg.Connection) -> None:
    connection.execute(text("1_user_defined_action"))
    connection.execute(text("2_add_job"))
    with notices(connection) as told:
        connection.execute("CALL run_job(1000)")
    assert told == ['NOTICE: Executing job 1000 with config {"hypertable": "metrics"}']


def test_without_parameters(connection: psycopg.Connection) -> None:
    connection.execute(text("1_user_defined_action"))
    connection.execute("SELECT add_job('user_defined_action', '1h')")
    with notices(connection) as told:
        connection.execute("CALL run_job(1000)")
    assert told == ["NOTICE: Executing job 1000 with config <NULL>"]


def test_on_its_schedule(connection: psycopg.Connection) -> None:
    connection.execute(text("1_user_defined_action"))
    connection.execute(text("2_add_job"))
    started = row(connection, "select * from tidemill._start_actions('w', 1)")
    assert (started["action_id"], started["application_name"]) == (1000, "User-Defined Action [1000]")
    called = row(connection, "select * from tidemill._prepare_run(%s)", [started["run_id"]])
    with notices(connection) as told:
        connection.execute(called["call"].encode())
    assert told == ['NOTICE: Executing job 1000 with config {"hypertable": "metrics"}']
