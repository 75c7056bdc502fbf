"""Workers that are killed or stopped."""

from __future__ import annotations

from chaos.stage import Stage

_TURNS = 6


def kill_one(stage: Stage) -> None:
    """Kills one worker, and does not start it again until others have taken over."""
    with stage.fault():
        stage.workers[0].kill()
        stage.hold(stage.size.lease / 3)
        stage.workers[0].start()


def kill_all(stage: Stage) -> None:
    """Kills all workers at once, and starts them again, as a supervisor does."""
    with stage.fault():
        for worker in stage.workers:
            worker.kill()
        for worker in stage.workers:
            worker.start()


def kill_in_a_loop(stage: Stage) -> None:
    """Kills one worker after the other, soon after each has started."""
    with stage.fault(_TURNS):
        for turn in range(_TURNS):
            worker = stage.workers[turn % len(stage.workers)]
            worker.kill()
            worker.start()
            stage.hold(stage.size.lease / 6)


def freeze_one(stage: Stage) -> None:
    """Stops one worker for longer than its lease, amid its jobs, and lets it go on."""
    with stage.fault():
        stage.workers[0].freeze()
        stage.hold(stage.size.past_lease)
        stage.workers[0].thaw()


def freeze_all(stage: Stage) -> None:
    """Stops all workers for longer than their leases."""
    with stage.fault():
        for worker in stage.workers:
            worker.freeze()
        stage.hold(stage.size.past_lease)
        for worker in stage.workers:
            worker.thaw()
