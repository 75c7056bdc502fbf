"""Arrays whose entries stand beside those of others, by their place: a join may come in any order."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sql.calls import Queue
from tests.sql.limited import claim
from tests.support.documents import ROOT

SQL = ROOT / "src/tidemill/sql"
# Arrays of joins without an order, and why none is needed.
REVIEWED = {
    "functions/queue/_sweep_leases.sql: array_agg(h.id)": "a set of workers",
    "functions/queue/add_jobs.sql: array(select j from unnest(ids) i(id) jo": "a set of jobs to visit",
    "queries/doctor/unknown_tasks.sql: array_agg(t.id)": "a set of tasks",
}


def nested(text: str, at: int) -> int:
    """Where the parenthesis closes that opens at this place."""
    depth = 0
    for place in range(at, len(text)):
        depth += {"(": 1, ")": -1}.get(text[place], 0)
        if not depth:
            return place
    return len(text)


def plain(text: str) -> str:
    """The text up to its end, or to what closes around it, without what stands in parentheses."""
    found, place = "", 0
    while place < len(text) and text[place] not in ");":
        if text[place] == "(":
            place = nested(text, place)
        else:
            found += text[place]
        place += 1
    return found


def unordered(text: str) -> Iterator[str]:
    """The beginnings of arrays in no order that are made of a join, or of what may become one."""
    text = re.sub(r"--.*", "", text)
    for found in re.finditer(r"\barray_agg\(|\barray\(", text):
        end = nested(text, found.end() - 1)
        inner = text[found.end() : end]
        if found[0] == "array_agg(":
            ordered, made_of = "order by" in inner, plain(text[end + 1 :])
        else:
            ordered, made_of = "order by" in plain(inner), plain(inner)
        if not ordered and re.search(
            r"\bjoin\b|\bexists\b|\bfrom\b[^;]*?,\s*(lateral|unnest|tidemill)", made_of
        ):
            yield " ".join(text[found.start() : end + 1].split())[:40]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("select array_agg(a) from t", []),
        ("select array_agg(a) from t join u using (id)", ["array_agg(a)"]),
        ("select array_agg(a order by t.n) from t join u using (id)", []),
        ("select array_agg(a) from (select a from t join u using (id)) x; select 1 from t join u", []),
        ("array(select a from b where exists (c))", ["array(select a from b where exists (c))"]),
        ("array(select a from t cross join u order by a)", []),
        ("array(select a from t, lateral f(a))", ["array(select a from t, lateral f(a))"]),
    ],
)
def test_arrays_without_an_order_are_found(text: str, found: list[str]) -> None:
    assert list(unordered(text)) == found


def test_arrays_of_joins_are_ordered() -> None:
    files = [file for part in ("functions", "dialects", "queries") for file in SQL.glob(f"{part}/**/*.sql")]
    found = {f"{name(file)}: {array}" for file in files for array in unordered(file.read_text())}
    assert found == set(REVIEWED)


def name(file: Path) -> str:
    return str(file.relative_to(SQL))


@pytest.mark.slow
def test_a_claim_counts_each_gate_for_itself_in_whatever_order_the_join_comes(queue: Queue) -> None:
    """By these statistics the planner begins with the gates, which come by their number."""
    queue.rows("select tidemill.set_limit('one', 1), tidemill.set_limit('five', 5)")
    queue.connection.execute("insert into tidemill._gates (id) values (99)")
    queue.connection.execute("vacuum analyze tidemill._gates")
    for limit in ("one", "five"):
        queue.add(limit_name=limit)
        queue.complete(claim(queue))
    # What is due first is not what has the least number.
    for limit in ("five", "one"):
        for _ in range(10):
            queue.add(limit_name=limit)
    claim(queue, count=100)
    assert queue.rows("select name, in_use from tidemill.limits order by name") == [
        {"name": "five", "in_use": 5},
        {"name": "one", "in_use": 1},
    ]
