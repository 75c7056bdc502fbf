"""Options that make no sense are refused before anything starts."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tidemill import TidemillError, WorkerOptions

pytestmark = pytest.mark.lane("lease")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"poll_interval": 0}, "poll_interval is 0; it must be more than 0"),
        ({"poll_interval": math.nan}, "poll_interval is nan"),
        ({"poll_interval": math.inf}, "poll_interval is inf"),
        ({"lease": 1e10}, "lease is 10000000000.0; it must be more than 0, at most 10,000,000"),
        ({"grace_period": -1}, "grace_period is -1; it must be 0 to 10,000,000"),
        ({"action_concurrency": -1}, "action_concurrency is -1"),
        ({"lease": 5, "heartbeat_interval": 3}, "at least two heartbeats"),
    ],
    ids=str,
)
def test_options_that_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(TidemillError) as refused:
        WorkerOptions(**options)
    assert words in str(refused.value)
