"""Lines of jobs that ended well: each while they are few, a count while they are many."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

import pytest

from tidemill.queue import done_log
from tidemill.queue.claimed import ClaimedJob
from tidemill.queue.done_log import DoneLog


@pytest.fixture(autouse=True)
def level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "tidemill")


@pytest.fixture
async def log() -> DoneLog:
    return DoneLog(each=False)


def add(log: DoneLog, ids: Iterable[int], seconds: float = 0.002, task: str = "thumbnail") -> None:
    assert log.is_on()
    for number in ids:
        log.add(ClaimedJob(number, task, "{}", 0, 0, 1, 25, 0, None, 0, None), seconds)


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The lines since the last call; the length of the window, which is the clock's, is left out."""
    lines = [record.getMessage() for record in caplog.records]
    caplog.clear()
    return [line.replace(" done in 0.0 s,", " done,") for line in lines]


def each(ids: Iterable[int]) -> list[str]:
    return [f"job {number} (thumbnail) done in 2 ms" for number in ids]


async def test_a_few_have_lines_of_their_own_at_once(log: DoneLog, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        add(log, range(10))
        assert told(caplog) == each(range(10))
        log._end_window()
        assert told(caplog) == []


async def test_many_are_counted_until_they_are_few_again(
    log: DoneLog, caplog: pytest.LogCaptureFixture
) -> None:
    add(log, range(1010))
    assert told(caplog) == each(range(10))
    log._end_window()
    assert told(caplog) == ["thumbnail: 1,000 more done, mean 2 ms"]
    add(log, range(2000), 0.0001)
    assert told(caplog) == []
    log._end_window()
    assert told(caplog) == ["thumbnail: 2,000 done, mean 0.1 ms"]
    add(log, range(10))
    assert told(caplog) == []
    log._end_window()
    assert told(caplog) == each(range(10))
    add(log, range(10))
    assert told(caplog) == each(range(10))


async def test_slow_ones_always_have_lines(log: DoneLog, caplog: pytest.LogCaptureFixture) -> None:
    add(log, range(100))
    told(caplog)
    add(log, [100], 1.0)
    assert told(caplog) == ["job 100 (thumbnail) done in 1000 ms"]
    log._end_window()
    assert told(caplog) == ["thumbnail: 90 more done, mean 2 ms"]


async def test_tasks_are_counted_apart(log: DoneLog, caplog: pytest.LogCaptureFixture) -> None:
    add(log, range(12))
    add(log, [13], task="mail")
    assert told(caplog)[-1] == "job 13 (mail) done in 2 ms"
    log._end_window()
    assert told(caplog) == ["thumbnail: 2 more done, mean 2 ms"]


@pytest.mark.parametrize("wanted", ["by option", "by level"])
async def test_all_of_them_where_it_is_wanted(wanted: str, caplog: pytest.LogCaptureFixture) -> None:
    if wanted == "by level":
        caplog.set_level(logging.DEBUG, "tidemill")
    log = DoneLog(each=wanted == "by option")
    add(log, range(1000))
    assert told(caplog) == each(range(1000))
    log.close()
    assert told(caplog) == []


async def test_a_window_ends_by_itself(log: DoneLog, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = asyncio.Event()
    monkeypatch.setattr(done_log, "_sum_up", lambda *count: ended.set())
    monkeypatch.setattr(done_log, "_WINDOW_SECONDS", 0.01)
    add(log, range(11))
    await asyncio.wait_for(ended.wait(), 30)


async def test_the_last_window_ends_with_the_worker(log: DoneLog, caplog: pytest.LogCaptureFixture) -> None:
    add(log, range(15))
    log.close()
    assert told(caplog)[10:] == ["thumbnail: 5 more done, mean 2 ms"]


async def test_the_fields_of_a_count(log: DoneLog, caplog: pytest.LogCaptureFixture) -> None:
    add(log, range(30), 0.0125)
    log.close()
    fields = vars(caplog.records[-1])
    assert (fields["task"], fields["jobs"], fields["mean_ms"]) == ("thumbnail", 20, 12.5)
    assert fields["seconds"] >= 0
