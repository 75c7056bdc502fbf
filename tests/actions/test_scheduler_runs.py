"""A run by a worker: what it sees, what is kept of it, and as whom it runs."""

from __future__ import annotations

from functools import partial

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.actions.support import add_action, history, make_note, make_procedure, one_run, outcomes
from tests.support.running import eventually, run_all, running
from tests.support.servers import Server
from tidemill import App


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


@pytest.mark.one_worker("each has backends of its own")
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
    make_procedure(connection, "wrong", "")
    action = add_action(connection, proc="wrong")
    connection.execute("drop procedure wrong(integer, jsonb)")
    run = await one_run(app, connection, action)
    assert (run["outcome"], run["sqlstate"]) == ("failure", "42883")
    assert run["message"] == 'function or procedure "app.wrong(integer, jsonb)" does not exist'
    assert run["hint"] == "Custom job actions must accept (integer, jsonb) arguments."


async def test_it_runs_as_its_owner(server: Server, database: str, superuser_conninfo: str) -> None:
    with (
        server.role("login") as owner,
        server.role("login") as worker,
        psycopg.connect(superuser_conninfo, autocommit=True) as superuser,
    ):
        superuser.execute(f"grant {owner} to {worker}".encode())
        superuser.execute(f"grant tidemill_owner to {worker}".encode())
        superuser.execute(f"alter role {owner} set search_path = special, public".encode())
        # The worker must not take this setting over: it has to read the answers.
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
