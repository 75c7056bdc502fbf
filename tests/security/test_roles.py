"""The roles of grant_role: what each may do, and what roles that may create objects make of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.actions.definitions import refused, rows
from tests.security.test_identity import lay_trap, spring
from tests.support.running import run_all
from tidemill import App
from tidemill.database.migrate import migrate
from tidemill.errors import MissingRightsError

pytestmark = pytest.mark.versions(18, 16)

Connection = psycopg.Connection[Any]
NewRole = Callable[[bool], Connection]

READS = [
    "table tidemill.jobs",
    "table tidemill.acts",
    "table tidemill.pauses",
    "table tidemill.bulk_acts",
    "select * from tidemill.why_waiting(1)",
]
ADDS = ["select tidemill.add_job('t', '{\"secret\": 1}')"]
OPERATES = [
    "select * from tidemill.cancel_jobs('{1}')",
    "select tidemill.remove_job('k')",
    "select tidemill.pause('all')",
    "select tidemill.resume('all')",
    "select tidemill.force_unlock_workers('{}')",
    "select tidemill.set_on_failure(null)",
    "select tidemill.step_bulk_act(tidemill.begin_bulk_act('cancel', '{\"task\": \"none\"}'))",
    "select tidemill.abort_bulk_act(tidemill.begin_bulk_act('retry', '{\"task\": \"none\"}'))",
    "select tidemill._delete_ended_jobs('-infinity', 0)",
    "select tidemill._delete_unused_queues()",
    "select tidemill.set_limit('l', 1), tidemill.remove_limit('l')",
]
PLANS = [
    "select tidemill.next_start('1 hour', now(), null, now())",
    "select tidemill.add_action(task => 't', schedule_interval => '1 hour')",
]
# What none of them may do.
NOBODYS = [
    "select payload from tidemill._jobs where false for update",
    "insert into tidemill._acts (who, what, subjects, subject_count) values ('x', 'x', '{}', 0)",
    "delete from tidemill._acts",
    "insert into tidemill._pauses (kind, name, paused_by) values ('all', '', 'x')",
    "update tidemill._actions set owner = current_user::regrole",
    "insert into tidemill._owner_requests (action_id, new_owner) values (3, current_user::regrole)",
    "insert into tidemill._operator_requests (who, verb) values ('postgres', 'pause')",
    "select tidemill._note_act('postgres', 'pause', '{}', 0)",
    "select tidemill._begin_bulk_act('postgres', 'cancel', '{}', '{}')",
    "select tidemill._step_bulk_act('postgres', 1, 1)",
    "select tidemill._abort_bulk_act('postgres', 1)",
    "select tidemill._drop_ended_jobs('postgres', 'infinity', 0, 1)",
    "select tidemill._drop_unused_queues('postgres', 1, 1, 1)",
    "select tidemill._set_limit('postgres', 'l', 1, null, null, null, null)",
    "select tidemill._remove_limit('postgres', 'there')",
    "update tidemill._bulk_acts set filter = '{}'",
    "update tidemill._limits set concurrency = 1",
    "select tidemill.grant_role('operator', current_user::regrole)",
    "create table tidemill.mine ()",
]


def named(connection: Connection) -> str:
    return connection.info.user


def give(owner: Connection, role: str, to: Connection) -> None:
    owner.execute("select tidemill.grant_role(%s, %s::regrole)", [role, named(to)])


def allowed(connection: Connection, statement: str) -> bool:
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(statement.encode())
    except psycopg.errors.InsufficientPrivilege:
        return False
    return True


@pytest.mark.parametrize(
    ("role", "may"),
    [
        ("reader", READS),
        ("producer", ADDS),
        ("operator", READS + OPERATES),
        ("worker", READS + ADDS),
        ("actions", PLANS),
    ],
)
def test_each_may_do_its_own(new_role: NewRole, connection: Connection, role: str, may: list[str]) -> None:
    connection.execute("select tidemill.add_job('t', job_key => 'k')")
    someone = new_role(False)
    everything = [*READS, *ADDS, *OPERATES, *PLANS, *NOBODYS]
    assert [each for each in everything if allowed(someone, each)] == []
    give(connection, role, someone)
    extra = NOBODYS[:1] if role == "worker" else []
    assert [each for each in everything if allowed(someone, each)] == [*may, *extra]
    connection.execute("select tidemill.revoke_role(%s, %s::regrole)", [role, named(someone)])
    assert [each for each in everything if allowed(someone, each)] == []
    with refused("42501", "permission denied for schema tidemill"):
        someone.execute("table tidemill.jobs")


def test_who_lacks_the_right_to_wait_is_told(
    new_role: NewRole, connection: Connection, database: str
) -> None:
    connection.execute("select tidemill.add_job('t', keep => '1 day')")
    someone = new_role(False)
    give(connection, "producer", someone)
    app = App(make_conninfo(database, user=named(someone)))
    with pytest.raises(MissingRightsError, match=r"may not wait for jobs.*tidemill grant reader TO"):
        app.sync.wait(1, timeout=60)


def test_what_another_role_gives_stays(new_role: NewRole, connection: Connection) -> None:
    someone = new_role(False)
    for role in ("reader", "operator", "worker"):
        give(connection, role, someone)
    held = "select role from tidemill.grants where grantee = %s::regrole order by role"
    assert rows(connection, held, [named(someone)]) == [
        {"role": "operator"},
        {"role": "reader"},
        {"role": "worker"},
    ]
    for role, left in (("operator", READS + ADDS), ("worker", READS)):
        connection.execute("select tidemill.revoke_role(%s, %s::regrole)", [role, named(someone)])
        assert [each for each in [*READS, *ADDS, *OPERATES] if allowed(someone, each)] == left


def test_they_outlast_functions_that_are_laid_anew(
    new_role: NewRole, connection: Connection, database: str
) -> None:
    someone = new_role(False)
    give(connection, "operator", someone)
    connection.execute(
        "drop function tidemill.cancel_jobs(bigint[], text); drop view tidemill.jobs, tidemill.acts cascade"
    )
    connection.execute("update tidemill._installed set hash = 'another'")
    migrate(database)
    assert all(allowed(someone, each) for each in [*READS, *OPERATES])


@pytest.mark.parametrize(
    ("arguments", "sqlstate", "words"),
    [
        ("'admin', 'postgres'", "22023", 'role "admin" is unknown'),
        ("null, 'postgres'", "22023", "role NULL is unknown"),
        ("'reader', null", "22023", "cannot be NULL"),
        ("'reader', 'nobody at all'", "42602|42704", "invalid name syntax"),
        ("'reader', 99999", "42704", "OID 99999 does not exist"),
        ("'reader', current_user::regrole", "22023", "owns the schema"),
    ],
)
@pytest.mark.parametrize("function", ["grant_role", "revoke_role"])
def test_what_cannot_be_meant_is_refused(
    connection: Connection, function: str, arguments: str, sqlstate: str, words: str
) -> None:
    with pytest.raises(psycopg.Error, match=words) as caught:
        connection.execute(f"select tidemill.{function}({arguments})".encode())
    assert caught.value.sqlstate in sqlstate.split("|")


def test_a_role_that_it_does_not_have(new_role: NewRole, connection: Connection) -> None:
    someone = new_role(False)
    with refused("42704", "does not have the role reader"):
        connection.execute("select tidemill.revoke_role('reader', %s::regrole)", [named(someone)])


class TestAnOperator:
    @pytest.fixture
    def operator(self, new_role: NewRole, connection: Connection) -> Connection:
        connection.execute("select tidemill.add_job('t') from generate_series(1, 3)")
        made = new_role(False)
        give(connection, "operator", made)
        return made

    def who(self, connection: Connection) -> list[tuple[Any, ...]]:
        return connection.execute(
            "select who, what, subjects from tidemill.acts where what <> 'grant_role' order by id"
        ).fetchall()

    def test_is_named_in_its_acts(self, operator: Connection, connection: Connection) -> None:
        operator.execute("select tidemill.cancel_jobs('{1}')")
        assert self.who(connection) == [(named(operator), "cancel_jobs", ["1"])]

    def test_cannot_write_into_the_acts_of_others(self, operator: Connection, connection: Connection) -> None:
        with connection.transaction():
            connection.execute("select tidemill.cancel_jobs('{1}')")
        operator.execute(
            "insert into tidemill._operator_requests (verb, ids, act)"
            " select 'cancel_jobs', '{2}', id from tidemill.acts where what = 'cancel_jobs'"
        )
        owner = connection.execute("select current_user").fetchone()
        assert owner is not None
        assert self.who(connection) == [
            (owner[0], "cancel_jobs", ["1"]),
            (named(operator), "cancel_jobs", ["2"]),
        ]

    def test_gains_nothing_by_its_search_path(self, operator: Connection, connection: Connection) -> None:
        """All it defines runs as itself: no function of Tidemill looks there with other rights."""
        name = named(operator)
        operator.execute(
            f"create table {name}.ran (who name);"
            f"create function {name}.spy() returns void language plpgsql as"
            f" $$ begin insert into {name}.ran values (current_user); end $$;"
            f"create function {name}.equal(text, text) returns boolean language plpgsql as"
            f" $$ begin perform {name}.spy(); return true; end $$;"
            f"create operator {name}.= (function = {name}.equal, leftarg = text, rightarg = text);"
            f"create function {name}.now() returns timestamptz language plpgsql as"
            f" $$ begin perform {name}.spy(); return clock_timestamp(); end $$;"
            f"create function {name}.unnest(anyarray) returns setof bigint language plpgsql as"
            f" $$ begin perform {name}.spy(); end $$;"
            f"create type {name}.word as (letters text);"
            f"create function {name}.letters({name}.word) returns text language plpgsql as"
            f" $$ begin perform {name}.spy(); return ($1).letters; end $$;"
            f"create cast ({name}.word as text) with function {name}.letters as implicit;"
            f"create view {name}.acts as select * from tidemill.acts;"
            f"grant usage on schema {name} to public; grant insert on {name}.ran to public;"
            f"create temp table _pauses (kind text); create temp table jobs (id bigint);"
            f"set search_path = {name}, pg_temp, pg_catalog".encode()
        )
        casts = f"select tidemill.pause('task', row('t')::{name}.word::text, row('why')::{name}.word)"
        for statement in [*OPERATES, *READS, casts, "table acts"]:
            operator.execute(statement.encode())
        ran = operator.execute(f"select who from {name}.ran".encode()).fetchall()
        assert set(ran) == {(name,)}
        # Through a function with its own rights it is itself, too.
        operator.execute(
            f"create function {name}.cancel() returns void language plpgsql security definer as"
            f" $$ begin perform tidemill.cancel_jobs('{{2}}'); end $$;"
            f"grant execute on function {name}.cancel to public".encode()
        )
        connection.execute(f"select {name}.cancel()".encode())
        assert self.who(connection)[-1][:2] == (name, "cancel_jobs")

    def test_is_itself_in_the_session_of_a_superuser(
        self, operator: Connection, connection: Connection, superuser: Connection
    ) -> None:
        """An index expression of its table runs there."""
        lay_trap(operator, "perform tidemill.cancel_jobs('{3}')")
        spring(operator, superuser)
        assert self.who(connection)[-1][:2] == (named(operator), "cancel_jobs")

    def test_cannot_take_or_run_actions_of_others(self, operator: Connection, connection: Connection) -> None:
        connection.execute("grant select on tidemill.actions to public")
        for statement in (
            "select tidemill.set_action_owner(3, current_user::regrole)",
            "select tidemill.alter_action(3, next_start => now())",
            "call tidemill.run_action(3)",
            "select tidemill.delete_action(3)",
        ):
            with refused("42501", "permission denied for"):
                operator.execute(statement.encode())

    def test_may_ask_for_nothing_else(self, operator: Connection) -> None:
        with refused("22023", "there is no act grant_role"):
            operator.execute("insert into tidemill._operator_requests (verb) values ('grant_role')")


class TestAProducer:
    def test_reads_nothing_by_what_it_adds(self, new_role: NewRole, connection: Connection) -> None:
        connection.execute("select tidemill.add_job('t', '[\"secret\"]', job_key => 'k')")
        producer = new_role(False)
        give(connection, "producer", producer)
        added = producer.execute("select tidemill.add_job('t', '[1]', job_key => 'k')").fetchall()
        assert "secret" not in str(added)
        for statement in (*READS, *OPERATES, "select tidemill.alter_action(3)", "table tidemill._jobs"):
            with refused("42501", "permission denied"):
                producer.execute(statement.encode())


class TestAWorker:
    @pytest.fixture
    def worker(self, new_role: NewRole, connection: Connection) -> Connection:
        made = new_role(False)
        give(connection, "worker", made)
        return made

    @pytest.mark.parametrize("lane", ["lease", "express"])
    async def test_runs_jobs_and_no_actions(
        self,
        worker: Connection,
        connection: Connection,
        database: str,
        lane: Any,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        caplog.set_level("INFO", "tidemill")
        connection.execute("select tidemill.add_action(task => 't', schedule_interval => '1 hour')")
        ran: list[Any] = []
        async with App(make_conninfo(database, user=named(worker))) as app:

            @app.task
            async def t(payload: Any, job: Any) -> None:
                ran.append(payload)
                if payload == "fails":
                    raise ValueError
                if payload == "adds":
                    await job.add_job("t", "added")

            app.task("hourly", every="1h")(lambda: None)
            for payload in ("queued", "adds", "fails"):
                await app.add_job(
                    "t", payload, queue_name="q" if payload == "queued" else None, max_attempts=1
                )
            await run_all(app, lane=lane)
            assert sorted(ran) == ["added", "adds", "fails", "queued"]
            # It finds that nothing is due, and would not be let otherwise.
            await app.run_until_empty()
            connection.execute("update tidemill._installed set hash = 'another'")
            with pytest.raises(MissingRightsError, match="--no-migrate"):
                await app.run_until_empty()
            migrate(database)
            with pytest.raises(MissingRightsError, match="A crontab cannot be run here"):
                await run_all(app, crontab="* * * * * t")
        assert "it runs jobs, and no actions" in caplog.text
        assert "schedules in the code of hourly are left to a worker" in caplog.text
        assert connection.execute("select name from tidemill.actions where id >= 1000").fetchall() == [
            (None,)
        ]
        assert connection.execute("select state from tidemill.jobs").fetchall() == [("failed",)]

    def test_keeps_what_a_lost_worker_has_shown(self, worker: Connection, connection: Connection) -> None:
        connection.execute("select tidemill._declare_keeps('{t}', '{2}', '{true}')")
        connection.execute("select tidemill.add_job('t')")
        connection.execute(
            "update tidemill._jobs set attempts = 1, locked_by = 'gone', claim_token = 7,"
            " locked_at = now() - interval '1 hour'"
        )
        connection.execute(
            "insert into tidemill._progress"
            " select id, claim_token, 0.5, 'half way', now() from tidemill._jobs"
        )
        worker.execute("select tidemill._sweep_leases()")
        kept = connection.execute(
            "select outcome, error_type, progress, progress_message from tidemill.job_history"
        )
        assert kept.fetchall() == [("retried", "WorkerLost", 0.5, "half way")]

    def test_cannot_make_its_way_to_the_owner(self, worker: Connection, connection: Connection) -> None:
        owner = connection.execute("select current_user").fetchone()
        assert owner is not None
        for statement in (
            f"set role {owner[0]}",
            "create trigger t before insert on tidemill._jobs for each row"
            " execute function suppress_redundant_updates_trigger()",
            "create rule r as on insert to tidemill._jobs do nothing",
            "alter table tidemill._jobs owner to current_user",
            "create or replace function tidemill._bounded_error(message text) returns text"
            " language sql as 'select 1'",
            "truncate tidemill._jobs",
            "insert into tidemill._tasks (identifier) values ('x')",
            "update tidemill._tasks set paused_at = null",
        ):
            with refused("42501"):
                worker.execute(statement.encode())
