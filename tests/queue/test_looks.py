"""When the engine looks for jobs, and when producers are asked to notify it."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace

import psycopg
import pytest

from tidemill.queue import looks as module
from tidemill.queue.looks import Looks, read_notification
from tidemill.queue.marks import Place

POLL = 1.0


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0
        self.said: list[str] = []

    def __call__(self) -> float:
        return self.now

    def execute(self, statement: str) -> None:
        self.said.append("declare" if "true" in statement else "withdraw")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=made))
    return made


@pytest.fixture
def looks(clock: Clock) -> Looks:
    return Looks(poll_interval=POLL, declares=True)


def look(looks: Looks, clock: Clock, *, found: int, more: bool = False, full: bool = False) -> float:
    """Looks, and returns how long it is to the next look."""
    looks.begin(clock.now)
    looks.looked(found=found, more=more, full=full, execute=clock.execute)
    return max(0.0, looks.next - clock.now)


def test_an_idle_worker_declares_itself_and_looks_ever_more_seldom(looks: Looks, clock: Clock) -> None:
    waits = []
    for _ in range(12):
        waits.append(look(looks, clock, found=0))
        clock.now += waits[-1]
    assert waits[0] <= 0.01
    assert waits == sorted(waits)
    assert max(waits) == waits[-1] == pytest.approx(POLL)
    assert clock.said == ["declare"]


def test_a_notification_brings_a_look_when_its_job_is_due(looks: Looks, clock: Clock) -> None:
    while look(looks, clock, found=0) < POLL:
        clock.now = looks.next
    looks.notify(0)
    assert looks.next <= clock.now
    assert look(looks, clock, found=0) > 0
    looks.notify(300)
    looks.notify(100)
    assert looks.next == pytest.approx(clock.now + 0.1)
    clock.now += 0.1
    # It is served, and the other one is still to come.
    look(looks, clock, found=0)
    assert clock.now < looks.next <= clock.now + 0.2


def test_a_flood_of_notifications_is_bounded_and_keeps_the_nearest(looks: Looks, clock: Clock) -> None:
    for milliseconds in range(5000, 0, -1):
        looks.notify(milliseconds * 1000)
    assert len(looks._due) <= module._MOST_REMEMBERED
    look(looks, clock, found=0)
    clock.now = looks.next
    looks.notify(0)
    assert looks.next <= clock.now


def test_more_is_looked_for_at_once(looks: Looks, clock: Clock) -> None:
    assert look(looks, clock, found=1, more=True) == 0


def test_a_busy_worker_withdraws_its_declaration(looks: Looks, clock: Clock) -> None:
    look(looks, clock, found=0)
    assert clock.said == ["declare"]
    for _ in range(60):
        clock.now += 0.005
        wait = look(looks, clock, found=20)
    assert wait <= 0.01
    assert clock.said == ["declare", "withdraw"]
    # Idle again: soon, or producers would not notify.
    for _ in range(60):
        clock.now += 0.005
        look(looks, clock, found=0)
    assert clock.said == ["declare", "withdraw", "declare"]


@pytest.mark.parametrize(("found", "every"), [(1, 0.05), (1, 0.002), (500, 1.0)])
def test_some_hundred_jobs_a_second_are_not_busy(
    looks: Looks, clock: Clock, found: int, every: float
) -> None:
    look(looks, clock, found=0)
    for _ in range(200):
        clock.now += every
        look(looks, clock, found=found)
    assert "withdraw" not in clock.said


def test_one_without_room_withdraws_its_declaration_too(looks: Looks, clock: Clock) -> None:
    look(looks, clock, found=0)
    for _ in range(5):
        clock.now += 0.1
        look(looks, clock, found=0, full=True)
    assert clock.said == ["declare", "withdraw"]


def test_only_a_notification_in_vain_holds_up_the_next(looks: Looks, clock: Clock) -> None:
    for _ in range(12):
        clock.now += look(looks, clock, found=0)
    look(looks, clock, found=0)
    # A search that was asked for, and finds nothing.
    looks.begin(clock.now)
    clock.now += 0.004
    looks.looked(found=0, more=False, full=False, execute=clock.execute)
    looks.notify(0)
    assert looks.next <= clock.now
    looks.begin(clock.now)
    clock.now += 0.004
    looks.looked(found=0, more=False, full=False, execute=clock.execute)
    looks.notify(0)
    assert looks.next > clock.now


def test_one_that_has_room_most_of_the_time_stays_declared(looks: Looks, clock: Clock) -> None:
    look(looks, clock, found=0)
    for number in range(500):
        clock.now += 0.01
        look(looks, clock, found=1, full=number % 7 == 0)
    assert clock.said == ["declare"]


def test_without_room_it_does_not_look(looks: Looks, clock: Clock) -> None:
    assert look(looks, clock, found=1, full=True) >= 0.1
    looks.at_once()
    assert looks.next <= clock.now


def test_one_that_does_not_declare_polls(clock: Clock) -> None:
    looks = Looks(poll_interval=POLL, declares=False)
    for _ in range(20):
        wait = look(looks, clock, found=0)
        clock.now += wait
    assert wait == pytest.approx(POLL)
    assert clock.said == []


def test_a_forgotten_declaration_is_made_again(looks: Looks, clock: Clock) -> None:
    look(looks, clock, found=0)
    looks.forget_declaration()
    assert looks.next <= clock.now
    look(looks, clock, found=0)
    assert clock.said == ["declare", "declare"]


def test_a_look_that_could_not_be_made(looks: Looks, clock: Clock) -> None:
    looks.nothing_for_a_while()
    assert looks.next == pytest.approx(clock.now + POLL)


@pytest.mark.parametrize(
    ("payload", "milliseconds", "place"),
    [
        ("", 0, None),
        ("250", 250, None),
        ("0 -3 1000000 42", 0, (-3, (datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC), 42))),
        ("7 0 -1 0", 7, (0, (datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC), 0))),
    ],
)
def test_reading_notifications(payload: str, milliseconds: int, place: tuple[int, Place] | None) -> None:
    assert read_notification(payload) == (milliseconds, place)


@pytest.mark.parametrize(
    "payload", ["x", "1 2", "-1", "3600001", "0 99999 0 1", "0 0 0 -1", f"0 0 {10**30} 1", "0 0 0 1 2"]
)
def test_what_no_producer_writes(payload: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        read_notification(payload)


def test_what_a_producer_tells_is_where_its_job_is(database: str, connection: psycopg.Connection) -> None:
    connection.execute("insert into tidemill._listeners values ('w')")
    connection.execute('listen "tidemill:jobs"')
    with psycopg.connect(database) as producer:
        added = producer.execute("select run_at from tidemill.add_job('t', priority => -3)").fetchone()
        producer.execute("select tidemill.add_job('t', priority => -3, queue_name => 'letters')")
    told = [read_notification(one.payload) for one in connection.notifies(timeout=30, stop_after=2)]
    assert added is not None
    assert told == [(0, (-3, (added[0], 0))), (0, None)]
