"""Lines about a trouble that strikes again and again."""

from __future__ import annotations

import logging

import pytest

from tests.support.waiting import wait_until
from tidemill.complaints import Complaints

logger = logging.getLogger("tidemill")


def test_a_kind_is_told_once_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    complaints = Complaints(logger)
    assert [complaints.warn("connection", "lost: %s", number) for number in range(3)] == [True, False, False]
    assert complaints.warn("lock", "locked")
    assert caplog.messages == ["lost: 0", "locked"]


def test_what_was_not_told_is_counted_in_the_next_line(caplog: pytest.LogCaptureFixture) -> None:
    complaints = Complaints(logger, quiet_seconds=1.0)
    strikes = 1
    complaints.warn("connection", "lost")

    def warned() -> bool:
        nonlocal strikes
        strikes += 1
        return complaints.warn("connection", "lost again")

    wait_until(warned, "the next line")
    assert caplog.messages == ["lost", f"lost again ({strikes - 2} more like it since the last such line)"]
