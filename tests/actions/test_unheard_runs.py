"""Runs over a connection that stays open and answers no more: each has an end all the same."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest

from tests.actions.support import (
    BLOCKS,
    DAY,
    SECOND,
    add_action,
    history,
    make_note,
    make_procedure,
    outcomes,
    until_ended,
    until_running,
)
from tests.support.proxy import Link, Message, proxy
from tests.support.running import eventually, running
from tidemill import App
from tidemill.actions.backends import Backends

pytestmark = pytest.mark.versions(18)


class Network:
    """A proxy that can freeze the connections of runs that are there."""

    def __init__(self, conninfo: str, links: list[Link]) -> None:
        self.conninfo = conninfo
        self._links = links
        self._frozen: set[Link] = set()
        self._thaw = threading.Event()

    def freeze(self, words: bytes = b"_begin_run") -> None:
        """Lets no answer through on connections that have sent these words, not even that they have ended."""
        self._frozen.update(link for link in self._links if words in link.sent)
        assert self._frozen

    def thaw(self) -> None:
        self._thaw.set()

    def pass_on(self, link: Link, message: Message) -> bool:
        if link in self._frozen:
            self._thaw.wait()
        return True


@pytest.fixture
def network(database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Network]:
    """Stands between the app and its database; the sweeps of a worker are not far apart."""
    monkeypatch.setattr("tidemill.actions.scheduler._SWEEP_SECONDS", 0.1)
    monkeypatch.setattr("tidemill.actions.scheduler._UNHEARD_SECONDS", 0.3)
    monkeypatch.setattr("tidemill.actions.scheduler._TERMINATE_SECONDS", 0.3)
    with proxy(database) as opened:
        made = Network(opened.conninfo, opened.links)
        opened.on_answer = made.pass_on
        try:
            yield made
        finally:
            made.thaw()


@pytest.fixture
async def app(network: Network) -> AsyncIterator[App]:
    async with App(network.conninfo) as opened:
        yield opened


def gone(connection: psycopg.Connection, pid: int) -> bool:
    return connection.execute("select from pg_stat_activity where pid = %s", [pid]).rowcount == 0


async def test_a_run_whose_answer_never_comes_has_ended_and_the_action_runs_again(
    app: App, connection: psycopg.Connection, lock: psycopg.Connection, network: Network
) -> None:
    make_procedure(connection, "blocks", BLOCKS)
    action = add_action(connection, proc="blocks", schedule_interval=SECOND)
    async with running(app):
        pid = await until_running(connection, action)
        network.freeze()
        lock.execute("select pg_advisory_unlock(7)")
        await eventually(lambda: "success" in outcomes(connection, action), "another run")
    first = history(connection, action)[0]
    assert (first["outcome"], first["sqlstate"]) == ("backend_terminated", "08006")
    assert first["message"].startswith("the answer never came: the server process had been idle since 20")
    assert first["message"].endswith("so it is not known whether the routine succeeded")
    assert gone(connection, pid)


async def test_a_run_whose_server_process_ended_without_a_word(
    app: App, connection: psycopg.Connection, lock: psycopg.Connection, network: Network
) -> None:
    make_procedure(connection, "blocks", BLOCKS)
    action = add_action(connection, proc="blocks", schedule_interval=DAY)
    async with running(app):
        pid = await until_running(connection, action)
        network.freeze()
        connection.execute("select pg_terminate_backend(%s)", [pid])
        run = await until_ended(connection, action)
    assert run["outcome"] == "backend_terminated"
    assert run["message"] == "the answer never came, and the server process of the run is gone"


async def test_a_run_that_goes_on_is_left_alone(
    app: App, connection: psycopg.Connection, lock: psycopg.Connection, network: Network
) -> None:
    make_note(connection)
    make_procedure(connection, "blocks", BLOCKS)
    long = add_action(connection, proc="blocks", schedule_interval=DAY)
    ticks = add_action(connection, proc="note", schedule_interval=SECOND)
    async with running(app):
        await until_running(connection, long)
        # Many sweeps come and go meanwhile.
        await eventually(lambda: outcomes(connection, ticks).count("success") >= 3, "other runs")
        assert outcomes(connection, long) == [None]
        lock.execute("select pg_advisory_unlock(7)")
        assert (await until_ended(connection, long))["outcome"] == "success"


async def test_max_runtime_holds_for_a_frozen_run(
    app: App, connection: psycopg.Connection, lock: psycopg.Connection, network: Network
) -> None:
    make_procedure(connection, "blocks", BLOCKS)
    action = add_action(connection, proc="blocks", schedule_interval=DAY, max_runtime=2 * SECOND)
    async with running(app):
        pid = await until_running(connection, action)
        network.freeze()
        run = await until_ended(connection, action)
    assert (run["outcome"], run["message"]) == ("timeout", "canceled after its max_runtime of 2 s")
    assert gone(connection, pid)


async def test_a_worker_that_stops_waits_for_no_frozen_run(
    app: App, connection: psycopg.Connection, lock: psycopg.Connection, network: Network
) -> None:
    make_procedure(connection, "blocks", BLOCKS)
    action = add_action(connection, proc="blocks", schedule_interval=DAY)
    async with running(app) as worker:
        pid = await until_running(connection, action)
        network.freeze()
        worker.stop(hurry=True)
    [run] = history(connection, action)
    assert (run["outcome"], run["message"]) == ("stopped", "the worker was shut down while it ran")
    assert gone(connection, pid)


async def test_a_run_that_freezes_before_it_begins_is_given_back(
    app: App, connection: psycopg.Connection, lock: psycopg.Connection, network: Network
) -> None:
    make_note(connection)
    action = add_action(connection, proc="note", schedule_interval=DAY)
    connection.execute(
        "create function app.block() returns trigger language plpgsql"
        " as $$ begin perform pg_catalog.pg_advisory_xact_lock(7); return new; end $$"
    )
    connection.execute(
        "create trigger blocks before update of pid on tidemill._action_runs"
        " for each row execute function app.block()"
    )
    waiting = "select from pg_stat_activity where wait_event = 'advisory' and query like '%_begin_run%'"
    async with running(app, lease=1.0, heartbeat_interval=0.1):
        await eventually(lambda: connection.execute(waiting).rowcount == 1, "the run to begin")
        network.freeze()
        lock.execute("select pg_advisory_unlock(7)")
        await eventually(lambda: outcomes(connection, action) == ["success"], "the next try")


async def test_an_idle_connection_that_is_frozen_is_replaced(
    database: str, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidemill.actions.backends._QUICK_SECONDS", 0.2)
    backends = Backends(network.conninfo, patience=30)
    first = backends.take()
    backends.give_back(first)
    network.freeze(b"discard all")
    second = backends.take()
    assert first.closed
    assert second.execute("select 1").fetchone() == (1,)
    backends.give_back(second)
    backends.close_idle(all_of_them=True)


async def test_a_connection_that_freezes_while_it_is_cleaned_holds_nothing_up(
    database: str, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidemill.actions.backends._QUICK_SECONDS", 0.2)
    backends = Backends(network.conninfo, patience=30)
    taken = backends.take()
    taken.execute("select 'this one'")
    network.freeze(b"this one")
    backends.give_back(taken)
    assert taken.closed
