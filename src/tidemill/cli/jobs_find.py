"""Finding and reading jobs, for the commands that show and change them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from typing import Annotated, Any, Literal

import msgspec
import psycopg
import typer
from psycopg.rows import dict_row

from tidemill.cli.output import note
from tidemill.cli.visible import visible
from tidemill.database import sql
from tidemill.database.connect import connect


@dataclass(frozen=True)
class JobFilter:
    """The filters of all commands that take many jobs. It is false if no filter is given.

    To add one, add a field here and a condition in list_jobs.sql and find_job_ids.sql.
    """

    state: Annotated[
        Literal["ready", "scheduled", "running", "failed"] | None,
        typer.Option(help="Only jobs in this state."),
    ] = None
    task: Annotated[str | None, typer.Option("--task", help="Only jobs of this task.")] = None
    queue: Annotated[str | None, typer.Option("--queue", help="Only jobs of this named queue.")] = None

    def __bool__(self) -> bool:
        return any(astuple(self))


def find_job_ids(connection: psycopg.Connection[Any], jobs: JobFilter) -> list[int]:
    """The ids of the jobs that pass a filter."""
    # Nothing else is read: jobs may be large, or hold values that Python cannot.
    return [row[0] for row in connection.execute(sql.query("find_job_ids"), asdict(jobs)).fetchall()]


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
    wanted = asdict(jobs or JobFilter()) | {"id": job_id, "key": key, "limit": limit, "payloads": payloads}
    with connect(conninfo) as connection, connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(sql.query("list_jobs"), wanted).fetchall()
    for row in rows:
        row["payload"] = msgspec.Raw((row["payload"] or "null").encode())
    return rows


def job_row(conninfo: str, job_id: int) -> dict[str, Any] | None:
    """One job with its payload; None where there is none."""
    return next(iter(job_rows(conninfo, payloads=True, job_id=job_id)), None)


def say_what_waits(rows: Sequence[Mapping[str, Any]]) -> None:
    """Names on stderr the tasks of ready jobs that no running worker knows."""
    waiting = sorted({row["identifier"] for row in rows if row["state"] == "ready" and not row["has_worker"]})
    if waiting:
        tasks = ", ".join(map(visible, waiting[:5])) + (" and others" if len(waiting) > 5 else "")
        note(f"Waiting: no worker that runs knows {tasks}.")
