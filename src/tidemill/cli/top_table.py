"""For `tidemill top`: lines of columns that never wrap, and how many of them fit on a screen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.text import Text

from tidemill.cli.visible import visible

Cell = str | tuple[str, str] | tuple[str, str, str]
"""What stands there; with a style; with a mark behind it, which is not cut off."""

_HEAD = "reverse"


@dataclass(frozen=True)
class Column:
    """A column; one without a width takes what the others leave, and the first one no more than it needs."""

    title: str
    width: int = 0
    left: bool = False
    group: str = ""
    """What stands above its title, and above those of the columns after it that have the same."""


@dataclass
class Section:
    """A table of a frame."""

    name: str
    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    least: int = 2
    """It is left out if not so many of its rows fit."""
    of: int | None = None
    """How many rows there are, if not all of them are given."""
    shown: int = field(default=0, init=False)

    @property
    def head(self) -> int:
        """How many lines its head takes."""
        return 2 if any(column.group for column in self.columns) else 1

    @property
    def needs(self) -> int:
        """How wide its first column would like to be."""
        return max((_cell(row[0], None).cell_len for row in self.rows), default=0)

    def lines(self, width: int, first: int) -> list[Text]:
        """Its head and those of its rows that are shown.

        first  how wide the first column is if there is room: the figures of all sections stand near names
        """
        columns = _with_widths(self.columns, width, first)
        there = self.of or len(self.rows)
        cut = "" if self.shown >= there else f" {self.shown} of {there}"
        head: list[Text] = []
        if self.head == 2:
            head.append(Text(_groups(columns).ljust(width), style=_HEAD))
        titles = [f"{self.title}{cut}", *(column.title for column in columns[1:])]
        head.append(Text(_line(columns, titles).plain.ljust(width), style=f"{_HEAD} bold"))
        return head + [_line(columns, row) for row in self.rows[: self.shown]]


def fit(sections: Sequence[Section], room: int | None, gives_way: Sequence[str]) -> list[Section]:
    """The sections that fit into so many lines, each with the number of its rows that do; None: all.

    gives_way  the names of those that are left out, the first one first, where there is no room for a few
               rows of each
    """
    chosen = [section for section in sections if section.rows]
    if room is None:
        for section in chosen:
            section.shown = len(section.rows)
        return chosen
    for name in gives_way:
        if sum(map(_least, chosen)) <= room:
            break
        chosen = [section for section in chosen if section.name != name]
    left = room
    for section in chosen:
        section.shown = max(0, min(section.least, len(section.rows), left - section.head))
        left -= section.head + section.shown
    # The first one gets four lines where the others get one.
    turns = [*chosen[:1] * 3, *chosen]
    while left > 0 and any(section.shown < len(section.rows) for section in chosen):
        for section in turns:
            if left > 0 and section.shown < len(section.rows):
                section.shown += 1
                left -= 1
    return [section for section in chosen if section.shown]


def _least(section: Section) -> int:
    return section.head + min(section.least, len(section.rows))


def _with_widths(columns: Sequence[Column], width: int, first: int) -> list[Column]:
    left = width - sum(column.width for column in columns) - len(columns) + 1
    rest = sum(not column.width for column in columns[1:])
    # Where another column is of no fixed width, it gets at least half.
    widest = max(1, left // 2 if rest else left)
    named = columns[0].width or min(widest, first)
    others = max(1, (left - named) // rest) if rest else 0
    return [
        Column(column.title, column.width or (others if number else named), column.left, column.group)
        for number, column in enumerate(columns)
    ]


def _line(columns: Sequence[Column], cells: Sequence[Cell]) -> Text:
    line = Text(no_wrap=True)
    for number, (column, cell) in enumerate(zip(columns, cells, strict=True)):
        text = _cell(cell, column.width)
        text.align("left" if column.left else "right", column.width)
        line.append(" " if number else "").append_text(text)
    return line


def _cell(cell: Cell, width: int | None) -> Text:
    words, style, mark = (cell, "", "") if isinstance(cell, str) else (*cell, "", "")[:3]
    text = Text(visible(words), style=style)
    if width is None:
        return text.append(mark)
    text.truncate(max(1, width - len(mark)), overflow="ellipsis")
    text.append(mark)
    text.truncate(width, overflow="ellipsis")
    return text


def _groups(columns: Sequence[Column]) -> str:
    """The line of groups, each above its columns."""
    parts: list[tuple[str, int]] = []
    for column in columns:
        if parts and parts[-1][0] == column.group:
            parts[-1] = (column.group, parts[-1][1] + 1 + column.width)
        else:
            parts.append((column.group, column.width))
    return " ".join(_centred(group, width) for group, width in parts)


def _centred(group: str, width: int) -> str:
    if not group:
        return " " * width
    return f" {group} ".center(width, "─")[:width]
