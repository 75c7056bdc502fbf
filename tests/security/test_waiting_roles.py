"""Who may wait for jobs, and what the functions for it let them do."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.actions.definitions import refused
from tests.security.test_roles import NewRole, give, named
from tests.support.running import running
from tidemill import App
from tidemill.errors import MissingRightsError, SchemaError

pytestmark = pytest.mark.versions(18, 16)

Connection = psycopg.Connection[Any]


@pytest.mark.parametrize("role", ["reader", "operator", "worker"])
async def test_readers_wait(new_role: NewRole, connection: Connection, database: str, role: str) -> None:
    someone = new_role(False)
    give(connection, role, someone)
    async with App(database) as app, App(make_conninfo(database, user=named(someone))) as other:

        @app.task(keep_result=True)
        async def t(payload: int) -> int:
            return payload + 1

        async with running(app):
            assert await other.wait(await t.add(4), timeout=30) == 5
    assert connection.execute("select count(*) from tidemill._waiters").fetchone() == (0,)


@pytest.mark.parametrize("role", ["producer", "actions"])
async def test_others_are_told_at_once(
    new_role: NewRole, connection: Connection, database: str, role: str
) -> None:
    someone = new_role(False)
    give(connection, role, someone)
    connection.execute("select tidemill.add_job('t') from generate_series(1, 2)")
    async with App(make_conninfo(database, user=named(someone))) as app:
        waits = [app.sync._ask(number) for number in (1, 2)]
        for wait in waits:
            with pytest.raises(MissingRightsError, match=f"tidemill grant reader TO {named(someone)}$"):
                wait.result(30)
        assert waits[0].exception() is not waits[1].exception()
        # Without a limit of its own, too.
        with pytest.raises(MissingRightsError, match="may not wait for jobs"):
            await app.wait(1)


async def test_a_schema_that_is_not_there_is_told_at_once(empty_database: str) -> None:
    async with App(empty_database) as app:
        with pytest.raises(SchemaError, match="tidemill migrate"):
            await app.wait(1)


def test_a_reader_has_nothing_told_elsewhere(new_role: NewRole, connection: Connection) -> None:
    connection.execute("select tidemill.add_job('t')")
    reader = new_role(False)
    give(connection, "reader", reader)
    for channel in ("tidemill:cancel", "tidemill:ended:", "tidemill:ended:0\nx", "x tidemill:ended:0", None):
        with refused("22023", "is no channel to wait on"):
            reader.execute("select tidemill._wait_for('{1}', %s)", [channel])
    # Only of jobs that are there.
    reader.execute("select tidemill._wait_for('{1,2,1}', 'tidemill:ended:0')")
    assert connection.execute("select job_id from tidemill._waiters").fetchall() == [(1,)]
