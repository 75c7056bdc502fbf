"""Random acts in any order leave a hypertable with the rows of a plain table that got the same."""

from __future__ import annotations

from random import Random

import psycopg
import pytest

from tests.hypertables.acts import Pair
from tests.hypertables.generated import TYPES, seeds, table


@pytest.mark.parametrize("seed", seeds(4))
def test_random_acts(connection: psycopg.Connection, seed: int) -> None:
    print(f"TIDEMILL_SEEDS={seed}")
    random = Random(seed)
    connection.execute(TYPES)
    pair = Pair(connection, random, table(random, keyed=seed % 3 != 0))
    for _ in range(20):
        pair.step()
