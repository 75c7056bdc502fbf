"""The map of the code names files that exist, and leaves none of the worker's out."""

from __future__ import annotations

import re

from tests.support.documents import ROOT
from tests.test_imports import TIERS

PAGE = (ROOT / "docs/contributing/architecture.md").read_text()
PACKAGE = ROOT / "src/tidemill"


def test_every_file_on_the_map_exists() -> None:
    named = set(re.findall(r"`((?:[\w-]+/)*\w+\.(?:py|sql))`", PAGE))
    assert len(named) > 80
    missing = {name for name in named if not (PACKAGE / name).exists() and not (ROOT / name).exists()}
    assert missing == set()


def test_every_module_of_a_worker_is_on_the_map() -> None:
    modules = {
        f"{room}/{file.name}" for room in ("queue", "actions") for file in (PACKAGE / room).glob("[a-z]*.py")
    }
    assert {name for name in modules if f"`{name}`" not in PAGE} == set()


def test_the_rooms_are_those_of_the_imports() -> None:
    table = PAGE.split("| room |")[1].split("\n\n")[0]
    rooms = [set(re.findall(r"`(\w+)(?:\.py)?`", row.split("|")[2])) for row in table.splitlines()[2:]]
    held = [set(room.split()) for tier in TIERS for room in tier]
    assert sorted(rooms, key=sorted) == sorted(held, key=sorted)
