"""Arguments and options that several commands of `tidemill hypertables` take."""

from __future__ import annotations

from typing import Annotated

import typer

HypertableArgument = Annotated[
    str,
    typer.Argument(metavar="NAME", help="The hypertable, with its schema or without.", show_default=False),
]
OlderOption = Annotated[
    str | None,
    typer.Option(
        metavar="WHEN",
        help="Only chunks that end at or before then: a duration before now as 7d, a time, or a number.",
    ),
]
NewerOption = Annotated[
    str | None, typer.Option(metavar="WHEN", help="Only chunks that begin at or after then.")
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Show the chunks, and change nothing.")]
