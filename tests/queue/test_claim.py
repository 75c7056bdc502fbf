"""Who comes first among named queues and other jobs, claim after claim."""

from __future__ import annotations

from typing import LiteralString

import psycopg
import pytest

from tests.support.hand_worker import HandWorker
from tidemill.queue import claim, marks
from tidemill.queue.claim import Look
from tidemill.queue.claimed import ClaimedJob
from tidemill.queue.durations import Durations
from tidemill.queue.lease import LeaseLane
from tidemill.queue.settlement import FreedQueue, Settlement

WORKER = "by hand"
EVERYWHERE = Look(quick=[], forbidden_flags=[], thorough=True, told=False)
TOLD = Look(quick=[], forbidden_flags=[], thorough=False, told=True)


class Bench:
    """A lane with two slots."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self.connection = connection
        self.lane = LeaseLane(WORKER, ["t"], concurrency=2, durations=Durations(), wake=lambda: None)

    def add(self, *queues: str | None) -> None:
        for queue in queues:
            self.connection.execute("select tidemill.add_job('t', queue_name => %s)", [queue])

    def run(self, look: Look = EVERYWHERE) -> list[str | None]:
        """Claims jobs and ends them; returns their queues."""
        heads, more = self.lane.claim(self.connection, look)
        self.more = more
        for head in heads:
            self.end(head)
        self.lane.settle_due(self.connection)
        return [head.queue_name for head in heads]

    def end(self, job: ClaimedJob) -> None:
        self.lane.settle(Settlement.of(job, "done"))
        if job.queue_id is not None:
            self.lane.settle(FreedQueue(job.queue_id, job.token))


@pytest.fixture
def bench(connection: psycopg.Connection) -> Bench:
    HandWorker.register(connection, ["t"], worker_id=WORKER)
    return Bench(connection)


def test_queues_and_other_jobs_take_turns(bench: Bench) -> None:
    bench.add(*"abcd", *[None] * 4)
    assert bench.run() == ["a", "b"]
    # Of what was not even looked for there may be more.
    assert bench.more
    assert bench.run() == [None, None]
    assert bench.run() == ["c", "d"]
    assert bench.run() == [None, None]
    assert bench.run() == []
    assert not bench.more


def test_no_queue_comes_twice_before_the_others(bench: Bench) -> None:
    bench.add(*"abcde" * 2)
    assert [bench.run() for _ in range(3)] == [["a", "b"], ["c", "d"], ["e"]]
    # Behind the last one the rotation begins anew.
    assert [bench.run() for _ in range(3)] == [["a", "b"], ["c", "d"], ["e"]]


def test_both_kinds_share_a_claim(bench: Bench) -> None:
    bench.add("a", None)
    assert bench.run() == ["a", None]


# Searches in parts


LOOK = Look(quick=[], forbidden_flags=[], thorough=False, told=False)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch, bench: Bench) -> Bench:
    """A lane whose searches look at two queues in vain, or two jobs, or two priorities."""
    monkeypatch.setattr(claim, "_MOST_LOOKS", 2)
    monkeypatch.setattr(marks, "_RATION", 0)
    return bench


def add_foreign(bench: Bench, count: int, more: LiteralString = "") -> None:
    bench.connection.execute(
        "select tidemill.add_job('foreign', queue_name => 'f' || n"
        + more
        + ") from generate_series(1, %s) n",
        [count],
    )


def looks_until_found(bench: Bench) -> list[list[str | None]]:
    """Looks that are asked for, until none is; returns what they found."""
    found = []
    while bench.lane.finder.next_search is not None:
        found.append(bench.run(LOOK))
        assert len(found) < 100
    return found


def test_a_search_among_many_queues_goes_on_until_all_were_looked_at(short: Bench) -> None:
    add_foreign(short, 9)
    short.add("mine")
    found = looks_until_found(short)
    assert [one for one in found if one] == [["mine"]]
    assert len(found) > 5
    # Then there is nothing to ask for, until something happens.
    assert short.lane.finder.next_search is None
    short.lane.finder.ask_queues()
    assert [one for one in looks_until_found(short) if one] == []


def test_a_search_among_many_jobs_for_later_goes_on_until_all_were_looked_at(short: Bench) -> None:
    add_foreign(short, 9, ", run_at => '2020-01-01'")
    short.add("mine")
    short.connection.execute("update tidemill._jobs set created_at = run_at - interval '1 hour'")
    found = looks_until_found(short)
    assert [one for one in found if one] == [["mine"]]
    assert len(found) > 5


def test_a_search_among_many_priorities_goes_on_until_all_were_looked_at(short: Bench) -> None:
    short.connection.execute(
        "select tidemill.add_job('t', priority => n, run_at => '2099-01-01') from generate_series(1, 9) n"
    )
    short.connection.execute("select tidemill.add_job('t', priority => 8)")
    found = looks_until_found(short)
    assert [one for one in found if one] == [[None]]
    assert len(found) > 4


@pytest.mark.parametrize("look", [LOOK, EVERYWHERE], ids=["in parts", "thorough"])
def test_queues_whose_jobs_are_locked_hold_up_no_others(short: Bench, database: str, look: Look) -> None:
    """A producer that replaces jobs has them locked; the queues are free."""
    short.add(*"abcdefgh")
    with psycopg.connect(database) as producer:
        producer.execute("select from tidemill._jobs for update")
        short.add("mine")
        found = [short.run(look) for _ in range(8)]
    assert [one for one in found if one] == [["mine"]]


def test_a_thorough_search_is_made_at_once(short: Bench) -> None:
    add_foreign(short, 9)
    short.add("mine")
    assert short.run() == ["mine"]
    assert short.run() == []
    short.connection.execute(
        "select tidemill.add_job('t', priority => n, run_at => '2099-01-01') from generate_series(1, 9) n"
    )
    short.connection.execute("select tidemill.add_job('t', priority => 8)")
    assert short.run() == [None]


def test_both_walks_take_turns(short: Bench) -> None:
    """Of queues whose jobs were due when they were added, and of others."""
    short.add(*"abcd")
    short.connection.execute("update tidemill._jobs set run_at = run_at - interval '1 hour'")
    short.add(*"efgh")
    short.connection.execute(
        "update tidemill._jobs set created_at = run_at - interval '1 hour'"
        " where queue_id in (select id from tidemill._queues where queue_name < 'e')"
    )
    assert [short.run() for _ in range(4)] == [["a", "b"], ["e", "f"], ["c", "d"], ["g", "h"]]


def test_large_payloads_end_a_claim_and_the_next_one_follows(bench: Bench) -> None:
    bench.connection.execute(
        "select tidemill.add_job('t', to_json(x)) from generate_series(1, 2),"
        " (select string_agg(md5(n::text), '') from generate_series(1, 300000) n) as large(x)"
    )
    assert bench.run() == [None]
    assert bench.more
    assert bench.run() == [None]
    assert bench.run() == []
    assert not bench.more
