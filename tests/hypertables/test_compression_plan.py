"""What compression_plan tells before anything is packed, and that it changes nothing."""

from __future__ import annotations

from decimal import Decimal

import psycopg
import pytest

from tests.hypertables.calls import refused, run, value
from tests.hypertables.packed import DEVICES, compress

pytestmark = pytest.mark.each_version("planners differ")

FORMS = """
    create table forms (
      time timestamptz not null, device text, still integer, small integer, medium integer, state text,
      ratio double precision, halves integer, nothing integer
    );
    select tidemill.create_hypertable('forms', 'time', chunk_time_interval => interval '10 days');
    insert into forms
      select timestamptz '2026-01-01 00:00+00' + i * interval '1 second', d, 7, i % 100, i * 7 % 900,
             'state ' || i % 3, 1 / (i + 3.0), case when d = 'a' then i else i * i * 1999 % 1000003 end, null
      from generate_series(0, 999) i, unnest('{a,b}'::text[]) d;
"""


def encodings(connection: psycopg.Connection, arguments: str) -> dict[str | None, str | None]:
    found = run(connection, f"select column_name, encoding from tidemill.compression_plan({arguments})")
    return dict(found)


@pytest.fixture
def forms(connection: psycopg.Connection) -> psycopg.Connection:
    connection.execute(FORMS)
    return connection


NAMED = {
    "time": "step",
    "device": "key",
    "still": "constant",
    "small": "tiny",
    "medium": "short",
    "state": "words",
    "ratio": "plain",
    "halves": "step 50 %, plain 50 %",
    "nothing": "constant",
    None: None,
}


def test_each_encoding_is_named_also_of_rows_without_a_chunk(forms: psycopg.Connection) -> None:
    # All rows are in the default partition.
    assert encodings(forms, "'forms', 'device'") == NAMED
    forms.execute("select tidemill.make_chunks('forms')")
    assert encodings(forms, "'forms', 'device'") == NAMED
    assert encodings(forms, "'forms'")["device"] == "words"
    forms.execute("select tidemill.enable_compression('forms', 'device')")
    assert encodings(forms, "'forms'") == NAMED


def test_sizes_of_columns_and_of_the_whole(forms: psycopg.Connection) -> None:
    plan = {
        name: (before, after, ratio)
        for name, _, _, before, after, ratio in run(
            forms, "select * from tidemill.compression_plan('forms', 'device')"
        )
    }
    assert plan["time"][0] == 2000 * 8
    assert plan["still"][0] == 2000 * 4
    # Of a number two numbers stay at least, in each of two segments.
    assert plan["time"][1] == plan["still"][1] == 2 * 16
    assert plan["time"][2] == Decimal("500.0")
    assert plan["ratio"][2] < 2
    columns = sum(before for name, (before, _, _) in plan.items() if name is not None and before)
    whole_before, whole_after, ratio = plan[None]
    assert whole_before > columns
    assert ratio == round(Decimal(whole_before) / whole_after, 1)


def test_it_leaves_nothing_behind(forms: psycopg.Connection) -> None:
    everything = (
        "select (select count(*) from pg_class), (select count(*) from pg_proc),"
        " (select count(*) from app.forms), (select jsonb_agg(to_jsonb(h)) from tidemill._hypertables h)"
    )
    before = run(forms, everything)
    encodings(forms, "'forms', 'device'")
    with forms.transaction():
        # Twice in one transaction.
        assert encodings(forms, "'forms', 'device'") == encodings(forms, "'forms', 'device'")
    assert run(forms, everything) == before
    assert value(forms, "select compression_enabled from tidemill.hypertables") is False


def test_what_is_packed_is_sampled_where_nothing_else_is(connection: psycopg.Connection) -> None:
    connection.execute(DEVICES)
    connection.execute("select tidemill.enable_compression('event_data', 'device_id')")
    compress(connection, before="2026-01-04 00:00+00")
    # The partitions of packed chunks are empty, and as large as before.
    assert encodings(connection, "'event_data'")["time"] == "step"
    compress(connection)
    assert encodings(connection, "'event_data'")["time"] == "step"
    # By other columns, too.
    assert encodings(connection, "'event_data', segmentby => ''")["device_id"] == "tiny"


def test_an_empty_table_has_no_plan(connection: psycopg.Connection) -> None:
    connection.execute("create table m (at date not null); select tidemill.create_hypertable('m', 'at')")
    assert encodings(connection, "'m'") == {}


@pytest.mark.parametrize(
    ("arguments", "sqlstate", "message"),
    [
        ("'pg_class'", "TS001", "is not a hypertable"),
        ("'forms', 'devise'", "42703", 'column "devise" of segmentby'),
        ("'forms', 'time'", "42611", "it is the time"),
        ("'forms', '', 'time up'", "22023", "cannot be read"),
    ],
)
def test_mistakes_are_told(forms: psycopg.Connection, arguments: str, sqlstate: str, message: str) -> None:
    with refused(sqlstate, message):
        encodings(forms, arguments)
