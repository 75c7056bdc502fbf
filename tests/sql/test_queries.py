"""The statements of Python modules are understood by every version of PostgreSQL.

Commands run on one version alone, so this is what the other versions see of their SQL.
"""

from __future__ import annotations

import re

import psycopg
import pytest

from tests.support.documents import ROOT

pytestmark = pytest.mark.each_version("what a statement may say differs")

QUERIES = ROOT / "src/tidemill/sql/queries"
# The demo's statements need its objects, and run with it.
NAMES = sorted(file.stem for file in QUERIES.glob("*.sql") if not file.stem.startswith("demo_"))


@pytest.mark.parametrize("name", NAMES)
def test_a_statement_can_be_prepared(connection: psycopg.Connection, name: str) -> None:
    numbers: dict[str, int] = {}

    def numbered(match: re.Match[str]) -> str:
        return f"${numbers.setdefault(match[1], len(numbers) + 1)}"

    text = (QUERIES / f"{name}.sql").read_text().rstrip().removesuffix(";")
    text = re.sub(r"%\((\w+)\)[sb]", numbered, text).replace("%%", "%")
    if name == "specs_from_json":
        # A part of a statement: what comes before and after depends on the job key modes.
        text = f"select from {text} tidemill.add_jobs(given.specs, job_key_mode => given.modes[1])"
    connection.execute(f"prepare statement as {text}".encode())
    [(found,)] = connection.execute(
        "select cardinality(parameter_types) from pg_prepared_statements where name = 'statement'"
    ).fetchall()
    assert found == len(numbers)
