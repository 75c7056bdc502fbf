"""The crontab's clock: which minutes come when, and each once among all workers."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import errors

from tests.support.running import running, within
from tests.support.waiting import wait_until
from tidemill import App, JobContext
from tidemill.actions.crontab import CrontabItem, parse_crontab
from tidemill.actions.crontab_clock import CrontabClock, CrontabPlan, Due, Known, database_time
from tidemill.database.patient import connect_patiently
from tidemill.database.sql import query

MINUTE = timedelta(minutes=1)


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-07-01T{text}").replace(tzinfo=UTC)


def plan(crontab: str, start: str, **known: tuple[str, str | None]) -> CrontabPlan:
    """A plan; `known` has an identifier's known_since and last_execution."""
    items = parse_crontab(crontab)
    found = {
        identifier: Known(at(since), None if last is None else at(last))
        for identifier, (since, last) in known.items()
    }
    return CrontabPlan(items, at(start), found)


def take(crontab: CrontabPlan, now: str) -> list[tuple[str, str, bool]]:
    """What is due by now; the plan goes on to the next minute."""
    found: list[Due] = []
    while crontab.next <= at(now):
        due, following = crontab.due(at(now))
        found += due
        crontab.advance(following)
    return [(f"{one.minute:%H:%M}", one.item.identifier, one.backfilled) for one in found]


# Without a database


class TestPlan:
    def test_the_first_minute_is_the_next_whole_one(self) -> None:
        found = plan("* * * * * t", "12:00:30")
        assert found.next == at("12:01:00")
        assert take(found, "12:00:59.999") == []
        assert take(found, "12:01:00") == [("12:01", "t", False)]
        assert found.next == at("12:02:00")

    def test_a_start_on_the_minute_takes_it(self) -> None:
        assert take(plan("* * * * * t", "12:00:00"), "12:00:00") == [("12:00", "t", False)]

    def test_an_early_timer_adds_nothing(self) -> None:
        found = plan("* * * * * t", "12:00:30")
        for now in ("12:00:59", "12:00:59.9", "12:00:59.999999"):
            assert take(found, now) == []
            assert found.next == at("12:01:00")
        assert take(found, "12:01:00.0005") == [("12:01", "t", False)]

    def test_a_late_timer_catches_up_minute_by_minute(self) -> None:
        found = plan("*/2 * * * * even\n* * * * * all", "12:00:30")
        assert take(found, "12:04:10") == [
            ("12:01", "all", False),
            ("12:02", "even", False),
            ("12:02", "all", False),
            ("12:03", "all", False),
            ("12:04", "even", False),
            ("12:04", "all", False),
        ]

    def test_a_clock_that_steps_back_brings_nothing_twice(self) -> None:
        found = plan("* * * * * t", "12:00:30")
        assert take(found, "12:03:00") == [
            ("12:01", "t", False),
            ("12:02", "t", False),
            ("12:03", "t", False),
        ]
        for now in ("12:01:00", "11:00:00", "12:03:59"):
            assert take(found, now) == []
        assert take(found, "12:04:00") == [("12:04", "t", False)]

    def test_a_refused_batch_is_due_again(self) -> None:
        found = plan("* * * * * t", "12:00:30")
        first, _ = found.due(at("12:02:00"))
        again, _ = found.due(at("12:02:00"))
        assert first == again != []

    @given(st.lists(st.timedeltas(timedelta(minutes=-5), timedelta(minutes=9)), max_size=40))
    def test_however_the_clock_goes_each_minute_comes_once(self, steps: list[timedelta]) -> None:
        now = latest = at("12:00:30")
        found = CrontabPlan(parse_crontab("* * * * * t"), now, {})
        came: list[datetime] = []
        for step in steps:
            now += step
            latest = max(latest, now)
            due, following = found.due(now)
            found.advance(following)
            came += [one.minute for one in due]
        expected = (latest - at("12:00:00")) // MINUTE
        assert came == [at("12:00:00") + n * MINUTE for n in range(1, expected + 1)]


class TestBackfill:
    def test_what_was_missed_since_the_last_execution(self) -> None:
        found = plan("*/10 * * * * t ?fill=1h", "12:05:00", t=("09:00:00", "11:30:00"))
        assert take(found, "12:10:00") == [
            ("11:40", "t", True),
            ("11:50", "t", True),
            ("12:00", "t", True),
            ("12:10", "t", False),
        ]

    def test_no_further_back_than_fill(self) -> None:
        found = plan("*/10 * * * * t ?fill=20m", "12:05:00", t=("09:00:00", "10:00:00"))
        # 11:45 is 20 minutes before 12:05.
        assert take(found, "12:05:00") == [("11:50", "t", True), ("12:00", "t", True)]
        found = plan("*/10 * * * * t ?fill=20m", "12:10:00", t=("09:00:00", "10:00:00"))
        assert take(found, "12:09:59") == [("11:50", "t", True), ("12:00", "t", True)]
        # The minute of the start is no missed one.
        assert take(found, "12:10:00") == [("12:10", "t", False)]

    def test_none_without_fill(self) -> None:
        found = plan("* * * * * t", "12:05:00", t=("09:00:00", "10:00:00"))
        assert take(found, "12:05:00") == [("12:05", "t", False)]

    def test_none_for_a_new_identifier(self) -> None:
        assert take(plan("* * * * * t ?fill=1h", "12:05:30"), "12:05:59") == []
        # So is one that was made known by this very start.
        assert take(plan("* * * * * t ?fill=1h", "12:05:30", t=("12:05:30", None)), "12:05:59") == []

    def test_since_it_was_known_if_it_never_ran(self) -> None:
        found = plan("*/10 * * * * t ?fill=4h", "12:00:30", t=("11:40:00", None))
        assert take(found, "12:00:30") == [("11:40", "t", True), ("11:50", "t", True), ("12:00", "t", True)]

    def test_each_item_has_its_own(self) -> None:
        found = plan(
            "0 * * * * a ?fill=3h\n30 * * * * b ?fill=1h\n0 * * * * c",
            "12:15:00",
            a=("01:00:00", "09:00:00"),
            b=("01:00:00", "09:00:00"),
            c=("01:00:00", "09:00:00"),
        )
        # 11:15 is the earliest for b, 9:15 for a.
        assert take(found, "13:00:00") == [
            ("10:00", "a", True),
            ("11:00", "a", True),
            ("11:30", "b", True),
            ("12:00", "a", True),
            ("12:30", "b", False),
            ("13:00", "a", False),
            ("13:00", "c", False),
        ]

    def test_a_clock_that_was_set_back_before_the_start(self) -> None:
        found = plan("* * * * * t ?fill=1h", "12:05:00", t=("09:00:00", "14:00:00"))
        assert found.next == at("12:05:00")
        # The database passes this one over.
        assert take(found, "12:05:00") == [("12:05", "t", False)]

    def test_fill_may_be_longer_than_there_were_years(self) -> None:
        found = plan("0 0 * * * t ?fill=999999w", "12:00:00", t=("00:00:00", None))
        assert take(found, "12:00:00") == [("00:00", "t", True)]

    def test_a_long_one_goes_in_steps(self) -> None:
        items = parse_crontab("* * * * * t ?fill=52w")
        start = datetime(2026, 7, 1, tzinfo=UTC)
        found = CrontabPlan(items, start, {"t": Known(start - timedelta(days=3), None)})
        due, following = found.due(start, most=100)
        assert len(due) == 100
        assert following == start - timedelta(days=3) + 100 * MINUTE
        rare = CrontabPlan(
            parse_crontab("0 0 1 1 * t ?fill=52w"),
            start,
            {"t": Known(start - timedelta(days=364), None)},
        )
        steps = 0
        while rare.next <= start:
            due, following = rare.due(start)
            rare.advance(following)
            steps += 1
            assert [one.minute for one in due] in ([], [datetime(2026, 1, 1, tzinfo=UTC)])
        assert steps >= 52


def test_the_payload_tells_of_the_minute() -> None:
    [item] = parse_crontab("* * * * * t {a: [1, 'ü'], _cron: 'mine'}")
    for backfilled in (True, False):
        assert json.loads(Due(item, at("04:05:00"), backfilled).payload()) == {
            "a": [1, "ü"],
            "_cron": {"ts": "2026-07-01T04:05:00.000Z", "backfilled": backfilled},
        }


# The SQL functions


def run(connection: psycopg.Connection, *due: Due) -> list[tuple[str, datetime]]:
    """Calls _run_crontab as the clock does; returns what was added."""
    given: dict[str, Any] = {
        "identifiers": [one.item.identifier for one in due],
        "minutes": [one.minute for one in due],
        "tasks": [one.item.task for one in due],
        "payloads": [one.payload() for one in due],
        "queue_names": [one.item.queue_name for one in due],
        "max_attempts": [one.item.max_attempts for one in due],
        "job_keys": [one.item.job_key for one in due],
        "job_key_modes": [one.item.job_key_mode for one in due],
        "priorities": [one.item.priority for one in due],
    }
    return [(name, minute) for name, minute, _ in connection.execute(query("run_crontab"), given).fetchall()]


def jobs(connection: psycopg.Connection) -> list[tuple[Any, ...]]:
    return connection.execute("select identifier, run_at from tidemill.jobs order by id").fetchall()


def known(connection: psycopg.Connection) -> list[tuple[Any, ...]]:
    return connection.execute(
        "select identifier, known_since, last_execution from tidemill._known_crontabs order by 1"
    ).fetchall()


def item(line: str) -> CrontabItem:
    [found] = parse_crontab(line)
    return found


A, B = item("* * * * * t ?id=a"), item("* * * * * t ?id=b")


def test_a_job_has_all_that_its_item_says(connection: psycopg.Connection) -> None:
    full = item(
        "* * * * * t ?id=full&max=3&queue=line&jobKey=k%27%22&jobKeyMode=preserve_run_at&priority=-5 "
        "{a: 'it\\'s', nul: '\\0', b: {c: null}}"
    )
    run(connection, Due(full, at("12:00:00"), True), Due(B, at("12:00:00"), False))
    rows = connection.execute(
        "select identifier, payload::text, queue_name, run_at, max_attempts, key, priority, flags"
        " from tidemill.jobs order by id"
    ).fetchall()
    assert rows == [
        (
            "t",
            '{"a": "it\'s", "nul": "\\u0000", "b": {"c": null}, '
            '"_cron": {"ts": "2026-07-01T12:00:00.000Z", "backfilled": true}}',
            "line",
            at("12:00:00"),
            3,
            "k'\"",
            -5,
            None,
        ),
        (
            "t",
            '{"_cron": {"ts": "2026-07-01T12:00:00.000Z", "backfilled": false}}',
            None,
            at("12:00:00"),
            25,
            None,
            0,
            None,
        ),
    ]


def test_a_minute_is_added_once(connection: psycopg.Connection) -> None:
    assert run(connection, Due(A, at("12:00:00"), False)) == [("a", at("12:00:00"))]
    assert run(connection, Due(A, at("12:00:00"), False)) == []
    # Nor are earlier ones, whoever missed them.
    assert run(connection, Due(A, at("11:59:00"), True)) == []
    assert run(connection, Due(A, at("12:00:00"), False), Due(B, at("12:00:00"), False)) == [
        ("b", at("12:00:00"))
    ]
    assert run(
        connection,
        Due(A, at("12:00:00"), False),
        Due(A, at("12:01:00"), False),
        Due(B, at("12:01:00"), False),
        Due(A, at("12:02:00"), False),
    ) == [("a", at("12:01:00")), ("b", at("12:01:00")), ("a", at("12:02:00"))]
    assert [minute for _, minute in jobs(connection)] == [
        at(minute) for minute in ("12:00:00", "12:00:00", "12:01:00", "12:01:00", "12:02:00")
    ]
    assert [(row[0], row[2]) for row in known(connection)] == [("a", at("12:02:00")), ("b", at("12:01:00"))]


def test_identifiers_are_registered_once(connection: psycopg.Connection) -> None:
    register = "select * from tidemill._register_crontab(%s, %s) order by 1"
    assert connection.execute(register, [["b", "a"], at("12:00:00")]).fetchall() == [
        ("a", at("12:00:00"), None),
        ("b", at("12:00:00"), None),
    ]
    run(connection, Due(A, at("12:01:00"), False))
    assert connection.execute(register, [["a", "c"], at("13:00:00")]).fetchall() == [
        ("a", at("12:00:00"), at("12:01:00")),
        ("c", at("13:00:00"), None),
    ]
    # One that left the crontab stays known.
    assert [row[0] for row in known(connection)] == ["a", "b", "c"]


def test_nothing_is_added_in_part(connection: psycopg.Connection) -> None:
    run(connection, Due(A, at("12:00:00"), False))
    connection.execute("alter table tidemill._jobs add constraint no_sevens check (priority <> 7)")
    seven = item("* * * * * t ?id=seven&priority=7")
    with pytest.raises(errors.CheckViolation):
        run(connection, Due(A, at("12:01:00"), False), Due(seven, at("12:01:00"), False))
    assert len(jobs(connection)) == 1
    assert known(connection) == [("a", at("12:00:00"), at("12:00:00"))]
    assert run(connection, Due(A, at("12:01:00"), False)) == [("a", at("12:01:00"))]


@pytest.mark.parametrize("registered", [True, False])
def test_two_workers_in_one_minute(database: str, connection: psycopg.Connection, registered: bool) -> None:
    """The second waits for the first, and then adds what that one had not."""
    if registered:
        connection.execute("select from tidemill._register_crontab('{a,b}')")
    with psycopg.connect(database) as first, psycopg.connect(database, autocommit=True) as second:
        run(first, Due(A, at("12:00:00"), False))
        added: list[tuple[str, datetime]] = []
        thread = threading.Thread(
            target=lambda: added.extend(
                run(second, Due(A, at("12:00:00"), False), Due(B, at("12:00:00"), False))
            )
        )
        thread.start()
        wait_until(
            lambda: connection.execute(
                "select from pg_stat_activity where pid = %s and wait_event_type = 'Lock'",
                [second.info.backend_pid],
            ).fetchall(),
            "the second worker to wait",
        )
        first.commit()
        thread.join(30)
    assert added == [("b", at("12:00:00"))]
    assert len(jobs(connection)) == 2


def test_the_dialect_shows_them(connection: psycopg.Connection) -> None:
    run(connection, Due(A, at("12:00:00"), False))
    assert connection.execute("select * from graphile_worker._private_known_crontabs").fetchall() == [
        ("a", at("12:00:00"), at("12:00:00"))
    ]


# The thread


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
        # A first one may have begun before, a second one ends after what the first brought.
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
    assert len(warned) == 3
    assert warned[0].endswith("no route")
    assert warned[1].endswith("gone away")
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
