"""What compression leaves for later: the space of packed rows, and where the view is cut."""

from __future__ import annotations

import psycopg
import pytest

from tests.hypertables.calls import run, value
from tests.hypertables.packed import DEVICES, ROWS, compress, images
from tests.support.waiting import wait_until

TIDY_UP = "select tidemill._tidy_up(h) from tidemill._hypertables h"
PAGES = "select count(*) from tidemill._chunks c where is_compressed and pg_relation_size(relation) > 0"


@pytest.fixture
def packed(connection: psycopg.Connection) -> psycopg.Connection:
    run(connection, DEVICES)
    run(connection, "select tidemill.enable_compression('event_data', 'device_id')")
    run(connection, "set constraint_exclusion = on")
    return connection


def tidy(packed: psycopg.Connection, statement: str = TIDY_UP) -> None:
    """Tidies up until nothing is left: while autovacuum looks on, dead rows stay for the next time."""

    def is_tidy() -> bool:
        run(packed, statement)
        return bool(value(packed, PAGES) == 0)

    wait_until(is_tidy, "the pages of packed rows to go")


def test_the_space_of_packed_rows_is_given_back(packed: psycopg.Connection) -> None:
    before = images(packed)
    assert len(compress(packed, before="2026-01-04 00:00+00")) == 3
    assert value(packed, PAGES) == 3
    tidy(packed)
    assert images(packed) == before


def test_not_while_a_reader_may_still_see_them(packed: psycopg.Connection) -> None:
    before = images(packed)
    with psycopg.connect(packed.info.dsn) as reader:
        reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        # Its snapshot is of before, and it holds no lock of a chunk.
        reader.execute("select 1")
        compress(packed, before="2026-01-04 00:00+00")
        run(packed, TIDY_UP)
        assert value(packed, PAGES) == 3
        assert images(reader) == before
    tidy(packed)
    assert images(packed) == before


def test_not_while_rows_wait_beside(packed: psycopg.Connection) -> None:
    compress(packed, before="2026-01-02 00:00+00")
    run(packed, "insert into event_data (time, device_id) values ('2026-01-01 00:05+00', 1)")
    run(packed, TIDY_UP)
    assert value(packed, PAGES) == 1
    assert len(images(packed)) == ROWS + 1


def test_nobody_is_waited_for(packed: psycopg.Connection) -> None:
    compress(packed, before="2026-01-04 00:00+00")
    with psycopg.connect(packed.info.dsn) as reader:
        assert len(images(reader)) == ROWS
        # It holds locks on the view and all chunks to the end of its transaction.
        run(packed, TIDY_UP)
        assert value(packed, PAGES) == 3
        assert value(packed, "select arms from tidemill._hypertables") == []
    tidy(packed)
    assert len(value(packed, "select arms from tidemill._hypertables")) == 2


def test_a_policy_does_it(packed: psycopg.Connection) -> None:
    before = images(packed)
    policy = value(packed, "select tidemill.add_compression_policy('event_data', interval '1 day')")
    run(packed, f"call tidemill.run_action({policy})")
    assert value(packed, "select count(*) from tidemill._chunks where is_compressed") >= 4

    tidy(packed, f"call tidemill.run_action({policy})")
    assert images(packed) == before


@pytest.mark.parametrize(
    ("of_type", "bounds"),
    [
        ("smallint", ["-30000", "0", "30000"]),
        ("date", ["'4000-01-01 BC'", "'2020-01-01'", "'2040-01-01'"]),
    ],
)
def test_the_view_is_cut_at_the_ends_of_time(
    connection: psycopg.Connection, of_type: str, bounds: list[str]
) -> None:
    run(connection, f"create table ends (at {of_type} not null) partition by range (at)")
    lows = ["minvalue", *bounds]
    for number, (low, high) in enumerate(zip(lows, [*lows[1:], "maxvalue"], strict=True)):
        run(connection, f"create table e{number} partition of ends for values from ({low}) to ({high})")
        if low != "minvalue":
            run(connection, f"insert into ends values ({low})")
    run(connection, "select tidemill.adopt_hypertable('ends'); select tidemill.enable_compression('ends')")
    before = images(connection, "ends")
    run(connection, "select tidemill.compress_chunk(c) from tidemill.show_chunks('ends') c")
    run(connection, "set constraint_exclusion = on")
    run(connection, TIDY_UP)
    assert images(connection, "ends") == before


STALE = (
    "create temp table stale as select h, c from tidemill._chunks c"
    " join tidemill._hypertables h on h.id = c.hypertable_id where c.emptied_by is not null"
)
TRUNCATE_STALE = "select tidemill._truncate_emptied(h, c) from stale"


def test_a_chunk_that_came_back_meanwhile(packed: psycopg.Connection) -> None:
    before = images(packed)
    compress(packed, before="2026-01-02 00:00+00")
    run(packed, STALE)
    run(packed, "select tidemill.decompress_chunk(relation) from tidemill._chunks where is_compressed")
    run(packed, TRUNCATE_STALE)
    assert value(packed, "select count(*) from tidemill._chunks where is_compressed") == 0
    assert images(packed) == before


def test_a_chunk_that_was_packed_anew_meanwhile(packed: psycopg.Connection) -> None:
    """A reader from between sees the rows where they were between."""
    before = images(packed)
    compress(packed, before="2026-01-02 00:00+00")
    run(packed, STALE)
    run(packed, "select tidemill.decompress_chunk(relation) from tidemill._chunks where is_compressed")
    with psycopg.connect(packed.info.dsn) as reader:
        reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        reader.execute("select 1")
        compress(packed, before="2026-01-02 00:00+00")
        run(packed, TRUNCATE_STALE)
        assert images(reader) == before
    assert value(packed, "select count(*) from tidemill._chunks where emptied_by is not null") == 1


def test_a_chunk_that_was_dropped_meanwhile(packed: psycopg.Connection) -> None:
    compress(packed, before="2026-01-02 00:00+00")
    run(packed, STALE)
    dropping = "select tidemill.drop_chunks('event_data', older_than => timestamptz '2026-01-02 00:00+00')"
    assert run(packed, dropping) == [("app_chunks._hyper_1_3_chunk",)]
    run(packed, TRUNCATE_STALE)
    assert value(packed, "select count(*) from event_data") == ROWS - 720
