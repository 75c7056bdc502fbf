from pathlib import Path

import psycopg
import pytest

from tests.cli.actions import ROUTINES
from tests.support.commands import CommandLine


@pytest.fixture
def cli(database: str, tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path, database)


@pytest.fixture
def routines(connection: psycopg.Connection) -> psycopg.Connection:
    connection.execute(ROUTINES.encode())
    return connection
