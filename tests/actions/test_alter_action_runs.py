"""tidemill.alter_action beside runs: pausing stops them, and none is missed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from tests.actions.definitions import add, alter, definition, row, rows, start, wait_for_a_lock

pytestmark = [pytest.mark.versions(18, 16), pytest.mark.usefixtures("work")]


class TestPausing:
    def test_next_start_stays(self, connection: psycopg.Connection) -> None:
        number = add(connection)
        before = definition(connection, number)["next_start"]
        after = alter(connection, number, scheduled=False)
        assert (after["scheduled"], after["next_start"]) == (False, before)
        assert definition(connection, number)["state"] == "paused"
        assert (
            rows(
                connection,
                "select * from tidemill._start_actions('w', 9, '2100-01-01Z') where action_id = 1000",
            )
            == []
        )
        assert alter(connection, number, scheduled=True)["next_start"] == before
        assert definition(connection, number)["state"] == "scheduled"

    def test_the_reason_goes_when_it_is_resumed(self, connection: psycopg.Connection) -> None:
        number = add(connection)
        connection.execute("update tidemill._actions set scheduled = false, paused_because = 'failures'")
        alter(connection, number, max_retries=9)
        assert definition(connection, number)["paused_because"] == "failures"
        alter(connection, number, scheduled=True)
        assert definition(connection, number)["paused_because"] is None

    def test_a_run_is_to_be_stopped(self, connection: psycopg.Connection) -> None:
        number = add(connection)
        run = start(connection, number)
        alter(connection, number, max_retries=9)
        assert rows(connection, "select * from tidemill._stops_asked('w')") == []
        alter(connection, number, scheduled=False)
        assert rows(connection, "select * from tidemill._stops_asked('w')") == [
            {"run_id": run, "why": "paused"}
        ]

    def test_others_runs_are_not(self, connection: psycopg.Connection) -> None:
        number, other = add(connection), add(connection)
        start(connection, other)
        alter(connection, number, scheduled=False)
        assert rows(connection, "select * from tidemill._stops_asked('w')") == []

    def test_neither_is_one_by_hand_nor_the_one_that_does_it(self, connection: psycopg.Connection) -> None:
        number = add(connection)
        start(connection, number)
        connection.execute("update tidemill._action_runs set pid = pg_backend_pid()")
        alter(connection, number, scheduled=False)
        connection.execute("update tidemill._action_runs set pid = 0, by_hand = true")
        alter(connection, number, scheduled=False)
        assert rows(connection, "select * from tidemill._stops_asked('w')") == []


class TestBesideWorkers:
    def test_a_run_that_begins_meanwhile_is_stopped(
        self, database: str, connection: psycopg.Connection
    ) -> None:
        number = add(connection)
        with ThreadPoolExecutor(1) as pool, psycopg.connect(database) as worker:
            run = start(worker, number)
            pausing = pool.submit(alter, connection, number, scheduled=False)
            wait_for_a_lock(worker)
            worker.commit()
            pausing.result()
        assert rows(connection, "select * from tidemill._stops_asked('w')") == [
            {"run_id": run, "why": "paused"}
        ]

    def test_a_run_that_ends_meanwhile(self, database: str, connection: psycopg.Connection) -> None:
        number = add(connection)
        run = start(connection, number)
        with ThreadPoolExecutor(1) as pool, psycopg.connect(database) as worker:
            # _finish_run locks this row first, and then the action's.
            worker.execute("select from tidemill._action_runs where id = %s for update", [run])
            pausing = pool.submit(alter, connection, number, scheduled=False)
            wait_for_a_lock(worker)
            row(worker, "select * from tidemill._finish_run(%s, 'success')", [run])
            worker.commit()
            pausing.result()
        found = row(connection, "select outcome, stop_asked from tidemill._action_runs")
        assert found == {"outcome": "success", "stop_asked": None}
        assert definition(connection, number)["scheduled"] is False
