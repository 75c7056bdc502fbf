"""Commands and groups as Typer makes them, with plainer help, and hints at the options that are meant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import typer
import typer.core

F = TypeVar("F", bound=Callable[..., Any])

# What other systems call it, and what it is here; a command without this option gives no hint.
_MEANT = {
    "--jobs": "--concurrency",
    "--workers": "--concurrency",
    "--threads": "--concurrency",
    "-j": "--concurrency",
    "--burst": "--once",
    "--db": "--database",
    "--dsn": "--database",
    "--url": "--database",
    "--connection": "--database",
    "--queue-name": "--queue",
    "--job-key": "--key",
    "--delay": "--in",
}


class Command(typer.core.TyperCommand):
    """A command."""

    def get_params(self, ctx: Any) -> Any:
        """The options and arguments, as help shows them."""
        return _without_types_of_flags(super().get_params(ctx))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Reads the words of a call; an error about an unknown option gets the one that may be meant."""
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            meant = _MEANT.get(getattr(error, "option_name", ""))
            if meant is not None and any(meant in option.opts for option in self.params):
                vars(error)["possibilities"] = [meant]
            if isinstance(message := getattr(error, "message", None), str):
                vars(error)["message"] = _plain(message)
            raise


def _plain(message: str) -> str:
    """What pydantic says of a value, without words of its own trade."""
    if message.startswith("Input should be a valid integer"):
        return "it must be a whole number"
    if message.startswith("Input should be a valid number"):
        return "it must be a number"
    return message.removeprefix("Value error, ")


class Group(typer.core.TyperGroup):
    """A group of commands."""

    def get_params(self, ctx: Any) -> Any:
        """The options and arguments, as help shows them."""
        return _without_types_of_flags(super().get_params(ctx))


def _without_types_of_flags(params: list[Any]) -> list[Any]:
    for param in params:
        # Typer would write `--once <bool>`, as if the option took a value.
        if getattr(param, "is_flag", False) and param.metavar is None:
            param.metavar = ""
    return params


class Commands(typer.Typer):
    """Typer, with these commands and groups."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(
            **{"cls": Group, "context_settings": {"help_option_names": ["-h", "--help"]}, **settings}
        )

    def command(self, name: str | None = None, **settings: Any) -> Callable[[F], F]:
        """See `typer.Typer.command`."""
        return super().command(name, **{"cls": Command, **settings})
