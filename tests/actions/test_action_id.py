"""tidemill.action_id: an action by its name."""

from __future__ import annotations

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.actions.definitions import add, refused, row
from tests.support.servers import Server

pytestmark = [pytest.mark.versions(18, 16), pytest.mark.usefixtures("work")]


def find(connection: psycopg.Connection, name: str | None) -> int:
    return int(row(connection, "select tidemill.action_id(%s) as id", [name])["id"])


def test_wherever_an_id_is_taken(connection: psycopg.Connection) -> None:
    number = add(connection, name="nightly")
    assert find(connection, "nightly") == number
    connection.execute("select tidemill.alter_action(tidemill.action_id('nightly'), scheduled => false)")
    connection.execute("call tidemill.run_action(tidemill.action_id('nightly'))")
    connection.execute("select tidemill.next_runs(tidemill.action_id('nightly'))")
    connection.execute("select tidemill.delete_action(tidemill.action_id('nightly'))")


def test_a_name_that_none_has(connection: psycopg.Connection) -> None:
    for name in ("nightly", "weekly report", None):
        add(connection, name=name)
    with refused("42704", 'no action has the name "nightli"', 'Is "nightly" meant?'):
        find(connection, "nightli")
    with refused("42704", 'Is "weekly report" meant?'):
        find(connection, "Weekly-Report")
    with refused("42704", "The view tidemill.actions lists what there is."):
        find(connection, "xyz")
    with refused("22023", "name of the action cannot be NULL"):
        find(connection, None)


def test_a_name_that_several_have(connection: psycopg.Connection) -> None:
    one, two = add(connection, name="nightly"), add(connection, name="nightly")
    with refused("42710", '2 actions have the name "nightly"', f"Give one of the ids {one}, {two} instead."):
        find(connection, "nightly")


def test_of_several_those_of_the_callers_count(
    server: Server, connection: psycopg.Connection, database: str
) -> None:
    others = add(connection, name="nightly")
    with server.role() as name:
        connection.execute("select tidemill.grant_actions(%s::regrole)", [name])
        with psycopg.connect(make_conninfo(database, user=name), autocommit=True) as ann:
            # One of somebody else is found, too: whether the caller may change it is another question.
            assert find(ann, "nightly") == others
            mine = int(
                row(ann, "select tidemill.add_action(task => 't', name => 'nightly', schedule => '@daily')")[
                    "add_action"
                ]
            )
            assert find(ann, "nightly") == mine
            assert find(connection, "nightly") == others
            with refused("42704", 'Is "nightly" meant?'):
                find(ann, "nightl")
