"""Imports point one way: down the tiers, and never in a circle."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import tidemill

PACKAGE = Path(tidemill.__file__).parent
# The lowest tier first. Rooms of one tier do not know each other; a room has one or more modules.
TIERS = (
    ["errors retry coroutines forks texts times complaints tallies"],
    [
        "jobs limits schedule producers context payloads schemas signatures task_options tasks middleware "
        "executables task_directory worker_options keeps",
        "database",
    ],
    ["queue", "actions", "history", "metrics"],
    ["budget parts measures worker"],
    ["slots pools connections waiting sync app"],
    ["cli", "contrib"],
)
# The front door loads a module when one of its names is asked for.
OUTSIDE = {"tidemill"}


@cache
def files() -> dict[str, Path]:
    """Each module's file, by dotted name."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts).removesuffix(".__init__")] = path
    return found


def imports(name: str) -> Iterator[str]:
    """The modules of this package that a module imports: for type checkers alone and in functions, too."""
    for node in ast.walk(ast.parse(files()[name].read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in files())
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name} has a relative import, which this test cannot follow"
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (module for module in inner if module in files())
            if node.module in files() and not set(inner) <= files().keys():
                yield node.module


def place(name: str) -> tuple[int, str]:
    """The tier of a module, and its room."""
    first = name.partition(".")[2].partition(".")[0]
    places = [(tier, room) for tier, rooms in enumerate(TIERS) for room in rooms if first in room.split()]
    assert len(places) == 1, f"{name} must have one place in TIERS; it has {len(places)}"
    return places[0]


def test_there_is_no_circle() -> None:
    arrows = {name: set(imports(name)) for name in files()}
    try:
        TopologicalSorter(arrows).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_nothing_points_up() -> None:
    wrong = []
    for name in files().keys() - OUTSIDE:
        tier, room = place(name)
        for other in imports(name):
            other_tier, other_room = place(other)
            if other_tier >= tier and other_room != room:
                wrong.append(f"{name} must not import {other}")
    assert wrong == []


def test_every_module_has_a_place() -> None:
    named = {module for rooms in TIERS for room in rooms for module in room.split()}
    there = {name.split(".")[1] for name in files().keys() - OUTSIDE}
    assert named == there
