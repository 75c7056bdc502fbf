"""Options that several commands take."""

from __future__ import annotations

from typing import Annotated

import typer

DatabaseOption = Annotated[
    str | None,
    typer.Option(
        "--database",
        "-d",
        metavar="URL",
        help="postgresql:// URL or libpq conninfo [default: DATABASE_URL, else an embedded PostgreSQL].",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
