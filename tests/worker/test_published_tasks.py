"""What workers tell of their tasks: the view tasks."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.support.running import run_all, running
from tidemill import App

pytestmark = pytest.mark.lane("lease")


def tasks(connection: psycopg.Connection, columns: str) -> list[tuple[Any, ...]]:
    return connection.execute(f"select {columns} from tidemill.tasks order by identifier".encode()).fetchall()


async def test_schema_options_and_summary(app: App, connection: psycopg.Connection) -> None:
    @app.task(max_attempts=3, timeout="2m", queue="mails", priority=-1, cron="0 4 * * *")
    async def mail(to: str = "all", times: int = 1) -> None:
        """Sends mails.

        To all.
        """

    connection.execute("select tidemill.add_job('unknown')")
    async with running(app):
        [(options, summary, schema, known, seen), unknown] = tasks(
            connection,
            "options, summary, payload_schema -> 'properties', workers > 0,"
            " last_seen > now() - interval '1 min'",
        )
    assert options == {
        "max_attempts": 3,
        "timeout": 120,
        "queue": "mails",
        "priority": -1,
        "schedule": {"cron": "0 4 * * *", "missed": "run_once"},
    }
    assert (summary, known, seen) == ("Sends mails.", True, True)
    assert schema == {
        "to": {"type": "string", "default": "all"},
        "times": {"type": "integer", "default": 1},
    }
    assert unknown == (None, None, None, False, None)
    assert tasks(connection, "workers, last_seen is not null") == [(0, True), (0, False)]


async def test_only_what_differs_is_written(database: str, connection: psycopg.Connection) -> None:
    def versions() -> list[tuple[Any, ...]]:
        return connection.execute(
            "select identifier, xmin::text from tidemill._task_specs order by identifier"
        ).fetchall()

    async def start(**options: Any) -> None:
        app = App(database)
        app.task("a", **options)(lambda payload: None)
        app.task("b")(lambda payload: None)
        await run_all(app)

    await start()
    first = versions()
    assert [name for name, _ in first] == ["a", "b"]
    await start()
    assert versions() == first
    await start(max_attempts=2)
    [changed, kept] = versions()
    assert changed != first[0]
    assert kept == first[1]


async def test_a_schema_that_is_too_large_or_fails(app: App, connection: psycopg.Connection) -> None:
    # Few fields with long names: thousands of fields would take seconds to read.
    many = [f"field_{number}_{'x' * 400}" for number in range(100)]
    exec_names: dict[str, Any] = {}
    exec(f"def large({', '.join(f'{name}: int = 0' for name in many)}): ...", exec_names)
    app.task("large")(exec_names["large"])

    class Fails:
        @classmethod
        def model_validate_json(cls, text: str) -> Any: ...

        @classmethod
        def model_json_schema(cls, **options: Any) -> Any:
            raise SystemError

    def fails(payload: Any) -> None: ...

    fails.__annotations__["payload"] = Fails
    app.task("fails")(fails)
    await run_all(app)
    assert tasks(connection, "identifier, payload_schema") == [("fails", None), ("large", None)]
