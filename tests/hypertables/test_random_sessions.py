"""Sessions that write at random while others pack and unpack: what was committed is there, once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from random import Random

import psycopg
import pytest
from psycopg import errors

from tests.hypertables.generated import seeds
from tests.hypertables.packed import count

_TABLE = """
    create table m (at timestamptz not null, device integer not null, id bigint, primary key (device, at));
    select tidemill.create_hypertable('m', 'at', chunk_time_interval => interval '1 day');
    select tidemill.enable_compression('m', 'device');
"""
_AT = "timestamptz '2026-01-01 00:00+00' + interval '1 minute' * "


class Session(threading.Thread):
    """Does so many random acts; keeps which ids it has committed, and which it has staged."""

    def __init__(self, conninfo: str, seed: int, number: int, acts: int) -> None:
        super().__init__()
        self.committed: dict[int, tuple[int, int]] = {}
        self.errors: list[BaseException] = []
        self._random = Random(f"{seed} {number}")
        self._number = number
        self._conninfo = conninfo
        self._acts = acts

    def run(self) -> None:
        try:
            with psycopg.connect(self._conninfo, autocommit=True) as self.connection:
                self.connection.execute(f"create table staged_{self._number} (like app_rows.m)".encode())
                for n in range(self._acts):
                    act = self._random.choice(self.acts())
                    # Of a statement, and of a transaction, that fails so, nothing is there.
                    with suppress(errors.UniqueViolation, errors.LockNotAvailable):
                        act(n)
        except BaseException as error:
            self.errors.append(error)

    def acts(self) -> list[Callable[[int], None]]:
        raise NotImplementedError

    def some_chunk(self) -> str | None:
        found = self.connection.execute("select c::text from tidemill.show_chunks('m') c").fetchall()
        return self._random.choice(found)[0] if found else None


class Writer(Session):
    def acts(self) -> list[Callable[[int], None]]:
        return [self.insert, self.do_nothing, self.stay_open, self.backfill]

    def row(self, n: int) -> tuple[int, int, int]:
        # Four days, so that keys and chunks are met by others.
        return (
            self._random.randrange(4 * 1440 // 60) * 60,
            self._random.randint(1, 3),
            self._number * 1000 + n,
        )

    def insert(self, n: int) -> None:
        minute, device, new = self.row(n)
        into = self._random.choice(["m", "app_rows.m"])
        self.connection.execute(f"insert into {into} values ({_AT}{minute}, {device}, {new})".encode())
        self.committed[new] = (minute, device)

    def do_nothing(self, n: int) -> None:
        minute, device, new = self.row(n)
        done = self.connection.execute(
            f"insert into app_rows.m values ({_AT}{minute}, {device}, {new}) on conflict do nothing".encode()
        )
        if done.rowcount:
            self.committed[new] = (minute, device)

    def stay_open(self, n: int) -> None:
        minute, device, new = self.row(n)
        with self.connection.transaction() as whole:
            self.connection.execute(f"insert into m values ({_AT}{minute}, {device}, {new})".encode())
            self.connection.execute("select count(*) from m")
            if self._random.random() < 0.3:
                raise psycopg.Rollback(whole)
            self.committed[new] = (minute, device)

    def backfill(self, n: int) -> None:
        staged = f"staged_{self._number}"
        minute, device, new = self.row(n)
        self.connection.execute(f"insert into {staged} values ({_AT}{minute}, {device}, {new})".encode())
        before = {number for (number,) in self.connection.execute(f"select id from {staged}".encode())}
        try:
            self.connection.execute(f"call tidemill.decompress_backfill('{staged}', 'm')".encode())
        finally:
            # What a conflict left out is gone, too, so it is looked for among all.
            left = {number for (number,) in self.connection.execute(f"select id from {staged}".encode())}
            there = "select id from m where id = any(%s)"
            for (number,) in self.connection.execute(there, [list(before - left)]).fetchall():
                self.committed[number] = (-1, -1)


class Keeper(Session):
    def acts(self) -> list[Callable[[int], None]]:
        return [self.compress, self.compress, self.decompress, self.make_chunks, self.read]

    def compress(self, n: int) -> None:
        if chunk := self.some_chunk():
            recompress = self._random.random() < 0.3
            self.connection.execute("select tidemill.compress_chunk(%s, true, %s)", [chunk, recompress])

    def decompress(self, n: int) -> None:
        if chunk := self.some_chunk():
            self.connection.execute("select tidemill.decompress_chunk(%s)", [chunk])

    def make_chunks(self, n: int) -> None:
        self.connection.execute("select tidemill.make_chunks('m')")

    def read(self, n: int) -> None:
        assert count(self.connection, "select count(*) - count(distinct (device, at)) from m") == 0


@pytest.mark.slow
@pytest.mark.parametrize("seed", seeds(2))
def test_random_sessions(connection: psycopg.Connection, seed: int) -> None:
    connection.execute(_TABLE)
    conninfo = connection.info.dsn
    sessions: list[Session] = [Writer(conninfo, seed, number, 40) for number in (1, 2)]
    sessions += [Keeper(conninfo, seed, number, 25) for number in (3, 4)]
    for session in sessions:
        session.start()
    for session in sessions:
        session.join()
    for session in sessions:
        for error in session.errors:
            raise error
    committed = {new for session in sessions for new in session.committed}
    found = [number for (number,) in connection.execute("select id from m").fetchall()]
    assert len(found) == len(set(found))
    assert set(found) == committed
    assert count(connection, "select count(*) - count(distinct (device, at)) from m") == 0
    # All can be packed, and are as they were.
    connection.execute("select tidemill.make_chunks('m')")
    connection.execute("select tidemill.compress_chunk(c) from tidemill.show_chunks('m') c")
    assert count(connection, "select count(*) from app_rows.m") == 0
    assert sorted(number for (number,) in connection.execute("select id from m").fetchall()) == sorted(found)
