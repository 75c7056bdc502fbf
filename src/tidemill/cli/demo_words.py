"""Printing of headings and code, for the parts of the tour."""

from __future__ import annotations

from tidemill.cli.output import console, say


def title(text: str) -> None:
    """Prints a heading after a blank line."""
    console.print()
    say("", label=text, style="bold")


def show(code: str) -> None:
    """Prints code that the tour runs."""
    indented = "\n".join("    " + line for line in code.strip().splitlines())
    console.print(indented, style="cyan", soft_wrap=True)
