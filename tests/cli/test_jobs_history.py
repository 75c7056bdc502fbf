"""`tidemill jobs history`, and what `jobs show` has of jobs that are done."""

from __future__ import annotations

import psycopg
import pytest

from tests.support.commands import CommandLine

AT = "'2026-11-01 00:00Z'::timestamptz"
ENDED = f"""
insert into tidemill._ended_attempts (id, created_at, run_at, started_at, finished_at, keep, attempt,
  max_attempts, priority, identifier, outcome, error, error_type) values
  (7, {AT}, {AT}, {AT}, {AT} + interval '1 ms', 2, 1, 25, 0, 'mail', 'retried',
   'TimeoutError: mail server', 'T');
update tidemill._ended_attempts set progress = 0.4, progress_message = 'page 40 of 100';
insert into tidemill._done_jobs (id, created_at, run_at, started_at, finished_at, keep, attempt,
  max_attempts, priority, identifier, payload, result) values
  (7, {AT}, {AT}, {AT} + interval '1 h', {AT} + interval '61 min', 2, 2, 25, 0, 'mail', '{{"to": "ann"}}',
   '[9007199254740993]'),
  (8, {AT}, {AT}, {AT}, {AT} + interval '2 days', 2, 1, 25, 0, 'report', '{{}}', null);
"""


@pytest.fixture
def kept(connection: psycopg.Connection) -> psycopg.Connection:
    """A database with the ends of two jobs."""
    connection.execute("select tidemill._open_history(2::smallint)")
    connection.execute(ENDED.encode())
    return connection


def test_without_history(cli: CommandLine) -> None:
    done = cli.run("jobs", "history")
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 1)
    assert "tidemill worker --keep 1d" in done.stderr
    assert cli.json("jobs", "history") == []
    assert "no history of it is kept" in cli.refused("jobs", "show", "7")


def test_ends_are_found(cli: CommandLine, kept: psycopg.Connection) -> None:
    def found(*words: str) -> list[tuple[int, str]]:
        return [(row["id"], row["outcome"]) for row in cli.json("jobs", "history", *words)]

    assert found() == [(8, "done"), (7, "done"), (7, "retried")]
    assert found("--outcome", "retried") == found("--error", "MAIL SERVER") == [(7, "retried")]
    assert found("--task", "report") == found("--since", "2026-11-02T00:00Z") == [(8, "done")]
    assert found("--until", "2026-11-01T01:00Z") == [(7, "retried")]
    shown = cli.run("jobs", "history", "--limit", "1")
    assert shown.stdout.splitlines()[1].startswith("8\tdone\treport\t2026-11-03T00:00:00+00:00\t172800\t1/25")
    assert "raise --limit" in shown.stderr


def test_one_job_with_its_attempts(cli: CommandLine, kept: psycopg.Connection) -> None:
    told = cli.json("jobs", "show", "7")
    assert (told["state"], told["payload"], told["result"]) == ("done", {"to": "ann"}, [9007199254740993])
    assert [end["outcome"] for end in told["history"]] == ["done", "retried"]
    lines = cli.ok("jobs", "show", "7").splitlines()
    assert "outcome            done" in lines
    assert any(line.startswith("retried\t2026-11-01T00:00:00+00:00\t0.001\t1/25") for line in lines)


def test_how_far_attempts_came(cli: CommandLine, kept: psycopg.Connection) -> None:
    [retried] = cli.json("jobs", "history", "--outcome", "retried")
    assert (retried["progress"], retried["progress_message"]) == (0.4, "page 40 of 100")
    for words in (("history",), ("show", "7")):
        lines = cli.ok("jobs", *words).splitlines()
        assert any(line.endswith("\t40 % page 40 of 100\tTimeoutError: mail server") for line in lines)
    # Where nobody has told of any, there is no column for it.
    assert "reached" not in cli.ok("jobs", "history", "--task", "report")
    assert "reached" not in cli.ok("jobs", "show", "8")
