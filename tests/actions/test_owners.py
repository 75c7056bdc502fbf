"""An action's owner: how it is changed, and what comes of actions whose owner was dropped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from tests.actions.definitions import ROUTINE, add, alter, definition, refused, row, rows
from tests.support.servers import Server

pytestmark = pytest.mark.versions(18, 16, 15)


@pytest.fixture
def new_role(
    server: Server, database: str, connection: psycopg.Connection
) -> Iterator[Callable[[], psycopg.Connection]]:
    """Makes roles that work with actions."""
    connection.execute(ROUTINE)
    with ExitStack() as stack:

        def make() -> psycopg.Connection:
            name = stack.enter_context(server.role())
            connection.execute("select tidemill.grant_actions(%s::regrole)", [name])
            connection.execute(f"grant usage on schema app to {name}".encode())
            return stack.enter_context(psycopg.connect(make_conninfo(database, user=name), autocommit=True))

        yield make


@pytest.fixture
def ann(new_role: Callable[[], psycopg.Connection]) -> psycopg.Connection:
    return new_role()


@pytest.fixture
def bob(new_role: Callable[[], psycopg.Connection]) -> psycopg.Connection:
    return new_role()


@pytest.fixture
def superuser(superuser_conninfo: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(superuser_conninfo, autocommit=True) as opened:
        yield opened


def give(connection: psycopg.Connection, action: int, to: str) -> None:
    connection.execute("select tidemill.set_action_owner(%s, %s::regrole)", [action, to])


def grant(superuser: psycopg.Connection, role: psycopg.Connection, member: psycopg.Connection) -> None:
    superuser.execute(f"grant {role.info.user} to {member.info.user}".encode())


class TestGiving:
    def test_to_a_role_that_the_owner_may_become(
        self, superuser: psycopg.Connection, ann: psycopg.Connection, bob: psycopg.Connection
    ) -> None:
        number = add(ann, name="mine")
        with refused("42501", f'must be able to SET ROLE "{bob.info.user}"'):
            give(ann, number, bob.info.user)
        grant(superuser, bob, ann)
        give(ann, number, bob.info.user)
        assert definition(bob, number)["owner"] == bob.info.user
        alter(bob, number, max_retries=1)

    def test_only_by_those_who_may_manage_it(
        self, superuser: psycopg.Connection, ann: psycopg.Connection, bob: psycopg.Connection
    ) -> None:
        number = add(ann)
        with refused("42501", f"insufficient permissions to alter action {number}"):
            give(bob, number, bob.info.user)
        # That ann may become bob gives bob nothing.
        grant(superuser, bob, ann)
        with refused("42501", f"insufficient permissions to alter action {number}"):
            give(bob, number, bob.info.user)
        assert definition(ann, number)["owner"] == ann.info.user

    def test_the_databases_owner_needs_the_new_role_too(
        self, superuser: psycopg.Connection, connection: psycopg.Connection, ann: psycopg.Connection
    ) -> None:
        number = add(ann)
        # To itself it may give it, but not to others: it would run routines of its own as them.
        with refused("42501", 'must be able to SET ROLE "postgres"'):
            give(connection, number, "postgres")
        give(connection, number, str(connection.info.user))
        with refused("42501", f'must be able to SET ROLE "{ann.info.user}"'):
            give(connection, number, ann.info.user)
        give(superuser, number, ann.info.user)
        assert definition(ann, number)["owner"] == ann.info.user

    def test_the_new_owner_must_be_able_to_run_it(
        self, server: Server, superuser: psycopg.Connection, ann: psycopg.Connection, bob: psycopg.Connection
    ) -> None:
        name = ann.info.user
        superuser.execute(
            f"create function app.look(config jsonb) returns void language sql as 'select';"
            f"revoke all on function app.look from public; grant execute on function app.look to {name};"
            f"revoke all on procedure app.work from public; "
            f"grant execute on procedure app.work to {name}".encode()
        )
        number = add(ann, check_config="app.look")
        for what in ("procedure app.work", "function app.look"):
            with refused("42501", "permission denied for function"):
                give(superuser, number, bob.info.user)
            superuser.execute(f"grant execute on {what} to {bob.info.user}".encode())
        give(superuser, number, bob.info.user)
        with server.role("nologin") as nobody, refused("28000"):
            give(superuser, number, nobody)

    def test_unknown_actions_and_roles(self, superuser: psycopg.Connection, ann: psycopg.Connection) -> None:
        with refused("42704", "action 4711 not found"):
            give(ann, 4711, ann.info.user)
        number = add(ann)
        with refused("22023", "owner cannot be NULL"):
            superuser.execute("select tidemill.set_action_owner(%s, null)", [number])
        with refused("42704", "the role with OID 4711 does not exist"):
            give(superuser, number, "4711")

    def test_the_old_owner_can_be_dropped_and_the_new_one_cannot(
        self, superuser: psycopg.Connection, ann: psycopg.Connection, bob: psycopg.Connection
    ) -> None:
        number = add(ann)
        give(superuser, number, bob.info.user)
        holds = "select exists (select from tidemill._anchors(%s::regrole)) as it"
        assert row(superuser, holds, [ann.info.user]) == {"it": False}
        assert row(superuser, holds, [bob.info.user]) == {"it": True}


class TestDropped:
    @pytest.fixture
    def gone(self, superuser: psycopg.Connection) -> list[int]:
        """A routine and a task whose owner was dropped, and one that was paused before."""
        superuser.execute("create role goner login")
        superuser.execute("select tidemill.grant_actions('goner')")
        superuser.execute("set role goner")
        numbers = [
            add(superuser, task="t"),
            add(superuser, task="t", scheduled=False),
            add(superuser, task="u"),
        ]
        superuser.execute("reset role")
        superuser.execute("drop owned by goner; drop role goner")
        return numbers

    def test_its_actions_are_paused_and_say_why(
        self, connection: psycopg.Connection, superuser: psycopg.Connection, gone: list[int]
    ) -> None:
        others = add(connection, task="t")
        connection.execute("select tidemill._sweep_runs()")
        found = rows(
            connection, "select id, state, paused_because from tidemill.actions where id >= 1000 order by id"
        )
        assert [each["state"] for each in found] == ["paused", "paused", "paused", "scheduled"]
        assert [each["paused_because"] is None for each in found] == [False, True, False, True]
        assert "its owner, the role with OID" in found[0]["paused_because"]
        assert f"set_action_owner({gone[0]}, ...)" in found[0]["paused_because"]
        assert definition(connection, others)["scheduled"]

        # The remedy that it names:
        give(connection, gone[0], str(connection.info.user))
        alter(superuser, gone[0], scheduled=True, max_retries=1)
        connection.execute("select tidemill._sweep_runs()")
        found = [definition(connection, gone[0])]
        assert [(each["state"], each["paused_because"]) for each in found] == [("scheduled", None)]

    def test_a_locked_one_is_left_for_the_next_sweep(
        self, connection: psycopg.Connection, superuser: psycopg.Connection, gone: list[int]
    ) -> None:
        with superuser.transaction():
            superuser.execute("select from tidemill._actions where id = %s for update", [gone[0]])
            connection.execute("select tidemill._sweep_runs()")
            assert definition(connection, gone[0])["scheduled"]
            assert not definition(connection, gone[2])["scheduled"]
        connection.execute("select tidemill._sweep_runs()")
        assert not definition(connection, gone[0])["scheduled"]

    def test_they_can_be_deleted(self, connection: psycopg.Connection, gone: list[int]) -> None:
        for number in gone:
            connection.execute("select tidemill.delete_action(%s)", [number])
        assert rows(connection, "select from tidemill.actions where id >= 1000") == []


def test_names_that_need_quotes(superuser: psycopg.Connection) -> None:
    plain = 'New "Owner"'
    name = sql.Identifier(plain)
    superuser.execute(sql.SQL("create role {} login").format(name))
    try:
        number = add(superuser, task="t")
        superuser.execute("select tidemill.set_action_owner(%s, quote_ident(%s)::regrole)", [number, plain])
        assert definition(superuser, number)["owner"] == '"New ""Owner"""'
        superuser.execute("select tidemill.delete_action(%s)", [number])
    finally:
        superuser.execute(sql.SQL("drop owned by {}").format(name))
        superuser.execute(sql.SQL("drop role {}").format(name))
