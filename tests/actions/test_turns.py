"""Owners take turns, and no action that is always due holds up the others."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tests.actions.clock import Clock
from tests.actions.support import HOUR, MINUTE, NOON, SECOND, add_action, history, make_note, outcomes
from tests.support.running import eventually, running
from tests.support.servers import Server
from tidemill import App

LONG_DUE = NOON - HOUR


@pytest.fixture
def other_owner(server: Server, connection: psycopg.Connection) -> Iterator[str]:
    """A role that the worker may become."""
    with server.role() as name, server.superuser() as superuser:
        superuser.execute(f"grant {name} to {connection.info.user}".encode())
        yield name


def give(connection: psycopg.Connection, action: int, owner: str) -> int:
    connection.execute("update tidemill._actions set owner = %s::regrole where id = %s", [owner, action])
    return action


def started(connection: psycopg.Connection, runs: list[int]) -> list[int]:
    """The actions of runs."""
    return [
        action
        for (action,) in connection.execute(
            "select r.action_id from unnest(%s::bigint[]) with ordinality u (id, place)"
            " join tidemill._action_runs r using (id) order by place",
            [runs],
        )
    ]


@pytest.mark.parametrize("kind", ["proc", "task"])
def test_one_owners_many_leave_room_for_another_owners_few(
    connection: psycopg.Connection, clock: Clock, other_owner: str, kind: str
) -> None:
    many = [add_action(connection, **{kind: "note"}, initial_start=LONG_DUE) for _ in range(9)]
    few = [
        give(connection, add_action(connection, **{kind: "note"}, initial_start=NOON), other_owner)
        for _ in range(2)
    ]
    at = NOON + MINUTE
    if kind == "task":
        assert clock.enqueue(at, most=6) == 6
    else:
        assert len(clock.start(at, slots=6)) == 6
    served = [action for action in (*many, *few) if history(connection, action)]
    assert served == [*many[:4], *few]


def test_owners_take_turns_where_there_is_one_slot(
    connection: psycopg.Connection, clock: Clock, other_owner: str
) -> None:
    # Always due: its slots reach back for years.
    always = [
        add_action(
            connection, proc="note", initial_start=LONG_DUE, schedule_interval=SECOND, missed="backfill"
        )
        for _ in range(3)
    ]
    often = give(
        connection,
        add_action(connection, proc="note", initial_start=NOON, schedule_interval=SECOND),
        other_owner,
    )
    seen: list[int] = []
    for n in range(6):
        at = NOON + MINUTE + 2 * n * SECOND
        [run_id] = clock.start(at, slots=1)
        clock.finish(run_id, "success", at + SECOND / 2)
        seen += started(connection, [run_id])
    assert seen == [always[0], often, always[1], often, always[2], often]


def test_within_an_owner_the_longest_due_comes_first(connection: psycopg.Connection, clock: Clock) -> None:
    late, early = (add_action(connection, proc="note", initial_start=at) for at in (NOON, LONG_DUE))
    assert started(connection, clock.start(NOON + SECOND, slots=1)) == [early]
    assert started(connection, clock.start(NOON + SECOND, slots=1)) == [late]


def test_a_locked_one_gives_its_turn_to_the_next(
    connection: psycopg.Connection, clock: Clock, database: str
) -> None:
    actions = [add_action(connection, task="t", initial_start=NOON) for _ in range(3)]
    with psycopg.connect(database) as holder:
        holder.execute("select from tidemill._action_states where action_id = %s for update", [actions[0]])
        assert clock.enqueue(NOON + SECOND, most=1) == 1
        assert [outcomes(connection, action) for action in actions] == [[], ["success"], []]


async def test_task_actions_that_are_always_due_hold_up_no_routine(
    app: App, connection: psycopg.Connection
) -> None:
    make_note(connection)
    connection.execute(
        "select tidemill.add_action(task => 'tick', schedule_interval => '1 second', missed => 'backfill',"
        " initial_start => '2020-01-01') from generate_series(1, 300)"
    )
    async with running(app):
        action = add_action(connection, proc="note")
        await eventually(lambda: outcomes(connection, action) == ["success"], "the routine to run")
