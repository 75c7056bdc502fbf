"""The arms of a view: ranges of time that grow with age, which the planner leaves out of a query."""

from __future__ import annotations

import psycopg
import pytest

from tests.hypertables.calls import value, values
from tests.hypertables.packed import compress, count, images

MANY = """
    create table m (n integer not null, device integer not null, value text, primary key (device, n));
    select tidemill.create_hypertable('m', 'n', chunk_time_interval => 10);
    insert into m select n, d, 'v' || n from generate_series(0, 399) n, generate_series(1, 2) d;
    select tidemill.make_chunks('m');
    select tidemill.enable_compression('m', 'device');
"""
CUT = "set constraint_exclusion = on; select tidemill._cut_arms(h) from tidemill._hypertables h"


@pytest.fixture
def many(connection: psycopg.Connection) -> psycopg.Connection:
    """With a table of forty chunks, of which all are packed, and rows beside some."""
    connection.execute(MANY)
    compressed = values(
        connection,
        "select tidemill.compress_chunk(relation)::text from tidemill._chunks"
        " where range_start between 0 and 390",
    )
    assert len(compressed) == 40
    connection.execute("insert into m values (15, 3, 'late'), (395, 3, 'late'), (-5, 3, 'late')")
    return connection


def scans(connection: psycopg.Connection, where: str) -> list[str]:
    """The conditions on segments in the plan of a query of the view; one for each arm."""
    plan = values(connection, f"explain select * from m where {where}")
    return [line for at, line in enumerate(plan) if "_hyper_1_segments" in plan[at] and " on " in plan[at]]


def test_forty_chunks_are_few_arms(many: psycopg.Connection) -> None:
    before = images(many, "m")
    assert len(scans(many, "true")) == 1
    many.execute(CUT.encode())
    # The newest one, three of one chunk, three of two, of four, of eight; the last one has what is older.
    assert len(scans(many, "true")) == 13
    lows = value(many, "select arms from tidemill._hypertables")
    assert lows == [390, 380, 370, 360, 340, 320, 300, 260, 220, 180, 100, 20]
    assert images(many, "m") == before


@pytest.mark.parametrize("exclusion", ["on", "partition", "off"])
def test_the_rows_are_the_same(many: psycopg.Connection, exclusion: str) -> None:
    expected = {
        where: images(many, f"(select * from m where {where})")
        for where in [
            "n between 385 and 395",
            "n = 110",
            "n < 12",
            "n >= 109 and n < 111 and device = 1",
            "n in (0, 190, 399)",
            "n >= (select 300)",
            "value = 'late'",
        ]
    }
    assert min(map(len, expected.values())) > 0
    many.execute(CUT.encode())
    many.execute(f"set constraint_exclusion = {exclusion}".encode())
    assert {where: images(many, f"(select * from m where {where})") for where in expected} == expected


def test_arms_outside_of_a_constant_range_are_left_out(many: psycopg.Connection) -> None:
    many.execute(CUT.encode())
    many.execute("set constraint_exclusion = on")
    assert len(scans(many, "n >= 392")) == 1
    assert len(scans(many, "n between 372 and 385")) == 2
    assert len(scans(many, "n = 0")) == 1
    assert len(scans(many, "n > 1000")) == 1
    assert len(scans(many, "n >= 0")) == 13


def test_what_is_written_later_is_in_its_arm(many: psycopg.Connection) -> None:
    many.execute(CUT.encode())
    many.execute("set constraint_exclusion = on")
    many.execute("insert into m values (375, 9, 'new')")
    many.execute("select tidemill.compress_chunk(relation) from tidemill._chunks where range_start = 370")
    assert values(many, "select value from m where n = 375 and device = 9") == ["new"]
    with pytest.raises(psycopg.errors.UniqueViolation):
        many.execute("insert into m values (375, 9, 'again')")
    assert many.execute("delete from m where n = 375 and device = 9").rowcount == 1
    many.execute("select tidemill.drop_chunks('m', older_than => 200)")
    assert count(many, "select count(*) from m") == 402
    many.execute(CUT.encode())
    assert count(many, "select count(*) from m") == 402
    assert value(many, "select arms[1] from tidemill._hypertables") == 390


def test_nothing_is_done_where_they_are_right(many: psycopg.Connection) -> None:
    many.execute(CUT.encode())
    row = "select xmin::text from pg_rewrite where ev_class = 'm'::regclass and ev_type = '1'"
    before = value(many, row)
    many.execute(CUT.encode())
    assert value(many, row) == before


def test_a_reader_who_stays_is_not_waited_for(many: psycopg.Connection) -> None:
    with psycopg.connect(many.info.dsn) as reader:
        reader.execute("select from m limit 1")
        many.execute(CUT.encode())
        assert len(scans(many, "true")) == 1
    many.execute(CUT.encode())
    assert len(scans(many, "true")) == 13


def test_the_action_of_chunks_cuts_them(many: psycopg.Connection) -> None:
    [config] = values(many, "select config::text from tidemill.actions where name like 'Chunks Policy of %'")
    many.execute("call tidemill.policy_chunks(0, %s)", [config])
    # Without the setting no arm could be left out.
    assert len(scans(many, "true")) == 1
    many.execute("set constraint_exclusion = on")
    many.execute("call tidemill.policy_chunks(0, %s)", [config])
    assert len(scans(many, "true")) == 13


@pytest.mark.parametrize("kind", ["timestamptz", "timestamp", "date"])
def test_arms_of_times(connection: psycopg.Connection, kind: str) -> None:
    connection.execute(
        f"""
        create table m (at {kind} not null, n integer);
        select tidemill.create_hypertable('m', 'at', chunk_time_interval => interval '1 day');
        insert into m select timestamp '2026-01-01' + n * interval '1 day', n from generate_series(0, 11) n;
        select tidemill.make_chunks('m'); select tidemill.enable_compression('m')
        """.encode()
    )
    compress(connection, "m")
    connection.execute(CUT.encode())
    arms = len(scans(connection, "true"))
    assert arms > 5
    connection.execute("set constraint_exclusion = on")
    for zone in ("UTC", "America/New_York"):
        connection.execute(f"set timezone = '{zone}'".encode())
        zoned = "+00" if kind == "timestamptz" else ""
        assert values(connection, f"select n from m where at = '2026-01-05 00:00{zoned}'") == [4]
        assert len(scans(connection, f"at = '2026-01-05 00:00{zoned}'")) < arms


def test_the_setting_that_leaves_arms_out(connection: psycopg.Connection) -> None:
    told: list[tuple[str | None, str | None]] = []
    connection.add_notice_handler(lambda notice: told.append((notice.message_primary, notice.message_hint)))
    connection.execute("create table m (at date not null); select tidemill.create_hypertable('m', 'at')")
    connection.execute("create table o (at date not null); select tidemill.create_hypertable('o', 'at')")
    line = f"ALTER DATABASE {connection.info.dbname} SET constraint_exclusion = on"
    about = ("queries of some time alone are faster with constraint_exclusion = on", line)
    connection.execute("select tidemill.enable_compression('m')")
    assert about in told
    told.clear()
    connection.execute("select tidemill.enable_compression('o', set_constraint_exclusion => true)")
    assert about not in told
    with psycopg.connect(connection.info.dsn) as other:
        assert value(other, "show constraint_exclusion") == "on"
