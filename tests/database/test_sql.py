"""How the SQL files are found, ordered and written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tidemill.database import sql as files

ROOT = Path(files.__file__).parents[1] / "sql"


def test_migrations_are_numbered_without_a_gap() -> None:
    assert [migration.number for migration in files.migrations()] == list(range(len(files.migrations())))
    assert files.migrations()[0].name == "bookkeeping"


def test_every_migration_file_is_one() -> None:
    assert len(list((ROOT / "migrations").iterdir())) == len(files.migrations())


def test_only_a_first_line_makes_a_migration_breaking() -> None:
    for migration in files.migrations():
        assert migration.breaking == migration.text.startswith("-- breaking"), migration.name


def test_functions_are_all_there_and_views_last() -> None:
    found = sorted((ROOT / "functions").glob("*/*.sql"))
    assert found
    text = files.functions()
    for file in found:
        assert file.read_text() in text, file
    # Private ones are laid where the functions that use them are.
    first_view = re.search(r"^create or replace view tidemill\.[a-z]", text, re.MULTILINE)
    assert first_view
    assert not re.search(r"^create or replace (function|procedure)", text[first_view.start() :], re.MULTILINE)


def test_the_order_is_always_the_same() -> None:
    before = files.functions()
    files.functions.cache_clear()
    assert files.functions() == before


def test_functions_can_be_laid_again() -> None:
    """Only statements that may meet their own result: they run over those of the version before."""
    for file in (ROOT / "functions").glob("*/*.sql"):
        created = re.findall(r"^create (?!or replace )\w+ \S+", file.read_text(), re.MULTILINE)
        assert created == [], file


def test_every_public_function_tells_what_it_does() -> None:
    text = files.functions()
    public = set(
        re.findall(r"^create or replace (?:function|procedure) (tidemill\.[a-z]\w*)", text, re.MULTILINE)
    )
    commented = set(re.findall(r"^comment on (?:function|procedure) (tidemill\.\w+)", text, re.MULTILINE))
    assert public
    assert public <= commented


def test_dialects_and_queries_by_name() -> None:
    assert list(files.dialects()) == sorted(file.stem for file in (ROOT / "dialects").iterdir())
    for file in (ROOT / "queries").rglob("*.sql"):
        name = file.relative_to(ROOT / "queries").with_suffix("").as_posix()
        assert files.query(name) == file.read_text()
    with pytest.raises(FileNotFoundError):
        files.query("nothing")


def test_a_digest_tells_texts_apart() -> None:
    assert files.digest("a") == files.digest("a")
    assert files.digest("a") != files.digest("a ")
    assert len(files.digest("")) == 32


def test_files_end_in_a_line_and_hold_no_tab() -> None:
    for file in ROOT.rglob("*.sql"):
        text = file.read_text()
        assert text.endswith("\n"), file
        assert "\t" not in text, file
        assert "\r" not in text, file
