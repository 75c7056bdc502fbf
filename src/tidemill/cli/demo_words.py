"""What the parts of the tour print."""

from __future__ import annotations

from tidemill.cli.output import console, say


def title(text: str) -> None:
    """A heading, after a blank line."""
    console.print()
    say("", label=text, style="bold")


def show(code: str) -> None:
    """Code that the tour runs."""
    indented = "\n".join("    " + line for line in code.strip().splitlines())
    console.print(indented, style="cyan", soft_wrap=True)
