"""Whether a DROP says CASCADE: as its last word, not in a comment, a string or a name."""

from __future__ import annotations

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.actions.support import add_action, make_note
from tests.support.servers import Server
from tidemill.database.migrate import migrate

pytestmark = pytest.mark.versions(18, 16)


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("drop procedure note cascade", True),
        ("  DROP\n  procedure note CASCADE ; ", True),
        ("/* first */ drop -- then\n procedure note /* and */ cascade -- end", True),
        ('drop procedure "it\'s; --" cascade', True),
        ("select 'it''s'; drop procedure note cascade; select $a$ ; drop procedure x $$ $a$", True),
        (r"select E'\'; -- ', 'it'; drop procedure note cascade", True),
        (r"select e'\\'; drop procedure note cascade", True),
        ("drop table t; drop procedure note cascade", True),
        ("drop procedure note", False),
        ("drop procedure note restrict", False),
        ("drop procedure note /* cascade */", False),
        ("drop procedure note -- cascade", False),
        ("drop procedure note /* /* */ cascade", False),
        ("drop procedure note /* /* */ */ /* cascade */", False),
        ("drop procedure cascade", True),
        ('drop procedure "cascade"', False),
        ('drop procedure "a" /*"*/ cascade /*"*/', True),
        ("drop procedure cascade.note", False),
        ("drop procedure note; select 'cascade'", False),
        ("drop procedure note; drop table t cascade", False),
        ("drop procedure note; drop procedure other cascade", False),
        ("select 'drop procedure x cascade'; drop procedure note", False),
        ("select $$; drop procedure x cascade; $$; drop procedure note", False),
        (r"select E'\'; drop procedure x cascade; --'; drop procedure note", False),
        (r"select '\'; drop procedure note; select '; drop procedure x cascade; --'", False),
        ("select x$a; drop procedure note; select y$a", False),
        ("select $1; drop procedure note cascade", True),
        ("select $a$ $b$ ; $a $a$; drop procedure note cascade", True),
        ("select $a$ x$a$; drop procedure note cascade", True),
        ("select $1$a$; drop procedure note cascade", True),
        (r"select E'a''\'; drop procedure x cascade; --'; drop procedure note", False),
        ("select '\n--'; drop procedure note cascade", True),
        ("select 4 - 2 / 1 * -1; drop procedure note cascade", True),
        ("-- it's\r\ndrop procedure note cascade", True),
        ("/* it's /* */ \" */ drop procedure note cascade", True),
        ("/*/ drop procedure x cascade; /*/ */ */ drop procedure note", False),
        ("drop procedure note cascade /* open", True),
        ("select 'open; drop procedure note cascade", False),
        ("select f()", False),
        ("", False),
        ("drop procedure note cascade" + " " * 200_000, False),
    ],
)
def test_what_a_query_says(connection: psycopg.Connection, query: str, says: bool) -> None:
    found = connection.execute("select tidemill._cascades(%s, 'DROP PROCEDURE')", [query]).fetchone()
    assert found == (says,)


@pytest.mark.parametrize("backslashes", [True, False])
def test_backslashes_where_strings_have_escapes(connection: psycopg.Connection, backslashes: bool) -> None:
    query = r"select '\'; drop procedure x; --'; drop procedure note cascade"
    found = connection.execute(
        "select tidemill._cascades(%s, 'DROP PROCEDURE', %s)", [query, backslashes]
    ).fetchone()
    # Without them the string ends early, and the rest is a comment.
    assert found == (backslashes,)


@pytest.mark.parametrize(
    "repeated",
    [
        "insert into t values ('abc', 'defg');\n",
        "-- it's\n",
        "/* /* it's */ */ ",
        'select "a""b", $a$ ; $a$, $$ $$, $1;\n',
        r"select E'\'';",
        "a$",
        "$a",
        "'",
        "/*",
        "\N{SNOWMAN}'\N{SNOWMAN}' ",
        " ",
    ],
)
def test_a_long_script_is_read_once(connection: psycopg.Connection, repeated: str) -> None:
    ending = "\n;drop procedure note cascade"
    query = repeated * ((199_000 - len(ending)) // len(repeated)) + ending
    # Reading the rest of the script at each quote took minutes.
    connection.execute("set statement_timeout = '20s'")
    connection.execute("select tidemill._cascades(%s, 'DROP PROCEDURE')", [query])


@pytest.mark.parametrize(
    "statement",
    ["drop table gone", "drop function gone()", "drop procedure gone(integer, jsonb)", "drop schema gone"],
)
def test_a_statement_is_not_read_if_no_action_is_concerned(
    server: Server, empty_database: str, statement: str
) -> None:
    conninfo = server.conninfo(str(conninfo_to_dict(empty_database)["dbname"]), "postgres")
    migrate(conninfo)
    calls = "select coalesce(sum(calls), 0) from pg_stat_xact_user_functions where funcname = %s"
    with psycopg.connect(conninfo, autocommit=True) as superuser:
        make_note(superuser)
        add_action(superuser, proc="note")
        superuser.execute("create table gone (); create schema gone")
        superuser.execute("create function gone() returns integer language sql as 'select 1'")
        superuser.execute("create procedure gone(integer, jsonb) language sql as 'select'")
        superuser.execute("set track_functions = 'all'")
        with superuser.transaction():
            superuser.execute(statement.encode())
            assert superuser.execute(calls, ["_on_drop"]).fetchone() == (1,)
            assert superuser.execute(calls, ["_cascades"]).fetchone() == (0,)
            superuser.execute("drop procedure note cascade")
            assert superuser.execute(calls, ["_cascades"]).fetchone() == (1,)
