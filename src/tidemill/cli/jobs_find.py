"""Finding and reading jobs, for the commands that show and change them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from typing import Annotated, Any

import msgspec
import psycopg
import typer

from tidemill.cli import completion, parse
from tidemill.cli.lists import read_rows
from tidemill.cli.output import ago, note
from tidemill.cli.visible import visible
from tidemill.jobs import State


@dataclass(frozen=True)
class JobFilter:
    """The filters of all commands that take many jobs. It is false if no filter is given.

    To add one, add a field here, and its condition to tidemill._job_passes.
    """

    state: Annotated[
        State | None,
        typer.Option(help="Only jobs in this state."),
    ] = None
    retrying: Annotated[
        bool, typer.Option("--retrying", help="Only jobs that have failed and wait for their next attempt.")
    ] = False
    task: Annotated[
        str | None, typer.Option("--task", help="Only jobs of this task.", autocompletion=completion.tasks)
    ] = None
    queue: Annotated[
        str | None,
        typer.Option("--queue", help="Only jobs of this named queue.", autocompletion=completion.queues),
    ] = None
    error: Annotated[
        str | None,
        typer.Option("--error", metavar="TEXT", help="Only jobs with this text in last_error, in any case."),
    ] = None
    since: Annotated[
        str | None,
        typer.Option(
            "--since",
            metavar="WHEN",
            help="Only jobs that were added, failed or were changed since: a time, or 2h, 7d (ago).",
        ),
    ] = None
    until: Annotated[
        str | None, typer.Option("--until", metavar="WHEN", help="Only those of before; as --since.")
    ] = None

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value == "":
                # Most likely a variable of a script that is not set: it would widen the choice.
                raise typer.BadParameter(f"--{name} is empty: give it a value, or leave it out.")

    def __bool__(self) -> bool:
        return any(astuple(self))

    @property
    def params(self) -> dict[str, Any]:
        """What the queries take. Raises typer.BadParameter for a time that is none."""
        from_when = parse.since(self.since) if self.since is not None else {}
        to_when = parse.since(self.until) if self.until is not None else {}
        return asdict(self) | {
            "since": from_when.get("since"),
            "within": from_when.get("within"),
            "until": to_when.get("since"),
            "until_within": to_when.get("within"),
        }


def job_rows(
    conninfo: str,
    jobs: JobFilter | None = None,
    *,
    payloads: bool,
    job_id: int | None = None,
    key: str | None = None,
    limit: int | None = None,
) -> list[dict[str, Any]]:
    """Rows of the view tidemill.jobs, newest first; `payloads` says whether to read payloads."""
    wanted = _wanted(jobs or JobFilter(), payloads=payloads, id=job_id, key=key, limit=limit)
    rows = read_rows(conninfo, "list_jobs", **wanted)
    for row in rows:
        row["payload"] = msgspec.Raw((row["payload"] or "null").encode())
    return rows


def _wanted(jobs: JobFilter, **more: Any) -> dict[str, Any]:
    """The parameters of list_jobs.sql; what is not given leaves nothing out."""
    return {"id": None, "key": None, "limit": None} | jobs.params | more


def job_row(conninfo: str, job_id: int) -> dict[str, Any] | None:
    """One job with its payload; None where there is none."""
    return next(iter(job_rows(conninfo, payloads=True, job_id=job_id)), None)


def say_what_waits(conninfo: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Names on stderr what keeps ready jobs from starting: pauses, and tasks that no running worker knows."""
    ready = [row for row in rows if row["state"] == "ready"]
    for words in _pauses(conninfo, [row for row in ready if row["paused_at"] is not None]):
        note(f"Waiting: {words}")
    say_unknown(row["identifier"] for row in ready if not row["has_worker"])


def say_unknown(tasks: Iterable[str]) -> None:
    """Names on stderr tasks of ready jobs that no running worker knows, if there are any."""
    if waiting := sorted(set(tasks)):
        note(f"Waiting: no worker that runs knows {_listed(waiting)}.")


def _pauses(conninfo: str, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The pauses that concern these jobs, in words."""
    if not rows:
        return []
    told = []
    try:
        found = read_rows(conninfo, "list_pauses")
    except psycopg.errors.InsufficientPrivilege:
        return [f"paused are jobs of {_listed(sorted({row['identifier'] for row in rows}))}."]
    for pause in found:
        kind, name = pause["kind"], pause["name"]
        field = {"task": "identifier", "queue": "queue_name"}.get(kind)
        if field is None or any(row[field] == name for row in rows):
            what = {"task": f"{name} is", "queue": f"the queue {name} is"}.get(kind, "everything is")
            by = pause["paused_by"] + (f" (for {pause['acts_as']})" if pause["acts_as"] else "")
            why = f": {pause['reason']}" if pause["reason"] else "."
            told.append(f"{what} paused since {ago(pause['paused_at'])} by {by}{why}")
    return told


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(visible, names[:5])) + (" and others" if len(names) > 5 else "")


def why_waiting(conninfo: str, job_id: int) -> dict[str, Any] | None:
    """Why a job waits; None for a role that may not ask."""
    try:
        [row] = read_rows(conninfo, "why_waiting", id=job_id)
    except psycopg.errors.InsufficientPrivilege:
        return None
    return row
