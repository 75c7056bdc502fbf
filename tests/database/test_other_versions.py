"""A schema that another version of Tidemill has laid."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from tests.database.schema import (
    DIALECT,
    NEWEST,
    add_migration,
    execute,
    make_outdated,
    name_of,
    routine_versions,
)
from tidemill.database.connect import connect
from tidemill.database.migrate import (
    drop_dialect,
    installed_dialects,
    migrate,
    refuse_newer_schema,
    require_schema,
    uninstall,
)
from tidemill.errors import SchemaError

pytestmark = pytest.mark.versions(18, 17, 16, 15)


class TestOtherVersions:
    def test_a_newer_schema_that_still_fits(self, database: str, caplog: pytest.LogCaptureFixture) -> None:
        add_migration(database, 9000, breaking=False)
        with connect(database) as connection:
            assert refuse_newer_schema(connection) == 9000
            # Heartbeats ask this every few seconds.
            assert caplog.records == []
            require_schema(connection)
        assert not migrate(database).changed
        told = [(record.levelno, record.getMessage()) for record in caplog.records]
        assert [level for level, _ in told] == [logging.WARNING] * 2
        for _, message in told:
            assert f"migration 9000, newer than the {NEWEST}" in message
            assert "still fits" in message

    def test_functions_that_came_with_a_newer_migration_stay(self, database: str) -> None:
        """Builds between two releases have one version number: migrations tell which is newer."""
        add_migration(database, 9000, breaking=False)
        make_outdated(database)
        before = routine_versions(database)
        assert not migrate(database).changed
        assert routine_versions(database) == before
        with connect(database) as connection:
            require_schema(connection)

    def test_a_newer_schema_that_no_longer_fits(self, database: str, dump: Callable[[str], str]) -> None:
        add_migration(database, 9000, breaking=True)
        add_migration(database, 9001, breaking=False)
        make_outdated(database)
        before = dump(database), routine_versions(database)
        message = rf"migration 9001 and includes the breaking migration 9000.* up to {NEWEST}.*Upgrade"
        with connect(database) as connection:
            for refused in (require_schema, refuse_newer_schema):
                with pytest.raises(SchemaError, match=message):
                    refused(connection)
        with pytest.raises(SchemaError, match=message):
            migrate(database)
        assert (dump(database), routine_versions(database)) == before

    def test_an_older_schema(self, database: str) -> None:
        execute(database, "delete from tidemill._migrations where number = %s", NEWEST)
        with (
            connect(database) as connection,
            pytest.raises(SchemaError, match=rf"lacks migration {NEWEST},.*Run `tidemill migrate`"),
        ):
            require_schema(connection)

    def test_a_known_breaking_migration_is_no_hindrance(self, database: str) -> None:
        execute(database, "update tidemill._migrations set breaking = true")
        with connect(database) as connection:
            require_schema(connection)
        assert not migrate(database).changed

    def test_no_schema(self, empty_database: str) -> None:
        message = f'database "{name_of(empty_database)}" has no Tidemill schema yet. Run `tidemill migrate`'
        with connect(empty_database) as connection, pytest.raises(SchemaError, match=message):
            require_schema(connection)
        for refused in (uninstall, lambda conninfo: drop_dialect(conninfo, DIALECT), installed_dialects):
            with pytest.raises(SchemaError, match="no Tidemill schema"):
                refused(empty_database)
