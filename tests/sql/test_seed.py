"""The statements of the document that the queue follows, unchanged, and their results."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.sql.calls import Queue

STATEMENTS = Path(__file__).with_name("seed")


@pytest.fixture(params=["graphile_worker", "tidemill"])
def schema(request: pytest.FixtureRequest) -> str:
    """The names of the dialect, as written, and the native ones."""
    return str(request.param)


@pytest.fixture
def app(connection: psycopg.Connection) -> Queue:
    """The application's tables that the triggers are about."""
    connection.execute(
        "create table my_table (id serial primary key);"
        "create table user_emails (id serial primary key, verified boolean not null);"
        "create table users (id serial primary key, name text);"
        "create table pdfs (id serial primary key, title text)"
    )
    return Queue(connection)


def text(name: str, schema: str) -> bytes:
    return (STATEMENTS / f"{name}.sql").read_text().replace("graphile_worker.", f"{schema}.").encode()


def jobs(queue: Queue) -> list[tuple[str, Any]]:
    return [
        (row["identifier"], row["payload"])
        for row in queue.rows("select identifier, payload from tidemill.jobs order by id")
    ]


def test_there_are_all_six_statements() -> None:
    assert [path.stem for path in sorted(STATEMENTS.iterdir())] == [
        "1_add_job",
        "2_named_parameters",
        "3_parameters",
        "4_simple_trigger",
        "5_trigger_function",
        "6_triggers",
    ]


def test_identifier_and_payload(queue: Queue, schema: str) -> None:
    queue.connection.execute(text("1_add_job", schema))
    assert jobs(queue) == [("send_email", {"to": "someone@example.com", "subject": "graphile-worker test"})]


def test_named_parameters(queue: Queue, schema: str) -> None:
    queue.connection.execute(text("2_named_parameters", schema))
    assert jobs(queue) == [("reminder", {})]
    row = queue.row("select run_at - created_at as ahead, state from tidemill.jobs")
    assert row == {"ahead": timedelta(days=2), "state": "scheduled"}


def expect_the_parameters(queue: Queue) -> None:
    assert queue.row(
        "select identifier, payload, queue_name, run_at - created_at as ahead, max_attempts"
        " from tidemill.jobs"
    ) == {
        "identifier": "greet",
        "payload": {"name": "Ada"},
        "queue_name": "letters",
        "ahead": timedelta(seconds=90),
        "max_attempts": 3,
    }


def test_parameters_through_the_driver(queue: Queue, schema: str) -> None:
    with psycopg.RawCursor(queue.connection) as cursor:
        cursor.execute(text("3_parameters", schema), ["greet", '{"name": "Ada"}', "letters", 90, 3])
    expect_the_parameters(queue)


def test_parameters_through_prepare(queue: Queue, schema: str) -> None:
    queue.connection.execute(b"prepare adding as " + text("3_parameters", schema))
    queue.connection.execute("""execute adding('greet', '{"name": "Ada"}', 'letters', 90, 3)""")
    expect_the_parameters(queue)


def test_the_simple_trigger(app: Queue, schema: str) -> None:
    app.connection.execute(text("4_simple_trigger", schema))
    app.connection.execute("insert into my_table select from generate_series(1, 2)")
    assert jobs(app) == [("task_identifier_here", {"id": 1}), ("task_identifier_here", {"id": 2})]


def test_a_trigger_adds_nothing_when_its_transaction_is_undone(app: Queue, schema: str) -> None:
    app.connection.execute(text("4_simple_trigger", schema))
    with app.connection.transaction(force_rollback=True):
        app.connection.execute("insert into my_table default values")
    assert jobs(app) == []


def test_one_trigger_function_to_rule_them_all(app: Queue, schema: str) -> None:
    app.connection.execute(text("5_trigger_function", schema))
    app.connection.execute(text("6_triggers", schema))
    for statement in (
        b"insert into user_emails (verified) values (true), (false)",
        b"insert into users (name) values ('Ada')",
        b"update users set name = 'Grace'",
        b"delete from users",
        b"insert into pdfs (title) values ('One')",
        b"update pdfs set title = 'One'",
        b"update pdfs set title = 'Two'",
    ):
        app.connection.execute(statement)

    def payload(table: str, op: str, number: int = 1) -> dict[str, object]:
        return {"schema": "app", "table": table, "op": op, "id": number}

    assert jobs(app) == [
        ("send_verification_email", payload("user_emails", "INSERT", 2)),
        ("user_changed", payload("users", "INSERT")),
        ("user_changed", payload("users", "UPDATE")),
        ("user_changed", payload("users", "DELETE")),
        ("generate_pdf", payload("pdfs", "INSERT")),
        ("generate_pdf", payload("pdfs", "UPDATE")),
    ]


def test_job_specs_from_row_constructors(queue: Queue, schema: str) -> None:
    queue.connection.execute(
        f"""select {schema}.add_jobs(array[
          row('a', '{{"n": 1}}', 'q', '2030-01-02 03:04:05+00', 3, 'k', -5, '{{x,y}}'),
          row('b', null, null, null, null, null, null, null)
        ]::{schema}.job_spec[])""".encode()
    )
    assert queue.rows(
        "select identifier, payload, queue_name, run_at = '2030-01-02 03:04:05+00' as then, max_attempts,"
        " key, priority, flags from tidemill.jobs order by id"
    ) == [
        {
            "identifier": "a",
            "payload": {"n": 1},
            "queue_name": "q",
            "then": True,
            "max_attempts": 3,
            "key": "k",
            "priority": -5,
            "flags": ["x", "y"],
        },
        {
            "identifier": "b",
            "payload": {},
            "queue_name": None,
            "then": False,
            "max_attempts": 25,
            "key": None,
            "priority": 0,
            "flags": None,
        },
    ]


def test_job_specs_from_a_json_recordset(queue: Queue, schema: str) -> None:
    queue.connection.execute(
        f"""select {schema}.add_jobs(array(
          select json_populate_recordset(null::{schema}.job_spec,
            '[{{"identifier": "a", "payload": {{"n": [1, null]}}, "flags": ["x"]}}, {{"identifier": "b"}}]')
        ))""".encode()
    )
    assert jobs(queue) == [("a", {"n": [1, None]}), ("b", {})]
    assert queue.value("select flags from tidemill.jobs where identifier = 'a'") == ["x"]


def test_job_key_preserve_run_at_of_add_jobs(queue: Queue, schema: str) -> None:
    for day, preserve in ((1, "false"), (2, "true"), (3, "false")):
        queue.connection.execute(
            f"""select {schema}.add_jobs(
              array[row('a', null, null, '2030-01-0{day} 00:00+00', null, 'k', null, null)
                ]::{schema}.job_spec[],
              job_key_preserve_run_at := {preserve})""".encode()
        )
        seen = queue.value("select extract(day from run_at at time zone 'UTC') from tidemill.jobs")
        assert seen == (1 if preserve == "true" else day)
