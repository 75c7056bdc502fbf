"""`tidemill top`: a live view of tasks, workers and actions."""

from __future__ import annotations

import math
import sys
import threading
from collections import deque
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Annotated

import msgspec
import typer
from psycopg.conninfo import conninfo_to_dict
from rich.text import Text

from tidemill.cli import completion, parse, top_page, top_view
from tidemill.cli.options import DatabaseOption
from tidemill.cli.output import console, open_database
from tidemill.cli.top_figures import Figures, Frame
from tidemill.cli.top_rates import Rates, Speedometer
from tidemill.cli.top_screen import Alarm, Screen, keys_at_once, steps_aside
from tidemill.cli.top_view import SORTS, Sort, View
from tidemill.cli.visible import visible_json
from tidemill.database.connect import explained
from tidemill.database.patient import connect_patiently
from tidemill.errors import MissingRightsError

# The network has so many seconds beside the statements, each of which has one.
_PATIENCE = 5.0
# A database that is slow is asked less often: this many times as long as it took, it is left alone.
_REST = 9
_KEYS = "q: quit  s: sort"
_LONGEST_WINDOW = timedelta(hours=1)


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(
        "top",
        epilog="Examples:\n\n`tidemill top`\n\n`tidemill top --task 'mail_*' --sort failing`\n\n"
        "`tidemill top --once --json`",
    )(top)


def top(
    interval: Annotated[
        float, typer.Option("--interval", "-i", metavar="S", help="Seconds between two frames.")
    ] = 2.0,
    window: Annotated[
        str, typer.Option(metavar="DURATION", help="What times and failures are of: 1m to 1h back.")
    ] = "5m",
    sort: Annotated[Sort, typer.Option(help="Which tasks come first; the key s changes it.")] = "busy",
    task: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Only this task, or those of a pattern with * and ?; repeatable.",
            autocompletion=completion.tasks,
        ),
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="Show one frame and end; also where stdout is no terminal.")
    ] = False,
    database: DatabaseOption = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a line of JSON for each frame; with --once for one.")
    ] = False,
) -> None:
    """Watch tasks, jobs, workers and actions as they run; q or Ctrl-C ends it."""
    if not 0.5 <= interval <= 3600:
        raise typer.BadParameter("--interval must be from 0.5 to 3600 seconds.")
    back = parse.duration(window)
    if not timedelta(minutes=1) <= back <= _LONGEST_WINDOW:
        raise typer.BadParameter("--window must be from 1m to 1h.")
    found = open_database(database)
    conninfo = found.for_application("tidemill top")
    figures = Figures(lambda: connect_patiently(conninfo, _PATIENCE), back)
    # Counts are by the minute.
    maker = _Maker(Speedometer(), math.ceil(back.total_seconds() / 60) * 60.0, tuple(task or ()), sort)
    show = partial(top_page.lines, place=_place(conninfo), interval=interval)
    is_live = console.is_terminal and not console.is_dumb_terminal
    if once or not (is_live or as_json):
        view = maker.make(_first(figures))
        if as_json:
            _print_json(view)
        else:
            for line in show(view, keys="", width=console.width, height=None):
                console.print(line, no_wrap=True, overflow="crop", crop=True)
    elif as_json:
        with Alarm() as alarm:
            _follow(figures, interval, alarm, partial(_tell, maker))
    else:
        with (
            keys_at_once() as keys,
            Alarm(keys) as alarm,
            Screen(console) as screen,
            steps_aside(screen, keys),
        ):
            told = _KEYS if keys is not None else "Ctrl-C: quit"
            _follow(figures, interval, alarm, _Live(maker, screen, partial(show, keys=told)).show)


class _Maker:
    """Makes views of frames."""

    def __init__(self, speedometer: Speedometer, window: float, wanted: tuple[str, ...], sort: Sort) -> None:
        self.sort = sort
        self._speedometer = speedometer
        self._window = window
        self._wanted = wanted
        self._rates = Rates(0.0, {})

    def make(self, frame: Frame) -> View:
        """The view of a frame that has just come."""
        if frame.at is not None and frame.lost_since is None:
            self._rates = self._speedometer.read(frame.at, frame.parts["tasks"])
        return self.again(frame)

    def again(self, frame: Frame) -> View:
        """The view of a frame that was there before."""
        return top_view.make(frame, self._rates, self._window, self._wanted, self.sort)


class _Live:
    """Draws frames, and does what keys say."""

    def __init__(self, maker: _Maker, screen: Screen, show: Callable[..., list[Text]]) -> None:
        self._maker = maker
        self._screen = screen
        self._show = show
        self._frame: Frame | None = None

    def show(self, frame: Frame | None, keys: str) -> None:
        """Draws a frame, or the last one again."""
        for key in keys:
            if key in "sS":
                self._maker.sort = SORTS[(SORTS.index(self._maker.sort) + 1) % len(SORTS)]
        if frame is not None:
            self._frame = frame
            view = self._maker.make(frame)
        elif self._frame is not None:
            view = self._maker.again(self._frame)
        else:
            return
        self._screen.draw(lambda width, height: self._show(view, width=width, height=height))


class _Watch(threading.Thread):
    """Asks the database in a thread, so that keys are heard while it does not answer."""

    def __init__(self, figures: Figures, interval: float, alarm: Alarm) -> None:
        super().__init__(name="tidemill-top", daemon=True)
        self.frames: deque[Frame | Exception] = deque()
        self._figures = figures
        self._interval = interval
        self._alarm = alarm
        self._stop_asked = threading.Event()

    def run(self) -> None:
        """Asks until it is told to stop."""
        pause = 0.0
        while not self._stop_asked.wait(pause):
            try:
                frame = self._figures.ask()
                self.frames.append(frame)
                pause = max(self._interval - frame.seconds, _rest(frame))
            except Exception as error:
                self.frames.append(error)
                return
            finally:
                self._alarm.ring()
        self._figures.close()

    def stop(self) -> None:
        """Does not wait for long: it may be connecting."""
        self._stop_asked.set()
        self.join(1.0)


def _rest(frame: Frame) -> float:
    # Of a lost database the time says nothing.
    return 0.0 if frame.lost_since is not None else _REST * frame.seconds


def _follow(
    figures: Figures, interval: float, alarm: Alarm, show: Callable[[Frame | None, str], None]
) -> None:
    """Hands frames and keys on until somebody ends it."""
    watch = _Watch(figures, interval, alarm)
    watch.start()
    try:
        while True:
            keys = alarm.wait()
            if alarm.ended or "q" in keys.lower():
                return
            frames = [watch.frames.popleft() for _ in range(len(watch.frames))]
            for frame in frames:
                if isinstance(frame, Exception):
                    raise frame
                show(frame, keys)
                keys = ""
            if not frames:
                show(None, keys)
    finally:
        watch.stop()


def _first(figures: Figures) -> Frame:
    """One frame. Raises TidemillError, psycopg.Error."""
    frame = figures.ask()
    figures.close()
    if frame.lost_because is not None:
        with explained():
            raise frame.lost_because
    if not any(frame.parts.values()) and len(frame.not_read) >= len(frame.parts):
        raise MissingRightsError(next(iter(frame.not_read.values())))
    return frame


def _tell(maker: _Maker, frame: Frame | None, keys: str) -> None:
    if frame is not None:
        _print_json(maker.make(frame))


def _print_json(view: View) -> None:
    text = msgspec.json.encode(top_view.as_json(view)).decode()
    sys.stdout.write(visible_json(text) + "\n")
    sys.stdout.flush()


def _place(conninfo: str) -> str:
    given = conninfo_to_dict(conninfo)
    host = str(given.get("host") or given.get("hostaddr") or "")
    dbname = str(given.get("dbname") or given.get("user") or "")
    # A directory of a socket says little.
    return dbname if not host or host.startswith("/") else f"{dbname} at {host}"
