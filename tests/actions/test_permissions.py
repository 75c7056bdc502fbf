"""Who may do what with actions: ordinary roles, members of the owner's role, the database's owner."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.actions.definitions import ROUTINE, add, alter, call, definition, refused, row, rows, start
from tests.support.servers import OWNER, Server

pytestmark = pytest.mark.versions(18, 16)

PUBLIC = (
    "action_id",
    "add_action",
    "alter_action",
    "delete_action",
    "run_action",
    "next_runs",
    "next_start",
    "set_action_owner",
)


class Roles:
    """Connections of roles that were granted actions, unless the test says no."""

    def __init__(self, server: Server, owner: psycopg.Connection, database: str, stack: ExitStack) -> None:
        self.server, self.owner, self.database, self.stack = server, owner, database, stack

    def role(self, attributes: Any = "login", *, granted: bool = True) -> psycopg.Connection:
        name = self.stack.enter_context(self.server.role(attributes))
        if granted:
            self.owner.execute("select tidemill.grant_actions(%s::regrole)", [name])
            self.owner.execute(f"grant usage on schema app to {name}".encode())
        return self.stack.enter_context(
            psycopg.connect(make_conninfo(self.database, user=name), autocommit=True)
        )

    def grant(self, role: psycopg.Connection, member: psycopg.Connection, how: str = "") -> None:
        with self.server.superuser() as superuser:
            superuser.execute(f"grant {role.info.user} to {member.info.user} {how}".encode())


@pytest.fixture
def roles(server: Server, database: str, connection: psycopg.Connection) -> Iterator[Roles]:
    connection.execute(ROUTINE)
    with ExitStack() as stack:
        yield Roles(server, connection, database, stack)


@pytest.fixture
def ann(roles: Roles) -> psycopg.Connection:
    return roles.role()


@pytest.fixture
def bob(roles: Roles) -> psycopg.Connection:
    return roles.role()


class TestAnOrdinaryRole:
    def test_from_the_beginning_to_the_end(self, ann: psycopg.Connection) -> None:
        number = add(ann, name="mine", config={"a": 1})
        assert definition(ann, number)["owner"] == ann.info.user
        assert alter(ann, number, schedule="30 4 * * 1")["schedule"] == "30 4 * * 1"
        assert len(rows(ann, "select * from tidemill.next_runs(%s, 2)", [number])) == 2
        ann.execute("call tidemill.run_action(%s)", [number])
        found = row(ann, "select outcome, by_hand, config, owner from tidemill.action_history")
        assert found == {"outcome": "success", "by_hand": True, "config": {"a": 1}, "owner": ann.info.user}
        stats = row(ann, "select total_successes from tidemill.action_stats where action_id = %s", [number])
        assert stats == {"total_successes": 1}
        assert rows(ann, "select * from tidemill.action_errors") == []
        ann.execute("select tidemill.delete_action(%s)", [number])
        assert rows(ann, "select from tidemill.actions where id >= 1000") == []

    def test_a_worker_runs_it_as_that_role(self, roles: Roles, ann: psycopg.Connection) -> None:
        number = add(ann)
        run = start(roles.owner, number)
        assert row(roles.owner, "select owner from tidemill._action_runs where id = %s", [run]) == {
            "owner": ann.info.user
        }

    def test_needs_a_grant(self, roles: Roles) -> None:
        nobody = roles.role(granted=False)
        for statement in ("select * from tidemill.actions", "call tidemill.run_action(3)"):
            with refused("42501", "permission denied for schema tidemill"):
                nobody.execute(statement.encode())
        with refused("42501", "permission denied for schema tidemill"):
            add(nobody, task="t")
        roles.owner.execute(f"grant usage on schema tidemill to {nobody.info.user}".encode())
        with refused("42501", "permission denied for function add_action"):
            add(nobody, task="t")

    @pytest.mark.parametrize(
        "statement",
        [
            "select from tidemill._actions",
            "select from tidemill._action_states",
            "select from tidemill._action_runs",
            "update tidemill._actions set owner = current_user::regrole",
            "delete from tidemill._action_runs",
            "select tidemill._finish_run(1, 'success')",
            "select tidemill._start_actions('w', 1)",
            "select tidemill._ask_to_stop(1000, 'paused')",
            "select tidemill._lock_action(1000, true)",
            "select tidemill.set_on_failure('t')",
            "select tidemill.grant_actions('postgres')",
            "select tidemill.add_job('t')",
            "select from tidemill.jobs",
            "select nextval('tidemill._action_ids')",
        ],
    )
    def test_may_do_nothing_else(self, ann: psycopg.Connection, statement: str) -> None:
        with refused("42501"):
            ann.execute(statement.encode())

    def test_the_grant_is_what_it_says(self, roles: Roles, ann: psycopg.Connection) -> None:
        granted = rows(
            roles.owner,
            "select p.proname from pg_proc p, aclexplode(p.proacl) g join pg_roles r on r.oid = g.grantee"
            " where p.pronamespace = 'tidemill'::regnamespace and r.rolname = %s and p.proname !~ '^_'"
            " order by 1",
            [ann.info.user],
        )
        assert [found["proname"] for found in granted] == sorted(PUBLIC)
        # All that is named there exists, and may be taken away again.
        missing = rows(
            roles.owner,
            "select name from unnest(tidemill._functions_for_actions()) n (name)"
            " where not exists (select from pg_proc where proname = name"
            " and pronamespace = 'tidemill'::regnamespace)",
        )
        assert missing == []

    def test_granted_to_nobody(self, roles: Roles) -> None:
        with refused("22023", "role cannot be NULL"):
            roles.owner.execute("select tidemill.grant_actions(null)")
        with refused("42704", "absent"):
            roles.owner.execute("select tidemill.grant_actions('absent')")


class TestOthersActions:
    def test_one_that_is_added_meanwhile(self, roles: Roles, ann: psycopg.Connection) -> None:
        roles.owner.execute("alter function tidemill._lock_action rename to _lock_action_then")
        roles.owner.execute(
            """
            create function tidemill._lock_action(integer, boolean) returns tidemill._actions language plpgsql
            as $$ begin
              insert into tidemill._actions (id, task, owner, schedule_interval)
                values ($1, 't', current_user::regrole, '1 hour');
              insert into tidemill._action_states (action_id) values ($1);
              return tidemill._lock_action_then($1, $2);
            end $$
            """
        )
        with refused("42501", "insufficient permissions to alter action 4711"):
            alter(ann, 4711, if_exists=True, max_retries=3)

    @pytest.mark.parametrize("verb", ["alter", "run", "delete"])
    def test_are_refused(self, ann: psycopg.Connection, bob: psycopg.Connection, verb: str) -> None:
        number = add(ann)
        words = (
            f"insufficient permissions to {verb} action {number}",
            f'Action {number} is owned by role "{ann.info.user}" but user "{bob.info.user}" '
            "does not belong to that role.",
        )
        with refused("42501", *words):
            manage(bob, verb, number)
        with refused("42501", "insufficient permissions"):
            manage(bob, verb, 3)
        assert definition(ann, number)["max_retries"] == -1

    def test_if_exists_does_not_help(self, ann: psycopg.Connection, bob: psycopg.Connection) -> None:
        number = add(ann)
        with refused("42501"):
            alter(bob, number, if_exists=True)

    def test_a_member_of_the_owners_role(
        self, roles: Roles, ann: psycopg.Connection, bob: psycopg.Connection
    ) -> None:
        roles.grant(ann, bob)
        number = add(ann, task="t")
        for verb in ("alter", "run", "delete"):
            manage(bob, verb, number)
        # And not the other way round.
        with refused("42501"):
            manage(ann, "alter", add(bob))

    def test_a_member_without_its_rights(self, roles: Roles, ann: psycopg.Connection) -> None:
        carl = roles.role("login noinherit")
        roles.grant(ann, carl)
        number = add(ann)
        with refused("42501"):
            manage(carl, "alter", number)
        # Having become that role, it may.
        carl.execute(f"set role {ann.info.user}".encode())
        manage(carl, "alter", number)
        assert definition(carl, add(carl))["owner"] == ann.info.user

    def test_the_databases_owner(self, roles: Roles, ann: psycopg.Connection) -> None:
        assert roles.owner.info.user == OWNER
        number = add(ann, task="t")
        for verb in ("alter", "run", "delete"):
            manage(roles.owner, verb, number)

    def test_a_superuser(self, roles: Roles, ann: psycopg.Connection) -> None:
        number = add(ann, task="t")
        with roles.server.superuser(roles.owner.info.dbname) as superuser:
            for verb in ("alter", "run", "delete"):
                manage(superuser, verb, number)

    def test_the_role_that_was_set_counts(
        self, roles: Roles, ann: psycopg.Connection, bob: psycopg.Connection
    ) -> None:
        number = add(ann)
        with roles.server.superuser(roles.owner.info.dbname) as superuser:
            superuser.execute(f"set role {bob.info.user}".encode())
            with refused("42501", f'user "{bob.info.user}"'):
                manage(superuser, "alter", number)
            assert definition(superuser, add(superuser))["owner"] == bob.info.user

    def test_names_of_others_do_not_hinder(self, ann: psycopg.Connection, bob: psycopg.Connection) -> None:
        first = add(ann, name="nightly", if_not_exists=True)
        other = add(bob, name="nightly", if_not_exists=True)
        assert first != other
        assert add(bob, name="nightly", if_not_exists=True) == other

    def test_roles_whose_names_need_quotes(self, roles: Roles) -> None:
        with roles.server.superuser(roles.owner.info.dbname) as superuser:
            superuser.execute('create role "Odd ""Role" login')
            try:
                roles.owner.execute("select tidemill.grant_actions(%s::regrole)", ['"Odd ""Role"'])
                superuser.execute('set role "Odd ""Role"')
                number = add(superuser, task="t")
                assert definition(superuser, number)["owner"] == '"Odd ""Role"'
                superuser.execute("reset role")
                superuser.execute("select tidemill.delete_action(%s)", [number])
            finally:
                superuser.execute("reset role")
                superuser.execute('drop owned by "Odd ""Role"')
                superuser.execute('drop role "Odd ""Role"')


def manage(connection: psycopg.Connection, verb: str, number: int) -> None:
    match verb:
        case "alter":
            connection.execute(call("tidemill.alter_action", number, max_retries=7))
        case "run":
            connection.execute("call tidemill.run_action(%s)", [number])
        case "delete":
            connection.execute("select tidemill.delete_action(%s)", [number])


class TestHistory:
    def seen(self, connection: psycopg.Connection) -> set[int]:
        """The actions whose failed runs the role sees, in both views."""
        history, errors = (
            {found["action_id"] for found in rows(connection, f"select action_id from tidemill.{view}")}
            for view in ("action_history", "action_errors")
        )
        assert history == errors
        return history

    def test_is_shown_to_the_owners_members_and_the_databases_owner(
        self, roles: Roles, ann: psycopg.Connection, bob: psycopg.Connection
    ) -> None:
        carl, dora = roles.role(), roles.role("login noinherit")
        roles.grant(ann, carl)
        roles.grant(bob, dora)
        numbers = {}
        for role in (ann, bob):
            numbers[role] = add(role)
            run = start(roles.owner, numbers[role])
            row(roles.owner, "select * from tidemill._finish_run(%s, 'failure')", [run])
        both = set(numbers.values())
        assert self.seen(ann) == self.seen(carl) == {numbers[ann]}
        assert self.seen(bob) == self.seen(dora) == {numbers[bob]}
        assert self.seen(roles.owner) == both
        # Deleting an action opens nothing and hides nothing.
        ann.execute("select tidemill.delete_action(%s)", [numbers[ann]])
        assert self.seen(ann) == {numbers[ann]}
        assert self.seen(bob) == {numbers[bob]}

    def test_a_function_in_the_query_sees_no_more(
        self, roles: Roles, ann: psycopg.Connection, bob: psycopg.Connection
    ) -> None:
        run = start(roles.owner, add(ann, config={"secret": 1}))
        row(roles.owner, "select * from tidemill._finish_run(%s, 'failure')", [run])
        bob.execute(
            "create function pg_temp.peek(config jsonb) returns boolean cost 0.0000001 language plpgsql"
            " as $$ begin raise exception 'seen: %', config; end $$"
        )
        for view in ("action_history", "action_errors"):
            assert rows(bob, f"select from tidemill.{view} where pg_temp.peek(config)") == []
