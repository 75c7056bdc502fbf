"""Runs a scenario in a lane, and reads what it has left behind."""

from __future__ import annotations

import math
import shutil
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from chaos.figures import Figures, back, figures
from chaos.peers import PEERS
from chaos.records import Gone, Left, Records, Slots, read_journal
from chaos.scenarios import LANES, Scenario
from chaos.servers import Unavailable
from chaos.stage import OUT, SHORT, Size, Stage, concurrency, hold, loaded, staged
from chaos.subject import Lane, Subject
from chaos.targets import PACE, Missed, limits, missed
from tidemill import WorkerOptions

# The last slots may be under way.
_SLOT_GRACE = 3


@dataclass(frozen=True)
class Measured:
    """A scenario in one lane, or of a peer: its figures, or why there are none."""

    scenario: str
    lane: str
    figures: Figures | None = None
    missed: tuple[Missed, ...] = ()
    failure: str = ""
    left_out: bool = False
    """Whether it failed because something that it needs is not on this machine."""
    seconds: float = 0.0

    @property
    def peer(self) -> bool:
        """Whether it is not ours: then `lane` is the peer's name."""
        return self.lane not in LANES

    @property
    def passed(self) -> bool:
        """Whether it was measured, and met all targets."""
        return self.left_out or (self.figures is not None and not self.missed)


def measure(scenario: Scenario, name: str, size: Size, processes: int) -> Measured:
    """Runs it once, in this lane or with this peer. What goes wrong in the harness is a failure, too."""
    processes = max(scenario.processes, processes) if name in LANES else 1
    began = time.monotonic()
    place = OUT / "runs" / f"{scenario.name}-{name}"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    rate = size.rate if scenario.rate is None else scenario.rate
    own_size = replace(size, rate=rate, drain=size.drain + scenario.late)
    try:
        records, hits = _records(
            scenario, _subject(scenario, name, size, processes), own_size, place, processes
        )
    except InterruptedError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".replace(str(OUT.parent.parent), ".").strip()
        left_out = isinstance(error, Unavailable)
        return Measured(
            scenario.name, name, failure=reason, left_out=left_out, seconds=time.monotonic() - began
        )
    found = figures(records)
    lost = sum(loss.until is None or loss.until - loss.at > size.lease for loss in records.losses)
    most = {**limits(name, size.lease, lost, concurrency(processes), hits), **scenario.limits}
    # Peers have promised nothing.
    # The short set runs side by side, on machines that others share: there only what is wrong is judged.
    without = scenario.without | PACE if size is SHORT else scenario.without
    wrong = missed(found, most, without) if name in LANES else []
    return Measured(scenario.name, name, found, tuple(wrong), seconds=time.monotonic() - began)


def _subject(scenario: Scenario, name: str, size: Size, processes: int) -> Subject:
    if name in PEERS:
        return PEERS[name]
    # Otherwise as by default.
    lease = ["--lease", str(size.lease)] if size.lease != WorkerOptions.lease else []
    several = ["--processes", str(processes)] if processes > 1 else []
    return Lane(name, [*scenario.options, *lease, *several])


def _records(
    scenario: Scenario, subject: Subject, size: Size, place: Path, processes: int
) -> tuple[Records, int]:
    with (
        scenario.server() as server,
        staged(
            server,
            subject,
            size,
            place,
            scenario.workers,
            processes=processes,
            through=scenario.through,
            proxied=scenario.proxied,
        ) as stage,
    ):
        if not stage.is_ours:
            # Ours have to survive everything; who uses the others needs a supervisor.
            stage.supervise()
        with stage.sampling(), loaded(stage) as load:
            load_began = time.monotonic()
            hold(size.before)
            scenario.fault(stage)
            hold(size.after)
            longest = limits(subject.name, size.lease, 0, 0, 0)["back"]
            while time.monotonic() < stage.ended + longest + 2 and _is_away(stage, load_began):
                hold(0.5)
            load_ended = load.end()
            stage.drain()
        return _read(stage, load_began, load_ended, load.producer.longest), stage.hits


def _is_away(stage: Stage, load_began: float) -> bool:
    """Whether the full rate of before the fault is not back yet."""
    now = time.monotonic()
    return math.isinf(
        back(Records(stage.added, stage.runs(), stage.began, stage.ended, load_began, now, stage.size.lease))
    )


def _read(stage: Stage, load_began: float, load_ended: float, longest_add: float) -> Records:
    with stage.admin() as connection:
        left = connection.execute(stage.subject.left.encode()).fetchall()
        rows = connection.execute("select distinct number from chaos.runs").fetchall()
    lines = stage.journal_lines()
    records = Records(
        added=stage.added,
        runs=read_journal(lines),
        began=stage.began,
        ended=stage.ended,
        load_began=load_began,
        load_ended=load_ended,
        lease=stage.size.lease,
        left=[Left(*row) for row in left],
        losses=[*stage.losses, *(loss for worker in stage.workers for loss in worker.deaths())],
        rows=frozenset(number for (number,) in rows),
        alive=sum(worker.running for worker in stage.workers if stage.is_ours or not worker.ends),
        workers=sum(worker.processes for worker in stage.workers),
        longest_add=longest_add,
    )
    return _with_ours(stage, records, lines) if stage.is_ours else records


def _with_ours(stage: Stage, records: Records, lines: Sequence[str]) -> Records:
    """With what only Tidemill has: leases, actions, and logs that can be read."""
    with stage.admin() as connection:
        gone = connection.execute("select number, locked_by from chaos.gone").fetchall()
        slots = connection.execute(
            "select name, extract(epoch from slot)::bigint, job_id, succeeded from tidemill.action_history"
            " where slot is not null and outcome is distinct from 'skipped'"
        ).fetchall()
        [(now,)] = connection.execute("select extract(epoch from clock_timestamp())::bigint").fetchall()
    ticks = Counter(int(line.split()[1]) for line in lines if line.startswith("tick "))
    seconds: Counter[int] = Counter()
    added: Counter[int] = Counter()
    for name, slot, job_id, succeeded in slots:
        if name == "second":
            seconds[slot] += bool(succeeded)
        elif ticks[job_id]:
            added[slot] += ticks[job_id]
    until = now - _SLOT_GRACE
    return replace(
        records,
        gone=[Gone(*row) for row in gone],
        samples=stage.samples,
        slots=[Slots(seconds, until), Slots(added, until)],
        log_lines=[
            worker.lines_since(size) for worker, size in zip(stage.workers, stage.lines_before, strict=True)
        ],
    )
