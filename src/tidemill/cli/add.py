"""`tidemill add`: one job, or a file of them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from itertools import islice
from pathlib import Path
from typing import IO, Annotated, Any, Literal, cast

import msgspec
import psycopg
import typer
from psycopg.errors import InsufficientPrivilege

from tidemill.cli import completion, parse
from tidemill.cli.jobs_find import job_row, say_what_waits
from tidemill.cli.options import DatabaseOption, JsonOption
from tidemill.cli.output import open_database, print_json, progress_bar, say
from tidemill.cli.visible import visible
from tidemill.database.connect import connect, explained
from tidemill.errors import InvalidJobError
from tidemill.jobs import Job, JobKeyMode, JobSpec
from tidemill.payloads import unreadable
from tidemill.queue import client

_BATCH = 2000


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(
        "add",
        epilog='Examples: `tidemill add send_email \'{"to": "ann@example.com"}\'`, '
        "`tidemill add report --in 10m --key weekly`, `tidemill add --from jobs.jsonl`",
    )(add)


def add(
    identifier: Annotated[
        str | None,
        typer.Argument(
            metavar="TASK", help="The task to run.", show_default=False, autocompletion=completion.tasks
        ),
    ] = None,
    payload: Annotated[
        str | None, typer.Argument(metavar="PAYLOAD", help="JSON for the task [default: {}].")
    ] = None,
    queue: Annotated[
        str | None,
        typer.Option(help="Named queue: its jobs run one at a time.", autocompletion=completion.queues),
    ] = None,
    run_at: Annotated[str | None, typer.Option(metavar="TIME", help="Earliest start, ISO 8601.")] = None,
    wait: Annotated[
        str | None, typer.Option("--in", metavar="DURATION", help="Or a wait: 90s, 10m, 2d.")
    ] = None,
    max_attempts: Annotated[int | None, typer.Option(min=1, max=32767, help="Default 25.")] = None,
    key: Annotated[str | None, typer.Option(help="A later add with this key changes the job.")] = None,
    key_mode: Annotated[
        Literal["replace", "preserve_run_at", "unsafe_dedupe"] | None,
        typer.Option(help="What to do if the key is taken; default replace."),
    ] = None,
    priority: Annotated[int | None, typer.Option(help="Smaller runs first; default 0.")] = None,
    keep: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Keep its history so long: 1d, '1 week', forever, none."),
    ] = None,
    flag: Annotated[list[str] | None, typer.Option(help="May be given more than once.")] = None,
    limit: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The limit that the job has; see `tidemill limits`.",
            autocompletion=completion.limits,
        ),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="FILE",
            help="Add many: a file (- for stdin) with one JSON object a line, with the fields identifier, "
            "payload, queue_name, run_at, max_attempts, job_key, priority, flags, job_key_mode, keep, "
            "limit_name. All or none.",
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
    spec = JobSpec(
        cast(str, identifier),
        parse.payload(payload),
        queue,
        parse.start(run_at, wait),
        max_attempts,
        key,
        priority,
        flag,
        key_mode,
        keep,
        None,
        limit,
    )
    found = open_database(database)
    with connect(found.conninfo) as connection:
        call = client.add_jobs([spec])
        job = _fields(call, _add(connection, call))
    if as_json:
        print_json(job)
        return
    say(f"Added job {job['id']} ({visible(spec.identifier)}), {job['state']}.")
    # A role that may only add jobs cannot look at them.
    with suppress(InsufficientPrivilege):
        seen = job_row(found.conninfo, job["id"])
        say_what_waits(found.conninfo, [] if seen is None else [seen])


def _add_many(source: str, database: str | None, as_json: bool) -> None:
    added = 0
    with ExitStack() as stack:
        lines = _open(source, stack)
        found = open_database(database)
        specs = _read_specs(lines)
        batch = list(islice(specs, _BATCH))
        stack.enter_context(explained())
        connection = stack.enter_context(connect(found.conninfo, autocommit=False))
        progress = stack.enter_context(progress_bar(shown=len(batch) == _BATCH))
        bar = progress.add_task("Adding jobs", total=None)
        while batch:
            added += _add_batch(connection, batch)
            progress.update(bar, completed=added)
            batch = list(islice(specs, _BATCH))
    if as_json:
        print_json({"added": added})
    else:
        say(f"Added {added} jobs.")


def _open(source: str, stack: ExitStack) -> IO[bytes]:
    if source == "-":
        if sys.stdin is None:
            raise typer.BadParameter("standard input is closed.")
        return sys.stdin.buffer
    try:
        return stack.enter_context(Path(source).open("rb"))
    except FileNotFoundError:
        raise typer.BadParameter(f"the file {source!r} does not exist.") from None
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise typer.BadParameter(f"the file {source!r} cannot be read: {why}.") from None


def _add(connection: psycopg.Connection[Any], call: client.Call[list[Job]]) -> list[client.Row]:
    """Adds jobs, and returns them as the database describes them."""
    for attempt in range(1, client.ATTEMPTS + 1):
        try:
            return connection.execute(call.query, call.params).fetchall()
        except psycopg.Error as error:
            # One batch of a transaction cannot be repeated alone.
            held = None if connection.autocommit else connection
            if not client.may_repeat(error, held, attempt):
                client.raise_explained(error)
    raise AssertionError("unreachable")


def _fields(call: client.Call[list[Job]], rows: list[client.Row]) -> dict[str, Any]:
    """The returned job, with its payload as text: Python cannot hold every JSON value."""
    [job], [row] = call.read(rows), rows
    fields = {name: getattr(job, name) for name in client.COLUMN_NAMES}
    return {**fields, "payload": msgspec.Raw(row[client.COLUMN_NAMES.index("payload")].encode())}


def _add_batch(connection: psycopg.Connection[Any], batch: list[tuple[int, JobSpec]]) -> int:
    """Adds the jobs of a file. Raises InvalidJobError; the message names the line."""
    try:
        return len(_add(connection, client.add_jobs([spec for _, spec in batch])))
    except InvalidJobError:
        connection.rollback()
        # Not every refusal names the job that it is about.
        for number, spec in batch:
            try:
                _add(connection, client.add_jobs([spec]))
            except InvalidJobError as error:
                raise _refused(number, str(error).replace(" (spec 1)", "")) from None
        raise


def _read_specs(lines: Any) -> Iterator[tuple[int, JobSpec]]:
    """The jobs with the numbers of their lines. Raises InvalidJobError; the message names the line."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield number, _read_spec(line)
        except RecursionError:
            raise _refused(number, "its JSON is nested too deep.") from None
        except (msgspec.DecodeError, UnicodeError) as error:
            raise _refused(number, f"it is not a job: {error}.") from None
        except InvalidJobError as error:
            raise _refused(number, str(error)) from None


def _read_spec(line: bytes) -> JobSpec:
    fields = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
    unknown = set(fields) - set(_Line.__struct_fields__)
    if unknown:
        raise InvalidJobError(
            f"the field {min(unknown)!r} is unknown; known are {', '.join(_Line.__struct_fields__)}."
        )
    read = msgspec.json.decode(line, type=_Line)
    given = {name: getattr(read, name) for name in read.__struct_fields__}
    if bytes(read.payload) == b"null":
        given["payload"] = None
    elif why := unreadable(bytes(read.payload).decode()):
        raise InvalidJobError(why)
    if read.run_at is not None:
        given["run_at"] = parse.zoned(read.run_at)
    return JobSpec(**given)


def _refused(number: int, why: str) -> InvalidJobError:
    return InvalidJobError(f"Line {number}: {why} Nothing was added.")


class _Line(msgspec.Struct):
    identifier: str
    payload: msgspec.Raw = msgspec.Raw(b"null")
    queue_name: str | None = None
    run_at: str | None = None
    max_attempts: int | None = None
    job_key: str | None = None
    priority: int | None = None
    flags: list[str] | None = None
    job_key_mode: JobKeyMode | None = None
    keep: str | None = None
    limit_name: str | None = None
