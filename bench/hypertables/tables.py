"""Tables to be packed, each beside a plain one with the same rows and the same key."""

from __future__ import annotations

from typing import NamedTuple

from bench.hypertables.timing import Connection, run

DEVICES = 100
_METRICS = """
    time timestamptz not null, device_id integer not null, usage double precision,
    temperature double precision, state text, primary key (device_id, time)
"""
_METRICS_ROWS = """
    select t, d, round((random() * 100)::numeric, 2)::float8,
           round((20 + d % 10 + 4 * sin(extract(epoch from t) / 7000) + random())::numeric, 1)::float8,
           (array['running', 'running', 'running', 'idle', 'failed'])[1 + floor(random() * 5)::int]
    from generate_series(0, {rows} / {devices} - 1) n, generate_series(1, {devices}) d,
         lateral (select {start} + n * interval '{step} seconds') s(t)
    order by n
"""
_START = "to_timestamp(1767200000)"
_WIDE = "time timestamptz not null, device_id integer not null, {columns}, primary key (device_id, time)"
_LOGS = """
    time timestamptz not null, host text not null, level text, message text, id uuid, primary key (host, time)
"""
_LOGS_ROWS = """
    select to_timestamp(1767200000) + n * interval '0.1 seconds', 'host-' || n % 20,
           (array['INFO', 'INFO', 'INFO', 'WARN', 'ERROR'])[1 + floor(random() * 5)::int],
           format('request %s from 10.%s.%s.%s took %s ms: %s', md5(random()::text), floor(random() * 256),
                  floor(random() * 256), floor(random() * 256), floor(random() * 3000), md5(n::text)),
           gen_random_uuid()
    from generate_series(1, {rows}) n
"""
_PRICES = """
    time timestamptz not null, symbol text not null, price numeric, volume integer, primary key (symbol, time)
"""
_PRICES_ROWS = """
    select to_timestamp(1767200000) + n * interval '1 second', 'S' || s,
           round((10 + s + 2 * sin((n + s) / 500.0) + random() * 0.2)::numeric, 2),
           floor(random() * 5000)::int
    from generate_series(0, {rows} / 500) n, generate_series(1, 500) s
"""


class Table(NamedTuple):
    """How a pair of tables is made: `<name>_plain`, and the hypertable `<name>`."""

    name: str
    columns: str
    rows: str
    segmentby: str
    width: str
    """How wide a chunk is, as an interval."""


def metrics(
    rows: int, *, name: str = "metrics", step: int = 10, chunks: int = 1, recent: bool = False
) -> Table:
    """A hundred devices, and for each a row every few seconds, in so many chunks."""
    span = max(rows // DEVICES * step, chunks)
    start = f"now() - interval '{span} seconds'" if recent else _START
    if not recent:
        # A chunk begins at a multiple of its width, so the first one begins with the first row.
        start = f"to_timestamp(ceil(1767200000.0 / {span // chunks}) * {span // chunks})"
    query = _METRICS_ROWS.format(rows=rows, devices=DEVICES, start=start, step=step)
    return Table(name, _METRICS, query, "device_id", f"{-(-span // chunks)} seconds")


def wide(rows: int) -> Table:
    """Twenty columns of floats: ten with 2 decimals, ten with 4."""
    names = [f"v{n}" for n in range(1, 21)]
    values = [f"round((random() * 100)::numeric, {2 if n <= 10 else 4})::float8" for n in range(1, 21)]
    query = f"""
        select to_timestamp(1767200000) + n * interval '10 seconds', d, {", ".join(values)}
        from generate_series(0, {rows} / {DEVICES} - 1) n, generate_series(1, {DEVICES}) d
    """
    columns = _WIDE.format(columns=", ".join(f"{name} double precision" for name in names))
    return Table("wide", columns, query, "device_id", "30 days")


def logs(rows: int) -> Table:
    """Lines of text that hardly repeat: each has two hashes and a UUID."""
    return Table("logs", _LOGS, _LOGS_ROWS.format(rows=rows), "host", "30 days")


def prices(rows: int) -> Table:
    """Numerics with 2 decimals of 500 symbols."""
    return Table("prices", _PRICES, _PRICES_ROWS.format(rows=rows), "symbol", "30 days")


def make(connection: Connection, table: Table) -> None:
    """Makes and fills both tables; no chunk is compressed."""
    run(connection, f"create table {table.name}_plain ({table.columns})")
    run(connection, f"select setseed(0.5); insert into {table.name}_plain {table.rows}")
    run(connection, f"vacuum analyze {table.name}_plain")
    make_hypertable(connection, table)


def make_hypertable(connection: Connection, table: Table) -> None:
    """Makes a hypertable with the rows of the plain table."""
    name = table.name
    run(connection, f"create table {name} (like {name}_plain including all)")
    run(connection, f"insert into {name} select * from {name}_plain")
    run(
        connection,
        f"select tidemill.create_hypertable('{name}', 'time', migrate_data => true,"
        f" chunk_time_interval => interval '{table.width}')",
    )
    run(connection, f"select tidemill.enable_compression('{name}', '{table.segmentby}')")
    run(connection, f"vacuum analyze public_rows.{name}")


def compress(connection: Connection, name: str, before: str = "timestamptz '2100-01-01'") -> None:
    """Compresses the chunks of a table that have rows and end before a time, a transaction for each."""
    chunks = run(connection, f"select c::text from tidemill.show_chunks('{name}', older_than => {before}) c")
    for (chunk,) in chunks:
        if run(connection, f"select 1 from {chunk} limit 1"):
            run(connection, f"select tidemill.compress_chunk('{chunk}')")
    # As the actions of the hypertable, and autovacuum, do soon.
    [(number, segments)] = run(
        connection, f"select id, segments::text from tidemill._hypertables where view = '{name}'::regclass"
    )
    run(connection, f"""call tidemill.policy_chunks(0, '{{"hypertable_id": {number}}}')""")
    run(connection, f"vacuum analyze public_rows.{name}")
    run(connection, f"vacuum analyze {segments}")
