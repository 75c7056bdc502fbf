"""Uninstalling: all that is ours, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import LiteralString

import psycopg
import pytest

from tests.database.schema import execute
from tidemill.database.migrate import migrate, uninstall
from tidemill.errors import SchemaError


class TestUninstall:
    def test_it_removes_ours_and_nothing_else(self, empty_database: str, dump: Callable[[str], str]) -> None:
        for theirs in (
            "create table app.users (id int primary key)",
            "create function app.added() returns trigger language plpgsql as "
            "$$ begin perform tidemill.add_job('greet'); return new; end $$",
            "create trigger added after insert on app.users for each row execute function app.added()",
        ):
            execute(empty_database, theirs)
        before = dump(empty_database)
        migrate(empty_database)
        execute(empty_database, "insert into app.users values (1)")
        assert execute(empty_database, "select identifier from tidemill.jobs") == [("greet",)]
        uninstall(empty_database)
        assert dump(empty_database) == before
        assert execute(empty_database, "select id from app.users") == [(1,)]
        assert migrate(empty_database).changed

    @pytest.mark.parametrize(
        ("theirs", "named"),
        [
            ("create view app.mine as select id from tidemill.jobs", "view app.mine"),
            ("create view app.mine as select id from graphile_worker.jobs", "view app.mine"),
            ("create table app.mine (id int, job tidemill.job)", "column job of table app.mine"),
            ("create table app.mine (jobs tidemill._jobs[])", "column jobs of table app.mine"),
            ("create domain app.mine as tidemill.job_spec", "type app.mine"),
            (
                "create function app.mine(tidemill.job) returns int language sql as 'select 1'",
                "function app.mine",
            ),
            (
                "create table app.mine (id bigint default nextval('tidemill._claim_tokens'))",
                "default value for column id of table app.mine",
            ),
            (
                "create table app.mine (id bigint references tidemill._jobs)",
                "constraint mine_id_fkey on table app.mine",
            ),
        ],
    )
    def test_what_is_built_on_it_is_named(
        self, database: str, dump: Callable[[str], str], theirs: LiteralString, named: str
    ) -> None:
        execute(database, theirs)
        before = dump(database)
        with pytest.raises(SchemaError, match=r"Nothing was dropped.*Drop or change them first") as caught:
            uninstall(database)
        assert named in str(caught.value)
        assert dump(database) == before

    def test_a_long_list_is_cut(self, database: str) -> None:
        for number in range(12):
            with psycopg.connect(database, autocommit=True) as connection:
                connection.execute(f"create view app.v{number:02} as select id from tidemill.jobs".encode())
        with pytest.raises(SchemaError, match=r"view app\.v09 and 2 more\."):
            uninstall(database)
