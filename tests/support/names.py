"""Finds names in SQL that PostgreSQL would look for along the search path."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

_NO_NAMES = (
    r"--[^\n]*|/\*.*?\*/|e?'(?:[^']|'')*'|\"[^\"]*\"|\boperator\(pg_catalog\.[^)]*\)|%\(\w+\)[sb]|%[sb]"
)
# PL/pgSQL's own assignments, and what RAISE takes.
_PLPGSQL = r"#variable_conflict \w+|get (?:stacked )?diagnostics [^;]*;|raise [^;]*using [^;]*;"
_SYNTAX = {
    "and", "any", "array", "all", "as", "by", "case", "coalesce", "conflict", "distinct", "else",
    "except", "exists", "extract", "filter", "from", "greatest", "in", "lateral", "least", "limit",
    "not", "on", "or", "order", "over", "recursive", "return", "returning", "row", "rows", "select",
    "set", "then", "union", "using", "values", "when", "where", "with",
}  # fmt: skip
_TYPES = "bigint boolean double integer interval real smallint timestamp varchar"
_CALL = re.compile(r"(\S+\s+)?(?<![.\w])([a-z_]\w*)\s*\(")
# The grammar makes operators of these.
_HIDDEN = re.compile(
    r"\b(?:in\s*\(|between\b|i?like\b|nullif\b|distinct\s+from\b|similar\b|case\s+(?!\s|when\b))"
)


def unqualified(text: str) -> list[str]:
    """What has no schema: operators, functions, types and catalogs."""
    text = re.sub(_PLPGSQL, ";", text, flags=re.DOTALL)
    text = re.sub(_NO_NAMES, " ' ", text, flags=re.DOTALL)
    # Named arguments, casts, assignments and stars are none.
    plain = re.sub(r":=|=>|::|\bselect \*|\.\*|\(\*\)", " ", text)
    found = [f"operator {each}" for each in re.findall(r"[-+*/<>=~!@#%^&|?]+", plain)]
    found += [f"hidden operator {each.strip()}" for each in _HIDDEN.findall(text)]
    for before, name in _CALL.findall(text):
        # The columns of an alias.
        if name not in _SYNTAX and before.strip() not in ("as", "ordinality", ")", "recursive"):
            found.append(f"function {name}")
    for name in re.findall(r"::\s*([a-z_]\w*)(?!\w*\.)", text):
        if name not in _TYPES.split():
            found.append(f"type {name}")
    found += [f"relation {name}" for name in re.findall(r"\b(?:from|join)\s+(pg_\w+)(?!\w*[.(])", text)]
    return found


def statements(file: Path) -> Iterator[str]:
    """The SQL statements in a Python module."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.JoinedStr):
            text = "".join(
                str(part.value) if isinstance(part, ast.Constant) else " x " for part in node.values
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
        else:
            continue
        if re.match(r"\s*(select|insert into|update|delete from|call|with|begin) ", text):
            yield text
