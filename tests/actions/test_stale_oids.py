"""Numbers of routines and roles that have another meaning now, or none, as after a restore."""

from __future__ import annotations

import psycopg
import pytest

from tests.actions.definitions import row
from tests.actions.support import add_action, make_note

pytestmark = pytest.mark.versions(18, 16)


def test_a_routine_with_other_arguments_is_not_the_actions(connection: psycopg.Connection) -> None:
    make_note(connection)
    connection.execute("create function app.other() returns integer language sql return 1")
    action = add_action(connection, proc="note")
    connection.execute(
        "update tidemill._actions set proc_name = 'gone', proc_oid = 'app.other'::regproc where id = %s",
        [action],
    )
    connection.execute("select tidemill._follow_routine(%s)", [action])
    assert row(connection, "select routine from tidemill.actions where id = %s", [action]) == {
        "routine": "app.gone"
    }


def test_a_grant_to_a_role_that_is_gone_does_no_harm(
    connection: psycopg.Connection, superuser_conninfo: str
) -> None:
    action = add_action(connection, task="t")
    with psycopg.connect(superuser_conninfo, autocommit=True) as superuser:
        superuser.execute("create function tidemill._owns_actions_1_1() returns boolean return true")
        superuser.execute(
            "update pg_proc set proowner = 'tidemill_owner'::regrole,"
            " proacl = array[makeaclitem(4000000000, 'tidemill_owner'::regrole, 'EXECUTE', false)]"
            " where oid = 'tidemill._owns_actions_1_1()'::regprocedure"
        )
        superuser.execute(
            "update tidemill._actions set owner = 4000000000::oid::regrole where id = %s", [action]
        )
    connection.execute("select tidemill.delete_action(%s)", [action])
    assert row(connection, "select count(*) as n from tidemill.actions where id >= 1000") == {"n": 0}
