"""`tidemill add`: one job, or a file of them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import msgspec
import typer

from tidemill.app import App
from tidemill.cli import parse
from tidemill.cli.output import (
    DatabaseOption,
    JsonOption,
    console,
    errors,
    job_row,
    open_database,
    print_json,
    progress_bar,
)
from tidemill.database.connect import connect, explained
from tidemill.errors import InvalidJobError
from tidemill.jobs import JobKeyMode, JobSpec

_BATCH = 2000


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(
        "add",
        epilog='Examples: `tidemill add send_email \'{"to": "ann@example.com"}\'`, '
        "`tidemill add report --in 10m --key weekly`, `tidemill add --from jobs.jsonl`",
    )(add)


def add(
    identifier: Annotated[str | None, typer.Argument(help="The task to run.", show_default=False)] = None,
    payload: Annotated[str | None, typer.Argument(help="JSON for the task [default: {}].")] = None,
    queue: Annotated[str | None, typer.Option(help="Named queue: its jobs run one at a time.")] = None,
    run_at: Annotated[str | None, typer.Option(metavar="TIME", help="Earliest start, ISO 8601.")] = None,
    wait: Annotated[
        str | None, typer.Option("--in", metavar="DURATION", help="Or a wait: 90s, 10m, 2d.")
    ] = None,
    max_attempts: Annotated[int | None, typer.Option(min=1, max=32767, help="Default 25.")] = None,
    key: Annotated[str | None, typer.Option(help="A later add with this key changes the job.")] = None,
    key_mode: Annotated[
        Literal["replace", "preserve_run_at", "unsafe_dedupe"] | None,
        typer.Option(help="What an add with a key that is taken does; default replace."),
    ] = None,
    priority: Annotated[int | None, typer.Option(help="Smaller runs first; default 0.")] = None,
    flag: Annotated[list[str] | None, typer.Option(help="May be given more than once.")] = None,
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="FILE",
            help="Add many: a file (- for stdin) with one JSON object a line, with the fields identifier, "
            "payload, queue_name, run_at, max_attempts, job_key, priority, flags, job_key_mode. All or none.",
        ),
    ] = None,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add a job, or many."""
    if (identifier is None) == (source is None):
        raise typer.BadParameter("give either the name of a task or --from FILE.")
    if source is not None:
        _add_many(source, database, as_json)
        return
    if run_at and wait:
        raise typer.BadParameter("give --run-at or --in, not both.")
    when: datetime | timedelta | None = parse.moment(run_at) if run_at else None
    if wait:
        when = parse.duration(wait)
    spec = JobSpec(
        cast(str, identifier),
        parse.payload(payload),
        queue,
        when,
        max_attempts,
        key,
        priority,
        flag,
        key_mode,
    )
    found = open_database(database)
    [job] = App(found.conninfo).sync.add_jobs([spec])
    row = job_row(found.conninfo, job.id)
    if as_json:
        print_json(row)
        return
    console.print(f"Added job {job.id} ({job.identifier}), {job.state}.", highlight=False)
    if row is not None and not row["has_worker"]:
        errors.print("Note: it waits, as no worker that runs knows this task.", highlight=False)


def _add_many(source: str, database: str | None, as_json: bool) -> None:
    size = 0 if source == "-" else Path(source).stat().st_size if Path(source).exists() else None
    if size is None:
        raise typer.BadParameter(f"the file {source!r} does not exist.")
    found = open_database(database)
    added = 0
    with (
        sys.stdin.buffer if source == "-" else Path(source).open("rb") as lines,
        explained(),
        connect(found.conninfo, autocommit=False) as connection,
        progress_bar() as progress,
    ):
        bar = progress.add_task("Adding jobs", total=None)
        specs = _read_specs(lines)
        while batch := list(islice(specs, _BATCH)):
            added += len(App(found.conninfo).sync.add_jobs(batch, connection=connection))
            progress.update(bar, completed=added)
        progress.update(bar, total=added)
    if as_json:
        print_json({"added": added})
    else:
        console.print(f"Added {added} jobs.", highlight=False)


def _read_specs(lines: Any) -> Iterator[JobSpec]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            fields = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
            spec = msgspec.json.decode(line, type=_Line)
        except (msgspec.DecodeError, UnicodeError) as error:
            raise InvalidJobError(f"Line {number} is not a job: {error}. Nothing was added.") from None
        unknown = set(fields) - set(_Line.__struct_fields__)
        if unknown:
            raise InvalidJobError(
                f"Line {number} has the unknown field {sorted(unknown)[0]!r}; known are "
                f"{', '.join(_Line.__struct_fields__)}. Nothing was added."
            )
        given = {name: getattr(spec, name) for name in spec.__struct_fields__}
        if bytes(spec.payload) == b"null":
            given["payload"] = None
        yield JobSpec(**given)


class _Line(msgspec.Struct):
    identifier: str
    payload: msgspec.Raw = msgspec.Raw(b"null")
    queue_name: str | None = None
    run_at: datetime | None = None
    max_attempts: int | None = None
    job_key: str | None = None
    priority: int | None = None
    flags: list[str] | None = None
    job_key_mode: JobKeyMode | None = None
