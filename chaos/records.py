"""What a scenario leaves behind: written down by hands that know nothing of each other.

All times are those of the machine's monotonic clock, which all its processes share, and which no step
of the wall clock moves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Added:
    """A job that a producer added."""

    number: int
    at: float
    """When the add returned."""
    queue: str = ""
    once: bool = False
    """Whether it has one attempt."""
    known: bool = True
    """False: the connection broke before the answer came, so it may be there or not."""


@dataclass(frozen=True)
class Run:
    """One start of a job, from the lines that its task wrote outside of any transaction."""

    number: int
    attempt: int
    worker: str
    pid: int
    start: float
    end: float | None = None
    """None: it did not get that far."""
    ok: bool = False


@dataclass(frozen=True)
class Loss:
    """From when on a worker could not be reached, until when; never again: it was killed."""

    pid: int
    at: float
    until: float | None = None
    frozen: bool = False
    """Whether it could run nothing in that time, as when it is stopped."""


@dataclass(frozen=True)
class Sample:
    """What the database said of the workers' leases: seconds left by worker, less than 0 if it is over."""

    at: float
    left: Mapping[str, float]


@dataclass(frozen=True)
class Left:
    """A job that is still in the table at the end."""

    number: int
    failed: bool
    """For good; else it waits."""


@dataclass(frozen=True)
class Gone:
    """A job that was deleted, and the worker whose lease its row had then."""

    number: int
    locked_by: str | None


@dataclass(frozen=True)
class Slots:
    """The slots of an action that is due each second."""

    run: Mapping[int, int]
    """By slot, in whole seconds: how often it was run with success; 0: it was begun."""
    until: int
    """The last slot that should have begun by now."""


@dataclass(frozen=True)
class Records:
    """All that is known about one scenario."""

    added: Sequence[Added]
    runs: Sequence[Run]
    began: float
    ended: float
    """When the fault began and ended."""
    load_began: float
    load_ended: float
    lease: float
    left: Sequence[Left] = ()
    gone: Sequence[Gone] | None = None
    """None: nobody looked."""
    losses: Sequence[Loss] = ()
    samples: Sequence[Sample] | None = None
    rows: frozenset[int] | None = None
    """The jobs whose own transaction has left its row."""
    slots: Sequence[Slots] | None = None
    """Of each action."""
    log_lines: Sequence[int] | None = None
    """Warnings and errors since the fault began, by worker."""
    alive: int = 0
    workers: int = 0
    longest_add: float = 0


def read_journal(lines: Iterable[str]) -> list[Run]:
    """The runs, in the order of their starts, from the lines `start` and `end` of the tasks.

    A line names the job, the attempt, the worker, the process and the time of the start; that of an end also
    its own time, and how it was. A line that its writer's death has cut short is passed over.
    """
    open_runs: dict[tuple[str, ...], Run] = {}
    runs: list[Run] = []
    for line in lines:
        match line.split():
            case ["start", number, attempt, worker, pid, start] if line.endswith("\n"):
                # One worker may run a job twice at once: after it has lost its batch, or its lease.
                open_runs[number, attempt, worker, pid, start] = Run(
                    int(number), int(attempt), worker, int(pid), float(start)
                )
            case ["end", *who, end, how] if line.endswith("\n"):
                begun = open_runs.pop(tuple(who), None)
                if begun is not None:
                    runs.append(replace(begun, end=float(end), ok=how == "ok"))
    return sorted([*runs, *open_runs.values()], key=lambda run: run.start)
