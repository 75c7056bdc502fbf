"""Errors of the database in words for people."""

from __future__ import annotations

import psycopg
import pytest

from tidemill.database.words import in_short, users_frames, words

pytestmark = pytest.mark.versions(18)


def said(connection: psycopg.Connection, statement: str) -> tuple[str, str]:
    """What is told of a failing statement, and what the driver would tell."""
    with pytest.raises(psycopg.Error) as caught:
        connection.execute(statement.encode())
    return words(caught.value), str(caught.value)


@pytest.mark.parametrize(
    "statement",
    [
        "select tidemill.add_job(null)",
        "select graphile_worker.add_job(repeat('x', 200))",
        "select tidemill.add_action('nowhere', '1 hour')",
        "select tidemill.next_runs('not a line', 1)",
        "call tidemill.run_action(0)",
    ],
)
def test_our_own_frames_are_left_out(connection: psycopg.Connection, statement: str) -> None:
    told, _ = said(connection, statement)
    assert "CONTEXT" not in told
    assert "PL/pgSQL" not in told
    assert "\n" not in told


def test_in_short_an_error_is_its_message_alone(connection: psycopg.Connection) -> None:
    with pytest.raises(psycopg.Error) as caught:
        connection.execute(
            "do $$ begin raise exception 'refused' using detail = 'a detail', hint = 'a hint'; end $$"
        )
    assert "CONTEXT" in str(caught.value)
    assert in_short(caught.value) == "refused"
    assert in_short(psycopg.OperationalError("no\n  answer")) == "no answer"


def test_frames_of_users_functions_stay(connection: psycopg.Connection) -> None:
    connection.execute(
        "create function app.outer_one() returns void language plpgsql as "
        "$$ begin perform tidemill.add_job('x', job_key => '', payload => '{}'); end $$"
    )
    told, by_driver = said(connection, "select app.outer_one()")
    assert "tidemill._" in by_driver or "tidemill.add_job" in by_driver
    # The statement is the user's, and so is the function that executes it.
    assert "CONTEXT: SQL statement" in told
    assert "outer_one() line 1 at PERFORM" in told
    assert "PL/pgSQL function tidemill." not in told


def test_detail_and_hint_are_told(connection: psycopg.Connection) -> None:
    told, _ = said(
        connection,
        "do $$ begin raise exception 'what' using detail = 'why', hint = E'how\\nto'; end $$",
    )
    assert told.startswith("what DETAIL: why HINT: how to CONTEXT: PL/pgSQL function inline_code_block")


def test_an_error_without_a_message_has_its_name() -> None:
    assert words(psycopg.OperationalError()) == "OperationalError"
    assert words(psycopg.OperationalError("two\nlines")) == "two lines"


def test_a_statement_of_ours_of_many_lines_is_left_out() -> None:
    context = (
        'SQL statement "insert\n  into x\nvalues (1)"\n'
        "PL/pgSQL function tidemill._x(integer) line 3 at SQL statement\n"
        'SQL function "add_job" statement 1\n'
        'SQL statement "select tidemill.add_job()"\n'
        "PL/pgSQL function app.f() line 1 at PERFORM"
    )
    assert users_frames(context) == (
        'SQL statement "select tidemill.add_job()"\nPL/pgSQL function app.f() line 1 at PERFORM'
    )
    assert users_frames("") == ""
