"""Dialects: laid where there is room, left out with a reason, dropped."""

from __future__ import annotations

from collections.abc import Callable
from typing import LiteralString

import pytest

from tests.database.schema import DIALECT, IN_PUBLIC, execute, make_outdated
from tidemill.database.migrate import drop_dialect, installed_dialects, migrate, uninstall
from tidemill.errors import SchemaError


class TestDialects:
    def test_a_schema_that_is_somebody_elses(self, empty_database: str, dump: Callable[[str], str]) -> None:
        execute(empty_database, "create schema graphile_worker")
        execute(empty_database, "create table graphile_worker.jobs (id int)")
        report = migrate(empty_database)
        assert report.dialects_laid == []
        assert f'the schema "{DIALECT}" already exists and is not Tidemill\'s' in report.skipped[DIALECT]
        assert f"tidemill dialect add {DIALECT}" in report.skipped[DIALECT]
        assert execute(empty_database, "select from graphile_worker.jobs") == []
        assert installed_dialects(empty_database) == {DIALECT: False, IN_PUBLIC: False}
        assert not drop_dialect(empty_database, DIALECT)
        assert "CREATE TABLE graphile_worker.jobs" in dump(empty_database)

    @pytest.mark.parametrize(
        "theirs",
        [
            "create function graphile_worker.f() returns int language sql as 'select 1'",
            "create type graphile_worker.t as enum ('a')",
            "create domain graphile_worker.t as int",
            'create collation graphile_worker.c from "C"',
        ],
    )
    def test_a_schema_with_anything_in_it(self, empty_database: str, theirs: LiteralString) -> None:
        execute(empty_database, "create schema graphile_worker")
        execute(empty_database, theirs)
        assert DIALECT in migrate(empty_database).skipped

    def test_an_empty_schema_is_used(self, empty_database: str) -> None:
        execute(empty_database, "create schema graphile_worker")
        assert migrate(empty_database).dialects_laid == [DIALECT]
        assert drop_dialect(empty_database, DIALECT)

    def test_their_system_that_came_later_is_left_alone(self, database: str) -> None:
        execute(database, "drop schema graphile_worker cascade")
        execute(database, "create schema graphile_worker")
        execute(database, "create table graphile_worker._private_jobs (id int)")
        make_outdated(database)
        assert DIALECT in migrate(database).skipped
        uninstall(database)
        assert execute(database, "select from graphile_worker._private_jobs") == []

    def test_dropped_on_request_stays_dropped(self, database: str) -> None:
        assert installed_dialects(database) == {DIALECT: True, IN_PUBLIC: False}
        assert drop_dialect(database, DIALECT)
        assert installed_dialects(database) == {DIALECT: False, IN_PUBLIC: False}
        assert not drop_dialect(database, DIALECT)
        assert execute(database, "select to_regnamespace('graphile_worker')") == [(None,)]
        report = migrate(database)
        assert not report.changed
        assert report.skipped[DIALECT].startswith("dropped on request")
        assert migrate(database, dialects=[DIALECT]).dialects_laid == [DIALECT]
        assert list(migrate(database).skipped) == [IN_PUBLIC]
        assert execute(database, "select task_identifier from graphile_worker.jobs") == []

    def test_dropped_by_hand_comes_back_when_asked_for(self, database: str) -> None:
        execute(database, "drop schema graphile_worker cascade")
        assert not migrate(database).changed
        assert migrate(database, dialects=[DIALECT]).dialects_laid == [DIALECT]

    def test_chosen(self, empty_database: str) -> None:
        report = migrate(empty_database, dialects=[])
        assert (report.dialects_laid, report.skipped) == ([], {})
        assert execute(empty_database, "select to_regnamespace('graphile_worker')") == [(None,)]
        assert migrate(empty_database, dialects=[DIALECT]).dialects_laid == [DIALECT]

    def test_unknown(self, empty_database: str) -> None:
        known = f'no dialect "esperanto". Known are: {DIALECT}, {IN_PUBLIC}'
        with pytest.raises(SchemaError, match=known):
            migrate(empty_database, dialects=["esperanto"])
        migrate(empty_database)
        with pytest.raises(SchemaError, match="esperanto"):
            drop_dialect(empty_database, "esperanto")

    def test_one_that_is_built_on_is_not_dropped(self, database: str) -> None:
        execute(database, "create view app.mine as select id from graphile_worker.jobs")
        with pytest.raises(SchemaError, match=r"Nothing was dropped.*graphile_worker.*view app\.mine"):
            drop_dialect(database, DIALECT)
        assert installed_dialects(database)[DIALECT]
        execute(database, "drop view app.mine")
        assert drop_dialect(database, DIALECT)
