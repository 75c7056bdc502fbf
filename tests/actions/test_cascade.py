"""Whether a DROP says CASCADE: as its last word, not in a comment, a string or a name."""

from __future__ import annotations

import psycopg
import pytest

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
