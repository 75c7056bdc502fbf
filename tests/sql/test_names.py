"""Statements that may run under any search path name everything with its schema."""

from __future__ import annotations

import re
from pathlib import Path

import psycopg
import pytest

from tests.support.documents import ROOT
from tests.support.names import statements, unqualified

SOURCE = ROOT / "src/tidemill"
# The tour's statements are examples. Those of the installer run under a search path that it sets.
QUERIES = [file for file in (SOURCE / "sql/queries").glob("*.sql") if not file.stem.startswith("demo_")]
QUERIES += [
    SOURCE / f"sql/queries/install/{name}.sql"
    for name in ("has_schema", "newer_than", "parts", "schema_owner")
]
MODULES = [file for file in SOURCE.rglob("*.py") if not file.stem.startswith("demo")]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("select a = b", ["operator ="]),
        ("select a operator(pg_catalog.=) b, f(x)", ["function f"]),
        ("select *, pg_catalog.count(*) from x.t as a (b) join pg_proc on true", ["relation pg_proc"]),
        ("select x.f(a => 1::smallint, b => 'a = b'::text) -- no = here", ["type text"]),
        ("select a in (1)", ["hidden operator in ("]),
        ("select a between 1 and 2", ["hidden operator between"]),
        ("select case a when 1 then 2 end", ["hidden operator case"]),
    ],
)
def test_names_are_found(text: str, found: list[str]) -> None:
    assert unqualified(text) == found


@pytest.mark.parametrize("file", QUERIES, ids=lambda file: file.stem)
def test_a_query(file: Path) -> None:
    assert unqualified(file.read_text()) == []


@pytest.mark.parametrize("file", MODULES, ids=lambda file: str(file.relative_to(SOURCE)))
def test_a_module(file: Path) -> None:
    assert [(text, unqualified(text)) for text in statements(file) if unqualified(text)] == []


def test_functions_that_run_under_the_callers_search_path(connection: psycopg.Connection) -> None:
    """Those that roles may call, that commit, or that such functions call; without a path of their own."""
    found = connection.execute(
        "with recursive ours as ("
        " select p.oid, p.proname, p.prosrc, p.prokind = 'p'"
        " or p.proname = any(tidemill._functions_for_actions())"
        " or exists (select from aclexplode(p.proacl) g where g.grantee = 0) as is_open from pg_proc p"
        " where p.pronamespace = 'tidemill'::regnamespace and p.proconfig is null),"
        " reached as (select oid, prosrc from ours where is_open"
        " union select o.oid, o.prosrc from reached r"
        " join ours o on r.prosrc ~ ('tidemill\\.' || o.proname || '\\('))"
        " select r.oid::regprocedure::text, r.prosrc from reached r"
    ).fetchall()
    assert {"tidemill._state"} < {name.partition("(")[0] for name, _ in found}
    assert [(name, unqualified(body)) for name, body in found if unqualified(body)] == []
    # Types of variables are looked up, too, unless they are words of the grammar.
    types = r"text|name|oid|reg\w+|timestamptz|date|jsonb?|bytea|uuid|float[48]|int[248]"
    declared = re.compile(rf"^\s+\w+ (?:constant )?({types})\b", re.MULTILINE)
    assert [(name, declared.findall(body)) for name, body in found if declared.findall(body)] == []
