"""Counters: what a worker has counted, on its way to the view task_stats."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from msgspec.structs import replace

from tests.queue.jobs import job
from tidemill.history.counters import Counters
from tidemill.queue.streaks import Streaks
from tidemill.tallies import BUCKETS, LONGEST_WAIT, Tallies, Tally


@pytest.fixture
def tallies() -> Tallies:
    return Tallies()


@pytest.fixture
def counters(tallies: Tallies) -> Counters:
    return Counters(tallies)


def count(tally: Tally, ran: float = 0.3, waited: float = 3.0, times: int = 1) -> None:
    for _ in range(times):
        tally.done += 1
        tally.ended(ran, waited)


def stats(connection: psycopg.Connection) -> list[tuple[Any, ...]]:
    return connection.execute(
        "select identifier, sum(done)::int, max(longest_run), sum(wait_time) from tidemill.task_stats"
        " group by identifier order by identifier"
    ).fetchall()


def test_buckets_are_powers_of_two() -> None:
    tally = Tally("t")
    for seconds in (0.0, -1.0, 1e-9, 2.0**-13, 0.5, 0.75, 1.0, 2.0**16, 2.0**17, 2.0**40):
        tally.ended(1.0, seconds)
    assert len(tally.waits) == BUCKETS
    found = {n: times for n, times in enumerate(tally.waits, 1) if times}
    assert found == {1: 3, 2: 1, 14: 2, 15: 1, 31: 1, 32: 2}
    assert tally.runs[14] == 10


def test_the_longest_run_is_that_since_the_last_look() -> None:
    tally = Tally("t")
    count(tally, 3.0)
    count(tally, 1.0)
    assert tally.take_longest() == 3.0
    count(tally, 1.0)
    count(tally, 2.0)
    assert tally.take_longest() == 2.0
    assert tally.take_longest() == 0.0


def test_what_is_new_is_added(connection: psycopg.Connection, tallies: Tallies, counters: Counters) -> None:
    count(tallies.of("a"), ran=0.3, waited=3.0, times=2)
    tallies.of("b").failed += 2
    tallies.of("b").retried += 1
    tallies.of("b").cancelled += 1
    counters.write(connection)
    counters.write(connection)
    count(tallies.of("a"), ran=5.0, waited=1.0)
    counters.write(connection)
    assert stats(connection) == [
        ("a", 3, timedelta(seconds=5), timedelta(seconds=7)),
        ("b", 0, timedelta(0), timedelta(0)),
    ]
    # The test may have begun at the end of a minute.
    rows = connection.execute(
        "select sum(failed)::int, sum(retried)::int, sum(cancelled)::int, bool_and(width = '1 minute')"
        " from tidemill.task_stats where identifier = 'b'"
    ).fetchall()
    assert rows == [(2, 1, 1, True)]
    [(runs, waits)] = connection.execute(
        "select tidemill.histogram_sum(run_histogram), tidemill.histogram_sum(wait_histogram)"
        " from tidemill.task_stats where identifier = 'a'"
    ).fetchall()
    assert [(n, times) for n, times in enumerate(runs, 1) if times] == [(13, 2), (17, 1)]
    assert [(n, times) for n, times in enumerate(waits, 1) if times] == [(15, 1), (16, 2)]


def test_what_the_server_refuses_is_kept(
    database: str, connection: psycopg.Connection, tallies: Tallies, counters: Counters
) -> None:
    count(tallies.of("a"))
    with psycopg.connect(database) as other:
        other.execute("lock table tidemill._task_minutes in exclusive mode")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            counters.write(connection)
    count(tallies.of("a"))
    counters.write(connection)
    assert [row[:2] for row in stats(connection)] == [("a", 2)]


def test_what_can_never_be_counted_is_dropped_alone(
    connection: psycopg.Connection, tallies: Tallies, counters: Counters, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a", "bad", "c"):
        count(tallies.of(name))
    tallies.of("bad").done = 2**70
    counters.write(connection)
    assert "what task 'bad' did is not counted: " in caplog.text
    for name in ("a", "bad"):
        count(tallies.of(name))
    counters.write(connection)
    assert [row[:2] for row in stats(connection)] == [("a", 2), ("bad", 1), ("c", 1)]
    assert counters._kept == []


def test_a_wait_has_a_longest(connection: psycopg.Connection, tallies: Tallies, counters: Counters) -> None:
    """However long all of them together: minutes and hours can be added up."""
    for _ in range(60):
        tallies.of("a").done += 1
        tallies.of("a").ended(0.1, 6700 * 365.25 * 86400)
    counters.write(connection)
    assert connection.execute("select wait_time from tidemill.task_stats").fetchone() == (
        timedelta(days=60 * 3652.5),
    )
    for _ in range(3):
        tallies.of("a").done += 1
        tallies.of("a").wait_seconds += 3000 * LONGEST_WAIT
        counters.write(connection)
    connection.execute(
        "update tidemill._task_minutes"
        " set minute = date_bin('1 hour', now() - interval '3 days', '2000-01-01Z')"
    )
    connection.execute(
        "insert into tidemill._task_minutes select m.minute + n * interval '1 minute', m.identifier, m.done,"
        " m.failed, m.retried, m.cancelled, m.run_time, m.longest_run, m.wait_time, m.runs, m.waits"
        " from tidemill._task_minutes m, generate_series(1, 59) n"
    )
    connection.execute("select tidemill._roll_up_counts()")
    [(width, years)] = connection.execute(
        "select width::text, extract(epoch from wait_time) / 86400 / 365.25 from tidemill.task_stats"
    ).fetchall()
    assert (width, round(years)) == ("01:00:00", 240_000)


def test_a_streak_knows_the_longest_wait(tallies: Tallies) -> None:
    class Done:
        def add(self, job: Any, seconds: float) -> Any: ...

    streaks = Streaks({"t": None}, tallies, Done())  # type: ignore[dict-item, arg-type]
    now = int((5.0 + tallies.clock) * 1e6)
    day, long_ago = 86400 * 10**6, -(2**57)
    for run_at in (now - 9 * day, long_ago, long_ago - 7, now - 9 * day, now, long_ago, now - 8 * day):
        streaks.add(replace(job(1), run_at=run_at), 5.0, 0.0, False)
    streaks.end(5.0)
    tally = tallies.of("t")
    assert (tally.done, tally.waits[-1], sum(tally.waits)) == (7, 6, 7)
    assert tally.wait_seconds == pytest.approx(3 * LONGEST_WAIT + 26 * 86400)


def test_what_may_have_been_written_is_not_written_twice(
    database: str, connection: psycopg.Connection, tallies: Tallies, counters: Counters
) -> None:
    count(tallies.of("a"))
    with psycopg.connect(database, autocommit=True) as lost:
        # No answer, and no word of the server's.
        lost.pgconn.finish()
        with pytest.raises(psycopg.OperationalError):
            counters.write(lost)
    count(tallies.of("a"))
    counters.write(connection)
    assert [row[:2] for row in stats(connection)] == [("a", 1)]


def test_what_was_counted_while_the_database_was_away_has_its_minute(
    connection: psycopg.Connection, tallies: Tallies, counters: Counters, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("tidemill.history.counters.time.monotonic", lambda: now)
    for _ in range(3):
        count(tallies.of("a"))
        counters.take()
        now += 61
    counters.write(connection)
    rows = connection.execute("select done from tidemill.task_stats").fetchall()
    assert rows == [(1,)] * 3
    # Not without an end.
    for _ in range(200):
        count(tallies.of("a"))
        counters.take()
        now += 61
    assert len(counters._kept) == 60
    counters.write(connection)
    assert [row[:2] for row in stats(connection)] == [("a", 203)]


def test_workers_that_count_at_once(database: str, connection: psycopg.Connection) -> None:
    names = [f"task {number}" for number in range(30)]
    start = threading.Barrier(4)

    def work(number: int) -> None:
        mine = Tallies()
        counters = Counters(mine)
        with psycopg.connect(database, autocommit=True) as own:
            start.wait()
            for _ in range(20):
                for name in names if number % 2 else reversed(names):
                    count(mine.of(name))
                written = False
                while not written:
                    try:
                        counters.write(own)
                        written = True
                    except psycopg.errors.LockNotAvailable:
                        # It is kept.
                        continue

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert [row[:2] for row in stats(connection)] == [(name, 80) for name in sorted(names)]


def test_minutes_become_hours_and_hours_end(connection: psycopg.Connection) -> None:
    connection.execute(
        "insert into tidemill._task_minutes"
        " select date_bin('1 hour', now() - days * interval '1 day', '2000-01-01Z')"
        " + minutes * interval '1 minute',"
        " 'a', 1, 0, 0, 0, '2 s', minutes * interval '1 s', '0', '{0,1}', '{1}'"
        " from (values (1), (3), (40)) d (days), generate_series(0, 9) m (minutes)"
    )
    calls = 0
    while connection.execute("select tidemill._roll_up_counts(6)").fetchone() == (True,):
        calls += 1
    assert calls >= 3
    rows = connection.execute(
        "select width::text, count(*), sum(done)::int, sum(run_time)::text, max(longest_run)::text,"
        " tidemill.histogram_sum(run_histogram) from tidemill.task_stats group by width order by width"
    ).fetchall()
    assert rows == [
        ("00:01:00", 10, 10, "00:00:20", "00:00:09", [0, 10]),
        ("01:00:00", 1, 10, "00:00:20", "00:00:09", [0, 10]),
    ]


@pytest.mark.parametrize(
    ("buckets", "fraction", "seconds"),
    [
        ([0] * 13 + [4], 0.5, 0.75),
        ([0] * 13 + [4], 1, 1.0),
        ([0] * 13 + [1, 1], 0.5, 1.0),
        ([0] * 13 + [1, 0, 0, 1], 0.99, 4 + 4 * 0.98),
        ([0] * 31 + [1], 0.5, 2.0**17),
        ([], 0.5, None),
        (None, 0.5, None),
        ([0, 0], 0.5, None),
    ],
)
def test_quantiles(
    connection: psycopg.Connection, buckets: list[int] | None, fraction: float, seconds: float | None
) -> None:
    [(found,)] = connection.execute(
        "select extract(epoch from tidemill.histogram_quantile(%s::bigint[], %s))::float8",
        [buckets, fraction],
    ).fetchall()
    assert found == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize("fraction", ["-0.1", "99", "NaN"])
def test_fractions_that_are_none(connection: psycopg.Connection, fraction: str) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="must be from 0 to 1"):
        connection.execute("select tidemill.histogram_quantile('{1}', %s::float8)", [fraction])
