"""Who may record the end of a run by hand: the session that runs it."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.actions.support import NOON, add_action, make_note, outcomes
from tests.support.servers import Server

pytestmark = pytest.mark.versions(18, 16)


@pytest.fixture
def role(server: Server, database: str, connection: psycopg.Connection) -> Iterator[psycopg.Connection]:
    """A session of a role that works with actions."""
    with server.role() as name:
        connection.execute("select tidemill.grant_actions(%s::regrole)", [name])
        with psycopg.connect(make_conninfo(database, user=name), autocommit=True) as opened:
            yield opened


@pytest.mark.parametrize(
    ("by_hand", "own", "ends"), [(True, True, True), (True, False, False), (False, True, False)]
)
def test_a_session_ends_its_own_runs_by_hand(
    connection: psycopg.Connection, role: psycopg.Connection, by_hand: bool, own: bool, ends: bool
) -> None:
    make_note(connection)
    action = add_action(connection, proc="note", initial_start=NOON)
    connection.execute("select tidemill._start_actions('w', 1, %s)", [NOON])
    connection.execute(
        "update tidemill._action_runs set by_hand = %s, pid = %s",
        [by_hand, (role if own else connection).info.backend_pid],
    )
    role.execute("select tidemill._end_hand_run(id, 'failure') from generate_series(1, 9) id")
    assert outcomes(connection, action) == ["failure" if ends else None]
