"""How long statements take, in pairs that are run by turns."""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Mapping
from typing import Any

import psycopg

Connection = psycopg.Connection[tuple[Any, ...]]


def run(connection: Connection, statement: str) -> list[tuple[Any, ...]]:
    """The rows of a statement, if it has some."""
    cursor = connection.execute(statement.encode())
    while cursor.nextset():
        pass
    return cursor.fetchall() if cursor.description else []


def number(connection: Connection, query: str) -> float:
    """The one number that a query returns."""
    [(value,)] = run(connection, query)
    return float(value)


def milliseconds(connection: Connection, statement: str) -> float:
    """How long a statement takes, with its way to the server and back."""
    began = time.perf_counter()
    run(connection, statement)
    return (time.perf_counter() - began) * 1000


def by_turns(connection: Connection, statements: Mapping[str, str], rounds: int) -> dict[str, float]:
    """Medians of statements that are run by turns; a first round warms up."""
    found: dict[str, list[float]] = {label: [] for label in statements}
    for _ in range(rounds + 1):
        for label, statement in statements.items():
            found[label].append(milliseconds(connection, statement))
    return {label: statistics.median(values[1:]) for label, values in found.items()}


def planning(connection: Connection, query: str, rounds: int) -> float:
    """The median of what the planner takes for a query, in a session that has planned it before."""
    found = []
    for _ in range(rounds + 1):
        plan = run(connection, f"explain (summary) {query}")
        [took] = [m[1] for (line,) in plan if (m := re.match(r"Planning Time: ([\d.]+) ms", line))]
        found.append(float(took))
    return statistics.median(found[1:])
