"""What a claim touches does not grow with queues, priorities and payloads that it cannot use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import LiteralString

import psycopg
import pytest

from tests.sql.calls import Queue, Row
from tests.sql.test_plans import touched
from tests.support.servers import TEMPLATE, Server

pytestmark = [pytest.mark.slow, pytest.mark.each_version("planners differ")]

IDLE_QUEUES = 200_000
PRIORITIES = 10_000
LOOKS = 500
# What one look costs: a step to the queue, its row, and the first of its jobs in two indexes.
PAGES_OF_A_LOOK = 20

# For each customer a reminder, in a queue of its own; many in one queue; and one at each of many priorities.
FILL = f"""
alter table tidemill._jobs set (autovacuum_enabled = off);
alter table tidemill._queues set (autovacuum_enabled = off);
select tidemill._task_id('t'), tidemill._task_id('foreign');
insert into tidemill._queues (queue_name) select 'q' || n from generate_series(1, {IDLE_QUEUES} + 1000) n;
insert into tidemill._jobs (task_id, queue_id, run_at)
  select 1, n, '2099-01-01' from generate_series(1, {IDLE_QUEUES}) n;
insert into tidemill._jobs (task_id, queue_id, run_at, priority)
  select 1, {IDLE_QUEUES} + 1, '2099-01-01', -n % 3 from generate_series(1, 50000) n;
insert into tidemill._jobs (task_id, priority, run_at)
  select 1, n - {PRIORITIES} / 2, '2099-01-01' from generate_series(1, {PRIORITIES}) n;
"""

# The calls of workers, in the express lane and in the lease lane; the last row says where to go on.
WALK: LiteralString = (
    "_lock_queued_jobs('{t}', '{t}', %s, 100, null, %s, 10, %s, %s, %s, 500) where queue_id is not null"
)
OLD_WALK: LiteralString = "_lock_queued_jobs('{t}', '{t}', %s, 100, null, 0, 10)"
LEVELS: LiteralString = "_lock_jobs('{t}', '{t}', %s, 100, null, '{}', '{}', '{}', %s, 500)"
START = (0, "-infinity", 0, False)


@pytest.fixture(scope="module")
def filled(server: Server) -> Iterator[Queue]:
    """A table of jobs for later, never analysed."""
    name = server.clone(TEMPLATE)
    with psycopg.connect(server.conninfo(name), autocommit=True) as connection:
        connection.execute(FILL.encode())
        yield Queue(connection)
    server.drop(name)


@pytest.fixture
def idle(filled: Queue) -> Iterator[Queue]:
    """The same table; whatever the test adds is undone."""
    with filled.connection.transaction(force_rollback=True):
        # Times that a test gives lie before this transaction's.
        yield filled


def walk_on(queue: Queue, *place: object, walk: LiteralString = WALK) -> tuple[list[Row], tuple[object, ...]]:
    """The jobs that are found, and the place where the walk ended."""
    columns: LiteralString = "id, queue_id, priority, run_at::text, claim_token"
    *jobs, last = queue.rows(f"select {columns} from tidemill." + walk, [True, *place])
    return jobs, (last["queue_id"], last["run_at"], last["claim_token"])


@pytest.mark.parametrize("express", [True, False], ids=["express", "lease"])
def test_queues_of_which_no_job_is_due_are_not_touched(idle: Queue, express: bool) -> None:
    rows, pages = touched(idle, WALK, express, *START)
    assert (rows, pages <= 30) == (1, True)


@pytest.mark.parametrize("later_first", [False, True])
def test_due_jobs_are_found_among_idle_queues(idle: Queue, later_first: bool) -> None:
    # One is due at once, one was added for a time that has come, and one has failed and waits no more.
    idle.rows("insert into tidemill._jobs (task_id, queue_id) values (1, 170000) returning id")
    idle.rows(
        "insert into tidemill._jobs (task_id, queue_id, created_at, run_at) values"
        " (1, 90000, now() - interval '2 days', now() - interval '1 day') returning id"
    )
    rows, pages = touched(idle, WALK, True, 0, "-infinity", 0, later_first)
    assert (rows, pages <= 100) == (3, True)
    jobs, place = walk_on(idle, 0, "-infinity", 0, later_first)
    assert [job["queue_id"] for job in jobs] == ([90_000, 170_000] if later_first else [170_000, 90_000])
    assert place == (0, "-infinity", 0)


def test_a_queue_of_jobs_for_later_is_no_burden(idle: Queue) -> None:
    idle.rows(
        "insert into tidemill._jobs (task_id, queue_id, priority)"
        f" select 1, {IDLE_QUEUES} + 1, 5 from generate_series(1, 30) returning id"
    )
    rows, pages = touched(idle, WALK, True, *START)
    assert (rows, pages <= 150) == (11, True)


CROWDED = range(IDLE_QUEUES + 2, IDLE_QUEUES + 52)
# In each of these queues a job whose time has come, behind a thousand priorities without such a job.
CROWD: LiteralString = """
insert into tidemill._jobs (task_id, queue_id, priority, run_at)
  select 1, q, n, '2099-01-01' from unnest(%(queues)s::bigint[]) q, generate_series(1, 2000) n;
insert into tidemill._jobs (task_id, queue_id, priority, created_at, run_at)
  select 1, q, p, now() - interval '2 days', now() - interval '1 day'
  from unnest(%(queues)s::bigint[]) q, unnest(%(due)s::integer[]) p;
insert into tidemill._jobs (task_id, queue_id, priority) select 1, q, 1000 from unnest(%(queues)s::bigint[]) q
"""


def crowd(queue: Queue, *due: int) -> None:
    with psycopg.ClientCursor(queue.connection) as cursor:
        cursor.execute(CROWD, {"queues": list(CROWDED), "due": list(due)})


def test_priorities_of_later_jobs_in_a_queue_are_no_burden(idle: Queue) -> None:
    crowd(idle, 1500)
    rows, pages = touched(idle, WALK, True, *START)
    assert (rows, pages <= 4 * PAGES_OF_A_LOOK * len(CROWDED)) == (2 * len(CROWDED) + 1, True)


def test_the_order_in_a_queue_is_exact_whatever_its_priorities(idle: Queue) -> None:
    crowd(idle, 1500, 1, 5, 9, 10, 11, 999, 1001, 5, 2001)
    jobs, _ = walk_on(idle, *START)
    for number in CROWDED:
        found = [job["priority"] for job in jobs if job["queue_id"] == number]
        assert found == [1, 5, 5, 9, 10, 11, 999, 1000, 1001, 1500]


# Queues that are due, but not for this search


OBSTACLES: dict[str, LiteralString] = {
    "unknown to the worker": "insert into tidemill._jobs (task_id, queue_id)"
    " select 2, n from generate_series(1, 1200) n",
    "unknown, and added for a time that has come": "insert into tidemill._jobs"
    " (task_id, queue_id, created_at, run_at)"
    " select 2, n, now() - interval '2 days', now() - interval '1 day' from generate_series(1, 1200) n",
    "for the other lane": "insert into tidemill._jobs (task_id, queue_id, attempts)"
    " select 1, n, 1 from generate_series(1, 1200) n",
    "forbidden": "insert into tidemill._jobs (task_id, queue_id, flags)"
    " select 1, n, '{heavy}' from generate_series(1, 1200) n",
    "of busy queues": "insert into tidemill._jobs (task_id, queue_id)"
    " select 1, n from generate_series(1, 1200) n;"
    " update tidemill._queues set locked_at = now(), locked_by = 'x' where id <= 1200",
}


@pytest.mark.parametrize("kind", OBSTACLES)
def test_a_search_looks_at_few_queues_in_vain_and_goes_on_behind_them(idle: Queue, kind: str) -> None:
    idle.connection.execute(OBSTACLES[kind])
    idle.rows("insert into tidemill._jobs (task_id, queue_id) values (1, 5000) returning id")
    walk = WALK.replace("null", "'{heavy}'", 1)
    jobs: list[Row] = []
    place: tuple[object, ...] = START[:3]
    searches = 0
    while not jobs and searches < 10:
        _, pages = touched(idle, walk, True, *place, True)
        assert pages <= 100 + 2 * LOOKS * PAGES_OF_A_LOOK
        jobs, place = walk_on(idle, *place, True, walk=walk)
        searches += 1
    assert [job["queue_id"] for job in jobs] == [5000]


# Priorities


@pytest.mark.parametrize("express", [True, False], ids=["express", "lease"])
def test_a_search_looks_at_few_priorities_and_goes_on_behind_them(idle: Queue, express: bool) -> None:
    idle.rows(
        "insert into tidemill._jobs (task_id, priority, attempts) values (1, 4000, %s) returning id",
        [0 if express else 1],
    )
    after: int | None = -40_000
    searches = 0
    jobs: list[Row] = []
    while not jobs and after is not None:
        _, pages = touched(idle, LEVELS, express, after)
        assert pages <= 8 * LOOKS
        *jobs, last = idle.rows("select * from tidemill." + LEVELS, [express, after])
        after = last["priority"]
        searches += 1
    assert [job["priority"] for job in jobs] == [4000]
    assert searches == (4000 + PRIORITIES // 2) // LOOKS


def test_marks_are_searched_beside_the_part_of_a_full_search(idle: Queue) -> None:
    idle.rows(
        "insert into tidemill._jobs (task_id, priority) values (1, 4000), (1, -4800), (1, -4900) returning id"
    )
    rows = idle.rows(
        "select priority from tidemill._lock_jobs("
        "'{t}', '{t}', true, 10, null, '{4000,-4900}', array['-infinity', now()], '{0,0}', -40000, 500)"
    )
    # The mark of -4900 lies behind its job, but all of that priority is searched.
    assert [row["priority"] for row in rows] == [-4900, -4800, 4000, -4500]


# Workers of the previous version


def test_workers_that_do_not_know_of_places_find_all(idle: Queue) -> None:
    idle.rows("insert into tidemill._jobs (task_id, queue_id) values (1, 170000) returning id")
    idle.rows(
        "insert into tidemill._jobs (task_id, queue_id, created_at, run_at) values"
        " (1, 90000, now() - interval '2 days', now() - interval '1 day') returning id"
    )
    jobs = idle.rows("select * from tidemill." + OLD_WALK, [True])
    assert [job["queue_id"] for job in jobs] == [90_000, 170_000]
    idle.rows("insert into tidemill._jobs (task_id, priority) values (1, 4321) returning id")
    rows = idle.rows("select * from tidemill._lock_jobs('{t}', '{t}', true, 5, null, null, null, null)")
    assert [(row["id"] is None, row["priority"]) for row in rows] == [(False, 4321), (True, None)]


# Payloads


LARGE = 3_000_000
ADD_LARGE: LiteralString = (
    "insert into tidemill._jobs (task_id, queue_id, payload)"
    " select tidemill._task_id('t'), q, to_json(repeat('x', %s)) from unnest(%s::bigint[]) q"
)


def sizes(queue: Queue, call: LiteralString) -> list[tuple[int | None, str | None]]:
    rows = queue.rows("select octet_length(payload) as size, identifier from tidemill." + call)
    return [(row["size"], row["identifier"]) for row in rows]


def test_a_claim_ends_when_its_payloads_are_many_bytes(queue: Queue, another: Callable[[], Queue]) -> None:
    queue.rows(ADD_LARGE + " returning id", [LARGE, [None] * 6])
    first: LiteralString = "_lock_jobs('{t}', '{t}', true, 100, null, null, null, null)"
    with queue.connection.transaction():
        assert sizes(queue, first) == [(LARGE + 2, "t")] * 3 + [(None, "more")]
        # The others are not even locked.
        with another().connection.transaction() as other:
            assert sizes(Queue(other.connection), first) == [(LARGE + 2, "t")] * 3 + [(None, "more")]
    assert len(queue.claim(count=100)) == 3


@pytest.mark.parametrize("size", [3000, 120_000])
def test_payloads_that_could_be_compressed_are_counted_as_what_they_are(queue: Queue, size: int) -> None:
    queue.connection.execute(
        "insert into tidemill._jobs (task_id, payload)"
        " select tidemill._task_id('t'), to_json(repeat('x', %s)) from generate_series(1, %s)",
        [size, 12_000_000 // size],
    )
    claimed = sizes(queue, "_lock_jobs('{t}', '{t}', true, 5000, null, null, null, null)")
    assert sum(found or 0 for found, _ in claimed) in range(8 << 20, (8 << 20) + size + 3)
    assert claimed[-1] == (None, "more")


def test_one_job_is_always_claimed_however_large(queue: Queue) -> None:
    queue.rows(ADD_LARGE + " returning id", [10 * LARGE, [None, None]])
    assert len(queue.claim(count=100)) == 1
    assert len(queue.claim(count=100)) == 1
    queue.add(queue_name="q")
    queue.rows(ADD_LARGE + " returning id", [10 * LARGE, [1, 1, 1]])
    # The first one of the queue is small.
    assert len(queue.claim(count=100)) == 2


def test_a_claim_that_ends_so_leaves_marks_before_what_it_has_not_seen(queue: Queue) -> None:
    """Workers of the previous version take its last row for the end of all that was due."""
    queue.rows(ADD_LARGE + " returning id", [LARGE, [None] * 6])
    *jobs, last = queue.rows(
        "select id, run_at from tidemill._lock_jobs('{t}', '{t}', true, 100, null, null, null, null)"
    )
    assert last["run_at"] == jobs[-1]["run_at"]


def test_queues_are_bound_by_bytes_too(queue: Queue, another: Callable[[], Queue]) -> None:
    queues = [queue.value("select tidemill._queue_id(%s)", [name]) for name in "pqr"]
    queue.rows(ADD_LARGE + " returning id", [LARGE, sorted(queues * 2)])
    call: LiteralString = "_lock_queued_jobs('{t}', '{t}', true, 100, null, 0, 10, '-infinity')"
    with queue.connection.transaction():
        assert sizes(queue, call) == [(LARGE + 2, "t")] * 3 + [(None, "more")]
        other = another()
        with other.connection.transaction():
            rows = other.rows("select queue_id, identifier from tidemill." + call)
            assert [row["queue_id"] for row in rows] == [queues[2], queues[2], 0]
            assert rows[-1]["identifier"] is None
    # The rest of a queue whose first job was taken comes first once it is free.
    claimed = queue.claim(count=100)
    assert [job["queue_id"] for job in claimed] == [queues[0], queues[0], queues[1]]


def test_queues_of_small_jobs_are_claimed_beside_large_ones(queue: Queue) -> None:
    queue.rows(ADD_LARGE.replace("'t'", "'other'") + " returning id", [LARGE, [None]])
    queues = [queue.value("select tidemill._queue_id(%s)", [f"q{number}"]) for number in range(60)]
    queue.rows(ADD_LARGE + " returning id", [10, queues + queues[:30]])
    # A queue that comes late is large, and is the last one.
    queue.rows(ADD_LARGE + " returning id", [10 * LARGE, [queues[50]]])
    queue.connection.execute(
        "update tidemill._jobs set priority = -1 where octet_length(payload::text) > 10000000"
    )
    call: LiteralString = "_lock_queued_jobs('{t}', '{t}', true, 100, null, 0, 10, '-infinity')"
    *jobs, last = queue.rows("select id, queue_id, identifier from tidemill." + call)
    assert [job["queue_id"] for job in jobs] == sorted(queues[:30] * 2 + queues[30:51])
    assert (last["queue_id"], last["identifier"]) == (queues[50], "more")


def test_small_payloads_are_not_counted(queue: Queue) -> None:
    queue.connection.execute(
        "insert into tidemill._jobs (task_id, payload) select tidemill._task_id('t'),"
        " to_json(repeat('x', 1500)) from generate_series(1, 2000)"
    )
    assert not queue.value("select tidemill._has_large_payloads()")
    assert len(queue.claim(count=5000)) == 2000
