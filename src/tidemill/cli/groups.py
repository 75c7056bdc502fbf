"""Groups of commands whose default is `list`."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

import typer

from tidemill.cli.commands import Commands, Group


class _ListByDefault(Group):
    """`tidemill jobs --state failed` means `tidemill jobs list --state failed`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        asks_help = bool(args) and args[0] in ctx.help_option_names
        if not asks_help and not (args and args[0] in self.commands):
            self._expect_option(args)
            args = ["list", *args]
        return super().parse_args(ctx, args)

    def _expect_option(self, args: list[str]) -> None:
        """Raises BadParameter for a word that is no command, unless `list` takes one."""
        takes_words = any(param.param_type_name == "argument" for param in self.commands["list"].params)
        if not args or args[0].startswith("-") or takes_words:
            return
        close = get_close_matches(args[0], self.commands, 1)
        known = f"did you mean {close[0]}?" if close else f"it has {', '.join(self.commands)}."
        raise typer.BadParameter(f"{self.name} has no command {args[0]!r}; {known}")


def listing_group(text: str) -> typer.Typer:
    """A group with this help that runs its command `list` if none is named."""
    return Commands(cls=_ListByDefault, help=text)
