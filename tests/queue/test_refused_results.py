"""A result that the database cannot hold: its job ends without it, and no other one loses anything."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import msgspec
import psycopg
import pytest

from tests.support.hand_worker import HandWorker
from tidemill.errors import ResultError
from tidemill.queue.claimed import Record
from tidemill.queue.record import encoded_result
from tidemill.queue.settle import Settlements
from tidemill.queue.settlement import Settlement
from tidemill.tasks import Task

WORKER = "by hand"
DAY = 1
DEEP = "[" * 30_000 + "]" * 30_000


def done(
    connection: psycopg.Connection, results: Mapping[int, str | None], told: Mapping[int, str] | None = None
) -> Settlements:
    """Ends as many jobs as are claimed in one call; `results` and `told` say by id how some differ."""
    connection.execute("select tidemill.add_job('t') from generate_series(1, 40)")
    connection.execute("select tidemill._open_history(%s::smallint)", [DAY])
    tokens = HandWorker.register(connection, ["t"], worker_id=WORKER).claim()
    words = told or {}
    settlements = [
        Settlement(
            "done",
            number,
            token,
            "t",
            record=Record(
                DAY,
                False,
                0.1,
                time.perf_counter(),
                results.get(number, f"{number}"),
                (0.5, words[number]) if number in words else None,
            ),
        )
        for number, token in tokens.items()
    ]
    return Settlements.write(connection, WORKER, settlements, [])


def kept(connection: psycopg.Connection) -> dict[int, tuple[Any, str | None]]:
    rows = connection.execute("select id, result, progress_message from tidemill.job_history").fetchall()
    return {row[0]: row[1:] for row in rows}


def test_each_bad_one_alone_loses_its_result(
    connection: psycopg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    bad = {3: DEEP, 4: "{bad", 17: "", 40: '"\0"'}
    result = done(connection, bad, {17: "so far", 18: "good"})
    assert result.lost == result.busy == []
    rows = kept(connection)
    assert len(rows) == 40
    assert {number for number, (value, _) in rows.items() if value is None} == set(bad)
    assert all(value == number for number, (value, _) in rows.items() if number not in bad)
    assert rows[18][1] == "good"
    assert connection.execute("select count(*) from tidemill._jobs").fetchone() == (0,)
    said = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert len(said) == 4
    assert said[0].startswith("job 3 (t) is done, but its result cannot be stored: stack depth limit")


@pytest.mark.versions(18)
def test_characters_that_the_database_lacks(narrow: psycopg.Connection) -> None:
    done(narrow, {2: '{"\N{BALLOON}": "\\n\N{BALLOON}"}'}, {5: "\N{BALLOON}"})
    assert len(rows := kept(narrow)) == 40
    assert rows[2][0] == {"\N{BALLOON}": "\n\N{BALLOON}"}
    assert rows[5] == (5, r"\U0001f388")


def test_a_partition_without_room_costs_the_others_nothing(connection: psycopg.Connection) -> None:
    connection.execute("select tidemill.add_job('t') from generate_series(1, 4)")
    for keep in (1, 2):
        connection.execute("select tidemill._open_history(%s::smallint)", [keep])
    connection.execute("alter table tidemill._done_jobs_day add check (id < 0)")
    tokens = HandWorker.register(connection, ["t"], worker_id=WORKER).claim()
    settlements = [
        Settlement(
            "done", number, token, "t", record=Record(1 + number % 2, False, 0.1, 0.0, str(number), None)
        )
        for number, token in tokens.items()
    ]
    Settlements.write(connection, WORKER, settlements, [])
    assert sorted(kept(connection)) == [1, 3]
    assert connection.execute("select count(*) from tidemill._jobs").fetchone() == (0,)


def nested(depth: int) -> Any:
    value: Any = None
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (msgspec.Raw(b"{bad"), r"cannot be kept as JSON \(JSON is malformed"),
        ([1, msgspec.Raw(b'"\0"')], r"cannot be kept as JSON \(JSON is malformed"),
        (msgspec.Raw(b'"\xff"'), r"cannot be kept as JSON \('utf-8' codec"),
        (msgspec.Raw(b""), r"cannot be kept as JSON"),
        (float("nan"), r"cannot be kept as JSON \(result is NaN, and JSON has no such number"),
        ({"a": [None, float("-inf")]}, r"\(result\.a\[1\] is -infinity, and JSON has no such number"),
        (nested(501), r"nested 501 deep as JSON, and 500 are the most"),
        (msgspec.Raw(DEEP.encode()), r"nested 30,000 deep"),
        ([*"[[", nested(600)], r"nested 601 deep"),
    ],
)
def test_the_worker_refuses_what_cannot_be_kept(result: Any, words: str) -> None:
    with pytest.raises(ResultError, match=words):
        encoded_result(task(), result)


@pytest.mark.parametrize(
    "result", [nested(500), ["[" * 2000, '\\"{'] * 3, [[]] * 2000, {"a": [{}] * 1000}, msgspec.Raw(b" [1 ] ")]
)
def test_the_worker_keeps_what_is_flat_enough(result: Any) -> None:
    text = encoded_result(task(), result)
    assert text is not None
    assert msgspec.json.decode(text) == msgspec.json.decode(msgspec.json.encode(result))


def task() -> Task[Any]:
    async def t(payload: Any) -> None: ...

    return Task(t, "t")
