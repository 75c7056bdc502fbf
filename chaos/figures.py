"""From the records of a scenario to its figures."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from chaos.records import Records, Run, Slots

# Of the rate before the fault, over so many seconds, is "full" again.
_FULL = 0.8
_WINDOW = 2.0
_STEP = 0.25
# By how much the clocks of a sample and of a line may differ.
_SLACK = 0.05


@dataclass(frozen=True)
class Figures:
    """One line of the result. None: not measured. Times are in seconds."""

    jobs: int
    lost: int
    """Added for sure, and neither in the table nor ever started."""
    unrun: int
    """Gone from the table, as if done, though no run of it ended well."""
    unstarted: int
    """Failed for good without ever having been started."""
    failed: int
    """Failed for good after a start, as jobs with one attempt do."""
    waiting: int
    """Still in the table at the end, and not failed: it would wait for ever."""
    twice: int
    """Ended well more than once."""
    side_by_side: int
    """Started while another run of the same job was going on."""
    stale: int | None
    """Deleted under the lease of a worker whose run had not ended well."""
    past_lease: int | None
    """Started by a worker whose own lease was over."""
    overlaps: int
    """Started while another job of the same named queue was running."""
    order: int
    """Started while an earlier job of the same named queue waited."""
    undone: int | None
    """Ended well, while the row of its own transaction is not there."""
    gap: float
    """The longest time in which nothing started."""
    orphan: float | None
    """The longest time from a worker's loss until what it ran, or held, was started again (or went on)."""
    slots_missed: int | None
    slots_twice: int | None
    longest_add: float
    log_lines: int | None
    """The most warnings and errors of one worker."""
    alive: int
    workers: int
    back: float
    """From the end of the fault until the full rate of before; infinite: not within the measurement."""


def figures(records: Records) -> Figures:
    """Computes all figures."""
    by_job = _by_job(records.runs)
    ok = {run.number for run in records.runs if run.ok}
    there = {left.number for left in records.left}
    known = [added for added in records.added if added.known]
    gone = [added.number for added in known if added.number not in there]
    failed = [left.number for left in records.left if left.failed]
    slots = records.slots
    return Figures(
        jobs=len(known),
        lost=sum(number not in by_job for number in gone),
        unrun=sum(number in by_job and number not in ok for number in gone),
        unstarted=sum(number not in by_job for number in failed),
        failed=sum(number in by_job for number in failed),
        waiting=sum(not left.failed for left in records.left),
        twice=sum(sum(run.ok for run in runs) > 1 for runs in by_job.values()),
        side_by_side=sum(_overlaps(records, runs) for runs in by_job.values()),
        stale=_stale(records),
        past_lease=_past_lease(records),
        overlaps=sum(_overlaps(records, runs) for runs in _by_queue(records).values()),
        order=sum(_out_of_order(records, queue) for queue in _by_queue(records)),
        undone=None if records.rows is None else len(ok - records.rows),
        gap=_gap(records),
        orphan=_orphan(records, by_job),
        slots_missed=None if slots is None else sum(map(_missed, slots)),
        slots_twice=None
        if slots is None
        else sum(times > 1 for each in slots for times in each.run.values()),
        longest_add=records.longest_add,
        log_lines=None if records.log_lines is None else max(records.log_lines, default=0),
        alive=records.alive,
        workers=records.workers,
        back=back(records),
    )


def _by_job(runs: Iterable[Run]) -> dict[int, list[Run]]:
    found: dict[int, list[Run]] = defaultdict(list)
    for run in runs:
        found[run.number].append(run)
    return found


def _by_queue(records: Records) -> dict[str, list[Run]]:
    queues = {added.number: added.queue for added in records.added if added.queue}
    found: dict[str, list[Run]] = defaultdict(list)
    for run in records.runs:
        if run.number in queues:
            found[queues[run.number]].append(run)
    return found


def _until(records: Records, run: Run) -> float:
    """When a run ended: with its line, or where its process was killed or frozen for longer than a lease."""
    end = math.inf if run.end is None else run.end
    for loss in records.losses:
        if loss.pid != run.pid or not run.start <= loss.at < end:
            continue
        if loss.until is None or (loss.frozen and loss.until - loss.at > records.lease):
            end = loss.at
    return end


def _overlaps(records: Records, runs: Sequence[Run]) -> int:
    found, busy_until = 0, -math.inf
    for run in sorted(runs, key=lambda run: run.start):
        found += run.start < busy_until
        busy_until = max(busy_until, _until(records, run))
    return found


def _stale(records: Records) -> int | None:
    if records.gone is None:
        return None
    ended_well = {(run.number, run.worker) for run in records.runs if run.ok}
    return sum(
        gone.locked_by is not None and (gone.number, gone.locked_by) not in ended_well
        for gone in records.gone
    )


def _past_lease(records: Records) -> int | None:
    """Starts that both the sample before and the sample after show to lie past the worker's lease."""
    if records.samples is None:
        return None
    times = [sample.at for sample in records.samples]
    found = 0
    for run in records.runs:
        after = bisect_right(times, run.start)
        around = records.samples[max(after - 1, 0) : after + 1]
        ends = [sample.at + sample.left[run.worker] for sample in around if run.worker in sample.left]
        # Who has no row yet, or none any more, cannot be judged by it.
        found += len(ends) == len(around) == 2 and all(end < run.start - _SLACK for end in ends)
    return found


def _out_of_order(records: Records, queue: str) -> int:
    """Starts before which an earlier job of the queue had not begun, or was cut off in the middle."""
    known_at = {added.number: added.at for added in records.added if added.queue == queue and added.known}
    runs = [run for run in records.runs if run.number in known_at]
    failed = {left.number for left in records.left if left.failed}
    latest: dict[int, Run] = {}
    found = 0
    for run in sorted(runs, key=lambda run: run.start):
        for number, at in known_at.items():
            if number >= run.number or at >= run.start or number in failed:
                continue
            before = latest.get(number)
            # A job that ended, well or not, has had its turn: a retry comes behind.
            if before is None or (before.end is None and _until(records, before) < run.start):
                found += 1
                break
        latest[run.number] = run
    return found


def _gap(records: Records) -> float:
    starts = sorted(run.start for run in records.runs)
    inside = [start for start in starts if records.load_began <= start <= records.load_ended]
    edges = [records.load_began, *inside, records.load_ended]
    return max(later - earlier for earlier, later in pairwise(edges))


def _orphan(records: Records, by_job: dict[int, list[Run]]) -> float | None:
    """From each loss: until the runs that it cut, and all jobs that waited then, were started."""
    longest: float | None = None
    failed = {left.number for left in records.left if left.failed}
    for loss in records.losses:
        if loss.until is not None and loss.until - loss.at <= records.lease:
            continue
        for added in records.added:
            if not added.known or added.at > loss.at or added.number in failed:
                continue
            runs = by_job.get(added.number, [])
            before = [run for run in runs if run.start <= loss.at]
            cut = [run for run in before if run.pid == loss.pid and (run.end is None or run.end > loss.at)]
            if before and not cut:
                continue
            starts = [run.start for run in runs if run.start > loss.at]
            # One that nobody has started again has waited for its own process.
            ends = [run.end for run in cut if run.ok and run.end is not None]
            waited = min(starts or ends, default=math.inf) - loss.at
            longest = waited if longest is None else max(longest, waited)
    return longest


def _missed(slots: Slots) -> int:
    return len(set(range(min(slots.run), slots.until + 1)) - slots.run.keys()) if slots.run else 0


def back(records: Records) -> float:
    """When the rate of ends is what the rate of adds was before the fault."""
    before = [added.at for added in records.added if records.load_began <= added.at < records.began]
    seconds = records.began - records.load_began
    if not before or seconds <= 0:
        return 0.0
    needed = _FULL * _WINDOW * len(before) / seconds
    ends = sorted(run.end for run in records.runs if run.end is not None and run.ok)
    at = records.ended
    while at + _WINDOW <= records.load_ended:
        if bisect_left(ends, at + _WINDOW) - bisect_left(ends, at) >= needed:
            return at - records.ended
        at += _STEP
    return math.inf
