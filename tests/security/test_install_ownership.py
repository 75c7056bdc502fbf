"""Installing where another role was first: all of Tidemill belongs to the installer, or is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.database.schema import DIALECT, IN_PUBLIC, execute, make_outdated, name_of
from tests.support.dialects import open_public
from tests.support.servers import OWNER, Server
from tidemill.database import dialects
from tidemill.database import migrate as migrations
from tidemill.database.dialects import Dialect
from tidemill.database.installer import Installer
from tidemill.database.migrate import MigrationReport, drop_dialect, migrate, uninstall
from tidemill.database.ownership import find_foreign
from tidemill.errors import MissingRightsError

SCHEMAS = ["tidemill", DIALECT, "timescaledb_information", "_timescaledb_config"]
TRAP = """
    create schema trap;
    grant usage on schema trap to public;
    create table trap.caught (who text);
    grant insert on trap.caught to public;
    create function trap.spring() returns integer language plpgsql as
      $$ begin insert into trap.caught values (current_user); return 1; end $$;
    create function trap.on_write() returns trigger language plpgsql as
      $$ begin insert into trap.caught values (current_user); return new; end $$;
"""
DELETE_JOB = """
    create function public.delete_job(job_id integer) returns void language sql security definer as 'select';
    comment on function public.delete_job is 'Laid by Tidemill: tidemill.delete_action under another name.';
"""


@pytest.fixture
def first(server: Server, empty_database: str) -> Iterator[str]:
    """The conninfo of a role that may create schemas, and functions in public; it has laid a trap."""
    name = name_of(empty_database)
    with server.role() as role:
        with server.superuser(name) as superuser:
            superuser.execute(f'grant create on database "{name}" to {role}'.encode())
            superuser.execute(f"grant usage, create on schema public to {role}".encode())
        conninfo = make_conninfo(empty_database, user=role)
        run(conninfo, TRAP)
        yield conninfo


@pytest.fixture(params=["postgres", OWNER])
def installer(request: pytest.FixtureRequest, server: Server, empty_database: str) -> str:
    """The conninfo of who installs: a superuser, and the owner of the database."""
    open_public(server, empty_database)
    return make_conninfo(empty_database, user=request.param)


def run(conninfo: str, statements: str) -> None:
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(statements.encode())


def user(conninfo: str) -> str:
    return str(conninfo_to_dict(conninfo)["user"])


def refused(conninfo: str, act: Callable[[str], object] = migrate) -> str:
    with pytest.raises(MissingRightsError) as caught:
        act(conninfo)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def follow(server: Server, conninfo: str, message: str) -> None:
    """Does as an administrator what a message says."""
    remedy = message.partition("run: ")[2] or message.partition("in the schema: ")[2]
    assert remedy.endswith(";")
    with server.superuser(name_of(conninfo)) as superuser:
        superuser.execute(remedy.encode())


def assert_all_is_of(conninfo: str) -> None:
    with psycopg.connect(conninfo) as connection:
        assert find_foreign(connection, SCHEMAS) == []
    [(everything, ours)] = execute(
        conninfo,
        "select count(*), count(*) filter (where proowner = current_user::regrole) from pg_proc "
        "where pronamespace = any(array['tidemill', 'graphile_worker']::regnamespace[]) "
        "or obj_description(oid, 'pg_proc') like 'Laid by%%' limit %s",
        1,
    )
    assert everything == ours > 100


def test_a_schema_that_was_made_before(server: Server, first: str, installer: str) -> None:
    run(first, "create schema tidemill")
    message = refused(installer)
    assert f'the schema tidemill belongs to the role "{user(first)}": connect as that one' in message
    follow(server, installer, message)
    assert migrate(installer).functions_laid
    assert_all_is_of(installer)


def test_a_schema_that_an_administrator_made_for_the_role(server: Server, first: str) -> None:
    with server.superuser(name_of(first)) as superuser:
        superuser.execute(f"create schema tidemill authorization {user(first)}".encode())
    assert migrate(first).dialects_laid == [DIALECT, IN_PUBLIC]
    assert_all_is_of(first)


@pytest.mark.parametrize("act", [migrate, uninstall, lambda conninfo: drop_dialect(conninfo, DIALECT)])
def test_an_installation_of_another_role(first: str, installer: str, act: Callable[[str], object]) -> None:
    migrate(first)
    # Also where nothing is due: a worker that migrates at its start would go on to call its functions.
    assert "connect as that one" in refused(installer, act)
    make_outdated(first)
    assert "connect as that one" in refused(installer, act)
    assert migrate(first).functions_laid


def test_members_of_the_owner_have_nothing_to_do_but_may_not_lay(
    server: Server, first: str, database: str
) -> None:
    with server.superuser() as superuser:
        superuser.execute(f"grant {OWNER} to {user(first)}".encode())
    member = make_conninfo(database, user=user(first))
    assert not migrate(member).changed
    make_outdated(database)
    assert "connect as that one" in refused(member)
    assert migrate(make_conninfo(member, options=f"-c role={OWNER}")).functions_laid


def all_trusted(conninfo: str) -> bool:
    with psycopg.connect(conninfo) as connection:
        return all(found.trusted for found in find_foreign(connection))


def test_tables_that_are_traps(first: str, installer: str) -> None:
    run(
        first,
        """
        create schema tidemill;
        create view tidemill._migrations as
          select n as number, ''::text as name, false as breaking from trap.spring() n;
        create view tidemill._installed as select 'functions'::text as part, trap.spring()::text as hash;
        create view tidemill._jobs as select trap.spring() as id;
        """,
    )
    for act in (migrate, uninstall, lambda conninfo: drop_dialect(conninfo, DIALECT)):
        refused(installer, act)
    refused(installer, lambda conninfo: migrate(conninfo, dry_run=True))
    assert execute(first, "select who from trap.caught") == []


@pytest.mark.versions(18)
@pytest.mark.parametrize(
    "made",
    [
        "create table tidemill._thing (id int)",
        "create view tidemill._thing as select 1 as x",
        "create materialized view tidemill._thing as select 1 as x",
        "create sequence tidemill._thing",
        "create type tidemill._thing as (x int)",
        "create type tidemill._thing as enum ('x')",
        "create domain tidemill._thing as int",
        "create function tidemill._thing(smallint) returns int language sql as 'select 1'",
        "create procedure tidemill._thing() language sql as 'select'",
        "create aggregate tidemill._thing(int) (sfunc = int4pl, stype = int)",
        "create operator tidemill.|| (leftarg = text, rightarg = integer, function = trap.joined)",
        'create collation tidemill._thing from "C"',
        "create text search dictionary tidemill._thing (template = simple)",
        "create text search configuration tidemill._thing (copy = simple)",
        "create statistics tidemill._thing on a, b from trap.two",
        "create conversion tidemill._thing for 'LATIN1' to 'UTF8' from iso8859_1_to_utf8",
    ],
)
def test_an_object_in_a_schema_of_the_installer(
    server: Server, first: str, installer: str, made: str
) -> None:
    migrate(installer)
    make_outdated(installer)
    run(first, "create function trap.joined(text, integer) returns text language sql as 'select null::text'")
    run(first, "create table trap.two (a int, b int)")
    run(installer, f"grant usage, create on schema tidemill to {user(first)}")
    run(first, made)
    run(installer, f"revoke create on schema tidemill from {user(first)}")
    message = refused(installer)
    assert f'belongs to the role "{user(first)}"' in message
    follow(server, installer, message)
    assert migrate(installer).functions_laid
    assert_all_is_of(installer)


def test_a_trigger_of_another_role(server: Server, first: str, installer: str) -> None:
    migrate(installer)
    make_outdated(installer)
    run(installer, f"grant usage on schema tidemill to {user(first)}")
    run(installer, f"grant trigger on tidemill._installed to {user(first)}")
    run(
        first,
        "create trigger t before update on tidemill._installed for each row execute function trap.on_write()",
    )
    message = refused(installer)
    assert "trigger t on table tidemill._installed belongs to the role" in message
    follow(server, installer, message)
    assert migrate(installer).functions_laid
    assert execute(first, "select who from trap.caught") == []


@pytest.mark.parametrize("public", [False, True])
def test_the_right_to_create_beside_our_functions(
    server: Server, first: str, installer: str, public: bool
) -> None:
    migrate(installer)
    make_outdated(installer)
    grantee = "public" if public else user(first)
    run(installer, f"grant usage, create on schema tidemill to {grantee}")
    message = refused(installer)
    assert f'the role "{grantee}" may create objects in the schema tidemill' in message
    assert f"revoke create on schema tidemill from {grantee};" in message
    follow(server, installer, message)
    assert migrate(installer).functions_laid


class TestBetweenTheCheckAndTheEnd:
    """A role comes in while the installer lays, at a place that a hook makes certain."""

    def test_in_the_schema(
        self, server: Server, first: str, installer: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        migrate(installer)
        make_outdated(installer)
        lay_functions = migrations._lay_functions

        def lay_after_another(inner: Installer, report: MigrationReport) -> None:
            with server.superuser(name_of(first)) as superuser:
                superuser.execute(f"grant usage, create on schema tidemill to {user(first)}".encode())
            run(first, "create function tidemill._thing() returns int language sql as 'select 1'")
            lay_functions(inner, report)

        monkeypatch.setattr(migrations, "_lay_functions", lay_after_another)
        assert "function tidemill._thing() belongs to the role" in refused(installer)
        assert execute(installer, "select from tidemill._installed where hash <> 'another'") == []

    def test_in_public(self, first: str, installer: str, monkeypatch: pytest.MonkeyPatch) -> None:
        create = dialects._create

        def create_after_another(inner: Installer, dialect: Dialect) -> None:
            if dialect.name == IN_PUBLIC:
                run(first, DELETE_JOB)
            create(inner, dialect)

        monkeypatch.setattr(dialects, "_create", create_after_another)
        report = migrate(installer)
        assert report.dialects_laid == [DIALECT]
        assert execute(first, "select proname::text from pg_proc where proname = 'delete_job'") == [
            ("delete_job",)
        ]


class TestDialects:
    def test_a_comment_proves_nothing(self, first: str, installer: str) -> None:
        run(first, f"create schema {DIALECT}; comment on schema {DIALECT} is 'Laid by Tidemill: a claim'")
        run(first, DELETE_JOB)
        report = migrate(installer)
        assert report.dialects_laid == []
        for name, what in (
            (DIALECT, f'schema "{DIALECT}"'),
            (IN_PUBLIC, "function public.delete_job(integer)"),
        ):
            assert f'the {what} belongs to the role "{user(first)}"' in report.skipped[name]
        assert not drop_dialect(installer, IN_PUBLIC)
        uninstall(installer)
        left = execute(first, "select proowner::regrole::text from pg_proc where proname = 'delete_job'")
        assert left == [(user(first),)]

    def test_the_remedy_works(self, server: Server, first: str, installer: str) -> None:
        run(first, DELETE_JOB)
        reason = migrate(installer).skipped[IN_PUBLIC]
        statement = reason.partition("run `")[2].partition("`")[0]
        with server.superuser(name_of(first)) as superuser:
            superuser.execute(statement.encode())
        assert migrate(installer, dialects=[IN_PUBLIC]).dialects_laid == [IN_PUBLIC]

    def test_an_empty_schema_of_another_role(self, first: str, installer: str) -> None:
        run(first, f"create schema {DIALECT}")
        assert f'belongs to the role "{user(first)}"' in migrate(installer).skipped[DIALECT]

    def test_an_object_in_our_schema(self, first: str, installer: str) -> None:
        migrate(installer)
        make_outdated(installer)
        run(installer, f"grant usage, create on schema {DIALECT} to {user(first)}")
        run(first, f"create function {DIALECT}.add_job(text) returns int language sql as 'select 1'")
        reason = migrate(installer).skipped[DIALECT]
        assert f'function {DIALECT}.add_job(text) belongs to the role "{user(first)}"' in reason


def rights_of_others(conninfo: str) -> list[tuple[object, ...]]:
    """What other roles may do with our objects."""
    return execute(
        conninfo,
        """
        select o.name, g.grantee::regrole::text, g.privilege_type
        from (
          select oid::regclass::text, relacl, relowner from pg_class
          where relnamespace = any(%s::regnamespace[])
          union all
          select oid::regprocedure::text, coalesce(proacl, acldefault('f', proowner)), proowner from pg_proc
          where pronamespace = any(%s::regnamespace[])
          union all
          select nspname, nspacl, nspowner from pg_namespace where oid = any(%s::regnamespace[])
        ) o (name, acl, owner), aclexplode(o.acl) g
        where g.grantee <> o.owner
        order by 1, 2, 3
        """,
        SCHEMAS,
        SCHEMAS,
        SCHEMAS,
    )


def test_default_privileges_open_nothing(server: Server, first: str, installer: str) -> None:
    migrate(installer)
    expected = rights_of_others(installer)
    uninstall(installer)
    for kind in ("tables", "sequences", "functions", "types", "schemas"):
        run(installer, f"alter default privileges grant all on {kind} to {user(first)}, public")
    assert migrate(installer).dialects_laid == [DIALECT, IN_PUBLIC]
    assert set(rights_of_others(installer)) <= set(expected)
    readable = "select has_table_privilege(%s, 'timescaledb_information.jobs', 'select')"
    assert execute(installer, readable, user(first)) == [(True,)]
    assert all_trusted(installer)
