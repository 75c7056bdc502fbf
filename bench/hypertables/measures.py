"""What is measured of hypertables, and the targets."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from bench.hypertables import tables
from bench.hypertables.tables import DEVICES, Table
from bench.hypertables.timing import Connection, by_turns, milliseconds, number, planning, run
from bench.results import Verdict, at_least, at_most, over

_SERIAL = "set max_parallel_workers_per_gather = 0"
_PARALLEL = "reset max_parallel_workers_per_gather"
_DEVICE = 50


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    rows: int
    recent_rows: int
    chunks: int
    rounds: int

    @property
    def shape_rows(self) -> int:
        """Rows of each of the other shapes."""
        return self.rows // 5


@dataclass(frozen=True)
class Section:
    """Some measurements that share a table."""

    title: str
    how: str
    values: Mapping[str, float]
    """By what was measured; its unit is behind a comma."""
    verdicts: Sequence[Verdict] = ()
    limit: str = ""
    """Why a target is missed, if it is."""


@dataclass
class Found:
    """What the sections gather."""

    values: dict[str, float] = field(default_factory=dict)
    verdicts: list[Verdict] = field(default_factory=list)

    def at_most(self, target: str, one: str, other: str, goal: float) -> None:
        """A target for one value divided by another."""
        ratio = over(self.values[one], self.values[other])
        self.verdicts.append(at_most(target, ratio, goal, "times"))


def million(connection: Connection, sizes: Sizes) -> Section:
    """The table of the targets, in one chunk: its size, how it is compressed, read and dropped."""
    table = tables.metrics(sizes.rows)
    tables.make(connection, table)
    found = Found()
    _packing(connection, table, found, sizes.rounds)
    _ratio(connection, "metrics", found, 16)
    _scans(connection, found, sizes.rounds)
    _one_device(connection, found, sizes.rounds)
    _drop(connection, found)
    return Section(
        "A chunk of metrics",
        f"{sizes.rows:,} rows in one chunk: a row each 10 s for each of {DEVICES} devices, a usage with 2 "
        "decimals (random between 0 and 100), a temperature with 1 decimal, a state of 3 words, and the key "
        "(device_id, time). The plain table has the same rows and the same key. The ratio is that of the "
        "packed rows; the emptied partition is told apart. Times are medians of "
        f"{sizes.rounds} rounds by turns.",
        found.values,
        found.verdicts,
    )


def _packing(connection: Connection, table: Table, found: Found, rounds: int) -> None:
    name = table.name
    run(connection, f"create table copy (like {name}_plain including all)")
    copied, packed = [], []
    for again in range(rounds):
        if again:
            # Rows that were unpacked stand in another order, which is packed faster.
            run(connection, f"drop table public_rows.{name} cascade")
            tables.make_hypertable(connection, table)
        [(chunk,)] = run(connection, f"select tableoid::regclass::text from public_rows.{name} limit 1")
        run(connection, "truncate copy")
        run(connection, "checkpoint")
        copied.append(milliseconds(connection, f"insert into copy select * from {name}_plain"))
        run(connection, "checkpoint")
        packed.append(milliseconds(connection, f"select tidemill.compress_chunk('{chunk}')"))
    run(connection, "drop table copy")
    tables.compress(connection, name)
    found.values["INSERT ... SELECT into a plain table, ms"] = statistics.median(copied)
    found.values["compress_chunk, proof included, ms"] = statistics.median(packed)
    found.at_most(
        "compress a chunk within 5 times an INSERT ... SELECT of its rows",
        "compress_chunk, proof included, ms",
        "INSERT ... SELECT into a plain table, ms",
        5,
    )


def _ratio(connection: Connection, name: str, found: Found, goal: float | None = None) -> None:
    plain = number(connection, f"select pg_total_relation_size('{name}_plain')")
    packed = number(
        connection,
        f"select after_compression_total_bytes from tidemill.hypertable_compression_stats('{name}')",
    )
    found.values["plain, with its index, MB"] = plain / 1e6
    found.values["packed, with its indexes, MB"] = packed / 1e6
    found.values["ratio, plain to packed"] = plain / packed
    # B-tree pages that a vacuum empties stay in their file.
    found.values["all that is on the disk after a vacuum, the emptied chunk's index too, MB"] = number(
        connection, f"select tidemill.hypertable_size('{name}') / 1e6"
    )
    if goal is not None:
        found.verdicts.append(at_least(f"at least {goal:g} to 1", plain / packed, goal, "to 1"))


def _scans(connection: Connection, found: Found, rounds: int) -> None:
    for setting, how in ((_SERIAL, "serial"), (_PARALLEL, "parallel")):
        run(connection, setting)
        taken = by_turns(
            connection,
            {
                f"avg(usage) of all rows, plain, {how}, ms": "select avg(usage) from metrics_plain",
                f"avg(usage) of all rows, packed, {how}, ms": "select avg(usage) from metrics",
            },
            max(rounds, 5),
        )
        found.values.update(taken)
    found.at_most(
        "a scan with one aggregate within 4 times of the plain table, both serial",
        "avg(usage) of all rows, packed, serial, ms",
        "avg(usage) of all rows, plain, serial, ms",
        4,
    )


def _one_device(connection: Connection, found: Found, rounds: int) -> None:
    [(first, last, middle, later)] = run(
        connection,
        "select min(time), max(time) + interval '1 s', min(time) + (max(time) - min(time)) / 2,"
        " min(time) + (max(time) - min(time)) / 2 + interval '3 h' from metrics_plain",
    )
    question = "select count(*), avg(usage), max(temperature) from {} where device_id = " + str(_DEVICE)
    whole = f"{question} and time >= '{first}' and time < '{last}'"
    some = f"{question} and time >= '{middle}' and time < '{later}'"
    statements = {
        "one device, the whole chunk, plain, ms": whole.format("metrics_plain"),
        "one device, the whole chunk, the view, ms": whole.format("metrics"),
        "one device, three hours, plain, ms": some.format("metrics_plain"),
        "one device, three hours, metrics_between, ms": question.format(
            f"metrics_between('{middle}', '{later}')"
        ),
        "one device, three hours, the view, ms": some.format("metrics"),
    }
    found.values.update(by_turns(connection, statements, 5 * rounds))
    found.at_most(
        "one device over a whole chunk within 2 times, through the view",
        "one device, the whole chunk, the view, ms",
        "one device, the whole chunk, plain, ms",
        2,
    )
    found.at_most(
        "one device over three hours within 4 times, by metrics_between",
        "one device, three hours, metrics_between, ms",
        "one device, three hours, plain, ms",
        4,
    )


def _drop(connection: Connection, found: Found) -> None:
    took = milliseconds(
        connection, "select tidemill.drop_chunks('metrics', older_than => timestamptz '2026-06-01')"
    )
    assert number(connection, "select count(*) from metrics") == 0
    found.values["drop_chunks of the packed chunk, once, ms"] = took
    found.verdicts.append(at_most("the packed chunk dropped within 50 ms", took, 50, "ms"))


def recent(connection: Connection, sizes: Sizes) -> Section:
    """A table whose newest rows are hot and all others packed."""
    table = tables.metrics(sizes.recent_rows, name="recent", chunks=30, recent=True)
    tables.make(connection, table)
    tables.compress(connection, "recent", f"now() - interval '{table.width}'")
    hot = number(connection, "select count(*) from public_rows.recent")
    found = Found()
    age = f"interval '{table.width}' / 2"
    statements = {
        "recent: the hot part alone, ms": "select count(*), avg(usage) from public_rows.recent"
        f" where time >= now() - {age}",
        "recent: recent_recent, ms": f"select count(*), avg(usage) from recent_recent({age})",
        "latest: the hot part alone, ms": f"select * from public_rows.recent where device_id = {_DEVICE}"
        " order by time desc limit 1",
        "latest: recent_latest, ms": f"select * from recent_latest({_DEVICE})",
    }
    found.values["rows that are not packed"] = hot
    found.values.update(by_turns(connection, statements, 5 * sizes.rounds))
    run(connection, _SERIAL)
    scans = {
        "avg(usage) of all rows, plain, serial, ms": "select avg(usage) from recent_plain",
        "avg(usage) of all rows, the view, serial, ms": "select avg(usage) from recent",
    }
    found.values.update(by_turns(connection, scans, max(sizes.rounds, 5)))
    run(connection, _PARALLEL)
    for name in ("recent", "latest"):
        found.at_most(
            f"_{name} within 2 times of the same question on the hot part alone",
            f"{name}: recent_{name}, ms",
            f"{name}: the hot part alone, ms",
            2,
        )
    found.at_most(
        "a scan of many chunks with one aggregate within 4 times of the plain table, both serial",
        "avg(usage) of all rows, the view, serial, ms",
        "avg(usage) of all rows, plain, serial, ms",
        4,
    )
    return Section(
        "Recent rows of a long table",
        f"{sizes.recent_rows:,} rows of {DEVICES} devices in 30 chunks, all packed but the newest "
        "(`--recent-rows` makes it longer; the target is meant for 30,000,000). Asked for half a chunk's "
        "time of all devices, for the newest row of one, and for all rows.",
        found.values,
        found.verdicts,
        "With `constraint_exclusion = on` a view over several packed chunks is cut by time, so that the "
        "parts that a query does not ask for can be left out. The price: where all rows are asked for, the "
        "time of each is decoded and held against the cut. By default, as here, it has no cut.",
    )


def plans(connection: Connection, sizes: Sizes) -> Section:
    """Many small packed chunks: what the planner takes."""
    table = tables.metrics(sizes.chunks * DEVICES, name="many", step=3600, chunks=sizes.chunks, recent=True)
    tables.make(connection, table)
    run(connection, "set constraint_exclusion = on")
    tables.compress(connection, "many", "now() - interval '1 hour'")
    chunks = number(
        connection,
        "select count(*) from tidemill._chunks c join tidemill._hypertables h on h.id = c.hypertable_id"
        " where h.view = 'many'::regclass and c.is_compressed",
    )
    found = Found()
    found.values["packed chunks"] = chunks
    constant = "time >= '{}' and time < '{}'"
    [(first, later)] = run(
        connection,
        "select date_trunc('hour', time), date_trunc('hour', time) + interval '3 h'"
        " from (select min(time) + (max(time) - min(time)) / 2 as time from many_plain) t",
    )
    query = "select avg(usage) from {} where device_id = " + str(_DEVICE)
    rounds = 5 * sizes.rounds
    now = "now() - interval '3 h', now()"
    within = constant.format(first, later)
    statements = {
        "planned: the view, constant range, ms": f"{query.format('many')} and {within}",
        "planned: many_between, constant range, ms": query.format(f"many_between('{first}', '{later}')"),
        "planned: many_between with now(), ms": query.format(f"many_between({now})"),
    }
    for label, statement in statements.items():
        found.values[label] = planning(connection, statement, rounds)
        found.verdicts.append(
            at_most(f"{label.removesuffix(', ms')}, within 5 ms", found.values[label], 5, "ms")
        )
    statement = statements["planned: many_between with now(), ms"]
    found.values["many_between with now(), as a whole, ms"] = by_turns(connection, {"it": statement}, rounds)[
        "it"
    ]
    run(connection, f"prepare it as {statement}")
    # Five plans of its own, then the one for all.
    by_turns(connection, {"it": "execute it"}, 6)
    found.values["many_between with now(), prepared and executed 7 times before, as a whole, ms"] = by_turns(
        connection, {"it": "execute it"}, rounds
    )["it"]
    run(connection, "deallocate it")
    run(connection, "reset constraint_exclusion")
    return Section(
        f"Planning at {chunks:,.0f} packed chunks",
        f"{chunks:,.0f} chunks of an hour are packed, with a row for each of {DEVICES} devices. "
        "`constraint_exclusion` is on, as `enable_compression` advises. What the planner takes, in a session "
        "that has planned the query before.",
        found.values,
        found.verdicts,
        "The empty partition of a packed chunk stays, since it guards the keys of its packed rows. "
        "PostgreSQL leaves partitions out while it plans only where the range is constant; with `now()` it "
        "plans each of them, and leaves them out when the query runs. So give the times as constants or "
        "parameters, or prepare the statement, as PL/pgSQL does by itself: its plan is made once.",
    )


def shapes(connection: Connection, sizes: Sizes) -> list[Section]:
    """Other rows: many columns, text that hardly repeats, many symbols."""
    return [
        _shape(
            connection,
            sizes,
            tables.wide,
            "Many columns",
            "20 columns of floats, ten with 2 decimals and ten with 4, all random. Where rows are "
            "unpacked, all of their columns are, also those that a query does not read",
            "avg(v3)",
        ),
        _shape(
            connection,
            sizes,
            tables.logs,
            "Logs",
            "lines of text that hardly repeat, each with two hashes and a UUID",
            "max(length(message))",
        ),
        _shape(
            connection,
            sizes,
            tables.prices,
            "Prices",
            "numerics with 2 decimals and volumes of 500 symbols",
            "avg(price)",
        ),
    ]


def _shape(
    connection: Connection, sizes: Sizes, table: Callable[[int], Table], title: str, what: str, aggregate: str
) -> Section:
    made = table(sizes.shape_rows)
    tables.make(connection, made)
    tables.compress(connection, made.name)
    found = Found()
    _ratio(connection, made.name, found)
    run(connection, _SERIAL)
    statements = {
        f"{aggregate}, plain, serial, ms": f"select {aggregate} from {made.name}_plain",
        f"{aggregate}, packed, serial, ms": f"select {aggregate} from {made.name}",
    }
    found.values.update(by_turns(connection, statements, max(sizes.rounds, 5)))
    run(connection, _PARALLEL)
    return Section(title, f"{sizes.shape_rows:,} rows: {what}.", found.values)
