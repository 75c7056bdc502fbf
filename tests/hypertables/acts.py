"""Random acts on a hypertable and on a plain table: whatever the order, both have the same rows."""

from __future__ import annotations

from contextlib import suppress
from random import Random

import psycopg
from psycopg import errors

from tests.hypertables.generated import Table, change_settings, differences, fill, rows

# What a statement may raise on the hypertable alone, where its key is packed.
_REFUSED = (errors.CardinalityViolation, errors.ObjectNotInPrerequisiteState)


class Pair:
    """The tables `plain` and `packed`, which have the same rows after each act."""

    def __init__(self, connection: psycopg.Connection, random: Random, of: Table) -> None:
        self.connection = connection
        self.random = random
        self.of = of
        self.columns = ", ".join(of.stored)
        self.next_id = 0
        self.done: list[str] = []
        connection.execute(of.create("plain").encode())
        connection.execute(of.create("packed").encode())
        connection.execute(f"select from tidemill.create_hypertable('packed', {of.arguments})".encode())
        self.say(f"select tidemill.enable_compression('packed', '{','.join(of.segmentby)}')")
        self.act_insert()
        self.act_make_chunks()

    def step(self) -> None:
        acts = [name for name in dir(self) if name.startswith("act_")]
        name = self.random.choice(acts)
        act = getattr(self, name)
        if self.random.random() < 0.15 and name != "act_backfill":
            # What is rolled back has never been.
            with self.connection.transaction(force_rollback=True):
                act()
            self.done.append(f"rollback of {name}")
        else:
            act()
        change_settings(self.connection, self.random)
        assert differences(self.connection, "plain", "packed", "*") == [], self.history()
        self.connection.execute("reset all")

    def history(self) -> str:
        return "\n".join([self.of.create("plain"), f"segmentby {self.of.segmentby}", *self.done])

    def say(self, statement: str) -> psycopg.Cursor:
        self.done.append(statement)
        return self.connection.execute(statement.encode())

    def stage(self, name: str = "coming") -> None:
        """A table with new rows, of which some have a key that is there already."""
        with self.connection.transaction():
            self.connection.execute(f"drop table if exists {name}".encode())
            self.connection.execute(self.of.create(name).encode())
            number = self.random.choice([1, 3, 20, 80])
            fill(self.connection, name, self.of, rows(self.random, self.of, number, self.next_id))
            self.next_id += number
            key = [column for column in self.of.key if column != "at"]
            if self.random.random() < 0.5 and (key or not self.of.key):
                # Times, and perhaps devices, that are there.
                with suppress(errors.UniqueViolation), self.connection.transaction():
                    self.connection.execute(
                        f"with old as (select *, row_number() over (order by id) as n from plain),"
                        f" new as (select id, row_number() over (order by id) as n from {name})"
                        f" update {name} t set at = old.at{''.join(f', {c} = old.{c}' for c in key)}"
                        f" from old, new where new.id = t.id and new.n = old.n".encode()
                    )

    def both(self, statement: str, into: str) -> None:
        """Does it to both tables; an error of the plain one is one of the other, too."""
        failed: type[Exception] | None = None
        packed: type[Exception] | None = None
        with self.connection.transaction() as whole:
            try:
                with self.connection.transaction():
                    self.connection.execute(statement.format("plain").encode())
            except errors.UniqueViolation as error:
                failed = type(error)
            try:
                with self.connection.transaction():
                    self.say(statement.format(into))
            except (errors.UniqueViolation, *_REFUSED) as error:
                packed = type(error)
                self.done.append(f"-- {packed.__name__}")
            if failed != packed:
                assert packed in _REFUSED, (failed, packed, self.history())
                raise psycopg.Rollback(whole)

    def chunk(self) -> str | None:
        found = self.connection.execute("select c::text from tidemill.show_chunks('packed') c").fetchall()
        return str(self.random.choice(found)[0]) if found else None

    def act_insert(self) -> None:
        self.stage()
        into = self.random.choice(["packed", "app_rows.packed"])
        self.both(f"insert into {{}} ({self.columns}) select {self.columns} from coming", into)

    def act_insert_one(self) -> None:
        self.stage()
        self.both(
            f"insert into {{}} ({self.columns}) select {self.columns} from coming order by id limit 1",
            "packed",
        )

    def act_copy(self) -> None:
        self.stage()
        if self.of.key:
            taken = " and ".join(f"p.{name} is not distinct from coming.{name}" for name in self.of.key)
            self.connection.execute(
                f"delete from coming where exists (select from plain p where {taken})".encode()
            )
        out = self.connection.cursor()
        with out.copy(f"copy (select {self.columns} from coming) to stdout".encode()) as copy:
            data = b"".join(bytes(part) for part in copy)
        for into in ("plain", self.random.choice(["packed", "app_rows.packed"])):
            self.done.append(f"copy {into}")
            with self.connection.cursor().copy(f"copy {into} ({self.columns}) from stdin".encode()) as copy:
                copy.write(data)

    def act_do_nothing(self) -> None:
        self.stage()
        self.both(
            f"insert into {{}} ({self.columns}) select {self.columns} from coming on conflict do nothing",
            "app_rows.packed",
        )

    def act_upsert(self) -> None:
        if self.of.key:
            self.stage()
            name = self.of.columns[0].name
            changed = "id" if name in self.of.key else name
            self.both(
                f"insert into {{}} ({self.columns}) select {self.columns} from coming"
                f" on conflict ({', '.join(self.of.key)}) do update set {changed} = excluded.{changed}",
                "app_rows.packed",
            )

    def some_ids(self) -> str:
        found = self.connection.execute(
            "select id from app_rows.packed group by id having count(*) = 1"
        ).fetchall()
        ids = self.random.sample(found, min(len(found), self.random.randint(1, 9)))
        # Those that are packed as well cannot be told apart.
        return ", ".join(str(number) for (number,) in ids) or "null"

    def act_delete(self) -> None:
        self.both(f"delete from {{}} where id in ({self.some_ids()})", "app_rows.packed")

    def act_update(self) -> None:
        self.stage()
        name = self.random.choice(["at", *(c.name for c in self.of.columns)])
        self.both(
            f"update {{}} set {name} = (select {name} from coming order by id limit 1)"
            f" where id in ({self.some_ids()})",
            "app_rows.packed",
        )

    def act_compress(self) -> None:
        change_settings(self.connection, self.random)
        self.say(
            "select tidemill.compress_chunk(c, recompress => "
            f"{self.random.random() < 0.3}) from tidemill.show_chunks('packed') c"
        )

    def act_compress_one(self) -> None:
        if chunk := self.chunk():
            change_settings(self.connection, self.random)
            recompress = self.random.random() < 0.3
            self.say(f"select tidemill.compress_chunk('{chunk}', recompress => {recompress})")
            held = self.connection.execute(f"select exists (select from {chunk})".encode()).fetchall()
            assert held == [(False,)], self.history()

    def act_decompress(self) -> None:
        if chunk := self.chunk():
            change_settings(self.connection, self.random)
            self.say(f"select tidemill.decompress_chunk('{chunk}')")
            left = self.connection.execute(
                "select exists (select from app_chunks._hyper_1_segments s"
                " join tidemill._chunks c on c.number = s._chunk where c.relation = %s::text::regclass)",
                [chunk],
            ).fetchall()
            assert left == [(False,)], self.history()

    def act_make_chunks(self) -> None:
        self.say("select tidemill.make_chunks('packed')")

    def act_drop_chunks(self) -> None:
        if (chunk := self.chunk()) and self.random.random() < 0.5:
            ranges = "select relation::text, range_start, range_end from tidemill._chunks"
            before = self.connection.execute(ranges).fetchall()
            [end] = [found for name, _, found in before if name == chunk]
            as_text = "select tidemill._time_text(%s::text::regtype, %s)"
            # The last chunk of a small type ends behind it.
            kind = "bigint" if "int" in self.of.clock.type else self.of.clock.type
            [(bound,)] = self.connection.execute(as_text, [self.of.clock.type, end]).fetchall()
            self.say(f"select tidemill.drop_chunks('packed', older_than => '{bound}'::{kind})")
            left = {name for name, _, _ in self.connection.execute(ranges)}
            for name, start, finish in before:
                if name not in left:
                    assert finish <= end
                    self.connection.execute(
                        f"delete from plain where {self.counted('at')} >= {start}"
                        f" and {self.counted('at')} < {finish}".encode()
                    )
            assert chunk not in left

    def counted(self, name: str) -> str:
        """A time as chunks are counted; NULL for those that are in none."""
        if self.of.clock.type in ("smallint", "integer", "bigint"):
            most = 9 * 10**18
            return f"case when {name}::bigint > -{most} and {name}::bigint < {most} then {name}::bigint end"
        return (
            f"case when isfinite({name}) and {name} < '290000-01-01'"
            f" then (extract(epoch from {name}) * 1000000)::bigint end"
        )

    def act_backfill(self) -> None:
        self.stage("staged")
        self.connection.execute(f"delete from staged where {self.counted('at')} is null".encode())
        action = self.random.choice(["NOTHING", "UPDATE", "RESTRICT"]) if self.of.key else "NOTHING"
        moves = self.random.random() < 0.6
        more = ""
        conflict = "on conflict do nothing"
        if action == "UPDATE":
            key = ", ".join(self.of.key)
            more = f", on_conflict_update_columns => '{{id}}', on_conflict_target => '({key})'"
            conflict = f"on conflict ({key}) do update set id = excluded.id"
        before = "select id from staged"
        staged = {number for (number,) in self.connection.execute(before)}
        self.connection.execute("create temp table given as select * from staged")
        change_settings(self.connection, self.random)
        try:
            self.say(
                f"call tidemill.decompress_backfill('staged', 'packed', '{action}',"
                f" delete_from_staging => {moves}{more})"
            )
        except errors.UniqueViolation:
            assert action == "RESTRICT", self.history()
        self.connection.execute("reset all")
        left = {number for (number,) in self.connection.execute(before)}
        if action == "RESTRICT" and not moves:
            # Which chunks were done is seen by the rows that are there.
            left = staged - {number for (number,) in self.connection.execute("select id from packed")}
        elif not moves:
            assert left == staged, self.history()
            left = set()
        self.connection.execute(
            f"insert into plain ({self.columns}) select {self.columns} from given"
            f" where id <> all(%s) {conflict}".encode(),
            [list(left)],
        )
        self.connection.execute("drop table given")
