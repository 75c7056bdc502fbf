"""Random histories of calls, compared after each step with a model written from the documents."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime, timedelta

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from tests.sql.calls import Queue, Row, ids, spec
from tests.sql.model import Job, Model, same, told
from tests.support.servers import TEMPLATE, Server

TASKS = ("a", "b")
WORKERS = ("w", "x")
KEYS = st.sampled_from([None, "k", "l"])
MODES = st.sampled_from(["replace", "preserve_run_at", "unsafe_dedupe"])
PAYLOADS = st.sampled_from([None, [1], [2, 3], {"a": 1}, "text"])
QUEUES = st.sampled_from([None, None, "p", "q"])
# Far from now, so that the moments between the model's clock and the server's do not matter.
TIMES = st.sampled_from([None, None, "2001-01-01 00:00+00", "2002-01-01 00:00+00", "2101-01-01 00:00+00"])
SPECS = st.fixed_dictionaries(
    {
        "identifier": st.sampled_from(TASKS),
        "payload": PAYLOADS,
        "queue_name": QUEUES,
        "run_at": TIMES,
        "max_attempts": st.sampled_from([None, 1, 2]),
        "job_key": KEYS,
        "priority": st.sampled_from([None, -1, 1]),
        "flags": st.sampled_from([None, ["f"], ["g", "f", "g"]]),
    }
)
NUMBERS = st.integers(0, 7)
ENDS = st.sampled_from(["complete", "fail", "fail for good", "return", "release"])


class Histories(RuleBasedStateMachine):
    connection: psycopg.Connection

    @initialize()
    def start(self) -> None:
        self.queue = Queue(self.connection)
        self.connection.execute(
            "truncate tidemill._jobs, tidemill._tasks, tidemill._queues, tidemill._workers restart identity"
        )
        for worker in WORKERS:
            self.queue.register(worker, TASKS)
        self.model = Model()
        self.handed: list[Row] = []
        """All jobs ever claimed, with their worker: stale leases too."""

    def now(self) -> datetime:
        value = self.queue.value("select now()")
        assert isinstance(value, datetime)
        return value

    def some(self, numbers: list[int]) -> list[int]:
        """Ids of jobs, running ones for choice, and now and then of one that is not there."""
        jobs = sorted(self.model.jobs.values(), key=lambda job: (job.locked_by is None, -job.id))
        return sorted(
            {jobs[number].id if number < min(7, len(jobs)) else 1000 + number for number in numbers}
        )

    @rule(given=SPECS, mode=MODES)
    def add(self, given: Row, mode: str) -> None:
        with self.connection.transaction():
            named = {name: value for name, value in given.items() if value is not None}
            added = self.queue.add(**named, job_key_mode=mode)
            self.agree([added], [told(self.model.add(given, mode, added["id"], self.now()), mode)])

    @rule(many=st.lists(SPECS, max_size=4), preserve=st.booleans())
    def add_many(self, many: list[Row], preserve: bool) -> None:
        with self.connection.transaction():
            items = [spec(**{k: v for k, v in given.items() if v is not None}) for given in many]
            added = self.queue.add_many(items, job_key_preserve_run_at=preserve)
            mode = "preserve_run_at" if preserve else "replace"
            now = self.now()
            changed = [
                self.model.add(given, mode, row["id"], now) for given, row in zip(many, added, strict=True)
            ]
            # Each row shows its job as it is after the whole call.
            self.agree(added, [told(self.model.jobs[job.id], mode) for job in changed])

    @rule(key=st.sampled_from(["k", "l"]))
    def remove(self, key: str) -> None:
        removed, job = self.queue.remove(key), self.model.keyed(key)
        assert removed["id"] == (job.id if job else None)
        if job and job.locked_by:
            job.key, job.attempts, job.withdrawn = None, job.max_attempts, True
        elif job:
            del self.model.jobs[job.id]

    @rule(
        worker=st.sampled_from(WORKERS),
        tasks=st.sampled_from([("a", "b"), ("a", "b"), ("a",)]),
        forbidden=st.sampled_from([None, ["g"]]),
        queues_first=st.booleans(),
        count=st.integers(1, 4),
        per_queue=st.integers(1, 2),
    )
    def claim(
        self,
        worker: str,
        tasks: tuple[str, ...],
        forbidden: list[str] | None,
        queues_first: bool,
        count: int,
        per_queue: int,
    ) -> None:
        with self.connection.transaction():
            now = self.now()
            claimed = self.queue.claim(
                worker,
                tasks=tasks,
                count=count,
                forbidden=forbidden,
                queues_first=queues_first,
                per_queue=per_queue,
            )
        due = self.model.claimable(set(tasks), set(forbidden or ()), now)
        numbers = self.queue.rows("select queue_name from tidemill._queues order by id")
        wanted: list[Job] = []
        for queues in (queues_first, not queues_first):
            room = count - len(wanted)
            if room <= 0:
                break
            if not queues:
                wanted += [job for job in due if job.queue_name is None][:room]
                continue
            for name in [row["queue_name"] for row in numbers]:
                jobs = [job for job in due if job.queue_name == name][:per_queue]
                if jobs and room and name not in self.model.queues:
                    room -= 1
                    wanted += jobs
        assert sorted(ids(claimed)) == sorted(job.id for job in wanted)
        for row in claimed:
            job = self.model.jobs[row["id"]]
            job.attempts += 1
            job.locked_by, job.token = worker, row["claim_token"]
            if job.queue_name:
                self.model.queues[job.queue_name] = (worker, row["claim_token"])
            assert row["attempt"] == job.attempts
            self.handed.append(row | {"worker": worker})

    @rule(number=NUMBERS, end=ENDS)
    def settle(self, number: int, end: str) -> None:
        """Ends one of the jobs that were ever claimed, with the lease of then."""
        if not self.handed:
            return
        row = self.handed[-1 - number % len(self.handed)]
        worker = row["worker"]
        job = self.model.jobs.get(row["id"])
        if job and (job.locked_by, job.token) != (worker, row["claim_token"]):
            job = None
        with self.connection.transaction():
            now = self.now()
            match end:
                case "complete":
                    told = self.queue.complete([row], worker).get(row["id"])
                    if job:
                        del self.model.jobs[job.id]
                case "return":
                    told = self.queue.give_back([row], worker).get(row["id"])
                    if job:
                        self.give_back(job)
                case "release":
                    lease = [[row["queue_id"]], [row["claim_token"]]]
                    self.queue.rows(
                        "select from tidemill._release_queues(%s, %s::bigint[], %s::bigint[])",
                        [worker, *lease],
                    )
                    if self.model.queues.get(row["queue_name"]) == (worker, row["claim_token"]):
                        del self.model.queues[row["queue_name"]]
                    return
                case _:
                    outcome = self.queue.fail([row], worker, permanent=end == "fail for good")[row["id"]]
                    told = outcome["outcome"]
                    if job:
                        self.fail(job, now, outcome, permanent=end == "fail for good")
                        told = None
        assert told == (None if job else "lost")

    def give_back(self, job: Job) -> None:
        if job.withdrawn:
            # Which of the messages it is, test_settle says.
            job.last_error = self.queue.kept(job.id)["last_error"]
            assert job.last_error is not None
        elif not job.cancelled:
            job.attempts = max(0, job.attempts - 1)
        if job.cancelled_after is not None:
            job.cancelled_after -= 1
        self.model.free(job)

    def fail(self, job: Job, now: datetime, told: Row, *, permanent: bool) -> None:
        wait = timedelta(seconds=math.exp(min(10, job.attempts)))
        job.run_at = max(now, job.run_at) + wait
        assert abs(told["run_at"] - job.run_at) < timedelta(milliseconds=1)
        job.run_at = told["run_at"]
        if not job.cancelled:
            job.last_error = "boom"
        if permanent:
            job.attempts = job.max_attempts
        ended = "failed" if job.cancelled_after is None else "cancelled"
        assert told["outcome"] == (ended if job.attempts >= job.max_attempts else "retry")
        self.model.free(job)

    @rule(
        given=SPECS,
        worker=st.sampled_from(WORKERS),
        then=st.sampled_from(["replace", "remove", "cancel", "claim again"]),
        number=st.integers(0, 3),
        end=ENDS,
    )
    def meddle_with_running_jobs(self, given: Row, worker: str, then: str, number: int, end: str) -> None:
        """Histories that chance alone seldom finds: something happens between a claim and its end."""
        self.add(given | {"run_at": None, "job_key": "k"}, "replace")
        self.claim(worker, TASKS, None, True, 4, 2)
        match then:
            case "replace":
                self.add(given | {"job_key": "k"}, "replace")
            case "remove":
                self.remove("k")
            case "cancel":
                self.cancel([0, 1, 2, 3])
            case _:
                for back in range(4):
                    self.settle(back, "return")
                    self.settle(back, "release")
                self.claim(worker, TASKS, None, True, 4, 2)
        # A number of its own reaches the lease before the last one, too.
        self.settle(number, end)
        self.settle(number + 2, end)

    @rule(numbers=st.lists(NUMBERS, max_size=3), message=st.sampled_from([None, "no"]))
    def permanently_fail(self, numbers: list[int], message: str | None) -> None:
        asked = self.some(numbers)
        rows = self.queue.rows("select * from tidemill.permanently_fail_jobs(%s, %s)", [asked, message])
        idle = self.idle(asked)
        for job in idle:
            job.attempts, job.last_error = job.max_attempts, message or "Manually marked as failed"
            job.cancelled_after = None
        self.agree(rows, idle)

    @rule(numbers=st.lists(NUMBERS, max_size=2))
    def complete_jobs(self, numbers: list[int]) -> None:
        asked = self.some(numbers)
        rows = self.queue.rows("select * from tidemill.complete_jobs(%s)", [asked])
        idle = self.idle(asked)
        self.agree(rows, idle)
        for job in idle:
            del self.model.jobs[job.id]

    @rule(
        numbers=st.lists(NUMBERS, max_size=3),
        run_at=TIMES,
        priority=st.sampled_from([None, 0, 2]),
        attempts=st.sampled_from([None, 0, 1]),
        max_attempts=st.sampled_from([None, 1, 3]),
    )
    def reschedule(
        self,
        numbers: list[int],
        run_at: str | None,
        priority: int | None,
        attempts: int | None,
        max_attempts: int | None,
    ) -> None:
        asked = self.some(numbers)
        rows = self.queue.rows(
            "select * from tidemill.reschedule_jobs(%s, %s, %s, %s, %s)",
            [asked, run_at, priority, attempts, max_attempts],
        )
        idle = self.idle(asked)
        for job in idle:
            job.run_at = datetime.fromisoformat(run_at) if run_at else job.run_at
            job.priority = job.priority if priority is None else priority
            job.max_attempts = max_attempts or job.max_attempts
            if attempts is not None:
                job.attempts, job.cancelled_after = attempts, None
            elif job.cancelled_after is not None:
                job.attempts = job.max_attempts
        self.agree(rows, idle)

    @rule(numbers=st.lists(NUMBERS, max_size=3))
    def cancel(self, numbers: list[int]) -> None:
        asked = self.some(numbers)
        rows = self.queue.rows("select * from tidemill.cancel_jobs(%s)", [asked])
        jobs = [self.model.jobs[number] for number in asked if number in self.model.jobs]
        jobs = [job for job in jobs if job.locked_by or job.attempts < job.max_attempts]
        for job in jobs:
            job.cancelled_after = job.attempts if job.cancelled_after is None else job.cancelled_after
            job.attempts, job.last_error = job.max_attempts, "Cancelled"
            job.cancelled, job.withdrawn = job.locked_by is not None, False
        self.agree(rows, jobs)

    @rule(worker=st.sampled_from(WORKERS))
    def force_unlock(self, worker: str) -> None:
        self.queue.rows("select tidemill.force_unlock_workers(%s)", [[worker]])
        for job in self.model.jobs.values():
            if job.locked_by == worker:
                if job.attempts >= job.max_attempts and not job.cancelled:
                    job.last_error = self.queue.kept(job.id)["last_error"]
                    assert "force_unlock_workers" in str(job.last_error)
                self.model.free(job)
        self.model.queues = {name: held for name, held in self.model.queues.items() if held[0] != worker}

    def idle(self, asked: list[int]) -> list[Job]:
        jobs = [self.model.jobs[number] for number in asked if number in self.model.jobs]
        return [job for job in jobs if job.locked_by is None]

    def agree(self, rows: list[Row], jobs: list[Job]) -> None:
        for row, job in zip(rows, jobs, strict=True):
            wanted = same(job)
            assert {name: row[name] for name in wanted} == wanted

    @invariant()
    def all_is_as_the_model_says(self) -> None:
        if not hasattr(self, "model"):
            return
        rows = self.queue.rows("select *, now() as now from tidemill.jobs order by id")
        jobs = [self.model.jobs[number] for number in sorted(self.model.jobs)]
        self.agree(rows, jobs)
        for row, job in zip(rows, jobs, strict=True):
            ended = "failed" if job.cancelled_after is None else "cancelled"
            failed = ended if job.attempts >= job.max_attempts else None
            waiting = "scheduled" if job.run_at > row["now"] else "ready"
            assert row["state"] == ("running" if job.locked_by else failed or waiting)
            assert row["retrying"] == (
                row["state"] in ("ready", "scheduled") and 0 < job.attempts < job.max_attempts
            )
        leased = self.queue.rows("select queue_name, locked_by, claim_token from tidemill._queues")
        assert {
            row["queue_name"]: (row["locked_by"], row["claim_token"]) for row in leased if row["locked_by"]
        } == (self.model.queues)


@pytest.fixture
def machine(server: Server) -> Iterator[type[Histories]]:
    """The machine on a database that all of its examples share."""
    name = server.clone(TEMPLATE)
    with psycopg.connect(server.conninfo(name), autocommit=True) as connection:
        yield type("Histories", (Histories,), {"connection": connection})
    server.drop(name)


@pytest.mark.slow
@pytest.mark.versions(18)
@pytest.mark.timeout(300)
def test_histories(machine: type[Histories]) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=80,
            stateful_step_count=40,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
            # Shrinking takes minutes; add Phase.shrink where a failure is too long to read.
            phases=[Phase.generate],
        ),
    )
