"""`tidemill worker` and `tidemill workers`: running a worker, listing those that run, stopping one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from tidemill.cli import completion, worker_words
from tidemill.cli.groups import listing_group
from tidemill.cli.lists import print_list, read_rows
from tidemill.cli.options import DatabaseOption, JsonOption
from tidemill.cli.output import open_database, print_json, say
from tidemill.cli.run_worker import DEFAULTS, run_worker
from tidemill.database.connect import connect
from tidemill.worker_options import EXECUTABLE_TIMEOUT, LaneChoice


def _processes(text: str) -> int:
    try:
        return worker_words.processes(str(text))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is neither a number from 1 on nor `auto`.") from None


_COLUMNS = ("id", "state", "in_hand", "concurrency", "tasks", "hostname", "pid", "started_at", "heartbeat_at")


group = listing_group("List and stop workers; without a command, list them.")


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command(
        "worker",
        epilog="Examples:\n\n`tidemill worker` (tasks in ./tasks)\n\n"
        "`tidemill worker --app shop.jobs:app --concurrency 50`\n\n`tidemill worker --once`",
    )(worker)
    app.add_typer(group, name="workers")


def worker(
    tasks: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Directory of tasks [default: ./tasks if there is one]."),
    ] = None,
    app: Annotated[str | None, typer.Option(metavar="MODULE:APP", help="An App in a module.")] = None,
    crontab: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A crontab [default: `crontab` beside the tasks if there is one]."),
    ] = None,
    executable_timeout: Annotated[
        float, typer.Option(metavar="S", min=0, help="Seconds that an executable may take; 0 for no limit.")
    ] = EXECUTABLE_TIMEOUT,
    concurrency: Annotated[int, typer.Option("--concurrency", "-c", min=1, help="Jobs at once.")] = (
        DEFAULTS.concurrency
    ),
    action_concurrency: Annotated[
        int, typer.Option(metavar="N", min=0, help="Runs of actions at once; 0 for none.")
    ] = DEFAULTS.action_concurrency,
    max_connections: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="Most connections to the database, those of tasks and actions included."
        ),
    ] = None,
    processes: Annotated[
        int,
        typer.Option(
            metavar="N", parser=_processes, help="Worker processes below one supervisor; auto: one per core."
        ),
    ] = 1,
    reload: Annotated[
        bool, typer.Option("--reload", help="Start anew when a file changes, for development.")
    ] = False,
    once: Annotated[bool, typer.Option("--once", help="End when nothing is ready.")] = False,
    forbid_flag: Annotated[
        list[str] | None, typer.Option(metavar="FLAG", help="Leave jobs with this flag alone; repeatable.")
    ] = None,
    poll_interval: Annotated[float, typer.Option(metavar="S", help="Seconds between looks.")] = (
        DEFAULTS.poll_interval
    ),
    no_listen: Annotated[
        bool, typer.Option("--no-listen", help="Poll alone, for poolers without LISTEN.")
    ] = False,
    grace_period: Annotated[
        float, typer.Option(metavar="S", help="How long jobs may keep running after SIGTERM.")
    ] = DEFAULTS.grace_period,
    lease: Annotated[
        float, typer.Option(metavar="S", help="A worker that is silent for this long loses its jobs.")
    ] = DEFAULTS.lease,
    no_migrate: Annotated[
        bool, typer.Option("--no-migrate", help="Do not bring the schema up to date.")
    ] = False,
    lane: Annotated[
        LaneChoice,
        typer.Option(
            help="How jobs are claimed: auto (default: quick tasks by row locks, all else by lease), "
            "lease (always by lease), express (tasks not seen before count as quick too)."
        ),
    ] = DEFAULTS.lane,
    metrics: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT", help="Figures for Prometheus at /metrics there, and /healthz and /readyz."
        ),
    ] = None,
    log_format: Annotated[Literal["text", "json"], typer.Option(help="Log lines.")] = "text",
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], typer.Option(help="Least level to log.")
    ] = "info",
    keep: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Keep the history of jobs so long whose task does not say it: 1d, '1 week', forever "
            "[default: not at all].",
        ),
    ] = None,
    log_jobs: Annotated[
        bool,
        typer.Option(
            "--log-jobs",
            help="Log each job that ends well, however many [default: above 10 a second they are counted].",
        ),
    ] = False,
    database: DatabaseOption = None,
) -> None:
    """Run jobs and actions until stopped.

    SIGTERM or Ctrl-C lets running jobs finish within the grace period and gives the rest back;
    a second one hurries.
    """
    # `worker_words` reads plain options before Typer gets here.
    run_worker(
        tasks=tasks,
        app=app,
        crontab=crontab,
        executable_timeout=executable_timeout,
        concurrency=concurrency,
        action_concurrency=action_concurrency,
        max_connections=max_connections,
        processes=processes,
        reload=reload,
        once=once,
        forbid_flag=forbid_flag or (),
        poll_interval=poll_interval,
        no_listen=no_listen,
        grace_period=grace_period,
        lease=lease,
        lane=lane,
        no_migrate=no_migrate,
        metrics=metrics,
        log_format=log_format,
        log_level=log_level,
        log_jobs=log_jobs,
        keep=keep,
        database=database,
    )


@group.command("list", epilog="Example: `tidemill workers --json`")
def list_workers(database: DatabaseOption = None, as_json: JsonOption = False) -> None:
    """List the running workers."""
    rows = read_rows(open_database(database).conninfo, "list_workers")
    print_list(rows, _COLUMNS, as_json=as_json, empty="No worker is running; start one with: tidemill worker")


@group.command("stop", epilog='Example: `tidemill workers stop worker-0123456789abcdef --reason "deploy"`')
def stop(
    worker_id: Annotated[
        str, typer.Argument(metavar="ID", help="Id of the worker.", autocompletion=completion.workers)
    ],
    reason: Annotated[str | None, typer.Option(help="Goes to the worker's log.")] = None,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask a worker to stop as SIGTERM does, wherever it runs."""
    with connect(open_database(database).conninfo) as connection:
        connection.execute("select tidemill.stop_worker(%s, %s)", [worker_id, reason])
    if as_json:
        print_json({"stopping": worker_id})
        return
    say(f"{worker_id} is asked to stop, and ends when its jobs have ended.")
