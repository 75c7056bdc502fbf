from __future__ import annotations

import time

import psycopg

from bench.measure.drain import Watch
from bench.systems.tidemill_system import Tidemill


class _Numbers(Tidemill):
    pending = "select id from numbers"


def test_a_pause_that_outlasts_the_time_is_measured_to_its_end(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("create table numbers as select id from generate_series(1, 3) id")
        began = time.monotonic()
        ends = iter([(1, 0.0), (2, 1.1), (3, 60.0)])
        job, at = next(ends)

        def work() -> None:
            nonlocal job, at
            if time.monotonic() - began > at:
                connection.execute("delete from numbers where id = %s", [job])
                job, at = next(ends)

        drain = Watch(connection, _Numbers()).until_done(1.0, work)

    assert [jobs for _, jobs in drain.curve][-1] == 2
