"""Workers that are killed or stopped."""

from __future__ import annotations

from chaos.stage import Stage

_TURNS = 6


def kill_one(stage: Stage) -> None:
    """Kills one worker, and does not start it again until others have taken over.

    Of a worker with several processes it kills one, and leaves the rest to the supervisor.
    """
    with stage.fault():
        stage.workers[0].kill_process()
        stage.hold(stage.size.lease / 3)
        stage.workers[0].start_if_down()


def kill_all(stage: Stage) -> None:
    """Kills all workers at once, with their supervisors, and starts them again, as a supervisor does."""
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
            worker.kill_process()
            worker.start_if_down()
            stage.hold(stage.size.lease / 6)


def freeze_one(stage: Stage) -> None:
    """Stops one worker, or one of its processes, for longer than its lease, amid its jobs."""
    with stage.fault():
        stage.workers[0].freeze_process()
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


def kill_supervisor(stage: Stage) -> None:
    """Kills a supervisor alone, and starts another one when its processes have stopped."""
    with stage.fault():
        worker = stage.supervised()[0]
        worker.kill_supervisor()
        worker.start()


def terminate_group(stage: Stage) -> None:
    """Asks a supervisor and all of its processes to stop, and starts them again."""
    with stage.fault():
        worker = stage.supervised()[0]
        worker.terminate_group()
        worker.start()


def freeze_supervisor(stage: Stage) -> None:
    """Stops a supervisor for longer than a lease; one of its processes is killed meanwhile."""
    with stage.fault():
        worker = stage.supervised()[0]
        worker.freeze_supervisor()
        worker.kill_process()
        stage.hold(stage.size.past_lease)
        worker.thaw()
