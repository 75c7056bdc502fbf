"""Programs that not every machine has."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

from chaos.servers.programs import Unavailable


def left_out(error: Unavailable) -> NoReturn:
    """Skips a test whose program is not there; fails it where all that can be installed should be there."""
    if os.environ.get("TIDEMILL_ALL_PROGRAMS") and "apt-get" in str(error):
        pytest.fail(str(error))
    pytest.skip(str(error))
