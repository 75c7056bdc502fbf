"""All figures: their names, what they mean, and where they stand. Whoever shows them begins here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from tidemill.tallies import BUCKETS, FIRST_BUCKET

Found = Mapping[str, Any]
"""What a process tells of itself (see `tidemill.measures`), or what the database says."""

# A monitor keeps a series for each bucket: of a tally's those from a millisecond to a good hour.
_FIRST, _LAST = 3, 25


class Times(NamedTuple):
    """The value of a histogram."""

    buckets: list[tuple[str, float]]
    """Cumulative, with their upper bounds in seconds as text; the last one has all."""
    sum: float


@dataclass(frozen=True)
class Family:
    """Figures of one name."""

    kind: Literal["counter", "gauge", "histogram"]
    name: str
    words: str
    read: Callable[[Found], Iterable[tuple[tuple[str, ...], Any]]]
    """Its values, each with those of its labels; a histogram's are Times."""
    labels: tuple[str, ...] = ()


def _of_tasks(field: str) -> Callable[[Found], Iterator[tuple[tuple[str, ...], Times]]]:
    def read(figures: Found) -> Iterator[tuple[tuple[str, ...], Times]]:
        for task, tally in figures["tasks"].items():
            yield (task,), Times(_buckets(tally[f"{field}s"]), tally[f"{field}_seconds"])

    return read


def _outcomes(figures: Found) -> Iterator[tuple[tuple[str, ...], int]]:
    for task, tally in figures["tasks"].items():
        for outcome in ("done", "retried", "failed", "cancelled"):
            yield (task, outcome), tally[outcome]


def _each(field: str) -> Callable[[Found], Iterator[tuple[tuple[str, ...], float]]]:
    """One value for each name that stands there."""
    return lambda found: (((name,), value) for name, value in found[field].items())


def _single(field: str) -> Callable[[Found], list[tuple[tuple[str, ...], float]]]:
    return lambda found: [((), float(found[field]))] if field in found else []


def _of_actions(field: str) -> Callable[[Found], Iterator[tuple[tuple[str, ...], float]]]:
    return lambda found: (((str(one["id"]), one["name"]), one[field]) for one in found["actions"])


def _buckets(counts: list[int]) -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    total = 0
    for bucket in range(BUCKETS):
        total += counts[bucket]
        if _FIRST <= bucket <= _LAST:
            found.append((repr(FIRST_BUCKET * 2**bucket), total))
    return [*found, ("+Inf", total)]


_ACTION = ("id", "action")

OF_PROCESS = (
    Family(
        "counter",
        "tidemill_jobs",
        "Attempts that have ended: done, retried (failed, another follows), failed for good, cancelled.",
        _outcomes,
        ("task", "outcome"),
    ),
    Family("histogram", "tidemill_job_run_seconds", "How long attempts ran.", _of_tasks("run"), ("task",)),
    Family(
        "histogram",
        "tidemill_job_wait_seconds",
        "From run_at to the start of an attempt.",
        _of_tasks("wait"),
        ("task",),
    ),
    Family(
        "gauge",
        "tidemill_jobs_in_hand",
        "Jobs claimed and not settled, by lane.",
        _each("in_hand"),
        ("lane",),
    ),
    Family(
        "counter",
        "tidemill_troubles",
        "What went wrong with the database, by kind: its log line may be held back, this is not.",
        _each("troubles"),
        ("kind",),
    ),
    Family("gauge", "tidemill_slots", "Jobs that may run at once.", _single("slots")),
    Family("gauge", "tidemill_slots_free", "Slots in which no job runs.", _single("free_slots")),
    Family(
        "gauge", "tidemill_express_open", "1 while quick tasks go by the express lane.", _single("express")
    ),
    Family("gauge", "tidemill_listener_up", "1 while notifications come through.", _single("listener")),
    Family("gauge", "tidemill_ready", "1 while the process claims jobs.", _single("ready")),
)
"""Of each process."""

DATABASE_UP = ("tidemill_database_up", "1 while the database answers.")
"""The name and the words of the one that is there when those of the database are not."""

OF_DATABASE = (
    Family("gauge", "tidemill_workers", "Live workers of this database.", _single("workers")),
    Family("gauge", "tidemill_leases", "Jobs that are leased to workers.", _single("leases")),
    Family(
        "gauge",
        "tidemill_oldest_ready_seconds",
        "How long the oldest job without a limit has been ready, of the first 1,000 of each priority.",
        _each("oldest"),
        ("task",),
    ),
    Family(
        "gauge",
        "tidemill_action_late_seconds",
        "How long ago an action should have started.",
        _of_actions("late"),
        _ACTION,
    ),
    Family("counter", "tidemill_action_failures", "Runs that failed.", _of_actions("failures"), _ACTION),
    Family(
        "gauge",
        "tidemill_action_failures_in_a_row",
        "Failed runs since the last one that ended well.",
        _of_actions("in_a_row"),
        _ACTION,
    ),
)
"""Of the database, of which every process tells the same."""
