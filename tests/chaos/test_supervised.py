"""What is done to workers with several processes, and what is known of it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.records import Loss
from chaos.supervised import SupervisedWorker
from tests.support.waiting import wait_until

# A shell in the place of a supervisor, with two children.
_SHELL = ["sh", "-c", "sleep 600 & sleep 600 & wait; wait"]


@pytest.fixture
def losses() -> list[Loss]:
    return []


@pytest.fixture
def worker(tmp_path: Path, losses: list[Loss]) -> Iterator[SupervisedWorker]:
    started = SupervisedWorker(_SHELL, {"PATH": os.defpath}, tmp_path / "log", losses, 2)
    wait_until(lambda: started.running == 2, "both processes")
    yield started
    started.kill()


def test_a_killed_process_is_a_loss_and_the_others_run_on(worker: SupervisedWorker) -> None:
    first, second = worker.pids()

    worker.kill_process()

    [loss] = wait_until(worker.deaths, "the loss")
    assert (loss.pid, loss.until) == (second, None)
    assert worker.pids() == [first]
    assert worker.alive
    worker.start_if_down()
    assert worker.pids() == [first]


def test_all_that_are_killed_are_losses_but_the_supervisor(
    worker: SupervisedWorker, losses: list[Loss]
) -> None:
    pids = worker.pids()

    worker.kill()

    wait_until(lambda: [loss.pid for loss in worker.deaths()] == pids, "the losses")
    assert losses == []
    assert worker.running == 0
    worker.start_if_down()
    wait_until(lambda: worker.running == 2, "both processes")


def test_one_that_ended_by_itself_is_a_loss_if_the_supervisor_says_so(worker: SupervisedWorker) -> None:
    well, badly = worker.pids()
    wait_until(lambda: worker.watched >= {well, badly}, "both to be watched")
    for pid in (well, badly):
        os.kill(pid, signal.SIGKILL)
    worker.log.write_text(
        f'{{"level": "error", "message": "process 2 ({badly}) was ended by SIGKILL; ..."}}\n'
    )

    [loss] = wait_until(worker.deaths, "the loss")

    assert loss.pid == badly


def test_only_processes_that_run_jobs_are_frozen_losses(worker: SupervisedWorker, losses: list[Loss]) -> None:
    worker.freeze_supervisor()
    worker.thaw()
    assert losses == []

    worker.freeze_process()
    worker.thaw()
    assert [(loss.pid, loss.frozen) for loss in losses] == [(worker.pids()[0], True)]

    worker.freeze()
    worker.thaw()
    assert [loss.pid for loss in losses[1:]] == worker.pids()


def test_warnings_are_those_of_the_process_with_the_most(worker: SupervisedWorker) -> None:
    line = '{{"level": "warning", "process": {}}}\n'
    worker.log.write_text(line.format(1) + 2 * line.format(2) + '{"level": "error"}\n')

    assert worker.lines_since(0) == 2
