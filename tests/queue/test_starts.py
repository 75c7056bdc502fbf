"""Whether jobs that were claimed ahead may start, asked from the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import psycopg
import pytest

from tests.queue.lanes import WORKER
from tests.support.proxy import Link, Message, proxy
from tests.support.running import eventually
from tidemill.database.patient import PatientConnection, connect_patiently
from tidemill.queue.starts import Starts

pytestmark = pytest.mark.versions(18)


class Asker:
    """Asks, over connections that can be opened while `is_open`."""

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self.is_open = True
        self.opened: list[PatientConnection] = []
        self.starts = Starts(WORKER, self._connect, 30)

    def _connect(self) -> PatientConnection:
        if not self.is_open:
            raise psycopg.OperationalError("no connection")
        self.opened.append(connect_patiently(self._conninfo, 30))
        return self.opened[-1]

    async def may_start(self, token: int) -> bool:
        answer = asyncio.get_running_loop().create_future()
        self.starts.ask(token, answer.set_result)
        return bool(await asyncio.wait_for(answer, 30))


@pytest.fixture
async def asker(database: str) -> AsyncIterator[Asker]:
    asker = Asker(database)
    yield asker
    asker.starts.close()


@pytest.fixture(autouse=True)
def tokens(connection: psycopg.Connection) -> None:
    connection.execute(
        "insert into tidemill._unstarted (claim_token, worker_id) select i, %s from generate_series(1, 9) i",
        [WORKER],
    )


async def test_without_a_connection_they_may_not_start(
    asker: Asker, connection: psycopg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    asker.is_open = False
    assert [await asker.may_start(1), await asker.may_start(2)] == [False, False]
    assert len(caplog.records) == 1
    asker.is_open = True
    assert await asker.may_start(3)
    assert connection.execute("select count(*) from tidemill._unstarted").fetchone() == (8,)


async def test_after_a_long_outage_it_asks_again(asker: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidemill.queue.starts._LONGEST_BACKOFF", 0.0)
    asker.starts._failures = 100_000
    assert await asker.may_start(1)


async def test_a_connection_that_broke_is_replaced(asker: Asker, connection: psycopg.Connection) -> None:
    assert await asker.may_start(1)
    connection.execute("select pg_terminate_backend(%s, 30000)", [asker.opened[0].info.backend_pid])
    # It may notice by itself, or by the question, which is answered with no then.
    answers = [await asker.may_start(token) for token in (2, 3)]
    assert answers[-1]
    assert len(asker.opened) == 2


async def test_half_an_answer_does_not_hold_up_the_event_loop(database: str) -> None:
    held, gate = threading.Event(), threading.Event()

    def hold_the_end(link: Link, message: Message) -> bool:
        if b"start_jobs" in link.sent and message[0] == b"Z":
            held.set()
            gate.wait(30)
        return True

    with proxy(database) as between:
        between.on_answer = hold_the_end
        asker = Asker(between.conninfo)
        answer = asyncio.create_task(asker.may_start(1))
        await eventually(held.is_set, "the answer without its end")
        gate.set()
        assert await answer
        asker.starts.close()
