"""Every block of code in the README, the docs and the examples runs or is checked.

A page's blocks run in their order, on a fresh database and in an empty directory
(an example's: in a copy of it), with DATABASE_URL set:

sql         through psql, which stops at the first error
python      in one namespace for each page, with `await` at the top level
console     lines after `$ ` (continued by `> `) on a terminal; each must succeed,
            and show what stands below it, if anything
text        right after one of the others: what that prints. Elsewhere plain text
json, toml, ini, dockerfile
            are parsed

A block in python or sh whose first line is a comment with a path is that file,
or with `, continued` the rest of it.
A block that cannot run here has the comment `<!-- not run: the reason -->` before it.
A page with the comment `<!-- in a database with the dialect timescaledb -->` gets one with that:
its names are in the schema public, where the role of the tests may not create.
One with `<!-- on a server with the tablespace cold -->` may use that.
"""

from __future__ import annotations

import ast
import asyncio
import configparser
import contextlib
import importlib
import inspect
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.support.dialects import lay_timescaledb
from tests.support.documents import ROOT, Block, Page, anchors, pages
from tests.support.servers import Server
from tests.support.tablespaces import make_tablespaces
from tests.support.terminal import Terminal, agrees, commands

# Blocks that cannot run here, by page: a new one is entered here, too.
NOT_RUN = {
    "README.md": 2,
    "docs/how-to/coming-from-graphile-worker.md": 2,
    "docs/how-to/coming-from-pg-cron.md": 2,
    "docs/how-to/coming-from-pg-partman.md": 1,
    "docs/how-to/middleware.md": 2,
    "docs/how-to/move-chunks-to-another-tablespace.md": 1,
    "docs/how-to/roles.md": 2,
    "docs/how-to/run-in-production.md": 1,
}

_INSTRUCTIONS = {"FROM", "RUN", "COPY", "WORKDIR", "USER", "ENV", "CMD", "ENTRYPOINT", "STOPSIGNAL"}


@dataclass
class Runner:
    """Runs the blocks of one page."""

    psql: Path
    database: str
    terminal: Terminal
    loop: asyncio.Runner
    names: dict[str, Any] = field(default_factory=lambda: {"__name__": "__page__"})

    def run(self, block: Block) -> None:
        if block.file is not None:
            self._write(block, block.file)
            return
        match block.language:
            case "sql":
                self._compare(block, block.output, self._sql(block))
            case "python":
                self._compare(block, block.output, self._python(block))
            case "console":
                for command, output in commands(block.text):
                    shown = self.terminal.run(command)
                    self._compare(block, output or None, shown)
            case _:
                parse(block)

    def _write(self, block: Block, name: str) -> None:
        file = self.terminal.directory / name
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a" if block.continues else "w", encoding="utf-8") as lines:
            lines.write("\n\n" + block.text if block.continues else block.text)
        if block.text.startswith("#!"):
            file.chmod(0o755)

    def _sql(self, block: Block) -> str:
        done = subprocess.run(
            [self.psql, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", self.database],
            input=block.text,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    def _python(self, block: Block) -> str:
        code = compile_block(block)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            if code.co_flags & inspect.CO_COROUTINE:
                self.loop.run(eval(code, self.names))
            else:
                exec(code, self.names)
        return printed.getvalue()

    @staticmethod
    def _compare(block: Block, expected: str | None, shown: str) -> None:
        assert expected is None or agrees(expected, shown), (
            f"{block.place} shows\n{expected}\nbut got\n{shown}"
        )


def compile_block(block: Block) -> Any:
    return compile(
        # Blank lines before it: a traceback then names the page's own lines.
        "\n" * block.line + block.text,
        block.place,
        "exec",
        flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
        dont_inherit=True,
    )


def parse(block: Block) -> None:
    """Checks a block that does not run."""
    match block.language:
        case "python":
            compile_block(block)
        case "json":
            json.loads(block.text)
        case "toml":
            tomllib.loads(block.text)
        case "ini":
            # systemd repeats keys.
            configparser.ConfigParser(strict=False, interpolation=None).read_string(block.text)
        case "dockerfile":
            for line in block.text.replace("\\\n", "").splitlines():
                assert not line or line.split()[0] in _INSTRUCTIONS, f"{block.place}: {line}"
        case "console":
            assert commands(block.text)
        case "text" | "sql":
            pass
        case other:
            raise AssertionError(f"{block.place}: nobody checks blocks in {other!r}")


@pytest.fixture
def directory_of_page(page: Page, tmp_path: Path) -> Path:
    place = tmp_path / "page"
    if page.path.parent.parent == ROOT / "examples":
        shutil.copytree(page.path.parent, place)
    else:
        place.mkdir()
    return place


@pytest.fixture
def runner(
    page: Page, server: Server, database: str, directory_of_page: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Runner]:
    programs = Path(sys.executable).parent
    monkeypatch.setenv("DATABASE_URL", _url(database))
    monkeypatch.setenv("TIDEMILL_TEST_DATABASE", _url(database))
    # With it, a line that a task prints is written in parts, between which another thread may log.
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "tests.support.django_settings")
    monkeypatch.setenv("PATH", os.pathsep.join([str(programs), os.environ.get("PATH", "")]))
    monkeypatch.chdir(directory_of_page)
    monkeypatch.syspath_prepend(directory_of_page)
    # Django reads its settings once, so one page alone may run its examples.
    if any("from django" in block.text and block.not_run is None for block in page.blocks()):
        # As manage.py does; it has no types.
        importlib.import_module("django").setup()
    if "<!-- in a database with the dialect timescaledb -->" in page.path.read_text(encoding="utf-8"):
        lay_timescaledb(server, database)
    if "<!-- on a server with the tablespace cold -->" in page.path.read_text(encoding="utf-8"):
        make_tablespaces(server)
    with psycopg.connect(database) as connection:
        # The built-in action is due at four times a day, and no page shows its runs.
        connection.execute("update tidemill._action_states set next_start = now() + interval '1 day'")
    modules = set(sys.modules)
    with asyncio.Runner() as loop:
        yield Runner(server.bin_dir / "psql", database, Terminal(directory_of_page, dict(os.environ)), loop)
    for name in set(sys.modules) - modules:
        # Another page may have a file of the same name.
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(directory_of_page)):
            del sys.modules[name]


def _url(conninfo: str) -> str:
    """The conninfo as a URL, which other drivers know, too."""
    parts = {name: str(value) for name, value in conninfo_to_dict(conninfo).items()}
    query = urlencode({name: parts[name] for name in ("host", "port")})
    return f"postgresql://{parts['user']}@/{parts['dbname']}?{query}"


# Dozens of commands, each a process of its own.
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_the_blocks_of_a_page_run(page: Page, runner: Runner) -> None:
    for block in page.blocks():
        try:
            if block.not_run is None:
                runner.run(block)
            else:
                parse(block)
        except BaseException as error:
            error.add_note(f"in {block.place}")
            raise


def test_blocks_that_do_not_run_are_counted() -> None:
    counted = {page.name: sum(block.not_run is not None for block in page.blocks()) for page in pages()}
    assert {name: count for name, count in counted.items() if count} == NOT_RUN


@pytest.mark.parametrize(
    "page",
    [*pages(), Page(ROOT / "CHANGELOG.md"), Page(ROOT / "CONTRIBUTING.md")],
    ids=lambda page: page.name,
)
def test_links_lead_somewhere(page: Page) -> None:
    for link in page.links():
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.path.parent / path).resolve() if path else page.path
        assert target.exists(), f"{page.name}: {link}"
        assert not anchor or anchor in anchors(target), f"{page.name}: {link}"


def test_every_page_is_reached_from_the_index() -> None:
    docs = ROOT / "docs"
    linked = {(docs / link.partition("#")[0]).resolve() for link in Page(docs / "index.md").links()}
    missing = {page.name for page in pages() if docs in page.path.parents} - {
        path.relative_to(ROOT).as_posix() for path in linked if path.is_relative_to(ROOT)
    }
    assert missing <= {"docs/index.md"}
