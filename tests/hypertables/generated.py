"""Random tables and rows for hypertables, by a seed: values that are awkward to pack, and to compare."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random

import psycopg

TYPES = """
    create type mood as enum ('fine', 'sad', 'b,"c');
    create type pair as (number integer, word text);
    create domain positive as integer check (value > 0);
    create domain words as text[];
"""
SETTINGS = [
    ("timezone", ["UTC", "Europe/Berlin", "America/St_Johns", "Pacific/Apia"]),
    ("datestyle", ["ISO, YMD", "SQL, DMY", "German", "Postgres, MDY"]),
    ("intervalstyle", ["postgres", "sql_standard", "iso_8601", "postgres_verbose"]),
    ("bytea_output", ["hex", "escape"]),
    ("constraint_exclusion", ["partition", "on"]),
]

Maker = Callable[[Random], str]


def seeds(few: int) -> list[int]:
    """So many seeds, the same each time; or those of TIDEMILL_SEEDS, as in 100-999."""
    first, _, last = os.environ.get("TIDEMILL_SEEDS", "").partition("-")
    return list(range(int(first), int(last or first) + 1)) if first else list(range(few))


def _from(*texts: str) -> Maker:
    return lambda random: random.choice(texts)


def _text(random: Random) -> str:
    size = random.choice([0, 1, 3, 10, 10, 40, 3000])
    alphabet = random.choice(["ab", "a b\"\\{},()'%\n\t", "äß€\U0001f40c日本", "0123456789"])
    return "".join(random.choice(alphabet) for _ in range(size))


def _whole(bits: int) -> Maker:
    least, most = -(1 << bits - 1), (1 << bits - 1) - 1

    def make(random: Random) -> str:
        return str(
            random.choice([least, most, 0, -1, random.randint(least, most), random.randint(-300, 300)])
        )

    return make


def _float(random: Random) -> str:
    return random.choice(
        ["nan", "infinity", "-infinity", "-0", "0", "1e-300", "1.7976931348623157e308", "5e-324"]
        + [repr(random.uniform(-1e3, 1e3)), f"{random.uniform(-100, 100):.2f}"] * 4
    )


def _numeric(random: Random) -> str:
    return random.choice(
        ["NaN", "Infinity", "-Infinity", "1.0", "1.00", "1", "0", "0.000", "1e-30", "1e40"]
        + [f"{random.uniform(-1e3, 1e3):.{random.randint(0, 6)}f}"] * 4
    )


def _moment(random: Random) -> str:
    return random.choice(
        ["infinity", "-infinity", "0044-03-15 12:00:00 BC", "2026-03-29 02:30", "2026-10-25 02:30"]
        + [str(datetime(2026, 1, 1) + timedelta(microseconds=random.randint(0, 10**14)))] * 4
    )


def _interval(random: Random) -> str:
    return random.choice(
        ["1 day", "24:00:00", "1 mon -1 day +00:00:01.000001", "-1 year", "0"]
        + [f"{random.randint(-9, 9)} days {random.randint(-99, 99)} secs"] * 3
    )


# How a value of a type is made, and how many may stand beside each other at a steady distance.
VALUES: dict[str, Maker] = {
    "smallint": _whole(16),
    "integer": _whole(32),
    "bigint": _whole(64),
    "real": _from("nan", "-0", "0", "0.1", "3.4e38", "1e-45", "-infinity", "7.25", "16777216"),
    "double precision": _float,
    "numeric": _numeric,
    "numeric(10,2)": lambda random: random.choice(["NaN", "0", f"{random.uniform(-1e6, 1e6):.2f}"]),
    "text": _text,
    "varchar(9)": lambda random: _text(random)[:9],
    "char(5)": _from("ab", "", "abcde", "a"),
    '"char"': _from("a", "", "\\377", "é", "7"),
    "timestamptz": _moment,
    "timestamptz(3)": _moment,
    "timestamp": _moment,
    "date": lambda random: random.choice(["infinity", "-infinity", "0044-03-15 BC", "2026-02-28"]),
    "time": _from("00:00", "24:00", "12:00:00.000001"),
    "timetz": _from("12:00+05:30", "12:00-01", "00:00+00"),
    "interval": _interval,
    "boolean": _from("t", "f"),
    "uuid": lambda random: f"{random.choice([0, random.getrandbits(128)]):032x}",
    "json": _from('{"b": 1, "a":  [1, null], "b": 2}', "null", "1.0", '" "'),
    "jsonb": _from('{"a": 1.0}', "null", "1.00", '{"x": "\\u00e4"}', "[]"),
    "bytea": lambda random: "\\x" + random.randbytes(random.choice([0, 1, 5, 3000])).hex(),
    "inet": _from("10.0.0.1/8", "::1", "10.0.0.1"),
    "mood": _from("fine", "sad", 'b,"c'),
    "pair": _from("(1,x)", "(,)", '(2,"a,""b")', "(3,)"),
    "positive": lambda random: str(random.randint(1, 9)),
    "words": _from("{}", '{"a b",NULL}'),
    "integer[]": _from("{}", "{1,NULL,3}", "{{1,2},{3,4}}", "[2:3]={5,6}"),
    "numeric[]": _from("{1.0,1.00}", "{NaN}", "{}"),
    "text[]": _from('{"",NULL,"NULL","a b"}', "{}", '{"\\\\\\""}'),
    "timestamptz[]": _from('{"2026-10-25 02:30+02","2026-10-25 02:30+01"}'),
    "double precision[]": _from("{0.1,-0,nan}", "{1e-300}"),
    "pair[]": _from('{"(1,x)",NULL}', "{}"),
    "int4range": _from("empty", "[1,5)", "(,)", "[1,)"),
    "int4multirange": _from("{}", "{[1,2),[5,9)}"),
    "bit varying": _from("", "101", "1"),
    "tsvector": _from("", "'a':1A 'b'"),
    "point": _from("(1,2)", "(-0,nan)"),
    "pg_lsn": _from("0/0", "16/B374D848"),
    "macaddr": _from("08:00:2b:01:02:03"),
}
# Types whose values can be equal although they look different, or cannot be compared at all, are in no key.
KEYS = ["smallint", "integer", "bigint", "text", "timestamptz", "uuid", "mood", "boolean", "positive"]
SEGMENTBY = [
    *KEYS,
    "numeric",
    "double precision",
    "interval",
    "char(5)",
    "pair",
    "integer[]",
    "jsonb",
    "date",
]

DAY = 86_400_000_000
"""In microseconds, as the time of all tables is counted here."""


@dataclass(frozen=True)
class Clock:
    """The type of a time column, the width of its chunks, and its values."""

    type: str
    width: str
    step: int
    base: int
    edges: tuple[str, ...]

    def text(self, count: int) -> str:
        if self.type in ("smallint", "integer", "bigint"):
            return str(count)
        at = datetime(2026, 1, 1) + timedelta(microseconds=count)
        if self.type == "date":
            return str(at.date())
        return f"{at}+00" if self.type == "timestamptz" else str(at)


CLOCKS = [
    Clock("timestamptz", "interval '1 day'", DAY // 24, 86 * DAY, ("infinity", "-infinity", "4713-01-01 BC")),
    Clock("timestamptz", "interval '1 hour'", 1, 297 * DAY, ()),
    Clock("timestamptz", "interval '30 days'", 5_000_001, 0, ("294276-12-31 23:59:59.999999+00",)),
    Clock("timestamp", "interval '1 day'", DAY // 96, 297 * DAY, ("infinity", "0001-01-01 BC")),
    Clock("date", "interval '7 days'", DAY, 0, ("infinity", "-infinity", "5874897-12-31")),
    Clock("smallint", "100", 1, 0, ("32767", "-32768")),
    Clock("integer", "1000", 7, 1000, ("2147483647", "-2147483648")),
    Clock("bigint", "1000000", 1000, 10**15, ("9223372036854775807", "-9223372036854775808")),
]


@dataclass(frozen=True)
class Column:
    name: str
    type: str
    make: Callable[[Random, int], str | None]


@dataclass(frozen=True)
class Table:
    """A table: what it is made by, and rows for it."""

    clock: Clock
    columns: list[Column]
    segmentby: list[str]
    key: list[str]
    nulls_conflict: bool
    has_more: bool

    def create(self, name: str) -> str:
        parts = [f"at {self.clock.type} not null", "id bigint generated by default as identity"]
        parts += [f"{c.name} {c.type}" for c in self.columns]
        if self.has_more:
            parts.append("twice numeric generated always as (id * 2.50) stored")
        if self.key:
            kind = "unique nulls not distinct" if self.nulls_conflict else "primary key"
            parts.append(f"{kind} ({', '.join(self.key)})")
        return f"create table {name} ({', '.join(parts)})"

    @property
    def stored(self) -> list[str]:
        return ["at", "id", *(c.name for c in self.columns)]

    @property
    def arguments(self) -> str:
        return f"'at', chunk_time_interval => {self.clock.width}"


def _steady(random: Random, type_name: str, make: Maker) -> Callable[[Random, int], str | None]:
    """A column as the machines make them: a counter, a price, one of a few words, or always the same."""
    few = [make(random) for _ in range(random.choice([1, 2, 5]))]
    start, step = random.randint(-9, 9), random.choice([0, 1, -3, 250, 70_000])
    if type_name in ("integer", "bigint", "numeric", "double precision", "real") and random.random() < 0.5:
        if random.random() < 0.5:
            return lambda _, i: str(start + i * step)
        scale = random.choice([1, 2, 3])
        return lambda random, i: (
            f"{random.uniform(0, 99):.{scale}f}" if "int" not in type_name else str(i % 90)
        )
    return lambda random, i: random.choice(few)


def _column(random: Random, name: str, type_name: str, required: bool = False, short: bool = False) -> Column:
    make = VALUES[type_name]
    if short and type_name == "text":
        # An index takes no long ones.
        make = VALUES["varchar(9)"]
    steady = _steady(random, type_name, make)
    kind = random.choice(["wild", "steady", "steady", "odd"])
    nulls = 0 if required else random.choice([0, 0, 0.1, 0.9, 1])

    def value(random: Random, i: int) -> str | None:
        if random.random() < nulls:
            return None
        if kind == "wild" or (kind == "odd" and random.random() < 0.02):
            return make(random)
        return steady(random, i)

    return Column(name, type_name, value)


def table(random: Random, keyed: bool | None = None) -> Table:
    """A table with some columns, with a key or without."""
    clock = random.choice(CLOCKS)
    has_key = random.random() < 0.5 if keyed is None else keyed
    # NULLs that are equal are in a unique constraint alone.
    nulls_conflict = has_key and random.random() < 0.2
    columns = []
    segmentby = []
    key = ["at"] if has_key else []
    for n in range(random.choice([0, 1, 1, 2])):
        name, type_name = f"s{n}", random.choice(KEYS if has_key else SEGMENTBY)
        in_key = has_key and random.random() < 0.8
        columns.append(_column(random, name, type_name, required=in_key and not nulls_conflict, short=True))
        if in_key:
            key.insert(random.randint(0, len(key)), name)
        if random.random() < 0.8:
            segmentby.append(name)
    for n in range(random.randint(1, 6)):
        columns.append(_column(random, f"c{n}", random.choice(list(VALUES))))
    random.shuffle(columns)
    return Table(clock, columns, segmentby, key, nulls_conflict, has_more=random.random() < 0.3)


def rows(random: Random, of: Table, number: int, first_id: int) -> list[tuple[str | None, ...]]:
    """Rows, some of the same time, some at the edges of what a time can be."""
    made = []
    pace = random.choice([0, 1, 1, 1, 40 if number < 100 else 1])
    for i in range(number):
        count = of.clock.base + i * pace * of.clock.step
        if random.random() < 0.1:
            count += random.choice([-1, 0, 1]) * random.randint(0, 20) * of.clock.step
        at = of.clock.text(count % 30_000 if of.clock.type == "smallint" else count)
        if of.clock.edges and random.random() < 0.01:
            at = random.choice(of.clock.edges)
        made.append((at, str(first_id + i), *(c.make(random, i) for c in of.columns)))
    return made


def fill(
    connection: psycopg.Connection, into: str, of: Table, with_rows: list[tuple[str | None, ...]]
) -> None:
    """Copies rows into a table, of those with one key only the first."""
    if not with_rows:
        return
    columns = ", ".join(of.stored)
    connection.execute(f"create temp table copied as select {columns} from {into} limit 0".encode())
    statement = f"copy copied ({columns}) from stdin"
    with connection.cursor().copy(statement.encode()) as copy:
        for row in with_rows:
            copy.write_row(row)
    connection.execute(
        f"insert into {into} ({columns}) select * from copied"
        f" {'on conflict do nothing' if of.key else ''};"
        "drop table copied".encode()
    )


def change_settings(connection: psycopg.Connection, random: Random) -> None:
    """Sets what decides how values are read and written as text."""
    for name, choices in SETTINGS:
        connection.execute("select set_config(%s, %s, false)", [name, random.choice(choices)])


def differences(
    connection: psycopg.Connection, one: str, other: str, columns: str, where: str = "true"
) -> list[tuple[str, ...]]:
    """The images of rows that one of two tables has more often than the other, at most ten."""
    image = "select (select row(q.*)::text) from (select {columns} from {table} where {where}) q"
    left, right = (image.format(columns=columns, table=name, where=where) for name in (one, other))
    found = connection.execute(
        f"(select '{one} has', left(i, 300) from (({left}) except all ({right})) d(i) limit 10) union all"
        f" (select '{other} has', left(i, 300) from (({right}) except all ({left})) d(i) limit 10)".encode()
    )
    return found.fetchall()
