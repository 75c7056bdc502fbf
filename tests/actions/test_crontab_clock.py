"""The crontab's clock: the thread that adds due jobs, alone and beside other workers."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.actions.crontabs import at, jobs, known
from tests.support.running import running, within
from tests.support.waiting import wait_until
from tidemill import App, JobContext
from tidemill.actions.crontab import parse_crontab
from tidemill.actions.crontab_clock import CrontabClock, database_time
from tidemill.database.patient import connect_patiently

pytestmark = pytest.mark.versions(18)


class Hands:
    """A clock whose hands the test moves; all look at it many times a second."""

    def __init__(self, now: str) -> None:
        self.now = at(now)
        self.looks: Counter[int] = Counter()

    def __call__(self, connection: psycopg.Connection) -> datetime:
        self.looks[connection.info.backend_pid] += 1
        return self.now

    def set(self, now: str, lookers: int = 1) -> None:
        """Waits until all have seen the time as it was; sets it; waits until they saw that and acted."""
        self.wait_for_looks(lookers)
        self.now = at(now)
        self.wait_for_looks(lookers)

    def wait_for_looks(self, lookers: int = 1) -> None:
        # The first look may have begun before this call; the second ends after the first has acted.
        before = self.looks.copy()

        def seen() -> bool:
            looks = self.looks.copy()
            return len(looks) >= lookers and all(looks[pid] >= before[pid] + 2 for pid in looks)

        wait_until(seen, "looks at the clock")


@contextmanager
def ticking(
    crontab: str,
    connect: Callable[[], psycopg.Connection],
    hands: Hands,
    tasks: Sequence[str] = ("t",),
) -> Iterator[CrontabClock]:
    clock = CrontabClock(parse_crontab(crontab), connect=connect, tasks=tasks, time=hands, longest_wait=0.02)
    clock.start()
    try:
        yield clock
    finally:
        clock.stop(30)


@pytest.fixture
def connect(database: str) -> Callable[[], psycopg.Connection]:
    return lambda: connect_patiently(database, 10)


def minutes(connection: psycopg.Connection) -> list[str]:
    return [f"{minute:%H:%M}" for _, minute in jobs(connection)]


def test_the_thread_adds_what_is_due(
    connection: psycopg.Connection, connect: Callable[[], psycopg.Connection]
) -> None:
    hands = Hands("12:00:30")
    with ticking("* * * * * t", connect, hands):
        hands.set("12:00:59.999")
        assert minutes(connection) == []
        hands.set("12:01:00.001")
        assert minutes(connection) == ["12:01"]
        # A step back, a minute that is there already, and then it is late.
        for now in ("12:00:30", "12:01:10"):
            hands.set(now)
            assert minutes(connection) == ["12:01"]
        hands.set("12:03:40")
        assert minutes(connection) == ["12:01", "12:02", "12:03"]
    assert known(connection) == [("t", at("12:00:30"), at("12:03:00"))]


def test_it_backfills_when_it_starts(
    connection: psycopg.Connection, connect: Callable[[], psycopg.Connection]
) -> None:
    connection.execute(
        "insert into tidemill._known_crontabs values ('t', %s, %s)", [at("09:00:00"), at("11:57:00")]
    )
    with ticking("* * * * * t ?fill=1h\n* * * * * u", connect, Hands("12:00:30")):
        wait_until(lambda: minutes(connection) == ["11:58", "11:59", "12:00"], "the minutes that were missed")
    flags = connection.execute(
        "select distinct payload #>> '{_cron,backfilled}' from tidemill.jobs"
    ).fetchall()
    assert flags == [("true",)]


def test_a_year_of_minutes_is_backfilled_in_batches(
    connection: psycopg.Connection, connect: Callable[[], psycopg.Connection]
) -> None:
    connection.execute("insert into tidemill._known_crontabs values ('t', %s)", [at("00:00:00")])
    with ticking("* * * * * t ?fill=1d", connect, Hands("20:00:30")):
        wait_until(lambda: len(jobs(connection)) == 20 * 60 + 1, "all minutes since midnight")
    assert len(set(minutes(connection))) == 20 * 60 + 1


def test_workers_share_the_minutes(
    connection: psycopg.Connection, connect: Callable[[], psycopg.Connection]
) -> None:
    hands = Hands("12:00:30")
    crontab = "* * * * * t ?id=a\n*/2 * * * * t ?id=b"
    with ticking(crontab, connect, hands), ticking(crontab, connect, hands), ticking(crontab, connect, hands):
        for minute in range(1, 6):
            hands.set(f"12:0{minute}:00.01", lookers=3)
    assert sorted(minutes(connection)) == ["12:01", "12:02", "12:02", "12:03", "12:04", "12:04", "12:05"]


@pytest.mark.slow
def test_an_error_costs_no_minute(
    connection: psycopg.Connection,
    connect: Callable[[], psycopg.Connection],
    caplog: pytest.LogCaptureFixture,
) -> None:
    failures = iter([OSError("no route"), psycopg.OperationalError("gone\naway")])
    opened: list[psycopg.Connection] = []

    def fail_twice() -> psycopg.Connection:
        if (failure := next(failures, None)) is not None:
            raise failure
        opened.append(connect())
        return opened[-1]

    hands = Hands("12:00:30")
    with ticking("* * * * * t", fail_twice, hands):
        hands.wait_for_looks()
        # The server ends the session, and minutes go by before there is another one.
        connection.execute("select pg_terminate_backend(%s)", [opened[0].info.backend_pid])
        hands.now = at("12:03:59.9")
        wait_until(lambda: minutes(connection) == ["12:01", "12:02", "12:03"], "all minutes")
    assert len(opened) == 2
    warned = [record.getMessage() for record in caplog.records if "has to wait" in record.getMessage()]
    # The others of this minute are counted.
    assert [line.rpartition(": ")[2] for line in warned] == ["no route"]
    assert all(connection.closed for connection in opened)


async def test_a_worker_runs_what_its_crontab_adds(
    database: str, connection: psycopg.Connection, tmp_path: Path
) -> None:
    """Backfilled, so that nobody has to wait for a minute."""
    app = App(database)
    seen: list[dict[str, Any]] = []
    done = asyncio.Event()

    @app.task
    async def note(payload: dict[str, Any], job: JobContext) -> None:
        seen.append(payload)
        assert f"{job.run_at.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.000Z" == payload["_cron"]["ts"]
        if len(seen) == 3:
            done.set()

    connection.execute(
        "insert into tidemill._known_crontabs"
        " values ('note', '2026-01-01 00:00+00', date_trunc('minute', now()) - interval '3 minutes 1 second')"
    )
    file = tmp_path / "crontab"
    file.write_text("* * * * * note ?fill=1h {a: 1}\n")
    # Without a scheduler of actions, too.
    async with running(app, crontab=file, action_concurrency=0):
        await within(done)
    times = [payload["_cron"]["ts"] for payload in seen[:3]]
    assert times == sorted(set(times))
    assert all(payload["a"] == 1 and payload["_cron"]["backfilled"] for payload in seen[:3])


def test_waits_after_errors_grow_to_a_minute() -> None:
    def never() -> psycopg.Connection:
        raise AssertionError("nobody asks")

    clock = CrontabClock([], connect=never, tasks=[])
    waits = [clock._failed(OSError("x")) for _ in range(200)]
    for n, wait in enumerate(waits):
        assert 0.5 <= wait / min(60.0, 0.2 * 1.5**n) <= 1.0


def test_it_stops_at_once_and_before_it_began(connect: Callable[[], psycopg.Connection]) -> None:
    CrontabClock(parse_crontab("* * * * * t"), connect=connect, tasks=["t"]).stop(30)
    hands = Hands("12:00:30")
    with ticking("30 * * * * t", connect, hands) as clock:
        hands.wait_for_looks()
        clock.stop(30)
        assert not clock._thread.is_alive()


def test_a_stop_ends_a_long_backfill(
    connection: psycopg.Connection,
    connect: Callable[[], psycopg.Connection],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connection.execute("insert into tidemill._known_crontabs values ('t', %s)", [at("00:00:00")])
    add = CrontabClock._add
    steps: list[int] = []

    def add_and_stop(self: CrontabClock, *args: Any) -> None:
        add(self, *args)
        steps.append(len(jobs(connection)))
        self._stop.set()

    monkeypatch.setattr(CrontabClock, "_add", add_and_stop)
    with ticking("* * * * * t ?fill=1d", connect, Hands("20:00:30")) as clock:
        wait_until(lambda: not clock._thread.is_alive(), "its end")
    # The rest is backfilled by the next worker.
    assert steps == [500]


def test_errors_are_forgotten_once_it_ticks(connect: Callable[[], psycopg.Connection]) -> None:
    failures = [OSError("no route"), OSError("no route")]

    def unsteady() -> psycopg.Connection:
        if failures:
            raise failures.pop()
        return connect()

    with ticking("0 1 * * * t", unsteady, Hands("12:00:30")) as clock:
        wait_until(lambda: not failures and clock._failures == 0, "a tick")


def test_foreign_tasks_are_told(
    connect: Callable[[], psycopg.Connection], caplog: pytest.LogCaptureFixture
) -> None:
    with ticking("0 1 * * * t\n0 1 * * * typo", connect, Hands("12:00:30")):
        pass
    [warning] = [record for record in caplog.records if record.levelname == "WARNING"]
    assert warning.getMessage() == "the crontab adds jobs of tasks that this worker does not know: typo"


def test_the_time_is_the_databases(database: str) -> None:
    # A zone whose clocks change: minutes are counted in UTC none the less.
    with psycopg.connect(database, options="-c timezone=America/New_York") as connection:
        now = database_time(connection)
        assert now.tzinfo is UTC
        [(same,)] = connection.execute("select abs(extract(epoch from clock_timestamp() - %s)) < 30", [now])
        assert same
