"""Which lane gets which jobs, what a look asks for, and when there is room."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from tests.queue.jobs import TERM, job
from tests.queue.lanes import WORKER, Make
from tests.support.hand_worker import HandWorker
from tests.support.running import within
from tidemill.queue.batch import Batch
from tidemill.queue.settlement import Settlement
from tidemill.worker_options import LaneChoice

PLACE = (datetime(2020, 1, 1, tzinfo=UTC), 5)
SEEN = (datetime(2024, 1, 1, tzinfo=UTC), 1)


# Notifications


async def test_a_place_that_was_told_is_looked_at_by_both_lanes(make: Make) -> None:
    bench = make()
    bench.seen_all()
    # Jobs of this priority were found before, in one of the lanes.
    bench.lanes.express.finder.marks.lower(3, SEEN)
    bench.lanes.notify((3, PLACE))
    bench.lanes.read_notifications()
    for finder in bench.finders():
        assert finder.marks.places(thorough=False, told=True) == ([3], [PLACE[0]], [PLACE[1] - 1])
        # Nothing else is asked for.
        assert finder.next_search is None


async def test_without_a_place_both_lanes_look_everywhere(make: Make) -> None:
    bench = make()
    bench.seen_all()
    bench.lanes.notify(None)
    bench.lanes.read_notifications()
    for finder in bench.finders():
        assert finder.marks.full_searches.next is not None
        assert finder._queue_searches.next is not None
    assert not bench.plan().told


async def test_a_priority_that_never_had_a_job_gets_no_mark(make: Make) -> None:
    bench = make()
    bench.seen_all()
    bench.lanes.notify((3, PLACE))
    bench.lanes.read_notifications()
    assert not bench.plan().told
    for finder in bench.finders():
        assert not finder.marks.knows(3)
        assert finder.marks.full_searches.next is not None


async def test_a_look_for_what_was_told_is_one_look(make: Make) -> None:
    bench = make()
    assert not bench.plan().told
    bench.lanes.express.finder.marks.lower(3, SEEN)
    bench.lanes.notify((3, PLACE))
    bench.lanes.read_notifications()
    assert bench.plan().told
    assert not bench.plan().told


async def test_one_notification_without_a_place_makes_all_of_them_vague(make: Make) -> None:
    bench = make()
    bench.lanes.notify(None)
    bench.lanes.notify((3, PLACE))
    bench.lanes.read_notifications()
    assert not bench.plan().told


async def test_a_regular_look_is_for_more_than_what_was_told(make: Make) -> None:
    bench = make()
    bench.lanes.notify((3, PLACE))
    bench.lanes.read_notifications()
    assert not bench.plan(regular=True).told
    assert not bench.plan().told


async def test_a_job_that_was_told_and_is_not_for_express_is_leased_at_once(
    make: Make, connection: psycopg.Connection
) -> None:
    HandWorker.register(connection, ["t"], worker_id=WORKER)
    connection.execute("select tidemill.add_job('t', job_key => 'k', run_at => %s)", [PLACE[0]])
    bench = make()
    bench.seen_all()
    bench.lanes.notify((0, (PLACE[0], 0)))
    bench.lanes.read_notifications()
    [leased], _ = bench.lanes.leases.claim(connection, bench.plan())
    assert leased.key == "k"
    # A search of everything would hold up the next job.
    assert bench.lanes.leases.finder.next_search is None


async def test_named_queues_are_asked_for_in_both_lanes(make: Make) -> None:
    bench = make()
    bench.seen_all()
    bench.lanes.ask_queues()
    for finder in bench.finders():
        assert finder._queue_searches.next is not None
        assert finder.marks.full_searches.next is None


# The choice


@pytest.mark.parametrize(
    ("choice", "quick"),
    [
        ("lease", []),
        # Nothing has been seen yet.
        ("auto", []),
        # A plain function outlives its time limit.
        ("express", ["t", "plain", "limited"]),
    ],
)
async def test_the_tasks_of_the_express_lane(make: Make, choice: LaneChoice, quick: list[str]) -> None:
    assert list(make(choice).plan().quick) == quick


async def test_quick_tasks_are_chosen_by_what_was_seen(make: Make) -> None:
    bench = make("auto")
    bench.executor.durations.add("plain", 0.001, leased=True)
    bench.executor.durations.add("limited", 1.0, leased=True)
    bench.executor.durations.add("limited plain", 0.001, leased=True)
    assert list(bench.plan().quick) == ["plain"]


async def test_all_is_leased_after_the_loss_of_a_worker(make: Make) -> None:
    bench = make()
    assert bench.plan().quick
    bench.lanes.allow_express(False)
    assert not bench.plan().quick
    assert not bench.lanes.lost_express
    bench.lanes.allow_express(True)
    assert bench.plan().quick


async def test_a_look_in_which_the_express_lane_broke_has_seen_nothing_of_it(make: Make) -> None:
    bench = make()
    look = bench.plan()
    assert not bench.lanes.lost_express
    assert bench.lanes.claim_batch(look) == (None, False)
    assert bench.lanes.lost_express
    # The next look is the lease lane's alone.
    assert not bench.plan().quick
    assert not bench.lanes.lost_express


async def test_jobs_that_change_lanes_are_looked_for_again(make: Make) -> None:
    bench = make()
    leases, express = bench.finders()
    early, late = PLACE[0], PLACE[0] + timedelta(days=1)

    def marks() -> list[object]:
        return [finder.marks.places(thorough=False, told=True) for finder in bench.finders()]

    # What the lease lane has seen while all jobs were its own is known of the express lane's.
    bench.seen_all()
    leases.marks.lower(0, (early, 5))
    leases.marks.lower(1, (late, 5))
    bench.plan()
    assert marks() == [([0, 1], [early, late], [4, 4])] * 2
    assert all(finder._queue_searches.next is not None for finder in bench.finders())
    # From then on each has seen its own jobs alone, and of some priorities the other has seen none.
    express.marks.lower(1, (early, 5))
    express.marks.lower(2, (early, 5))
    leases.marks.lower(3, (early, 5))
    for finder in bench.finders():
        finder._queue_searches.spend(0)
        finder.marks.full_searches.spend(0)
    bench.lanes.allow_express(False)
    bench.plan()
    assert marks() == [([0, 1], [early, early], [4, 4])] * 2
    assert all(finder._queue_searches.next is not None for finder in bench.finders())
    assert all(finder.marks.full_searches.next is not None for finder in bench.finders())


# Room


async def test_jobs_are_counted_and_searched_for_by_the_lanes_that_have_room(make: Make) -> None:
    bench = make("lease")
    bench.plan()
    assert bench.lanes.next_search is not None
    assert not bench.lanes.is_busy
    assert not bench.lanes.is_full
    bench.lanes.leases.take_in_hand([job(1), job(2)])
    # A search that cannot be made must not wake the engine.
    assert bench.lanes.next_search is None
    assert bench.lanes.is_busy
    assert bench.lanes.is_full
    assert bench.lanes.in_hand == 2


async def test_the_express_lane_has_room_while_leases_have_none(make: Make) -> None:
    bench = make()
    bench.plan()
    bench.lanes.leases.take_in_hand([job(1), job(2)])
    assert bench.lanes.next_search is not None
    assert not bench.lanes.is_full


async def test_running_jobs_leave_no_room_in_any_lane(make: Make) -> None:
    bench = make()
    bench.plan()
    bench.executor.submit([job(1), job(2)], TERM)
    await within(bench.begun)
    assert bench.executor.free_slots == 0
    assert bench.lanes.is_full
    assert bench.lanes.claim_batch(bench.plan()) == (None, False)
    assert not bench.lanes.lost_express


async def test_a_row_that_a_producer_holds_is_due_soon(
    make: Make, database: str, connection: psycopg.Connection
) -> None:
    HandWorker.register(connection, ["t"], worker_id=WORKER)
    connection.execute("select tidemill.add_job('t')")
    bench = make("lease")
    look = bench.lanes.plan([], regular=True, thorough=True)
    [claimed], _ = bench.lanes.leases.claim(connection, look)
    assert bench.lanes.next_due is None
    with psycopg.connect(database) as producer:
        producer.execute("select from tidemill._jobs for update")
        bench.lanes.leases.settle(Settlement.of(claimed, "done"))
        bench.lanes.leases.settle_due(connection)
    assert bench.lanes.next_due == bench.lanes.leases.next_due is not None


async def test_a_blocked_event_loop_gets_no_third_batch(
    make: Make, database: str, connection: psycopg.Connection
) -> None:
    HandWorker.register(connection, ["t"], worker_id=WORKER)
    bench = make(connect=lambda: psycopg.connect(database, autocommit=True))
    look = bench.lanes.plan([], regular=True, thorough=True)

    def claim() -> Batch | None:
        connection.execute("select tidemill.add_job('t')")
        batch, more = bench.lanes.claim_batch(look)
        assert not more
        return batch

    first = claim()
    assert first is not None
    assert bench.lanes.in_hand == 1
    assert bench.lanes.is_busy
    assert bench.lanes.next_due is not None
    second = claim()
    assert second is not None
    # Two lanes, two batches.
    assert claim() is None
    bench.lanes.express.settle_due(0.0, may_wait=False)
    # There is room, but the loop has not taken the two that it was handed.
    assert bench.lanes.express.has_room
    assert claim() is None
    bench.executor.submit_batch(first, TERM)
    bench.executor.submit_batch(second, TERM)
    assert claim() is not None
    bench.lanes.express.disconnect()


async def test_a_batch_is_claimed_ahead_while_jobs_end(
    make: Make, database: str, connection: psycopg.Connection
) -> None:
    HandWorker.register(connection, ["t"], worker_id=WORKER)
    bench = make(connect=lambda: psycopg.connect(database, autocommit=True))
    look = bench.lanes.plan([], regular=True, thorough=True)

    def claim() -> Batch | None:
        connection.execute("select tidemill.add_job('t'), tidemill.add_job('t')")
        batch, _ = bench.lanes.claim_batch(look)
        return batch

    running = claim()
    assert running is not None
    bench.executor.submit_batch(running, TERM)
    await within(bench.begun)
    # They hold all slots. A batch may be claimed ahead, but the worker has enough to do.
    assert bench.executor.free_slots == 0
    assert bench.lanes.is_full
    ahead = claim()
    assert ahead is not None
    assert ahead.take() is not None
    assert ahead.take() is not None
    due = bench.lanes.express.next_due
    assert due is not None
    assert bench.lanes.express.settle_due(due) is not None
    # In all that time none has ended: what is claimed now would wait in our hand.
    assert bench.lanes.express.is_busy
    assert claim() is None
    bench.lanes.express.disconnect()
