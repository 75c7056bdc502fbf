from pathlib import Path

import pytest

from tests.support.commands import CommandLine


@pytest.fixture
def cli(database: str, tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path, database)
