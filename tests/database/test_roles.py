"""Roles without a superuser among them: an ordinary owner, and a producer who may only add."""

from __future__ import annotations

from collections.abc import Iterator
from typing import LiteralString

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.support.hand_worker import HandWorker
from tests.support.servers import Server
from tidemill import App, JobSpec
from tidemill.database.migrate import migrate, uninstall


@pytest.fixture
def owner(server: Server, empty_database: str) -> Iterator[str]:
    """The conninfo of a role that may create schemas in the database, and has nothing else."""
    name = str(conninfo_to_dict(empty_database)["dbname"])
    with server.role("login nosuperuser nocreatedb nocreaterole") as role:
        with server.superuser(name) as superuser:
            superuser.execute(f'grant create, connect on database "{name}" to {role}'.encode())
            superuser.execute("revoke all on schema public from public")
        yield make_conninfo(empty_database, user=role)


def test_an_ordinary_role_owns_it_all(owner: str) -> None:
    report = migrate(owner)
    # This one puts names into the schema public.
    assert list(report.skipped) == ["timescaledb"]
    with psycopg.connect(owner, autocommit=True) as connection:
        assert connection.execute("select has_schema_privilege('public', 'usage')").fetchone() == (False,)
        worker = HandWorker.register(connection, ["greet", "line up"])
        connection.execute("select tidemill.add_job('greet', '{\"name\": \"Ann\"}', job_key => 'k')")
        connection.execute("select tidemill.add_job('line up', queue_name => 'q')")
        connection.execute(
            "select tidemill.add_jobs("
            "array[row('greet', '{}', null, null, null, null, null, null)::tidemill.job_spec])"
        )
        connection.execute("select graphile_worker.add_job('greet')")
        assert connection.execute("select count(*) from tidemill.jobs").fetchone() == (4,)
        claimed = worker.claim()
        assert len(claimed) == 4
        assert worker.complete(claimed) == {}
        assert connection.execute("select from tidemill.jobs").fetchall() == []
        connection.execute("select tidemill._sweep_leases()")
    assert not migrate(owner).changed
    uninstall(owner)


@pytest.fixture
def producer(server: Server, database: str, connection: psycopg.Connection) -> Iterator[psycopg.Connection]:
    """A connection as a role that was granted what a producer needs."""
    with server.role() as role:
        connection.execute(f"grant usage on schema tidemill to {role}".encode())
        connection.execute(
            f"grant execute on function tidemill.add_job, tidemill.add_jobs to {role}".encode()
        )
        with psycopg.connect(make_conninfo(database, user=role), autocommit=True) as opened:
            yield opened


class TestProducer:
    @pytest.mark.parametrize("mode", ["replace", "preserve_run_at", "unsafe_dedupe"])
    def test_adds(self, producer: psycopg.Connection, connection: psycopg.Connection, mode: str) -> None:
        for _ in range(2):
            row = producer.execute(
                "select identifier, state from tidemill.add_job('greet', '{}', 'line', job_key => 'k', "
                "flags => '{a}', job_key_mode => %s)",
                [mode],
            ).fetchone()
            assert row == ("greet", "ready")
        assert connection.execute("select identifier, revision from tidemill.jobs").fetchall() == [
            ("greet", 1)
        ]

    def test_adds_many(self, producer: psycopg.Connection, connection: psycopg.Connection) -> None:
        spec = "row('greet', '{}', 'line', null, null, 'k', null, null)::tidemill.job_spec"
        producer.execute(f"select tidemill.add_jobs(array[{spec}, {spec}])".encode())
        assert connection.execute("select identifier, revision from tidemill.jobs").fetchall() == [
            ("greet", 1)
        ]

    @pytest.mark.parametrize(
        "statement",
        [
            "select from tidemill.jobs",
            "select from tidemill._jobs",
            "select from tidemill._tasks",
            "delete from tidemill._jobs",
            "insert into tidemill._jobs (task_id) values (1)",
            "select tidemill.remove_job('k')",
            "select tidemill.complete_jobs(array[1])",
            "select tidemill.reschedule_jobs(array[1])",
            "select tidemill.cancel_jobs(array[1])",
            "select tidemill.force_unlock_workers(array['x'])",
            "select tidemill._job_row(null)",
            "select tidemill._sweep_leases()",
            "select nextval('tidemill._claim_tokens')",
            "select from graphile_worker.jobs",
            "create table tidemill.mine ()",
        ],
    )
    def test_may_do_nothing_else(self, producer: psycopg.Connection, statement: LiteralString) -> None:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            producer.execute(statement)

    def test_cannot_slip_objects_of_its_own_in(
        self, server: Server, producer: psycopg.Connection, database: str
    ) -> None:
        # SECURITY DEFINER functions run as the owner: they must not find what the caller made.
        name, role = conninfo_to_dict(database)["dbname"], producer.info.user
        with server.superuser(str(name)) as superuser:
            superuser.execute(f"create schema trap authorization {role}".encode())
            superuser.execute(f"grant temporary on database {name} to {role}".encode())
        for schema in ("trap", "pg_temp"):
            sprung = f"select 1/0; select null::{{}} -- {schema}"
            for head, result in (
                ("now()", "timestamptz"),
                ("coalesce_flags(text[])", "text[]"),
                ("length(text)", "integer"),
                ("cardinality(anyarray)", "integer"),
                ("pg_notify(text, text)", "void"),
            ):
                producer.execute(
                    f"create function {schema}.{head} returns {result} language sql as "
                    f"$$ {sprung.format(result)} $$".encode()
                )
        producer.execute("create temporary table _jobs (id int)")
        producer.execute("create temporary table _tasks (id int)")
        producer.execute("set search_path = trap, pg_temp, pg_catalog")
        assert producer.execute("select state from tidemill.add_job('greet', flags => '{a}')").fetchone() == (
            "ready",
        )

    def test_sees_nothing_of_what_others_added(
        self, producer: psycopg.Connection, connection: psycopg.Connection
    ) -> None:
        connection.execute(
            "select tidemill.add_job('greet', '[\"secret\"]', job_key => 'k', flags => '{quiet}')"
        )
        for statement in (
            "select payload, flags from tidemill.add_job('greet', '[]', job_key => 'k')",
            "select payload, flags from tidemill.add_job('x', job_key => 'k', "
            "job_key_mode => 'unsafe_dedupe')",
            "select payload, flags from tidemill.add_jobs("
            "array[row('greet', '[]', null, null, null, 'k', null, null)::tidemill.job_spec])",
        ):
            assert producer.execute(statement.encode()).fetchall() == [(None, None)]
        assert producer.execute("select payload from tidemill.add_job('greet', '[1]')").fetchone() == ([1],)
        # It is the same for a role that may read the jobs: the answer does not depend on who asks.
        assert connection.execute(
            "select payload from tidemill.add_job('x', job_key => 'k', job_key_mode => 'unsafe_dedupe')"
        ).fetchone() == (None,)
        assert connection.execute("select payload from tidemill.jobs where key = 'k'").fetchone() == (
            ["secret"],
        )

    def test_adds_from_python(self, producer: psycopg.Connection, database: str) -> None:
        app = App(make_conninfo(database, user=producer.info.user))
        [one, two] = app.sync.add_jobs([JobSpec("greet", {"n": 1}), JobSpec("greet", {"n": 2}, job_key="k")])
        assert (one.payload, two.key) == ({"n": 1}, "k")

    def test_a_reader_sees_states(self, producer: psycopg.Connection, connection: psycopg.Connection) -> None:
        connection.execute(f"grant select on tidemill.jobs to {producer.info.user}".encode())
        connection.execute("select tidemill.add_job('greet')")
        assert producer.execute("select identifier, state from tidemill.jobs").fetchall() == [
            ("greet", "ready")
        ]

    def test_rolls_back_with_the_caller(
        self, producer: psycopg.Connection, connection: psycopg.Connection
    ) -> None:
        with producer.transaction(force_rollback=True):
            producer.execute("select tidemill.add_job('greet')")
        assert connection.execute("select from tidemill.jobs").fetchall() == []


def test_decoys_in_the_search_path_are_not_called(server: Server, database: str) -> None:
    """Functions whose arguments fit better than the built-in ones would run with our rights."""
    name = str(conninfo_to_dict(database)["dbname"])
    decoys = {
        "exp(integer)": "double precision",
        "exp(smallint)": "double precision",
        "format(text, smallint, smallint, text, text)": "text",
        "format(text, text, text, text)": "text",
        "pg_notify(text, bigint)": "void",
        "array_position(text[], text)": "integer",
        "cardinality(text[])": "integer",
        "array_to_string(bigint[], text)": "text",
    }
    with server.superuser(name) as superuser:
        for head, result in decoys.items():
            superuser.execute(
                f"create function public.{head} returns {result} language plpgsql as "
                "$$ begin raise exception 'a decoy was called'; end $$".encode()
            )
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("select tidemill.add_job('work', flags => '{a}', job_key => 'k')")
        connection.execute("select tidemill.add_job('work', max_attempts => 1)")
        worker = HandWorker.register(connection, ["work"])
        claimed = worker.claim()
        assert len(claimed) == 2
        connection.execute(
            "select tidemill._fail_jobs(%s, %s::bigint[], %s::bigint[], array['a', 'b'], "
            "array[null, null]::interval[], array[false, false], array[null, null]::text[])",
            [worker.id, list(claimed), list(claimed.values())],
        )
        connection.execute("select tidemill.reschedule_jobs(array[1, 2], now(), attempts => 0)")
        assert len(worker.claim()) == 2
        connection.execute("select tidemill.cancel_jobs(array[1], 'stop')")
        connection.execute("update tidemill._workers set expires_at = clock_timestamp() - interval '1 s'")
        connection.execute("select tidemill._sweep_leases()")
        errors = connection.execute("select last_error from tidemill.jobs order by id").fetchall()
        assert errors[0] == ("Cancelled: stop",)
        assert "Attempt 1 of 1 did not end" in errors[1][0]
        connection.execute("select graphile_worker.add_job('work', flags => '{a}', job_key => 'k2')")
        connection.execute("select graphile_worker.remove_job('k2')")
