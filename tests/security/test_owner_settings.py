"""Settings that an action's owner chooses act on its runs, not on what the worker does for them."""

from __future__ import annotations

import pytest
from psycopg import Connection
from psycopg.conninfo import conninfo_to_dict

from tests.actions.support import NOON, add_action, history, make_note, outcomes
from tests.security.decoys import caught, lay_decoys
from tests.support.running import run_all
from tests.support.servers import OWNER
from tidemill import App

pytestmark = pytest.mark.versions(18, 16)

ENDS_THE_RUN = {"failure", "backend_terminated"}


@pytest.fixture
def owned(superuser: Connection, attacker: Connection) -> int:
    """An action that the worker may run as the attacker, and that takes a while."""
    name = attacker.info.user
    superuser.execute(f"grant {name} to {OWNER}".encode())
    attacker.execute(
        f"create or replace procedure {name}.work(integer, jsonb) language plpgsql"
        " as 'begin perform pg_sleep(0.3); end'".encode()
    )
    return add_action(attacker, proc=f"{name}.work", initial_start=NOON)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"idle_in_transaction_session_timeout": "1ms"}, {"success"}),
        ({"lock_timeout": "1ms"}, {"success"}),
        ({"default_transaction_isolation": "serializable"}, {"success"}),
        ({"default_transaction_read_only": "on"}, {"success"}),
        ({"statement_timeout": "1ms"}, ENDS_THE_RUN),
        ({"transaction_timeout": "1ms"}, ENDS_THE_RUN),
        # The first may come too late.
        ({"idle_session_timeout": "1ms"}, ENDS_THE_RUN | {"success"}),
        ({"exit_on_error": "on", "temp_tablespaces": "nowhere"}, ENDS_THE_RUN | {"success"}),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
async def test_a_timeout_is_the_runs_own(
    database: str,
    connection: Connection,
    attacker: Connection,
    owned: int,
    settings: dict[str, str],
    expected: set[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    if "transaction_timeout" in settings and connection.info.server_version < 170000:
        pytest.skip("this server has no such setting")
    for name, value in settings.items():
        attacker.execute(f"alter role {attacker.info.user} set {name} = '{value}'".encode())
    make_note(connection)
    other = add_action(connection, proc="note", initial_start=NOON)
    async with App(database) as app:
        await run_all(app)
    [run] = history(connection, owned)
    assert run["outcome"] in expected
    assert outcomes(connection, other) == ["success"]
    assert "could not start" not in caplog.text


async def test_a_search_path_leads_to_no_code_with_the_workers_rights(
    database: str, superuser: Connection, attacker: Connection, owned: int
) -> None:
    name = attacker.info.user
    home = f"{name}_decoys"
    superuser.execute(f"create schema {home} authorization {name}".encode())
    superuser.execute(f"set role {name}".encode())
    lay_decoys(superuser, schema=home)
    superuser.execute("reset role")
    attacker.execute(f"alter role {name} set search_path = {home}, pg_catalog".encode())
    attacker.execute(f"alter role {name} set work_mem = '5MB'".encode())
    attacker.execute(
        f"create or replace procedure {name}.work(integer, jsonb) language plpgsql as 'begin end'".encode()
    )
    assert conninfo_to_dict(database)["dbname"] == superuser.info.dbname
    async with App(database) as app:
        await run_all(app)
    assert outcomes(superuser, owned) == ["success"]
    assert caught(superuser, schema=home) is None
