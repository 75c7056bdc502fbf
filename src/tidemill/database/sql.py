"""Loads the SQL files that ship with the package, and prepares their parameters."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from typing import LiteralString, TypeVar

T = TypeVar("T")

_ROOT = resources.files("tidemill") / "sql"


@dataclass(frozen=True)
class Migration:
    """One numbered file of `sql/migrations`."""

    number: int
    name: str
    text: LiteralString
    breaking: bool
    """Workers that do not know this migration cannot work with the schema after it."""


def _text(file: Traversable) -> LiteralString:
    return file.read_text(encoding="utf-8")


@cache
def migrations() -> tuple[Migration, ...]:
    """All migrations in the order of their numbers."""
    found = []
    for file in (_ROOT / "migrations").iterdir():
        match = re.fullmatch(r"(\d{4})_(\w+)\.sql", file.name)
        if match:
            text = _text(file)
            breaking = text.startswith("-- breaking")
            found.append(Migration(int(match[1]), match[2], text, breaking))
    return tuple(sorted(found, key=lambda migration: migration.number))


@cache
def functions() -> LiteralString:
    """The text of all functions and views, in the order of laying."""
    files = [
        (wing.name, file.name, _text(file))
        for wing in (_ROOT / "functions").iterdir()
        for file in wing.iterdir()
        if file.name.endswith(".sql")
    ]
    # Creating a view checks that its functions exist, so views come last.
    files.sort(key=lambda file: (file[1] == "views.sql", file))
    return "\n".join(text for _, _, text in files)


@cache
def dialects() -> dict[str, LiteralString]:
    """The dialects' texts by name."""
    return {
        file.name.removesuffix(".sql"): _text(file)
        for file in (_ROOT / "dialects").iterdir()
        if file.name.endswith(".sql")
    }


@cache
def query(name: str) -> LiteralString:
    """The statement in `sql/queries/<name>.sql`."""
    return _text(_ROOT / "queries" / f"{name}.sql")


def with_nulls(values: list[T | None]) -> list[T | None] | None:
    """A list as parameter of `unnest` that reads the same where array_nulls is off; give it as %b.

    There the word NULL in the text of an array is a text. A binary array has no words, but psycopg
    writes one that has nothing but NULLs as text.
    """
    return None if all(value is None for value in values) else values


def digest(text: str) -> str:
    """A short fingerprint of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]
