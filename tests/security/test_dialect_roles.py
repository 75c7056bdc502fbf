"""Roles of grant_role use the names of other systems as far as they may use ours."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.resources import files

import psycopg
import pytest

from tests.actions.definitions import refused
from tests.security.decoys import caught, lay_decoys
from tests.security.test_roles import Connection, NewRole, allowed, give, named
from tests.support.dialects import lay_timescaledb
from tests.support.servers import Server
from tidemill.database.migrate import drop_dialect, migrate

pytestmark = pytest.mark.versions(18, 16)

SPEC = "array[row('t', '[1]', null, null, null, null, null, null)::graphile_worker.job_spec]"
ADDS = [
    "select graphile_worker.add_job('t', '{\"secret\": 1}', queue_name := 'q')",
    f"select graphile_worker.add_jobs({SPEC})",
]
OPERATES = [
    "select graphile_worker.remove_job('k')",
    "select graphile_worker.complete_jobs('{1}')",
    "select graphile_worker.permanently_fail_jobs('{1}')",
    "select graphile_worker.reschedule_jobs('{1}', priority := 3)",
    "select graphile_worker.force_unlock_workers('{x}')",
]
READS = [
    "table graphile_worker.jobs",
    "table graphile_worker._private_jobs",
    "table graphile_worker._private_job_queues",
    "table graphile_worker._private_tasks",
    "table graphile_worker._private_known_crontabs",
]
EVERYTHING = [*ADDS, *OPERATES, *READS]
MAY = {
    "reader": READS,
    "producer": ADDS,
    "operator": [*OPERATES, *READS],
    "worker": [*ADDS, *READS],
    "actions": [],
}


def may(connection: Connection) -> list[str]:
    return [each for each in EVERYTHING if allowed(connection, each)]


@pytest.fixture
def jobs(connection: Connection) -> None:
    connection.execute("select tidemill.add_job('t', '[]', 'q', job_key => 'k', flags => '{quiet}')")


@pytest.mark.usefixtures("jobs")
@pytest.mark.parametrize("role", MAY)
def test_each_may_do_its_own(new_role: NewRole, connection: Connection, role: str) -> None:
    someone = new_role(False)
    assert may(someone) == []
    give(connection, role, someone)
    assert may(someone) == MAY[role]
    connection.execute("select tidemill.revoke_role(%s, %s::regrole)", [role, named(someone)])
    assert may(someone) == []
    # Nothing of it is for everybody who may look into the schema.
    connection.execute("grant usage on schema graphile_worker, tidemill to public")
    assert may(someone) == []


@pytest.mark.usefixtures("jobs")
def test_what_another_role_gives_stays(new_role: NewRole, connection: Connection) -> None:
    someone = new_role(False)
    for role in ("producer", "operator"):
        give(connection, role, someone)
    connection.execute("select tidemill.revoke_role('producer', %s::regrole)", [named(someone)])
    assert may(someone) == MAY["operator"]


def anew(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("update tidemill._installed set hash = 'another'")
    migrate(database)


def changed(database: str) -> None:
    """Where a wrapper cannot be replaced, all are dropped and made again."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            "drop view graphile_worker.jobs; create view graphile_worker.jobs as select 1 as one"
        )
    anew(database)


def later(database: str) -> None:
    drop_dialect(database, "graphile_worker")
    assert migrate(database, dialects=["graphile_worker"]).dialects_laid == ["graphile_worker"]


@pytest.mark.usefixtures("jobs")
@pytest.mark.parametrize("lay", [anew, changed, later], ids=["anew", "changed", "later"])
def test_they_outlast_wrappers_that_are_laid_anew(
    new_role: NewRole, connection: Connection, database: str, lay: Callable[[str], None]
) -> None:
    web, operator = new_role(False), new_role(False)
    give(connection, "producer", web)
    give(connection, "operator", operator)
    lay(database)
    assert [may(web), may(operator)] == [MAY["producer"], MAY["operator"]]


def test_roles_that_are_given_while_another_system_has_the_names(
    new_role: NewRole, connection: Connection, database: str
) -> None:
    """What is theirs is not touched."""
    drop_dialect(database, "graphile_worker")
    connection.execute(
        "create schema graphile_worker; create table graphile_worker.theirs (id integer);"
        "create function graphile_worker.add_job(text) returns text language sql as 'select $1';"
        "revoke all on function graphile_worker.add_job from public"
    )
    web = new_role(False)
    give(connection, "producer", web)
    give(connection, "reader", web)
    for statement in ("select graphile_worker.add_job('x')", "table graphile_worker.theirs"):
        with refused("42501", "permission denied for schema graphile_worker"):
            web.execute(statement.encode())
    connection.execute("drop schema graphile_worker cascade")
    migrate(database, dialects=["graphile_worker"])
    assert may(web) == [*ADDS, *READS]


def test_a_producer_reads_nothing_and_leaves_its_objects_outside(
    new_role: NewRole, connection: Connection
) -> None:
    connection.execute("select tidemill.add_job('t', '[\"secret\"]', job_key => 'k', flags => '{quiet}')")
    web = new_role(False)
    give(connection, "producer", web)
    lay_decoys(web, named(web))
    web.execute(f"set search_path = {named(web)}, pg_temp, pg_catalog".encode())
    web.execute("create temp table _jobs (id bigint); create temp table _queues (id bigint)")
    added = web.execute("select * from graphile_worker.add_job('t', '[1]', job_key => 'k')").fetchall()
    assert "secret" not in str(added)
    assert "quiet" not in str(added)
    for statement in ADDS:
        web.execute(statement.encode())
    assert caught(web, named(web)) is None
    for statement in ("select graphile_worker._row(null)", "select graphile_worker._flags_object('{a}')"):
        with refused("42501", "permission denied for function"):
            web.execute(statement.encode())


@pytest.mark.usefixtures("jobs")
def test_what_an_operator_does_is_its_own_act(new_role: NewRole, connection: Connection) -> None:
    operator = new_role(False)
    give(connection, "operator", operator)
    row = operator.execute(
        "select id, job_queue_id is not null, task_id is not null, priority, flags"
        " from graphile_worker.reschedule_jobs('{1}', priority := 3)"
    ).fetchone()
    assert row == (1, True, True, 3, {"quiet": True})
    assert connection.execute(
        "select who, what from tidemill.acts where what <> 'grant_role'"
    ).fetchall() == [(named(operator), "reschedule_jobs")]


HIDDEN = "alter default privileges revoke execute on routines from public"


@pytest.mark.parametrize("defaults", ["select", HIDDEN], ids=["open", "closed"])
def test_actions_under_the_names_of_timescaledb(
    server: Server, new_role: NewRole, connection: Connection, database: str, defaults: str
) -> None:
    connection.execute(defaults.encode())
    early, late = new_role(True), new_role(False)
    lay_timescaledb(server, database)
    give(connection, "actions", late)
    for someone in (early, late):
        name = named(someone)
        [(job,)] = someone.execute(
            f"select public.add_job('{name}.work', '1 hour', '{{}}')".encode()
        ).fetchall()
        someone.execute("select public.alter_job(%s, scheduled => false)", [job])
        someone.execute("call public.run_job(%s)", [job])
        for view in ("jobs", "job_stats", "job_history", "job_errors"):
            found = someone.execute(
                f"select count(*) from timescaledb_information.{view} where job_id = {job}".encode()
            ).fetchone()
            assert found == (0 if view == "job_errors" else 1,)
        someone.execute("select public.delete_job(%s)", [job])
    connection.execute("select tidemill.revoke_role('actions', %s::regrole)", [named(late)])
    with refused("42501", "permission denied for"):
        late.execute("select public.delete_job(1)")


@pytest.mark.parametrize("defaults", ["select", HIDDEN], ids=["open", "closed"])
def test_hypertables_under_the_names_of_timescaledb(
    server: Server,
    new_role: NewRole,
    connection: Connection,
    superuser: Connection,
    database: str,
    defaults: str,
) -> None:
    connection.execute(defaults.encode())
    early, late = new_role(True), new_role(True)
    connection.execute("select tidemill.grant_hypertables(%s::regrole)", [named(early)])
    lay_timescaledb(server, database)
    connection.execute("select tidemill.grant_hypertables(%s::regrole)", [named(late)])
    for someone in (early, late):
        name = named(someone)
        superuser.execute(f"create schema {name}_chunks authorization {name}".encode())
        superuser.execute(f"create schema {name}_rows authorization {name}".encode())
        someone.execute(f"create table {name}.m (at timestamptz primary key, n integer)".encode())
        someone.execute(f"select public.create_hypertable('{name}.m', public.by_range('at'))".encode())
        someone.execute(f"select tidemill.enable_compression('{name}.m')".encode())
        someone.execute(f"insert into {name}.m values (now(), 1)".encode())
        for call in (
            f"select public.compress_chunk(c) from public.show_chunks('{name}.m') c",
            f"select public.decompress_chunk(c) from public.show_chunks('{name}.m') c",
            f"select public.add_retention_policy('{name}.m', interval '1 month')",
            f"select public.remove_retention_policy('{name}.m')",
            f"select public.hypertable_size('{name}.m')",
            f"select public.time_bucket('1 day', at), public.last(n, at) from {name}.m group by 1",
            f"select public.drop_chunks('{name}.m', older_than => interval '1 month')",
        ):
            someone.execute(call.encode())


def test_no_wrapper_calls_what_is_not_granted(connection: Connection) -> None:
    """It would fail for an ordinary role alone, and so be overlooked."""
    text = files("tidemill").joinpath("sql", "dialects", "timescaledb.sql").read_text("utf-8")
    called = set(re.findall(r"(?:select|call|from|:=) tidemill\.(\w+)\(", text))
    [(granted,)] = connection.execute(
        "select tidemill._functions_for_hypertables() || tidemill._functions_for_actions()"
        " || array(select p.proname from pg_proc p, aclexplode(p.proacl) g"
        "   where p.pronamespace = 'tidemill'::regnamespace and g.grantee = 0)"
    ).fetchall()
    assert len(called) > 20
    assert called - set(granted) == set()
