"""Actions that a worker runs: what they see, what is kept of them, and how they are stopped."""

from __future__ import annotations

import asyncio
from functools import partial
from itertools import pairwise
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.actions.support import (
    BLOCKS,
    HOUR,
    NOON,
    SECOND,
    add_action,
    history,
    make_note,
    make_procedure,
    outcomes,
    state,
    until_ended,
    until_running,
)
from tests.support.running import eventually, run_all, running
from tests.support.servers import Server
from tidemill import App


async def one_run(app: App, connection: psycopg.Connection, action_id: int) -> dict[str, Any]:
    """Runs what is due; returns the only run of an action."""
    await run_all(app)
    [run] = history(connection, action_id)
    return run


@pytest.fixture
def unpolled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what wakes the scheduler makes it look: beside a poll interval of its own, a sweep does."""
    monkeypatch.setattr("tidemill.actions.scheduler._SWEEP_SECONDS", 600)


@pytest.mark.usefixtures("unpolled")
async def test_a_new_action_runs_at_once(app: App, connection: psycopg.Connection) -> None:
    make_note(connection)
    async with running(app, poll_interval=600):
        action = add_action(connection, proc="note", config='{"a": 1}')
        await eventually(lambda: outcomes(connection, action) == ["success"], "the first run")
    assert connection.execute("select action_id, config from seen").fetchall() == [(action, {"a": 1})]
    run = history(connection, action)[0]
    assert run["worker_id"].startswith("worker-")
    assert run["pid"] is not None
    assert state(connection, action)["next_start"] == run["slot"] + HOUR


@pytest.mark.usefixtures("unpolled")
async def test_it_runs_on_time_without_polling(app: App, connection: psycopg.Connection) -> None:
    make_note(connection)
    async with running(app, poll_interval=600):
        action = add_action(connection, proc="note", schedule_interval=SECOND / 5)
        await eventually(lambda: len(outcomes(connection, action)) >= 6, "six runs")
    slots = [run["slot"] for run in history(connection, action)]
    assert all(later > earlier for earlier, later in pairwise(slots))
    assert {(slot - slots[0]) % (SECOND / 5) for slot in slots} == {0 * SECOND}


@pytest.mark.usefixtures("unpolled")
async def test_a_change_is_seen_at_once(app: App, connection: psycopg.Connection) -> None:
    make_note(connection)
    action = add_action(connection, proc="note", initial_start=NOON.replace(year=2126))
    async with running(app, poll_interval=600):
        connection.execute("select tidemill.alter_action(%s, next_start => now())", [action])
        await eventually(lambda: outcomes(connection, action) == ["success"], "the run")


async def test_without_notifications_it_polls(app: App, connection: psycopg.Connection) -> None:
    make_note(connection)
    async with running(app, poll_interval=0.05, listen=False):
        action = add_action(connection, proc="note")
        await eventually(lambda: outcomes(connection, action) == ["success"], "the run")


async def test_a_worker_may_leave_actions_alone(app: App, connection: psycopg.Connection) -> None:
    make_note(connection)
    app.task("other")(lambda payload: None)
    action = add_action(connection, proc="note")
    await run_all(app, action_concurrency=0)
    assert outcomes(connection, action) == []
    await run_all(app)
    assert outcomes(connection, action) == ["success"]


async def test_a_due_task_action_is_run_to_its_end_by_once(app: App, connection: psycopg.Connection) -> None:
    ran: list[Any] = []
    app.task("report")(lambda payload: ran.append(payload))
    add_action(connection, task="report", config='{"of": 1}')
    await run_all(app)
    assert ran == [{"of": 1}]


async def test_what_a_procedure_commits_stays(app: App, connection: psycopg.Connection) -> None:
    connection.execute("create table steps (n integer)")
    make_procedure(
        connection,
        "steps_and_fails",
        "insert into steps values (1); commit; insert into steps values (2); rollback;"
        " insert into steps values (3); commit; insert into steps values (4); raise 'enough';",
    )
    action = add_action(connection, proc="steps_and_fails")
    run = await one_run(app, connection, action)
    assert connection.execute("select n from steps order by n").fetchall() == [(1,), (3,)]
    assert (run["outcome"], run["message"], run["sqlstate"]) == ("failure", "enough", "P0001")


async def test_a_function_is_one_transaction(app: App, connection: psycopg.Connection) -> None:
    connection.execute("create table steps (n integer)")
    connection.execute(
        "create function counts(job_id integer, config jsonb) returns text language plpgsql"
        " as $$ begin insert into steps values (job_id); return 'ignored'; end $$"
    )
    action = add_action(connection, proc="counts")
    assert (await one_run(app, connection, action))["outcome"] == "success"
    assert connection.execute("select n from steps").fetchall() == [(action,)]


async def test_what_a_failure_says_is_kept(app: App, connection: psycopg.Connection) -> None:
    make_procedure(
        connection,
        "fails",
        "raise exception 'no %', 'luck' using errcode = '22012', detail = 'a detail', hint = 'a hint';",
    )
    action = add_action(connection, proc="fails", config='{"x": 1}')
    run = await one_run(app, connection, action)
    told = {name: run[name] for name in ("outcome", "sqlstate", "message", "detail", "hint", "config")}
    assert told == {
        "outcome": "failure",
        "sqlstate": "22012",
        "message": "no luck",
        "detail": "a detail",
        "hint": "a hint",
        "config": {"x": 1},
    }
    assert "PL/pgSQL function fails(integer,jsonb) line 1 at RAISE" in run["context"]


async def test_notices_are_kept(app: App, connection: psycopg.Connection) -> None:
    make_procedure(
        connection,
        "talks",
        "raise notice 'one %', job_id; raise warning 'two' using detail = 'more'; raise debug 'three';",
    )
    action = add_action(connection, proc="talks")
    run = await one_run(app, connection, action)
    assert run["output"] == f"NOTICE:  one {action}\nWARNING:  two\nDETAIL:  more"


async def test_what_is_kept_of_notices_is_bounded(app: App, connection: psycopg.Connection) -> None:
    make_procedure(
        connection, "chatters", "for n in 1..3000 loop raise notice '%', repeat('x', 90); end loop;"
    )
    action = add_action(connection, proc="chatters")
    lines = (await one_run(app, connection, action))["output"].split("\n")
    # 64 KiB hold 655 lines of 100 characters and a line end.
    kept = 64 * 1024 // 100
    assert lines[0] == "NOTICE:  " + "x" * 90
    assert lines[-1] == f"... and {3000 - kept} messages more, which were not kept"
    assert len(lines) == kept + 1


async def test_what_a_run_finds_in_its_session(app: App, connection: psycopg.Connection) -> None:
    make_procedure(
        connection,
        "looks",
        "raise notice '% % % %', current_setting('application_name'), current_setting('work_mem'),"
        " current_setting('tidemill.slot')::timestamptz = (select slot from tidemill._action_states"
        " where action_id = job_id), current_user = session_user;",
    )
    action = add_action(connection, proc="looks", name="Night shift", config='{"work_mem": "7MB"}')
    run = await one_run(app, connection, action)
    assert run["output"] == f"NOTICE:  Night shift [{action}] 7MB t t"


async def test_long_errors_are_cut(app: App, connection: psycopg.Connection) -> None:
    make_procedure(
        connection, "shouts", "raise exception '%', repeat('e', 100000) using detail = repeat('d', 100000);"
    )
    run = await one_run(app, connection, add_action(connection, proc="shouts"))
    # 64 KiB are kept.
    assert run["message"] == "e" * 65536 + " ... (34464 characters more)"
    assert run["detail"] == "d" * 65536 + " ... (34464 characters more)"


async def test_an_error_without_a_message(app: App, connection: psycopg.Connection) -> None:
    make_procedure(connection, "mutters", "raise exception using message = '';")
    run = await one_run(app, connection, add_action(connection, proc="mutters"))
    assert (run["outcome"], run["message"], run["sqlstate"]) == ("failure", "", "P0001")


async def test_a_run_whose_row_was_deleted_is_not_for_ever(app: App, connection: psycopg.Connection) -> None:
    make_note(connection)
    action = add_action(connection, proc="note")
    connection.execute("select tidemill._start_actions('w', 1)")
    connection.execute("delete from tidemill._action_runs")
    connection.execute("update tidemill._action_states set last_start = now() - interval '2 minutes'")
    await run_all(app)
    assert outcomes(connection, action) == ["success"]


async def test_a_run_leaves_nothing_to_the_next_one(app: App, connection: psycopg.Connection) -> None:
    make_procedure(
        connection,
        "soils",
        "raise notice '% %', pg_backend_pid(), to_regclass('pg_temp.mess');"
        " create temp table mess (); perform set_config('work_mem', '9MB', false);"
        " perform pg_advisory_lock(8);",
    )
    action = add_action(connection, proc="soils", config='{"work_mem": "8MB"}')

    def ended(times: int) -> bool:
        return outcomes(connection, action) == ["success"] * times

    async with running(app):
        for number in range(1, 4):
            await eventually(partial(ended, number), "a run")
            connection.execute("select tidemill.alter_action(%s, next_start => now())", [action])
    told = [run["output"].split() for run in history(connection, action)[:3]]
    # One backend after the other is used again, and knows nothing of the run before.
    assert len({pid for _, pid, *_ in told}) == 1
    assert [rest for _, _, *rest in told] == [["<NULL>"]] * 3
    locks = connection.execute("select from pg_locks where locktype = 'advisory' and objid = 8").fetchall()
    assert locks == []


async def test_a_missing_routine_is_a_failed_run(app: App, connection: psycopg.Connection) -> None:
    connection.execute("create procedure wrong(job_id integer) language sql as 'select 1'")
    action = add_action(connection, proc="wrong")
    run = await one_run(app, connection, action)
    assert (run["outcome"], run["sqlstate"]) == ("failure", "42883")
    assert run["message"] == 'function or procedure "app.wrong(integer, jsonb)" does not exist'
    assert run["hint"] == "Custom job actions must accept (integer, jsonb) arguments."


async def test_max_runtime_cancels(app: App, connection: psycopg.Connection, lock: Any) -> None:
    make_procedure(connection, "blocks", BLOCKS)
    action = add_action(connection, proc="blocks", max_runtime=SECOND / 5)
    run = await one_run(app, connection, action)
    assert (run["outcome"], run["sqlstate"]) == ("timeout", "57014")
    assert run["message"] == "canceled after its max_runtime of 0.2 s"


async def test_what_does_not_heed_a_cancel_is_terminated(
    app: App, connection: psycopg.Connection, lock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidemill.actions.scheduler._TERMINATE_SECONDS", 0.3)
    make_procedure(
        connection,
        "stubborn",
        "loop begin perform pg_advisory_lock(7); exception when query_canceled then null; end; end loop;",
    )
    action = add_action(connection, proc="stubborn", max_runtime=SECOND / 5)
    run = await one_run(app, connection, action)
    assert run["outcome"] == "timeout"
    gone = connection.execute("select from pg_stat_activity where pid = %s", [run["pid"]]).fetchall()
    assert gone == []


@pytest.mark.usefixtures("unpolled")
@pytest.mark.parametrize("way", ["paused", "deleted"])
async def test_a_running_action_is_stopped(
    app: App, connection: psycopg.Connection, lock: Any, way: str
) -> None:
    make_procedure(connection, "blocks", BLOCKS)
    action = add_action(connection, proc="blocks")
    async with running(app, poll_interval=600):
        await until_running(connection, action)
        if way == "paused":
            connection.execute("select tidemill.alter_action(%s, scheduled => false)", [action])
        else:
            connection.execute("select tidemill.delete_action(%s)", [action])
        run = await until_ended(connection, action)
    assert (run["outcome"], run["message"]) == ("stopped", f"the action was {way} while it ran")


async def test_a_cancel_by_somebody_else_is_a_failure(
    app: App, connection: psycopg.Connection, lock: Any
) -> None:
    make_procedure(connection, "blocks", BLOCKS)
    action = add_action(connection, proc="blocks")
    async with running(app):
        pid = await until_running(connection, action)
        connection.execute("select pg_cancel_backend(%s)", [pid])
        run = await until_ended(connection, action)
    assert (run["outcome"], run["sqlstate"]) == ("failure", "57014")
    assert run["message"] == "canceling statement due to user request"


async def test_a_stopping_worker_waits_for_its_runs(
    app: App, connection: psycopg.Connection, lock: Any
) -> None:
    make_procedure(connection, "blocks", BLOCKS)
    action = add_action(connection, proc="blocks")
    async with running(app) as worker:
        await until_running(connection, action)
        worker.stop()
        lock.execute("select pg_advisory_unlock(7)")
    assert outcomes(connection, action) == ["success"]


async def test_a_worker_in_a_hurry_stops_its_runs(
    app: App, connection: psycopg.Connection, lock: Any
) -> None:
    make_procedure(connection, "blocks", BLOCKS)
    action = add_action(connection, proc="blocks")
    async with running(app) as worker:
        await until_running(connection, action)
        worker.stop(hurry=True)
    [run] = history(connection, action)
    assert (run["outcome"], run["message"]) == ("stopped", "the worker was shut down while it ran")
    found = state(connection, action)
    # Another worker may go on with it at once, and the action did nothing wrong.
    assert (found["next_start"], found["consecutive_failures"]) == (run["finished_at"], 0)


async def test_long_runs_leave_slots_to_others(app: App, connection: psycopg.Connection, lock: Any) -> None:
    make_note(connection)
    make_procedure(connection, "blocks", BLOCKS)
    blocked = add_action(connection, proc="blocks")
    async with running(app, action_concurrency=2):
        await until_running(connection, blocked)
        others = [add_action(connection, proc="note") for _ in range(5)]
        await eventually(
            lambda: [outcomes(connection, action) for action in others] == [["success"]] * 5, "the others"
        )
        assert outcomes(connection, blocked) == [None]
        lock.execute("select pg_advisory_unlock(7)")
        await until_ended(connection, blocked)


async def test_no_more_runs_at_once_than_allowed(app: App, connection: psycopg.Connection, lock: Any) -> None:
    make_procedure(connection, "blocks", BLOCKS)
    actions = [add_action(connection, proc="blocks", name=f"n{n}") for n in range(5)]
    async with running(app, action_concurrency=2):
        await until_running(connection, actions[0])
        await until_running(connection, actions[1])
        begun = [outcomes(connection, action) for action in actions]
        assert begun == [[None], [None], [], [], []]
        lock.execute("select pg_advisory_unlock(7)")
        await eventually(
            lambda: [outcomes(connection, action) for action in actions] == [["success"]] * 5, "all of them"
        )


async def test_it_runs_as_its_owner(server: Server, database: str, superuser_conninfo: str) -> None:
    with (
        server.role("login") as owner,
        server.role("login") as worker,
        psycopg.connect(superuser_conninfo, autocommit=True) as superuser,
    ):
        superuser.execute(f"grant {owner} to {worker}".encode())
        superuser.execute(f"grant tidemill_owner to {worker}".encode())
        superuser.execute(f"alter role {owner} set search_path = special, public".encode())
        # Not for the worker, which has to read what comes.
        superuser.execute(f"alter role {owner} set client_encoding = 'SQL_ASCII'".encode())
        superuser.execute(f"create schema special authorization {owner}".encode())
        superuser.execute(f"select tidemill.grant_actions('{owner}')".encode())
        with psycopg.connect(make_conninfo(database, user=owner), autocommit=True) as own:
            make_procedure(
                own,
                "who",
                "raise notice '% %', current_user, current_setting('search_path');"
                " create table special.made ();",
            )
            action = add_action(own, proc="who")
        async with App(make_conninfo(database, user=worker)) as app:
            run = await one_run(app, superuser, action)
        assert (run["outcome"], run["output"]) == ("success", f"NOTICE:  {owner} special, public")
        made = superuser.execute("select tableowner from pg_tables where tablename = 'made'").fetchall()
        assert made == [(owner,)]
        superuser.execute("select tidemill.delete_action(%s)", [action])
        superuser.execute(f"drop owned by {owner} cascade".encode())


async def test_a_worker_that_may_not_act_as_the_owner(
    app: App, server: Server, database: str, superuser_conninfo: str
) -> None:
    with (
        server.role("login") as owner,
        psycopg.connect(superuser_conninfo, autocommit=True) as superuser,
    ):
        superuser.execute(f"select tidemill.grant_actions('{owner}')".encode())
        superuser.execute(f"create schema special authorization {owner}".encode())
        with psycopg.connect(make_conninfo(database, user=owner), autocommit=True) as own:
            own.execute("set search_path = special")
            make_procedure(own, "who", "null;")
            action = add_action(own, proc="who")
        # For a moment it is left to a worker that may.
        await run_all(app)
        assert outcomes(superuser, action) == []
        superuser.execute(
            "select tidemill.alter_action(%s, next_start => now() - interval '1 minute')", [action]
        )
        run = await one_run(app, superuser, action)
        assert (run["outcome"], run["sqlstate"]) == ("failure", "42501")
        assert f'may not act as role "{owner}"' in run["message"]
        assert f"grant {owner} to tidemill_owner" in run["hint"]
        superuser.execute("select tidemill.delete_action(%s)", [action])
        superuser.execute(f"drop owned by {owner} cascade".encode())


async def test_a_broken_search_path_hurts_only_itself(app: App, connection: psycopg.Connection) -> None:
    make_note(connection)
    make_procedure(connection, "confuses", "perform set_config('search_path', 'nowhere', false);")
    confused = add_action(connection, proc="confuses")
    async with running(app, action_concurrency=1):
        await eventually(lambda: outcomes(connection, confused) == ["success"], "it")
        action = add_action(connection, proc="note")
        await eventually(lambda: outcomes(connection, action) == ["success"], "the next one")


async def test_two_workers_share_what_is_due(app: App, connection: psycopg.Connection, database: str) -> None:
    make_note(connection)
    actions = [add_action(connection, proc="note", schedule_interval=SECOND) for _ in range(25)]
    actions += [add_action(connection, task="tick", schedule_interval=SECOND) for _ in range(25)]
    async with App(database) as other:
        app.task("tick")(lambda payload: None)
        async with running(app), running(other):
            await eventually(
                lambda: all(len(outcomes(connection, action)) >= 5 for action in actions), "five runs each"
            )
    for action in actions:
        slots = [run["slot"] for run in history(connection, action)]
        assert set(outcomes(connection, action)) == {"success"}
        # Each slot once, and none left out.
        assert slots == [slots[0] + n * SECOND for n in range(len(slots))]


async def test_a_scheduler_without_free_connections_tries_again(
    app: App,
    connection: psycopg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    make_note(connection)
    action = add_action(connection, proc="note")
    taken = asyncio.Event()
    loop = asyncio.get_running_loop()

    def refuse(*_: Any) -> Any:
        loop.call_soon_threadsafe(taken.set)
        raise psycopg.OperationalError("too many clients already")

    with monkeypatch.context() as patch:
        patch.setattr("tidemill.actions.runner.Backends.take", refuse)
        async with running(app, poll_interval=0.05):
            await asyncio.wait_for(taken.wait(), 30)
            await eventually(lambda: "could not start" in caplog.text, "the log")
            patch.undo()
            await eventually(lambda: outcomes(connection, action) == ["success"], "the run")
    assert state(connection, action)["total_failures"] == 0


async def test_it_does_not_ask_for_connections_without_a_pause(
    app: App, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_note(connection)
    add_action(connection, proc="note")
    asked = 0

    def refuse(*_: Any) -> Any:
        nonlocal asked
        asked += 1
        raise psycopg.OperationalError("too many clients already")

    monkeypatch.setattr("tidemill.actions.runner.Backends.take", refuse)
    monkeypatch.setattr("tidemill.actions.scheduler._NO_CONNECTION_SECONDS", 600.0)
    async with running(app, poll_interval=0.01):
        await eventually(lambda: asked, "the first time")
        report = add_action(connection, task="t")
        await eventually(lambda: outcomes(connection, report) == ["success"], "the job")
    assert asked == 1


async def test_times_that_python_has_not(app: App, connection: psycopg.Connection) -> None:
    make_note(connection)
    old = add_action(connection, proc="note", initial_start="0044-03-15 12:00:00+00 BC")
    young = add_action(connection, proc="note")
    await run_all(app)
    ended = connection.execute("select action_id, outcome from tidemill._action_runs order by 1").fetchall()
    assert ended == [(action, "success") for action in (old, young)]


async def test_the_end_of_a_run_that_never_comes_again(
    app: App, connection: psycopg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    make_procedure(connection, "ends", "perform tidemill.alter_action(job_id, next_start => 'infinity');")
    add_action(connection, proc="ends", name="last")
    await run_all(app)
    assert "(last [1000]) done in" in caplog.text
    assert "has to wait" not in caplog.text


async def test_an_idle_connection_that_was_closed_is_not_used(
    app: App, connection: psycopg.Connection
) -> None:
    make_note(connection)
    first = add_action(connection, proc="note")
    async with running(app):
        await eventually(lambda: outcomes(connection, first) == ["success"], "the first run")
        [run] = history(connection, first)
        connection.execute("select pg_terminate_backend(%s, 10000)", [run["pid"]])
        second = add_action(connection, proc="note")
        run = await until_ended(connection, second)
    assert run["outcome"] == "success"


async def test_an_open_transaction_on_an_action_stops_no_other(
    app: App, connection: psycopg.Connection, database: str, lock: Any
) -> None:
    make_note(connection)
    make_procedure(connection, "blocks", BLOCKS)
    changed = add_action(connection, proc="blocks")
    async with running(app, poll_interval=0.1):
        await until_running(connection, changed)
        with psycopg.connect(database) as holder:
            holder.execute("select tidemill.alter_action(%s, max_retries => 3)", [changed])
            lock.execute("select pg_advisory_unlock(7)")
            await eventually(
                lambda: connection.execute(
                    "select 1 from pg_stat_activity where pid = %s and state = 'idle'",
                    [history(connection, changed)[0]["pid"]],
                ).fetchone(),
                "the run to end",
            )
            other = add_action(connection, proc="note")
            await eventually(lambda: outcomes(connection, other) == ["success"], "the other one")
            assert outcomes(connection, changed) == [None]
        run = await until_ended(connection, changed)
    assert run["outcome"] == "success"


async def test_a_run_whose_start_we_never_heard_of(
    app: App, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidemill.actions.scheduler._SWEEP_SECONDS", 0.1)
    make_note(connection)
    action = add_action(connection, proc="note", initial_start=NOON.replace(year=2126))
    async with running(app, poll_interval=0.05) as worker:
        started = connection.execute(
            "select action_id from tidemill._start_actions(%s, 9, %s)", [worker.id, NOON.replace(year=2127)]
        ).fetchall()
        assert (action,) in started
        await eventually(lambda: outcomes(connection, action) == [], "it to be given back")
    assert state(connection, action)["run_id"] is None


async def test_whatever_goes_wrong_it_looks_again(
    app: App, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidemill.actions.scheduler._SWEEP_SECONDS", 0.1)
    make_note(connection)
    action = add_action(connection, proc="note")
    failed = asyncio.Event()
    loop = asyncio.get_running_loop()

    def fail(*_: Any) -> Any:
        loop.call_soon_threadsafe(failed.set)
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr("tidemill.actions.scheduler.Run.start", fail)
        async with running(app, poll_interval=0.05):
            await asyncio.wait_for(failed.wait(), 30)
            patch.undo()
            await eventually(lambda: outcomes(connection, action) == ["success"], "the run")
