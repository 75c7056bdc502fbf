"""A worker that somebody asks to stop: by a notification, or with its next heartbeat."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from tests.support.running import eventually, running, within
from tests.support.waiting import wait_until
from tidemill import App


@pytest.mark.one_worker("one of two is stopped, and the other goes on")
@pytest.mark.parametrize("listen", [True, False])
async def test_it_lets_its_jobs_finish_and_says_who_asked(
    app: App, connection: psycopg.Connection, caplog: pytest.LogCaptureFixture, listen: bool
) -> None:
    started, go = asyncio.Event(), asyncio.Event()

    @app.task
    async def hold() -> None:
        started.set()
        await go.wait()

    app.task("t")(lambda: None)
    # It would be stopped twice: by the test's end, too, which must not hurry it.
    async with running(app, listen=listen, heartbeat_interval=5.0 if listen else 0.2) as worker:
        await app.add_job("hold")
        await within(started)
        await app.stop_worker(worker.id, "deploy")
        await app.stop_worker(worker.id, "again")
        await eventually(lambda: "asked to stop by" in caplog.text, "the worker to hear of it")
        assert worker.was_asked_to_stop
        await app.add_job("t")
        go.set()
    [name] = connection.execute("select current_user").fetchall()[0]
    [told] = [message for message in caplog.messages if "asked to stop by" in message]
    assert told.startswith(f"asked to stop by {name}: deploy: no new jobs")
    wait_until(lambda: not connection.execute("select from tidemill.workers").rowcount, "the sign-off")
    left = connection.execute("select identifier, attempts from tidemill.jobs").fetchall()
    assert left == [("t", 0)]


@pytest.mark.lane("lease")
def test_one_that_is_not_there_is_refused(connection: psycopg.Connection) -> None:
    register = "select tidemill._register_worker('worker-0123456789abcdef', 'h', 1, '0', 4, '{t}', '1 hour')"
    connection.execute(register)
    with pytest.raises(psycopg.errors.UndefinedObject) as caught:
        connection.execute("select tidemill.stop_worker('worker-0123456789abcdfe')")
    assert caught.value.diag.message_hint == 'Is "worker-0123456789abcdef" meant?'
    with pytest.raises(psycopg.errors.InvalidParameterValue):
        connection.execute("select tidemill.stop_worker(null)")
