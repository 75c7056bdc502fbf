"""A place that is freed by hand, of a job whose worker was lost, is taken at once, without a walk."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.sql.calls import Queue, ids
from tests.sql.limited import claim, declare, limit, visits

BY_HAND: dict[str, Callable[[Queue], object]] = {
    "complete_jobs": lambda queue: queue.rows("select * from tidemill.complete_jobs('{1}')"),
    "permanently_fail_jobs": lambda queue: queue.rows("select * from tidemill.permanently_fail_jobs('{1}')"),
    "cancel_jobs": lambda queue: queue.rows("select * from tidemill.cancel_jobs('{1}')"),
    "reschedule_jobs": lambda queue: queue.rows(
        "select * from tidemill.reschedule_jobs('{1}', run_at => now() + interval '1 day')"
    ),
    "remove_job": lambda queue: queue.remove("k"),
    "bulk remove": lambda queue: queue.rows(
        "select * from tidemill.step_bulk_act(tidemill.begin_bulk_act('remove', '{\"task\": \"t\"}'))"
    ),
    "bulk reschedule": lambda queue: queue.rows(
        "select * from tidemill.step_bulk_act(tidemill.begin_bulk_act("
        '\'reschedule\', \'{"task": "t"}\', \'{"run_at": "1 day"}\'))'
    ),
}


@pytest.fixture
def lost(queue: Queue) -> Queue:
    """The one place is held by job 1, whose worker is lost and not swept; job 2, of another task, waits."""
    limit(queue, concurrency=1)
    queue.register()
    queue.add(limit_name="l", job_key="k")
    assert len(claim(queue)) == 1
    queue.add("u", limit_name="l")
    assert claim(queue, tasks=["t", "u"]) == []
    assert visits(queue) == 0
    queue.expire()
    return queue


@pytest.mark.parametrize("act", BY_HAND)
def test_the_next_job_starts_at_once(lost: Queue, act: str) -> None:
    BY_HAND[act](lost)
    assert ids(claim(lost, tasks=["t", "u"])) == [2]


@pytest.mark.parametrize("act", BY_HAND)
def test_idle_workers_are_told(lost: Queue, act: str) -> None:
    lost.rows("insert into tidemill._listeners select 'w' returning *")
    lost.connection.execute('listen "tidemill:limits"')
    BY_HAND[act](lost)
    told = [each.payload for each in lost.connection.notifies(timeout=10, stop_after=1)]
    assert told == ["0"]


@pytest.mark.parametrize("act", ["complete_jobs", "permanently_fail_jobs", "reschedule_jobs", "remove_job"])
def test_a_job_that_runs_keeps_its_place(queue: Queue, act: str) -> None:
    limit(queue, concurrency=1)
    queue.register()
    queue.add(limit_name="l", job_key="k")
    assert len(claim(queue)) == 1
    queue.add("u", limit_name="l")
    assert claim(queue, tasks=["t", "u"]) == []
    BY_HAND[act](queue)
    assert visits(queue) == 0
    assert claim(queue, tasks=["t", "u"]) == []


def test_what_waits_frees_no_place(queue: Queue) -> None:
    limit(queue, concurrency=1)
    queue.add(limit_name="l", job_key="k")
    before = visits(queue)
    queue.rows("select * from tidemill.permanently_fail_jobs('{1}')")
    assert visits(queue) == before


def test_a_running_job_that_goes_over_to_another_limit_frees_its_place(queue: Queue) -> None:
    """As it does when the code of its task gets another limit."""
    limit(queue, concurrency=1)
    declare(queue, t={"name": "l"}, u={"name": "l"})
    queue.add()
    assert len(claim(queue)) == 1
    queue.add("u")
    assert claim(queue, tasks=["t", "u"]) == []
    declare(queue, t={"concurrency": 3})
    # The visit of the change comes before a worker has brought the jobs under it.
    claim(queue, tasks=["t", "u"])
    while queue.value("select tidemill._gate_waiting('{t}', 2)"):
        pass
    assert ids(claim(queue, tasks=["t", "u"])) == [2]
