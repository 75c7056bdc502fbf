"""Markdown pages as the tests see them: blocks of code, headings, links, tables."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parents[2]

_NOT_RUN = re.compile(r"<!--\s*not run:\s*(.+?)\s*-->", re.DOTALL)
# The name of the file that a block shows, in its first line or below a "#!".
_FILE = re.compile(r"(?:#![^\n]*\n)?# ([\w-]+(?:/[\w-]+)*(?:\.\w+)?)(, continued)?\n")


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    page: Path
    line: int
    language: str
    text: str
    not_run: str | None
    """Why it cannot run here, from the comment before it."""
    output: str | None
    """The `text` block right after it."""

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def file(self) -> str | None:
        """Where the block belongs, if it shows a file."""
        match = _FILE.match(self.text)
        return match[1] if match and self.language in ("python", "sh") else None

    @property
    def continues(self) -> bool:
        """Whether it is to be added to the end of its file."""
        match = _FILE.match(self.text)
        return match is not None and match[2] is not None


@dataclass(frozen=True)
class Page:
    """One Markdown file."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.relative_to(ROOT).as_posix()

    @cached_property
    def _tokens(self) -> list[Token]:
        return MarkdownIt("commonmark").enable("table").parse(self.path.read_text(encoding="utf-8"))

    def blocks(self) -> Iterator[Block]:
        """The fenced blocks, without those that are the output of the one before."""
        before, after = [None, *self._tokens], [*self._tokens[1:], None]
        for previous, token, following in zip(before, self._tokens, after, strict=False):
            if token.type != "fence" or (token.info == "text" and previous and previous.type == "fence"):
                continue
            comment = previous.content if previous and previous.type == "html_block" else ""
            reason = _NOT_RUN.search(comment)
            is_output = following is not None and following.type == "fence" and following.info == "text"
            yield Block(
                self.path,
                (token.map or [0])[0] + 1,
                token.info,
                token.content,
                reason[1] if reason else None,
                following.content if following is not None and is_output else None,
            )

    def headings(self) -> list[str]:
        """The headings' texts, with their marks for code."""
        pairs = zip(self._tokens, self._tokens[1:], strict=False)
        return [inline.content for token, inline in pairs if token.type == "heading_open"]

    def links(self) -> list[str]:
        """Where its links and images point."""
        return [
            str(child.attrGet("href") or child.attrGet("src"))
            for token in self._tokens
            for child in token.children or ()
            if child.type in ("link_open", "image")
        ]

    def whole(self) -> Section:
        """All of it."""
        return Section(self._tokens)

    def section(self, title: str) -> Section:
        """The part below a heading that is, or begins with, `title` as code."""
        for index, token in enumerate(self._tokens):
            if token.type != "heading_open" or not re.match(
                re.escape(f"`{title}") + r"(`|\()", self._tokens[index + 1].content
            ):
                continue
            end = next(
                (
                    place
                    for place, later in enumerate(self._tokens[index + 1 :], index + 1)
                    if later.type == "heading_open" and later.tag <= token.tag
                ),
                len(self._tokens),
            )
            return Section(self._tokens[index:end])
        raise AssertionError(f"{self.name} has no heading `{title}`")


@dataclass(frozen=True)
class Section:
    """The part of a page below one heading."""

    tokens: list[Token]

    def tables(self) -> list[list[list[str]]]:
        """Its tables: rows of cells, the header's row left out."""
        tables: list[list[list[str]]] = []
        in_body = False
        for token in self.tokens:
            match token.type:
                case "tbody_open":
                    tables.append([])
                    in_body = True
                case "tbody_close":
                    in_body = False
                case "tr_open" if in_body:
                    tables[-1].append([])
                case "inline" if in_body:
                    tables[-1][-1].append(token.content)
        return tables

    def code(self) -> set[str]:
        """Every piece of code in it: `words` in the text."""
        return {
            child.content
            for token in self.tokens
            for child in token.children or ()
            if child.type == "code_inline"
        }


@cache
def anchors(path: Path) -> set[str]:
    """What a link into a page may point at, by GitHub's rules."""
    found: dict[str, int] = {}
    anchors = set()
    for heading in Page(path).headings():
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        anchors.add(f"{slug}-{found[slug]}" if slug in found else slug)
        found[slug] = found.get(slug, 0) + 1
    return anchors


def pages() -> list[Page]:
    """All pages: the README, the docs, and what each example says of itself."""
    paths = [ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*/README.md")]
    return [Page(path) for path in sorted(paths)]
