"""Decoys in a schema: they would be called by a statement whose names lead there."""

from __future__ import annotations

import re
from pathlib import Path

import psycopg

from tests.support.documents import ROOT

_DECOYS = Path(__file__).with_name("decoys.sql")
# What grammar makes of IN, BETWEEN, LIKE, CASE and NULLIF.
_IMPLIED = {"=", "<>", "<", "<=", ">", ">=", "~~", "!~~", "~~*"}
_OPERATOR = re.compile(
    r"(?<=[\s)\w])(\|\||->>?|#>>?|@>|<@|&&|!?~\*?|\?[|&]?|<>|[<>]=?|=|\+|-|\*|/|%)(?=[\s(%'\w])"
)


def lay_decoys(connection: psycopg.Connection, schema: str = "public") -> None:
    """Makes decoys for whatever our SQL uses of pg_catalog."""
    source = ROOT / "src/tidemill"
    text = "\n".join(file.read_text() for file in sorted(source.rglob("*")) if file.suffix in (".sql", ".py"))
    words = sorted(set(re.findall(r"[a-z_][a-z0-9_]*", text)))
    connection.execute("set search_path = pg_catalog")
    connection.execute(_DECOYS.read_text().replace("@schema", schema).encode())
    connection.execute(
        "call pg_temp.lay_all(%s, %s, %s, %s)",
        [sorted(_IMPLIED | set(_OPERATOR.findall(text))), words, words, words],
    )


def caught(connection: psycopg.Connection, schema: str = "public") -> str | None:
    """The decoy that was called last; None if none was."""
    connection.execute("set search_path = pg_catalog")
    row = connection.execute(
        f"select d.what from {schema}.caught c left join {schema}.decoys d on d.id = c.last_value"
        " where c.is_called".encode()
    ).fetchone()
    return None if row is None else row[0]
