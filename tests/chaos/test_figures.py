"""From records that were written by hand to figures."""

from __future__ import annotations

import math
from dataclasses import replace

from chaos.figures import figures
from chaos.records import Added, Gone, Left, Loss, Records, Run, Sample, Slots, read_journal

LEASE = 30.0


def records(**fields: object) -> Records:
    """A scenario of a minute, whose fault lasts from 10 to 20."""
    empty = Records(
        added=[], runs=[], began=10, ended=20, load_began=0, load_ended=60, lease=LEASE, alive=2, workers=2
    )
    return replace(empty, **fields)  # type: ignore[arg-type]


def added(*numbers: int, at: float = 0, queue: str = "") -> list[Added]:
    return [Added(number, at, queue) for number in numbers]


def ran(number: int, start: float, end: float | None, *, ok: bool = True, pid: int = 1) -> Run:
    return Run(number, 1, f"worker-{pid}", pid, start, end, ok and end is not None)


def test_a_journal_becomes_runs_in_the_order_of_their_starts() -> None:
    lines = [
        "start 2 1 a 10 1.5\n",
        "start 1 1 a 10 1.0\n",
        "tick 7 1.1\n",
        "end 2 1 a 10 1.5 2.5 ok\n",
        "end 1 1 a 10 1.0 2.0 failed\n",
        "start 1 2 b 11 3.0\n",
    ]

    assert read_journal(lines) == [
        Run(1, 1, "a", 10, 1.0, 2.0, ok=False),
        Run(2, 1, "a", 10, 1.5, 2.5, ok=True),
        Run(1, 2, "b", 11, 3.0),
    ]


def test_a_run_that_was_cut_off_and_started_again_is_two_runs() -> None:
    found = read_journal(["start 1 1 a 10 1.0\n", "start 1 1 a 10 4.0\n", "end 1 1 a 10 4.0 5.0 ok\n"])

    assert [(run.start, run.end) for run in found] == [(1.0, None), (4.0, 5.0)]


def test_two_runs_of_one_attempt_in_one_worker_end_apart() -> None:
    found = read_journal(
        [
            "start 1 1 a 10 1.0\n",
            "start 1 1 a 10 1.2\n",
            "end 1 1 a 10 1.0 2.0 failed\n",
            "end 1 1 a 10 1.2 2.2 ok\n",
        ]
    )
    assert [(run.start, run.end, run.ok) for run in found] == [(1.0, 2.0, False), (1.2, 2.2, True)]


def test_a_line_that_was_cut_short_is_passed_over() -> None:
    assert read_journal(["start 1 1 a 10 1.0\n", "end 1 1 a 10 1.0 2.0 o"]) == [Run(1, 1, "a", 10, 1.0)]


def test_jobs_are_done_lost_unrun_unstarted_failed_or_waiting() -> None:
    found = figures(
        records(
            added=[*added(1, 2, 3, 4, 5, 6), Added(7, 0, known=False)],
            # 1 is done, 2 was never seen, 3 has gone although it failed.
            runs=[ran(1, 1, 2), ran(3, 1, 2, ok=False), ran(5, 1, 2, ok=False)],
            left=[Left(4, failed=True), Left(5, failed=True), Left(6, failed=False)],
        )
    )

    assert (found.jobs, found.lost, found.unrun) == (6, 1, 1)
    assert (found.unstarted, found.failed, found.waiting) == (1, 1, 1)


def test_twice_is_ended_well_twice_and_no_retry() -> None:
    retried = [ran(1, 1, 2, ok=False), ran(1, 3, 4)]
    repeated = [ran(2, 1, 2), ran(2, 3, 4)]

    assert figures(records(runs=retried + repeated)).twice == 1


def test_side_by_side_is_a_start_during_another_run() -> None:
    assert figures(records(runs=[ran(1, 1, 5), ran(1, 4, 6, pid=2)])).side_by_side == 1
    assert figures(records(runs=[ran(1, 1, 5), ran(1, 5, 6, pid=2)])).side_by_side == 0


def test_a_killed_workers_run_ends_with_it() -> None:
    runs = [ran(1, 1, None), ran(1, 4, 6, pid=2)]

    assert figures(records(runs=runs)).side_by_side == 1
    assert figures(records(runs=runs, losses=[Loss(1, at=3)])).side_by_side == 0


def test_a_run_that_was_frozen_for_a_lease_ends_where_it_was_frozen() -> None:
    runs = [ran(1, 1, 50), ran(1, 40, 41, pid=2)]

    assert figures(records(runs=runs, losses=[Loss(1, 3, 45, frozen=True)])).side_by_side == 0
    assert figures(records(runs=runs, losses=[Loss(1, 30, 35, frozen=True)])).side_by_side == 1
    # One that was only cut off from the database runs on.
    assert figures(records(runs=runs, losses=[Loss(1, 3, 45)])).side_by_side == 1


def test_jobs_of_one_queue_overlap_and_those_of_two_do_not() -> None:
    runs = [ran(1, 1, 5), ran(2, 4, 6, pid=2)]

    assert figures(records(added=added(1, 2, queue="a"), runs=runs)).overlaps == 1
    two = added(1, queue="a") + added(2, queue="b")
    assert figures(records(added=two, runs=runs)).overlaps == 0


def test_the_order_of_a_queue_is_broken_by_a_start_while_an_earlier_job_waits() -> None:
    queue = added(1, 2, queue="a")

    assert figures(records(added=queue, runs=[ran(1, 1, 2), ran(2, 3, 4)])).order == 0
    assert figures(records(added=queue, runs=[ran(2, 1, 2), ran(1, 3, 4)])).order == 1
    # A retry comes behind; what a dead worker left keeps its place.
    failed = [ran(1, 1, 2, ok=False), ran(2, 3, 4), ran(1, 5, 6)]
    assert figures(records(added=queue, runs=failed)).order == 0
    left = [ran(1, 1, None), ran(2, 3, 4, pid=2), ran(1, 5, 6, pid=2)]
    assert figures(records(added=queue, runs=left, losses=[Loss(1, 2)])).order == 1


def test_a_job_may_be_deleted_under_the_lease_of_who_has_done_it_alone() -> None:
    runs = [ran(1, 1, 2, pid=1), ran(1, 1, 5, ok=False, pid=2), ran(2, 1, 2, pid=1)]
    gone = [Gone(1, "worker-2"), Gone(2, "worker-1"), Gone(3, None)]

    assert figures(records(runs=runs, gone=gone)).stale == 1
    assert figures(records(runs=runs)).stale is None


def test_a_start_is_past_its_workers_lease_if_both_samples_around_say_so() -> None:
    over = [Sample(9, {"worker-1": -1.0}), Sample(11, {"worker-1": -3.0})]
    renewed = [Sample(9, {"worker-1": -1.0}), Sample(11, {"worker-1": 30.0})]

    assert figures(records(runs=[ran(1, 10, 12)], samples=over)).past_lease == 1
    assert figures(records(runs=[ran(1, 10, 12)], samples=renewed)).past_lease == 0
    assert figures(records(runs=[ran(1, 10, 12, pid=2)], samples=over)).past_lease == 0


def test_work_whose_row_is_not_there_is_undone() -> None:
    runs = [ran(1, 1, 2), ran(2, 1, 2), ran(3, 1, 2, ok=False)]

    assert figures(records(runs=runs, rows=frozenset({1}))).undone == 1


def test_the_gap_is_the_longest_time_without_a_start() -> None:
    runs = [ran(1, 1, 2), ran(2, 8, 9), ran(3, 59, 60), ran(4, 100, 101)]

    assert figures(records(runs=runs)).gap == 51


def test_an_orphan_waits_from_the_loss_until_its_next_start() -> None:
    runs = [ran(1, 9, None), ran(1, 42, 43, pid=2), ran(2, 9, 9.5), ran(3, 20, 21, pid=2)]
    jobs = added(1, 2, 3)

    assert figures(records(added=jobs, runs=runs, losses=[Loss(1, at=10)])).orphan == 32
    assert figures(records(added=jobs, runs=runs[:1], losses=[Loss(1, at=10)])).orphan == math.inf
    assert figures(records(added=jobs, runs=runs)).orphan is None


def test_a_job_that_fails_for_good_or_whose_worker_was_soon_back_is_no_orphan() -> None:
    jobs = added(1)

    failed = records(added=jobs, runs=[ran(1, 9, None)], losses=[Loss(1, 10)], left=[Left(1, failed=True)])
    assert figures(failed).orphan is None
    short = records(added=jobs, runs=[ran(1, 9, None)], losses=[Loss(1, 10, 15)])
    assert figures(short).orphan is None


def test_an_orphan_that_only_its_own_worker_has_ended_has_waited_for_that() -> None:
    frozen = [Loss(1, 10, 49, frozen=True)]

    assert figures(records(added=added(1), runs=[ran(1, 9, 50)], losses=frozen)).orphan == 40
    again = [ran(1, 9, 50), ran(1, 42, 43, pid=2)]
    assert figures(records(added=added(1), runs=again, losses=frozen)).orphan == 32


def test_slots_are_missed_in_between_and_at_the_end() -> None:
    found = figures(records(slots=[Slots({100: 1, 101: 2, 104: 0}, until=106), Slots({}, until=106)]))

    assert (found.slots_missed, found.slots_twice) == (4, 1)


def test_the_rate_is_back_when_as_many_end_as_were_added() -> None:
    # Ten a second before the fault, and again from 30 on.
    before = [Added(number, number / 10) for number in range(100)]
    runs = [ran(number, 30 + number / 10, 30 + number / 10) for number in range(300)]

    assert 8 < figures(records(added=before, runs=runs)).back <= 10
    assert figures(records(added=before, runs=runs[:5])).back == math.inf
