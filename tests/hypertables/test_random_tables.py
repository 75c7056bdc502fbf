"""Random tables are packed and come back, and each time have the rows that a plain table has."""

from __future__ import annotations

from random import Random

import psycopg
import pytest

from tests.hypertables.generated import TYPES, Table, change_settings, differences, fill, rows, seeds, table

_ALL = "select tidemill.{}(c) from tidemill.show_chunks('packed') c"


@pytest.mark.parametrize("seed", seeds(7))
def test_random_tables_come_back_as_they_were(connection: psycopg.Connection, seed: int) -> None:
    print(f"TIDEMILL_SEEDS={seed}")
    random = Random(seed)
    connection.execute(TYPES)
    of = table(random)
    number = random.choice([0, 1, 30, 300, 1001, 2300])
    _make(connection, random, of, number)
    seen = f"rows of {of.create('plain')}, segmentby {of.segmentby}"
    connection.execute("select tidemill.enable_compression('packed', %s)", [",".join(of.segmentby)])
    for step in ("compress_chunk", "compress_chunk", "decompress_chunk", "compress_chunk"):
        change_settings(connection, random)
        connection.execute(_ALL.format(step).encode())
        loose = connection.execute(
            "select exists (select from only app_rows.packed)"
            " or exists (select from app_rows.packed r join tidemill._chunks c on c.relation = r.tableoid)"
        ).fetchall()
        assert loose == [(step == "decompress_chunk" and _in_chunks(connection, of) > 0,)], seen
        change_settings(connection, random)
        _compare(connection, random, of, seen)
        # Late rows wait beside the packed ones.
        if step == "compress_chunk":
            _add(connection, random, of)
            _compare(connection, random, of, seen)
    change_settings(connection, random)
    connection.execute(
        "select tidemill.compress_chunk(c, recompress => true) from tidemill.show_chunks('packed') c"
    )
    _compare(connection, random, of, seen)


def _in_chunks(connection: psycopg.Connection, of: Table) -> int:
    [(number,)] = connection.execute(b"select count(*) from packed").fetchall()
    [(waiting,)] = connection.execute(b"select count(*) from app_chunks._hyper_1_default").fetchall()
    return int(number) - int(waiting)


def _make(connection: psycopg.Connection, random: Random, of: Table, number: int) -> None:
    """Two tables with the same rows: one is plain, and one a hypertable."""
    connection.execute(of.create("plain").encode())
    connection.execute(of.create("packed").encode())
    for name in ("plain", "packed"):
        connection.execute(f"alter table {name} add column went integer default 7".encode())
    fill(connection, "plain", of, rows(random, of, number, 0))
    columns = ", ".join(of.stored)
    copied = f"insert into packed ({columns}) select {columns} from plain".encode()
    migrated = random.random() < 0.3
    if migrated:
        connection.execute(copied)
    connection.execute(
        "select from tidemill.create_hypertable"
        f"('packed', {of.arguments}, migrate_data => {migrated})".encode()
    )
    if not migrated:
        connection.execute(copied)
    connection.execute("select tidemill.make_chunks('packed')")
    if random.random() < 0.4:
        # Then chunks have their columns at other places than the table, and values that stand in no row.
        for name in ("plain", "packed"):
            connection.execute(
                f"alter table {name} add column came text default 'a default', drop column went,"
                " add column last integer".encode()
            )


def _add(connection: psycopg.Connection, random: Random, of: Table) -> None:
    """Some rows of times that there are already; none whose key is taken."""
    connection.execute("reset all")
    [(highest,)] = connection.execute("select coalesce(max(id), 0) from plain").fetchall()
    connection.execute(of.create("late").encode())
    fill(connection, "late", of, rows(random, of, random.randint(0, 20), int(highest) + 1))
    if of.key:
        taken = " and ".join(f"p.{name} is not distinct from late.{name}" for name in of.key)
        connection.execute(f"delete from late where exists (select from plain p where {taken})".encode())
    columns = ", ".join(of.stored)
    for into in ("plain", "packed"):
        connection.execute(f"insert into {into} ({columns}) select {columns} from late".encode())
    connection.execute("drop table late")


def _compare(connection: psycopg.Connection, random: Random, of: Table, seen: str) -> None:
    """All rows, some columns of them, and those of some time."""
    assert differences(connection, "plain", "packed", "*") == [], seen
    some = random.sample(of.stored, random.randint(1, len(of.stored)))
    assert differences(connection, "plain", "packed", ", ".join(some)) == [], seen
    # Some styles write what they cannot read.
    connection.execute("reset all")
    ids = connection.execute("select at::text, id from plain order by random() limit 2").fetchall()
    change_settings(connection, random)
    if len(ids) == 2:
        lower, upper = (f"(select p.at from plain p where p.id = {number} limit 1)" for _, number in ids)
        literals = [f"'{at}'::{of.clock.type}" for at, _ in ids]
        for low, high in ([lower, upper], literals, reversed(literals)):
            where = f"at >= {low} and at < {high}"
            assert differences(connection, "plain", "packed", "*", where) == [], (seen, where)
        for name in of.segmentby:
            where = (
                f"{name} is not distinct from (select p.{name} from plain p where p.id = {ids[0][1]} limit 1)"
            )
            assert differences(connection, "plain", "packed", "*", where) == [], (seen, where)
