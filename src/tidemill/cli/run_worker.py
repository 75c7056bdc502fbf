"""Runs `tidemill worker`. It imports neither typer nor rich, so that a worker starts fast."""

from __future__ import annotations

import importlib
import logging
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tidemill.cli import early_stop
from tidemill.cli.collector import paused, suit_batches
from tidemill.errors import CrontabError, TaskLoadError, TidemillError
from tidemill.texts import message_of
from tidemill.worker_options import EXECUTABLE_TIMEOUT, LaneChoice, WorkerOptions

if TYPE_CHECKING:
    import asyncio

    from tidemill.app import App
    from tidemill.cli.supervise import Place
    from tidemill.metrics.share import Share
    from tidemill.worker import Worker

logger = logging.getLogger("tidemill")

DEFAULTS = WorkerOptions()


@early_stop.ends_well()
def run_worker(
    *,
    tasks: Path | None = None,
    app: str | None = None,
    crontab: Path | None = None,
    executable_timeout: float = EXECUTABLE_TIMEOUT,
    concurrency: int = DEFAULTS.concurrency,
    action_concurrency: int = DEFAULTS.action_concurrency,
    max_connections: int | None = None,
    once: bool = False,
    processes: int = 1,
    reload: bool = False,
    forbid_flag: Sequence[str] = (),
    poll_interval: float = DEFAULTS.poll_interval,
    no_listen: bool = False,
    grace_period: float = DEFAULTS.grace_period,
    lease: float = DEFAULTS.lease,
    lane: LaneChoice = DEFAULTS.lane,
    no_migrate: bool = False,
    metrics: str | None = None,
    log_jobs: bool = False,
    keep: str | None = None,
    log_format: Literal["text", "json"] = "text",
    log_level: Literal["debug", "info", "warning", "error"] = "info",
    database: str | None = None,
    welcomes: bool = False,
) -> None:
    """Runs a worker until it is stopped; see `tidemill worker`. Raises TidemillError.

    With `welcomes` it says when it is ready and what to type next, as `tidemill up` does.
    """
    with paused():
        from tidemill.cli import logs
        from tidemill.database import conninfo
        from tidemill.worker import Worker

        logs.set_up(log_format, log_level)
        if once and crontab is not None:
            raise TidemillError("--crontab has no effect with --once: leave one of them out.")
        if once and reload:
            raise TidemillError("--reload has no effect with --once: leave one of them out.")
        crontab = crontab or _crontab_beside(tasks)
        options = WorkerOptions(
            concurrency=concurrency,
            action_concurrency=action_concurrency,
            max_connections=max_connections,
            crontab=crontab,
            once=once,
            poll_interval=poll_interval,
            listen=not no_listen,
            forbidden_flags=forbid_flag,
            grace_period=grace_period,
            lease=lease,
            heartbeat_interval=min(DEFAULTS.heartbeat_interval, lease / 6),
            lane=lane,
            migrate=not no_migrate,
            log_jobs=log_jobs,
            keep=keep,
            metrics=metrics,
        )
        share = _share(metrics, processes)
    watched = (tasks or Path("tasks"), crontab) if reload else None
    supervisor = os.getpid()
    try:
        place = _place(processes, watched, once=once)
    finally:
        if share is not None and processes > 1 and os.getpid() == supervisor:
            share.remove()
    with paused():
        if place is not None:
            logs.set_up(log_format, log_level, place.number)
        loaded = _load(app, tasks, executable_timeout or None)
        if not loaded.tasks:
            _allow_no_tasks(options)
        runner = _runner()
    suit_batches()
    if database is not None:
        # Here a mistake in it is known as that of the option.
        loaded.database_url = conninfo.read(database, "--database")
    with runner:
        early_stop.check()
        worker = Worker(loaded, options)
        if share is not None:
            worker._share_metrics(share if place is None else share.of_process(place.number))
        # Each time a file changes there is a new process; errors of it are not to be pushed out of sight.
        tells = welcomes and (place is None or (place.number == 1 and not place.comes_later))
        once_ready = partial(_welcome, loaded, named=database is not None) if tells else None
        runner.run(_run(worker, place, once_ready))


def _share(address: str | None, processes: int) -> Share | None:
    """Takes the address of the metrics, before a process begins."""
    if address is None:
        return None
    from tidemill.metrics.share import open_share

    return open_share(address, processes)


def _place(processes: int, watched: tuple[Path, Path | None] | None, *, once: bool) -> Place | None:
    """Which of several processes this is from now on; None if it is the only one.

    watched  the task directory and the crontab whose changes start it anew
    """
    if processes == 1 and watched is None:
        return None
    from tidemill.cli.supervise import supervise

    early_stop.check()
    if watched is None:
        return supervise(processes, once=once)
    from tidemill.cli.reload import Files

    return supervise(processes, changed=Files(*watched).changed)


async def _run(worker: Worker, place: Place | None, once_ready: Callable[[], None] | None) -> None:
    import asyncio

    async def tell(say: Callable[[], None]) -> None:
        await worker.ready.wait()
        say()

    telling = asyncio.create_task(tell(once_ready)) if once_ready is not None else None
    try:
        if place is None:
            await worker.run(handle_signals=True)
        else:
            await _run_at(place, worker)
    except BaseException:
        early_stop.ended(1)
        raise
    finally:
        if telling is not None:
            telling.cancel()
    early_stop.ended(0)


def _welcome(app: App, *, named: bool) -> None:
    from tidemill.cli.welcome import welcome

    print(welcome(app, named=named), file=sys.stderr, flush=True)


async def _run_at(place: Place, worker: Worker) -> None:
    """Runs a worker that stops when its supervisor is gone, and tells it when it is ready."""
    import asyncio

    loop = asyncio.get_running_loop()

    def supervisor_is_gone() -> None:
        loop.remove_reader(place.supervisor)
        logger.warning("the supervisor of this process is gone, so the worker stops")
        worker.stop()

    async def tell_ready() -> None:
        await worker.ready.wait()
        place.tell_ready()

    # It writes nothing: there is only its end to read.
    loop.add_reader(place.supervisor, supervisor_is_gone)
    telling = loop.create_task(tell_ready())
    try:
        await worker.run(handle_signals=True)
    finally:
        if worker.was_asked_to_stop:
            place.tell_leaving()
        telling.cancel()
        loop.remove_reader(place.supervisor)


def _load(app_name: str | None, directory: Path | None, executable_timeout: float | None) -> App:
    from tidemill.app import App

    _search_here(is_needed=app_name is not None)
    app = _load_app(app_name) if app_name else App()
    named = directory is not None
    if directory is None and app_name is None and Path("tasks").is_dir():
        directory = Path("tasks")
    if directory is not None:
        _load_directory(directory, app, executable_timeout, named=named)
    return app


def _search_here(*, is_needed: bool) -> None:
    """Has users' modules found in the working directory, as `python -m` does.

    One where everybody can put modules is left out, unless an app is to be found there.
    """
    here = Path.cwd()
    if not is_needed:
        from tidemill.task_directory import why_distrusted

        problem = why_distrusted(here, {0, os.geteuid(), here.stat().st_uid})
        if problem is not None:
            logger.warning("%s: modules are not looked for there", problem)
            return
    sys.path.insert(0, os.fspath(here))


def _crontab_beside(tasks: Path | None) -> Path | None:
    """The crontab beside the tasks, which is used if none is named."""
    # Without --tasks, look beside the default directory.
    found = (tasks or Path("tasks")).parent / "crontab"
    if not found.is_file():
        return None
    from tidemill.task_directory import why_distrusted

    owners = {0, os.geteuid()} | ({tasks.stat().st_uid} if tasks is not None and tasks.exists() else set())
    problem = why_distrusted(found, owners)
    if problem is not None:
        raise CrontabError(f"{problem}, or name it: --crontab {shlex.quote(str(found))}.")
    return found


def _allow_no_tasks(options: WorkerOptions) -> None:
    how = "Make a directory ./tasks, or name one with --tasks, or an App with --app MODULE:APP."
    if not options.action_concurrency and options.crontab is None:
        raise TaskLoadError(f"There are no tasks, and with --action-concurrency 0 nothing else to do. {how}")
    logger.warning("there are no tasks: this worker runs actions alone. %s", how)


def _load_app(name: str) -> App:
    from tidemill.app import App

    module_name, _, attribute = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        raise TaskLoadError(
            f"--app {name}: the module {module_name!r} does not import: "
            f"{type(error).__name__}: {message_of(error)}"
        ) from error
    found = getattr(module, attribute or "app", None)
    if not isinstance(found, App):
        raise TaskLoadError(
            f"--app {name}: {module_name!r} has no App called {attribute or 'app'!r}; write MODULE:NAME."
        )
    return found


def _load_directory(directory: Path, app: App, executable_timeout: float | None, *, named: bool) -> None:
    from tidemill.task_directory import load_directory

    # A directory that just stands where the worker was started may be anybody's.
    tasks, problems = load_directory(directory, trust_owner=named, executable_timeout=executable_timeout)
    for problem in problems:
        logger.error("not loaded: %s", problem)
    for task in tasks:
        app.register(task)
    if not app.tasks:
        raise TaskLoadError(f"The directory {str(directory)!r} has no task that loads.")


def _runner() -> asyncio.Runner:
    import asyncio

    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    try:
        import uvloop
    except ImportError:
        pass
    else:
        factory = uvloop.new_event_loop
    return asyncio.Runner(loop_factory=factory)
