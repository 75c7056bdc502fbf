"""Groups of commands whose default is `list`."""

from __future__ import annotations

from typing import Any

import typer

from tidemill.cli.commands import Commands, Group


class _ListByDefault(Group):
    """`tidemill jobs --state failed` means `tidemill jobs list --state failed`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        asks_help = bool(args) and args[0] in ctx.help_option_names
        if not asks_help and not (args and args[0] in self.commands):
            args = ["list", *args]
        return super().parse_args(ctx, args)


def listing_group(text: str) -> typer.Typer:
    """A group with this help that runs its command `list` if none is named."""
    return Commands(cls=_ListByDefault, help=text)
