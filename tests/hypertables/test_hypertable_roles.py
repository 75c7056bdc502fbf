"""Roles that own a table, but neither the schema tidemill nor the database."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.resources import files

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.hypertables.calls import make, refused, run, value
from tests.support.servers import Server

pytestmark = pytest.mark.versions(18, 16)


@pytest.fixture
def role(server: Server, connection: psycopg.Connection) -> Iterator[str]:
    with server.role() as name:
        run(connection, f"select tidemill.grant_hypertables('{name}')")
        run(
            connection,
            "create schema own; create table own.m (at timestamptz primary key, n int);"
            "insert into own.m values (now())",
        )
        with server.superuser(str(conninfo_to_dict(connection.info.dsn)["dbname"])) as superuser:
            superuser.execute(sql.SQL("alter schema own owner to {}").format(sql.Identifier(name)))
            superuser.execute(sql.SQL("alter table own.m owner to {}").format(sql.Identifier(name)))
        yield name


def test_without_a_schema_for_chunks(server: Server, connection: psycopg.Connection, role: str) -> None:
    with psycopg.connect(make_conninfo(connection.info.dsn, user=role), autocommit=True) as own:
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match='no schema "own_chunks"') as raised:
            make(own, "'own.m', 'at', migrate_data => true")
        hint = str(raised.value.diag.message_hint).splitlines()
        assert hint == [
            "Let an administrator run:",
            "create schema own_chunks;",
            f"grant usage, create on schema own_chunks to {role};",
            "Or name a schema of your own: associated_schema_name",
        ]
        with server.superuser(str(conninfo_to_dict(connection.info.dsn)["dbname"])) as superuser:
            superuser.execute(hint[1].encode())
            with pytest.raises(
                psycopg.errors.InsufficientPrivilege, match='denied for the schema "own_chunks"'
            ):
                make(own, "'own.m', 'at', migrate_data => true")
            superuser.execute(hint[2].encode())
        assert run(own, "select * from tidemill.create_hypertable('own.m', 'at', migrate_data => true)") == [
            (1, "own", "m", True)
        ]
        run(own, "insert into own.m values ('2020-01-01', 1)")
        assert value(own, "select tidemill.make_chunks('own.m')") == 1
        assert (
            value(own, "select count(*) from tidemill.show_chunks('own.m', older_than => '2021-01-01')") == 1
        )
        assert (
            value(own, "select tidemill.drop_chunks('own.m', '2021-01-01')") == "own_chunks._hyper_1_3_chunk"
        )
        assert value(own, "select num_chunks from tidemill.hypertables") == 2
        owners = run(
            own,
            "select distinct relowner::regrole::text from pg_class"
            " where relnamespace = 'own_chunks'::regnamespace",
        )
        assert owners == [(role,)]
        # It writes the catalogue of its own tables alone.
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            run(
                own,
                "insert into tidemill._hypertables (rows_table, time_column, time_type, chunk_width,"
                " chunks_schema) values ('own.m', 'at', 'date', 1, 'x')",
            )


def test_somebody_elses_table(connection: psycopg.Connection, role: str) -> None:
    run(connection, "create table app.m (at timestamptz)")
    with psycopg.connect(make_conninfo(connection.info.dsn, user=role), autocommit=True) as own:
        run(connection, f"grant usage on schema app to {role}")
        with refused("42501", 'must be owner of hypertable "m"'):
            make(own, "'app.m', 'at'")


def test_a_member_makes_it_for_the_owner(server: Server, connection: psycopg.Connection, role: str) -> None:
    with server.superuser(str(conninfo_to_dict(connection.info.dsn)["dbname"])) as superuser:
        superuser.execute(
            sql.SQL("grant {} to {}").format(sql.Identifier(role), sql.Identifier(connection.info.user))
        )
    make(connection, "'own.m', 'at', migrate_data => true")
    run(connection, "insert into own.m values ('2020-01-01', 1); select tidemill.make_chunks('own.m')")
    found = run(
        connection,
        "select distinct relowner::regrole::text from pg_class c where relnamespace in "
        "('own'::regnamespace, 'own_chunks'::regnamespace)",
    )
    assert found == [(role,)]


def test_an_owner_who_may_create_no_schema_names_its_own(
    server: Server, connection: psycopg.Connection, role: str
) -> None:
    with server.superuser(str(conninfo_to_dict(connection.info.dsn)["dbname"])) as superuser:
        superuser.execute(sql.SQL("create schema aside authorization {}").format(sql.Identifier(role)))
    with psycopg.connect(make_conninfo(connection.info.dsn, user=role), autocommit=True) as own:
        make(own, "'own.m', 'at', migrate_data => true, associated_schema_name => 'aside'")
        run(own, "insert into own.m values ('2020-01-01', 1); select tidemill.make_chunks('own.m')")
        with refused("42501", 'permission denied to create in the schema "own_rows"'):
            run(own, "select tidemill.enable_compression('own.m')")
        with refused("22023", 'rows_schema "own" is the schema of the view'):
            run(own, "select tidemill.enable_compression('own.m', rows_schema => 'own')")
        run(own, "select tidemill.enable_compression('own.m', rows_schema => 'aside')")
        run(own, "select tidemill.compress_chunk(c) from tidemill.show_chunks('own.m', '2021-01-01') c")
        assert value(own, "select count(*) from own.m") == 2
        run(own, "select tidemill.set_transparent('own.m', false)")
        assert [value(own, f"select count(*) from {name}") for name in ("own.m", "own.m_all")] == [1, 2]
        run(own, "select tidemill.set_transparent('own.m', true, rows_schema => 'aside')")
        assert value(own, "select count(*) from own.m") == 2


# What nobody calls with rights of their own, or everybody may.
NOT_GRANTED = {
    *("_answer_hypertable", "_expect_kinds", "_expect_owner", "_functions_for_hypertables"),
    *(
        "_grant_hypertables_again",
        "_grant_hypertables",
        "_roles_with_hypertables",
        "grant_hypertables",
        "_create_pick",
        "_picked",
        "_picked_of_any",
    ),
    *("time_bucket", "_bucket_instant", "_is_fixed_width", "_is_whole_days", "_month_bucket"),
    "_refuse_bucket_width",
}


def test_what_an_owner_calls_is_granted(connection: psycopg.Connection) -> None:
    """A function that is missing in the list fails for an ordinary role alone, so it is easily overlooked."""
    sources = files("tidemill").joinpath("sql", "functions", "hypertables")
    made = re.compile(r"create or replace (?:function|procedure) tidemill\.(\w+)\(")
    texts = [source.read_text("utf-8") for source in sources.iterdir()]
    names = {name for text in texts for name in made.findall(text)}
    [(granted,)] = run(connection, "select tidemill._functions_for_hypertables()::text[]")
    # Another part's, which these call, too.
    assert set(granted) == names - NOT_GRANTED | {"_has_unit"}
    assert len(granted) == len(set(granted))
