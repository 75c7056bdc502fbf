"""What stands for the values of a segment: the smallest form that brings each back as it was."""

from __future__ import annotations

import psycopg
import pytest

from tests.hypertables.packed import compress, images

# A type, a value by the number i of the row (0 to 999), and how it is packed.
FORMS = [
    ("bigint", "7", "step"),
    ("bigint", "9223372036854775807", "plain"),
    ("bigint", "case i when 0 then -9223372036854775808 else 9223372036854775807 end", "plain"),
    ("bigint", "i * 1000000000000::bigint", "step"),
    ("bigint", "case when i < 999 then i else 1001 end", "short"),
    ("bigint", "4611686018427387000 + i % 128", "tiny"),
    ("integer", "i % 128", "tiny"),
    ("integer", "i % 129", "short"),
    ("integer", "case i when 0 then 0 else 65535 end", "short"),
    ("integer", "case i when 0 then 0 else 65536 end", "plain"),
    ("integer", "case when i % 7 > 0 then 2147483600 + i % 3 end", "tiny"),
    ("integer", "null", "none"),
    ("smallint", "i - 500", "step"),
    ("smallint", "i * 7 % 900", "plain"),
    ("double precision", "(i * 7 % 900) / 100.0", "short"),
    ("double precision", "20 + (i * 7 % 90) / 10.0", "tiny"),
    ("double precision", "case i when 500 then 'nan'::float8 else i % 9 end", "plain"),
    ("double precision", "case i when 500 then '-0'::float8 else i % 9 end", "plain"),
    ("double precision", "case i when 500 then '-infinity'::float8 else i % 9 end", "plain"),
    ("double precision", "case when i % 2 = 0 then 1e300 else i end", "plain"),
    ("double precision", "1 / (i + 3.0)", "plain"),
    ("double precision", "i / 8.0", "step"),
    ("real", "(i % 90) / 10.0", "tiny"),
    ("numeric", "(i * 7 % 900) / 100.0::numeric(9, 2)", "plain"),
    ("numeric", "((i * 7 % 900) / 100.0)::numeric(9, 2)", "short"),
    ("numeric", "case i when 999 then 1.0 else 1.00 end", "plain"),
    ("numeric", "case i when 999 then 'nan' else 1.00 end", "plain"),
    ("numeric", "repeat('9', 40)::numeric", "plain"),
    ("numeric", "1.000000000000000000000001 + i", "plain"),
    ("date", "date '2024-02-20' + i", "step"),
    ("date", "case i when 999 then 'infinity' else date '2024-02-20' end", "plain"),
    ("date", "case i when 999 then '5874897-12-31' else date '0044-03-15 BC' end", "plain"),
    ("timestamptz", "timestamptz '2026-03-28 12:00+01' + i * interval '1 hour'", "step"),
    ("timestamptz", "timestamptz '2026-03-28 12:00+01' + i * i % 100 * interval '1 us'", "tiny"),
    ("timestamptz", "case i when 999 then '-infinity' else timestamptz '2026-03-28 12:00+01' end", "plain"),
    (
        "timestamptz",
        "case i when 999 then '294276-12-31' else timestamptz '2026-03-28 12:00+01' end",
        "plain",
    ),
    ("timestamptz", "timestamptz '1700-01-01' + i * interval '1 us'", "step"),
    # Times by an interval are exact for 2^53 us around 1970.
    ("timestamptz", "timestamptz '1400-01-01' + i * interval '1 us'", "plain"),
    ("timestamp(0)", "timestamp '2026-03-29 02:30' + i % 3 * interval '1 s'", "plain"),
    ("timestamp", "timestamp '2026-03-29 02:30' + i * interval '1 day'", "step"),
    ("text", "'same'", "words"),
    ("text", "case when i % 2 = 0 then 'same' end", "words"),
    ("text", "'word' || i % 80", "words"),
    ("text", "'word' || i % 128", "plain"),
    ("text", "'a longer word ' || i % 80", "plain"),
    ("text", "case i when 0 then '' end", "words"),
    ("text", "repeat('long', 300 + i % 2)", "plain"),
    ('text collate "C"', "case when i % 2 = 0 then 'b' else 'B' end", "words"),
    ("varchar(9)", "'ä' || i % 3", "words"),
    ("boolean", "i % 3 = 0", "words"),
    ("uuid", "md5((i % 5)::text)::uuid", "words"),
    ("bytea", "sha256((i % 5)::text::bytea)", "words"),
    ("mood", "case when i % 3 = 0 then 'fine' else 'ill' end::mood", "words"),
    ("integer[]", "'{1,2}'::integer[]", "words"),
    ("integer[]", "array[i]", "plain"),
    ("jsonb", "'{}'", "plain"),
    ("citizen", "i::bigint", "plain"),
]


@pytest.fixture
def forms(connection: psycopg.Connection) -> psycopg.Connection:
    """A table with a column for each form, packed, and its twin."""
    connection.execute("create type mood as enum ('fine', 'ill')")
    connection.execute("create domain citizen as bigint")
    columns = ", ".join(f"c{n} {form[0]}" for n, form in enumerate(FORMS))
    values = ", ".join(f"({form[1]})::{form[0].split(' collate')[0]}" for form in FORMS)
    connection.execute(
        f"""create table forms (time timestamptz not null, "a'b~" text, {columns});
        alter table forms drop column "a'b~";
        insert into forms
          select timestamptz '2026-03-28 12:00+01' + i * interval '1 hour', {values}
          from generate_series(0, 999) i;
        create table twin as select * from forms;
        select tidemill.create_hypertable(
          'forms', 'time', chunk_time_interval => interval '1000 days', migrate_data => true);
        select tidemill.enable_compression('forms')""".encode()
    )
    compress(connection, "forms")
    return connection


def form_of(connection: psycopg.Connection, column: str) -> str:
    found = connection.execute(
        "select to_jsonb(s) from app_chunks._hyper_1_segments s"  # The one segment.
    ).fetchone()
    assert found is not None
    [segment] = found
    if segment[column] is not None:
        return "plain"
    if segment.get(f"{column}~words") is not None:
        return "words"
    for part in ("step", "tiny", "short"):
        if segment[f"{column}~{part}"] is not None:
            return part
    return "none"


def test_each_value_is_packed_in_the_smallest_form_and_comes_back(forms: psycopg.Connection) -> None:
    found = [(kind, value, form_of(forms, f"c{n}")) for n, (kind, value, _) in enumerate(FORMS)]
    assert found == FORMS
    for zone in ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata"):
        forms.execute(f"set timezone = '{zone}'".encode())
        assert images(forms, "forms") == images(forms, "twin")
    forms.execute("select tidemill.decompress_chunk(relation) from tidemill._chunks where is_compressed")
    assert images(forms, "app_rows.forms") == images(forms, "twin")


def test_names_of_63_bytes_and_of_any_letters(connection: psycopg.Connection) -> None:
    names = ["n" * 63, "n" * 62 + "m", 'say "what" %s', "zeit ä€"]
    columns = ", ".join('"' + name.replace('"', '""') + '" integer' for name in names)
    connection.execute(
        f"""create table named (time timestamptz not null, {columns});
        insert into named select timestamptz '2026-01-01' + i * interval '1 s', i, i % 3, i % 200, null
          from generate_series(1, 999) i;
        create table twin as select * from named;
        select tidemill.create_hypertable('named', 'time', migrate_data => true);
        select tidemill.enable_compression('named')""".encode()
    )
    compress(connection, "named")
    assert images(connection, "named") == images(connection, "twin")


def test_a_collation_goes_with_its_column(forms: psycopg.Connection) -> None:
    n = next(n for n, form in enumerate(FORMS) if "collate" in form[0])
    letters = forms.execute(f"select distinct c{n} from forms order by 1".encode()).fetchall()
    assert letters == [("B",), ("b",)]


def test_a_column_with_a_name_of_the_segments_is_refused(connection: psycopg.Connection) -> None:
    connection.execute(
        'create table odd (time timestamptz not null, "a~tiny" integer);'
        "select tidemill.create_hypertable('odd', 'time')"
    )
    with pytest.raises(psycopg.Error, match='called "a~tiny"') as raised:
        connection.execute("select tidemill.enable_compression('odd')")
    assert raised.value.sqlstate == "42611"


def test_arrays_do_not_depend_on_array_nulls(connection: psycopg.Connection) -> None:
    connection.execute(
        "create table m (at timestamptz not null, words text[], numbers integer[]);"
        "select tidemill.create_hypertable('m', 'at');"
        "insert into m values ('2026-01-01 00:00+00', '{a,NULL,\"NULL\"}', '{1,NULL}');"
        "select tidemill.make_chunks('m'); select tidemill.enable_compression('m')"
    )
    before = images(connection, "m")
    connection.execute("select tidemill.compress_chunk(c) from tidemill.show_chunks('m') c")
    connection.execute("set array_nulls = off")
    assert images(connection, "m") == before
    connection.execute("select tidemill.decompress_chunk(c) from tidemill.show_chunks('m') c")
    assert images(connection, "app_rows.m") == before
