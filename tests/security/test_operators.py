"""Operators act on many jobs, clean up and set limits: as themselves, and with nobody else's rights."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest

from tests.actions.definitions import refused
from tests.security.decoys import caught, lay_decoys
from tests.security.test_identity import lay_trap, spring
from tests.security.test_roles import Connection, NewRole, give, named
from tests.support.running import eventually, running
from tidemill import App

pytestmark = pytest.mark.versions(18, 16)

FLOW = [
    'select tidemill.begin_bulk_act(\'retry\', \'{"state": "failed", "error": "smtp"}\')',
    'select tidemill.begin_bulk_act(\'cancel\', \'{"task": "t", "until": "now"}\', \'{"reason": "why"}\')',
    "select tidemill.begin_bulk_act('remove', '{\"task\": \"t\"}')",
    'select tidemill.begin_bulk_act(\'reschedule\', \'{"task": "t", "since": "1 d"}\', \'{"priority": 1}\')',
    "select tidemill.step_bulk_act(1, 2)",
    "select tidemill.step_bulk_act(2, 1)",
    "call tidemill.run_bulk_act(1)",
    "call tidemill.run_bulk_act(2)",
    "call tidemill.run_bulk_act(4)",
    "call tidemill.run_bulk_act(3)",
    "select tidemill.abort_bulk_act(4)",
    'call tidemill.cleanup(config => \'{"failed_after": "0 s"}\')',
    "select tidemill.set_limit('mailer', 5, 10, '1 minute', 3, 'customer.id')",
    "select tidemill.remove_limit('mailer')",
]


def acts(connection: Connection) -> list[tuple[Any, ...]]:
    return connection.execute(
        "select who, what, subjects from tidemill.acts where what <> 'grant_role' order by id"
    ).fetchall()


@pytest.fixture
def operator(new_role: NewRole, connection: Connection) -> Connection:
    connection.execute(
        "select tidemill.add_job('t', json_build_object('n', n), queue_name => 'q' || n)"
        " from generate_series(1, 4) n"
    )
    made = new_role(False)
    give(connection, "operator", made)
    return made


def test_a_bulk_act_is_of_whoever_plans_it_and_each_batch_of_whoever_carries_it_out(
    operator: Connection, new_role: NewRole, connection: Connection
) -> None:
    other = new_role(False)
    give(connection, "operator", other)
    operator.execute('select tidemill.begin_bulk_act(\'cancel\', \'{"task": "t"}\', \'{"reason": "why"}\')')
    operator.execute("select tidemill.step_bulk_act(1, 2)")
    other.execute("call tidemill.run_bulk_act(1)")
    operator.execute("select tidemill.begin_bulk_act('remove', '{\"state\": \"cancelled\"}')")
    other.execute("select tidemill.abort_bulk_act(2)")
    # It had ended.
    other.execute("select tidemill.abort_bulk_act(2)")
    one, two = named(operator), named(other)
    assert acts(connection) == [
        (one, "begin_bulk_act", ["1"]),
        (one, "cancel_jobs", ["1", "2"]),
        (two, "cancel_jobs", ["3", "4"]),
        (one, "begin_bulk_act", ["2"]),
        (two, "abort_bulk_act", ["2"]),
    ]
    begun = connection.execute(
        "select before, after, reason from tidemill.acts where what = 'begin_bulk_act' order by id"
    ).fetchone()
    assert begun == (
        None,
        {"act": "cancel", "filter": {"task": "t"}, "options": {"reason": "why"}},
        "why",
    )
    asked = "select asked_by, state, changed, progress from tidemill.bulk_acts order by id"
    for reads in (connection, other):
        assert reads.execute(asked).fetchall() == [(one, "done", 4, 1), (one, "aborted", 0, 0)]


@pytest.mark.parametrize(
    ("act", "what"), [("retry", "reschedule_jobs"), ("remove", "complete_jobs"), ("cancel", "cancel_jobs")]
)
def test_a_batch_of_thousands_is_one_act(
    operator: Connection, connection: Connection, act: str, what: str
) -> None:
    connection.execute("select count(tidemill.add_job('many')) from generate_series(1, 2100)")
    operator.execute('select tidemill.begin_bulk_act(%s, \'{"task": "many"}\')', [act])
    row = operator.execute("select changed from tidemill.step_bulk_act(1, 10000)").fetchone()
    assert row is not None
    assert row[0] == list(range(5, 2105))
    assert connection.execute(
        "select who, subject_count from tidemill.acts where what = %s", [what]
    ).fetchall() == [(named(operator), 2100)]


def test_who_lost_the_role_carries_no_batch_out(operator: Connection, connection: Connection) -> None:
    operator.execute("select tidemill.begin_bulk_act('remove', '{\"task\": \"t\"}')")
    operator.execute("select tidemill.step_bulk_act(1, 1)")
    connection.execute("select tidemill.revoke_role('operator', %s::regrole)", [named(operator)])
    connection.execute("grant usage on schema tidemill to public")
    connection.execute("grant execute on function tidemill.step_bulk_act, tidemill.abort_bulk_act to public")
    for statement in ("select tidemill.step_bulk_act(1, 1)", "select tidemill.abort_bulk_act(1)"):
        with refused("42501", "permission denied for view _operator_requests"):
            operator.execute(statement.encode())
    assert connection.execute("select count(*) from tidemill.jobs").fetchone() == (3,)


def test_a_cleanup_by_hand_is_an_act(operator: Connection, connection: Connection) -> None:
    operator.execute("select tidemill.cancel_jobs('{1,2}'), tidemill.complete_jobs('{3}')")
    operator.execute('call tidemill.cleanup(config => \'{"failed_after": "0 s"}\')')
    assert connection.execute("select id from tidemill.jobs").fetchall() == [(4,)]
    assert acts(connection)[-2:] == [
        (named(operator), "cleanup", ["1", "2"]),
        (named(operator), "cleanup", ["queue q1", "queue q2", "queue q3"]),
    ]
    before = connection.execute(
        "select before from tidemill.acts where 'queue q1' <> all(subjects) and what = 'cleanup'"
    )
    [(told,)] = before.fetchall()
    assert list(told) == ["failed_before"]
    # There is nothing left to do.
    operator.execute('call tidemill.cleanup(config => \'{"failed_after": "0 s"}\')')
    assert len(acts(connection)) == 4


def test_limits(operator: Connection, connection: Connection) -> None:
    operator.execute("select tidemill.set_limit('mailer', 5, 10, '1 minute', 3, 'customer.id')")
    row = connection.execute(
        "select concurrency, rate, period::text, burst, per from tidemill.limits where name = 'mailer'"
    ).fetchone()
    assert row == (5, 10, "00:01:00", 3, "customer.id")
    operator.execute("select tidemill.remove_limit('mailer')")
    me = named(operator)
    assert acts(connection) == [(me, "set_limit", ["mailer"]), (me, "remove_limit", ["mailer"])]
    with refused("22023", "is below 1"):
        operator.execute("select tidemill.set_limit('mailer', 0)")
    with refused("22023", "there is no limit"):
        operator.execute("select tidemill.remove_limit('mailer')")


def test_nobody_holds_the_others_up_for_longer(operator: Connection, connection: Connection) -> None:
    """The lock on the queues is one that holds up those who add jobs: the bounds of its time are ours."""
    connection.execute("select tidemill.complete_jobs('{1,2,3,4}')")
    connection.execute(
        "insert into tidemill._jobs (task_id, payload) select 1, json_build_array(repeat(md5(n::text), 60))"
        " from generate_series(1, 40000) n"
    )
    row = operator.execute(
        "select deleted, because from tidemill._delete_unused_queues(most_bytes => 1000000000, tries => 1000)"
    ).fetchone()
    assert row is not None
    assert row[0] == 0
    assert "the table of jobs has more than 64 MB" in row[1]


def test_no_object_of_its_own_is_called(operator: Connection, connection: Connection) -> None:
    """Of what our SQL names, it has a decoy for everything, and looks there first."""
    name = named(operator)
    lay_decoys(operator, name)
    operator.execute(f"set search_path = {name}, pg_temp, pg_catalog".encode())
    operator.execute(
        "create temp table _bulk_acts (id bigint); create temp table _jobs (id bigint);"
        "create temp table _limits (name text); create temp table bulk_acts (id bigint)"
    )
    for statement in FLOW:
        operator.execute(statement.encode())
    assert caught(operator, name) is None
    assert {who for who, _, _ in acts(connection)} == {name}
    assert connection.execute("select from tidemill.jobs").fetchall() == []


def test_casts_and_domains_run_with_its_own_rights(operator: Connection) -> None:
    name = named(operator)
    operator.execute(
        f"create table {name}.ran (who name);"
        f"create function {name}.spy(anyelement) returns boolean language plpgsql as"
        f" $$ begin insert into {name}.ran values (current_user); return true; end $$;"
        f"create domain {name}.word as text check ({name}.spy(value));"
        f"create domain {name}.number as bigint check ({name}.spy(value));"
        f"create domain {name}.object as jsonb check ({name}.spy(value));"
        f"create type {name}.pair as (letters text);"
        f"create function {name}.letters({name}.pair) returns text language plpgsql as"
        f" $$ begin perform {name}.spy(1); return ($1).letters; end $$;"
        f"create cast ({name}.pair as text) with function {name}.letters as implicit;".encode()
    )
    for statement in (
        f"select tidemill.begin_bulk_act('cancel'::{name}.word, '{{\"task\": \"t\"}}'::{name}.object)",
        f"select tidemill.step_bulk_act(1::{name}.number)",
        f"select tidemill.set_limit(row('mailer')::{name}.pair, 1, per => 'customer'::{name}.word)",
        f"insert into tidemill._operator_requests (verb, names, options, ids)"
        f" values (row('abort_bulk_act')::{name}.pair, array['x'::{name}.word], '{{}}'::{name}.object,"
        f" array[1::{name}.number])",
        f"call tidemill.cleanup(config => '{{}}'::{name}.object)",
    ):
        operator.execute(statement.encode())
    ran = operator.execute(f"select who from {name}.ran".encode()).fetchall()
    assert len(ran) > 5
    assert set(ran) == {(name,)}


def test_it_is_itself_in_the_session_of_a_superuser(
    operator: Connection, connection: Connection, superuser: Connection
) -> None:
    lay_trap(
        operator,
        "perform tidemill.set_limit('trap', 1), tidemill.begin_bulk_act('remove', '{\"task\": \"t\"}'),"
        " tidemill.step_bulk_act(1)",
    )
    spring(operator, superuser)
    assert {who for who, _, _ in acts(connection)} == {named(operator)}
    planned = connection.execute("select asked_by from tidemill.bulk_acts").fetchall()
    assert set(planned) == {(named(operator),)}


@pytest.mark.parametrize(
    "given",
    [
        {"asked_by": "postgres"},
        {"act": "x'); drop table tidemill._jobs; --"},
    ],
)
def test_what_it_asks_for_directly_is_checked_alike(
    operator: Connection, connection: Connection, given: dict[str, str]
) -> None:
    """It may insert into the view of requests, and gains nothing by that."""
    for verb, filters in (("begin_bulk_act", given), ("grant_role", {}), ("_drop_ended_jobs", {})):
        with pytest.raises(psycopg.errors.InvalidParameterValue):
            operator.execute(
                "insert into tidemill._operator_requests (verb, names, filter) values (%s, %s, %s)",
                [verb, ["cancel"], json.dumps(filters)],
            )
    with refused("42501", "permission denied for view _operator_requests"):
        operator.execute(
            "insert into tidemill._operator_requests (who, verb) values ('postgres', 'set_limit')"
        )
    assert acts(connection) == []


async def test_what_a_worker_cleans_up_for_an_action_is_in_the_history_alone(
    operator: Connection, connection: Connection, database: str
) -> None:
    operator.execute("select tidemill.cancel_jobs('{1,2}')")
    connection.execute(
        "select tidemill.add_action('tidemill.cleanup', '1 day', config => '{\"failed_after\": \"0 s\"}')"
    )
    ended = "select outcome from tidemill.action_history where action_id = 1000 and outcome is not null"
    async with App(database) as app, running(app):
        await eventually(lambda: connection.execute(ended).rowcount == 1, "the action to run")
    assert connection.execute(ended).fetchall() == [("success",)]
    assert connection.execute("select id from tidemill.jobs").fetchall() == [(3,), (4,)]
    assert [what for _, what, _ in acts(connection)] == ["cancel_jobs", "add_action"]
    # A run by hand is somebody's.
    connection.execute("select tidemill.cancel_jobs('{3}')")
    connection.execute("call tidemill.run_action(1000)")
    assert [what for _, what, _ in acts(connection)][-3:] == ["run_action", "cleanup", "cleanup"]
