"""Jobs that kill their worker."""

from __future__ import annotations

import time
from collections.abc import Callable

from chaos.load import Job
from chaos.stage import Stage

# Beyond the numbers of the mix.
_FIRST = 1_000_000
_BEHIND = 199
_LOOK_SECONDS = 0.2


def poison(attempts: int, *, keyed: bool = False) -> Callable[[Stage], None]:
    """A job that kills its worker on each attempt, and 199 with one attempt behind it, added together.

    Workers that die are started again at once, as a supervisor does.
    """

    def spread(stage: Stage) -> None:
        producer = stage.producer()
        jobs = [Job("poison", _FIRST, attempts=attempts, keyed=keyed)]
        jobs += [
            Job("quick", number, attempts=1, keyed=keyed)
            for number in range(_FIRST + 1, _FIRST + 1 + _BEHIND)
        ]
        with stage.fault(attempts):
            stage.supervise()
            producer.add_together(jobs)
            # A worker's death may show to others only when its lease ends.
            deadline = time.monotonic() + attempts * (stage.size.lease + 5)
            while time.monotonic() < deadline and _waits(stage):
                stage.hold(_LOOK_SECONDS)
        producer.close()

    return spread


def _waits(stage: Stage) -> bool:
    """Whether the poison has not failed for good yet."""
    with stage.admin() as connection:
        [(found,)] = connection.execute(
            "select count(*) from tidemill.jobs where identifier = 'poison' and state <> 'failed'"
        ).fetchall()
    return bool(found)
