"""A settlement that the database cannot hold: it is written in other words, and holds up no other one."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.support.hand_worker import HandWorker
from tidemill.queue.settle import Settlements
from tidemill.queue.settlement import Settlement

WORKER = "by hand"
CENTURY = 100 * 365.25 * 86400


def failed(connection: psycopg.Connection, tokens: dict[int, int], **bad: dict[str, Any]) -> Settlements:
    """Fails all of these jobs in one call; `bad` says by id how some differ."""
    settlements = [
        Settlement(
            "failed", number, token, "t", **{"message": "no", "delay": 60.0, **bad.get(f"job_{number}", {})}
        )
        for number, token in tokens.items()
    ]
    return Settlements.write(connection, WORKER, settlements, [])


def claimed(connection: psycopg.Connection, count: int) -> dict[int, int]:
    """Jobs that are leased, by id, with their claim tokens."""
    connection.execute("select tidemill.add_job('t', '[1,2]') from generate_series(1, %s)", [count])
    return HandWorker.register(connection, ["t"], worker_id=WORKER).claim()


def errors(connection: psycopg.Connection) -> list[str]:
    return [text for (text,) in connection.execute("select last_error from tidemill.jobs order by id")]


def test_each_bad_one_alone_is_changed(connection: psycopg.Connection) -> None:
    tokens = claimed(connection, 50)
    result = failed(
        connection,
        tokens,
        job_3={"message": "a\0b"},
        job_4={"message": "half \ud83d of a pair"},
        job_17={"delay": 1e300},
        job_18={"delay": float("nan")},
        job_30={"delay": 999_999_999 * 86400.0},
        job_31={"payload": '[2, "\ud83d"]'},
        job_49={"payload": "{not json"},
        job_50={"delay": 1e300, "payload": "[", "message": "both \0"},
    )
    assert len(result.retried) == 50
    said = errors(connection)
    assert said[2] == r"a\ufffdb"
    assert said[3] == r"half \ud83d of a pair"
    refused = "no (What followed could not be stored: "
    assert [number for number, text in enumerate(said, 1) if text.startswith(refused)] == [17, 18, 30, 31, 49]
    assert said[48].startswith(f"{refused}invalid input syntax for type json ")
    assert said[48].endswith("So the default wait applies, and all of the payload runs again.)")
    assert said[49].startswith(r"both \ufffd (What followed could not be stored: ")
    assert said.count("no") == 42
    waits = "select count(*) from tidemill.jobs where run_at > now() + interval '50 seconds'"
    assert connection.execute(waits).fetchone() == (44,)
    assert connection.execute(
        "select count(*) from tidemill.jobs where payload::text <> '[1,2]'"
    ).fetchone() == (0,)


@pytest.mark.parametrize("run_at", ["294276-12-31 23:59:59Z", "infinity", "290000-01-01Z"])
def test_a_time_that_leaves_no_room_for_a_delay(connection: psycopg.Connection, run_at: str) -> None:
    tokens = claimed(connection, 2)
    # As a keyed add may do while the job is running.
    connection.execute("update tidemill._jobs set run_at = %s where id = 1", [run_at])
    assert len(failed(connection, tokens, job_1={"delay": CENTURY}).retried) == 2
    found = connection.execute(
        "select run_at >= %s, last_error from tidemill._jobs where id = 1", [run_at]
    ).fetchone()
    assert found == (True, "no")


@pytest.mark.versions(18)
def test_characters_that_the_database_lacks(narrow: psycopg.Connection) -> None:
    tokens = claimed(narrow, 5)
    result = failed(narrow, tokens, job_2={"message": "\N{BALLOON} up"}, job_4={"payload": '["\N{BALLOON}"]'})
    assert len(result.retried) == 5
    said = errors(narrow)
    assert said[1] == r"\U0001f388 up"
    assert said[3].startswith("no (What followed could not be stored: character with byte sequence ")
    assert [said[place] for place in (0, 2, 4)] == ["no"] * 3


def test_what_is_no_data_error_is_raised(connection: psycopg.Connection) -> None:
    tokens = claimed(connection, 3)
    connection.execute("alter table tidemill._jobs rename to _elsewhere")
    with pytest.raises(psycopg.ProgrammingError):
        failed(connection, tokens)
