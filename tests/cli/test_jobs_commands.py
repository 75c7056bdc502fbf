"""tidemill add and tidemill jobs."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.support.commands import CommandLine
from tests.support.servers import Server


def _fail(connection: psycopg.Connection, *ids: int) -> None:
    connection.execute("select tidemill.permanently_fail_jobs(%s, 'no such address')", [list(ids)])


@pytest.mark.slow
def test_add_takes_every_option(cli: CommandLine) -> None:
    before = datetime.now(UTC)
    added = cli.json(
        "add", "send_email", '{"to": "ann"}', "--queue", "mail", "--in", "1h30m", "--max-attempts", "3",
        "--key", "k", "--priority", "-5", "--flag", "slow", "--flag", "night",
    )  # fmt: skip
    assert (added["identifier"], added["payload"], added["queue_name"]) == (
        "send_email",
        {"to": "ann"},
        "mail",
    )
    assert (added["max_attempts"], added["key"], added["priority"]) == (3, "k", -5)
    assert (added["flags"], added["state"]) == (["night", "slow"], "scheduled")
    distance = datetime.fromisoformat(added["run_at"]) - before
    assert timedelta(minutes=89) < distance < timedelta(minutes=91)

    changed = cli.json("add", "send_email", "--key", "k", "--run-at", "2030-01-31T09:00:00+01:00")
    assert (changed["id"], changed["revision"]) == (added["id"], 1)
    assert datetime.fromisoformat(changed["run_at"]) == datetime(2030, 1, 31, 8, tzinfo=UTC)


@pytest.mark.slow
def test_add_says_that_nobody_knows_the_task(cli: CommandLine) -> None:
    done = cli.run("add", "nobody_runs_me")
    assert done.returncode == 0
    assert done.stderr == "Waiting: no worker that runs knows nobody_runs_me.\n"
    assert cli.run("jobs").stderr == done.stderr


@pytest.mark.slow
def test_a_role_that_may_only_add_adds(
    server: Server, database: str, connection: psycopg.Connection, tmp_path: Path
) -> None:
    with server.role() as role:
        connection.execute(f"grant usage on schema tidemill to {role}".encode())
        connection.execute(
            f"grant execute on function tidemill.add_job, tidemill.add_jobs to {role}".encode()
        )
        producer = CommandLine(tmp_path, make_conninfo(database, user=role))
        assert producer.ok("add", "report") == "Added job 1 (report), ready.\n"
        added = producer.json("add", "report", '{"n": 1e99, "m": 1.50}', "--key", "k", "--in", "1h")
        assert producer.ok("add", "--from", "-", stdin='{"identifier": "report"}') == "Added 1 jobs.\n"
        assert "lacks a right" in producer.refused("jobs")
    [*_, kept] = connection.execute(
        "select id, key, state, payload->>'n', payload->>'m' from tidemill.jobs where key = 'k'"
    )
    assert kept == (added["id"], added["key"], added["state"], "1e99", "1.50")
    assert added["payload"]["m"] == 1.5


@pytest.mark.slow
def test_add_many_from_a_file_is_all_or_none(cli: CommandLine) -> None:
    lines = [json.dumps({"identifier": "a", "payload": {"n": n}, "job_key": f"k{n % 2}"}) for n in range(4)]
    assert cli.ok("add", "--from", "-", stdin="\n".join(lines)) == "Added 4 jobs.\n"
    assert [job["payload"]["n"] for job in cli.json("jobs")] == [3, 2]

    (cli.directory / "jobs.jsonl").write_text('{"identifier": "b"}\n{"identifier": "b", "prioritee": 1}\n')
    message = cli.refused("add", "--from", "jobs.jsonl")
    assert "Line 2: the field 'prioritee' is unknown" in message
    assert cli.json("jobs", "--task", "b") == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["x", "{bad"], "the payload is not JSON"),
        (["x", "--priority", "99999"], "priority 99999 of job 'x' is out of range: -32768 to 32767"),
        (["x" * 129], "identifier has 129 characters, at most 128 are allowed"),
        (["x", "--key", ""], "job_key has 0 characters, 1 to 512 are allowed"),
        (["x", "--in", "soon"], "'soon' is not a duration"),
        (["x", "--run-at", "tomorrow"], "'tomorrow' is not a time"),
        (["x", "--in", "1m", "--run-at", "2030-01-01"], "not both"),
        ([], "give either the name of a task or --from FILE"),
        (["--from", "missing.jsonl"], "the file 'missing.jsonl' does not exist"),
    ],
)
def test_add_refuses_bad_input_and_adds_nothing(
    cli: CommandLine, connection: psycopg.Connection, arguments: list[str], words: str
) -> None:
    assert words in cli.refused("add", *arguments)
    assert connection.execute("select count(*) from tidemill.jobs").fetchone() == (0,)


@pytest.mark.slow
def test_list_filters_and_limits(cli: CommandLine, connection: psycopg.Connection) -> None:
    connection.execute("select tidemill.add_job('a', queue_name => 'q')")
    connection.execute("select tidemill.add_job('b', run_at => now() + interval '1 day', job_key => 'k')")
    connection.execute("select tidemill.add_job('a')")
    _fail(connection, 3)
    assert [job["id"] for job in cli.json("jobs")] == [3, 2, 1]
    assert [job["id"] for job in cli.json("jobs", "--state", "failed")] == [3]
    assert [job["id"] for job in cli.json("jobs", "list", "--task", "a")] == [3, 1]
    assert [job["id"] for job in cli.json("jobs", "--queue", "q")] == [1]
    assert [job["id"] for job in cli.json("jobs", "--key", "k")] == [2]
    limited = cli.run("jobs", "--limit", "1")
    assert len(limited.stdout.splitlines()) == 2
    assert "more than these 1" in limited.stderr


@pytest.mark.slow
def test_filters_by_how_jobs_ended(cli: CommandLine, connection: psycopg.Connection) -> None:
    for _ in range(5):
        connection.execute("select tidemill.add_job('a')")
    _fail(connection, 1, 2)
    connection.execute("select tidemill.cancel_jobs(array[3], 'the shop is closed')")
    connection.execute(
        "update tidemill._jobs set attempts = 1, last_error = 'no SMTP', run_at = 'tomorrow' where id = 4"
    )
    connection.execute("update tidemill._jobs set updated_at = now() - interval '1 day' where id in (2, 5)")
    for filters, expected in [
        (["--state", "cancelled"], [3]),
        (["--state", "failed"], [2, 1]),
        (["--retrying"], [4]),
        (["--error", "smtp"], [4]),
        (["--error", "SHOP"], [3]),
        (["--error", "%"], []),
        (["--since", "2h"], [4, 3, 1]),
        (["--until", "2h"], [5, 2]),
        (["--since", "2d", "--until", "1h", "--state", "failed"], [2]),
        (["--until", "2001-01-01T00:00:00Z"], []),
        (["--since", "2001-01-01T00:00:00Z", "--error", "address"], [2, 1]),
    ]:
        assert [job["id"] for job in cli.json("jobs", *filters)] == expected
    assert "neither a duration nor a time" in cli.run("jobs", "--since", "soon").stderr
    assert cli.run("jobs", "remove", "--since", "").returncode == 2

    assert "0/25" in cli.ok("jobs", "--state", "cancelled")
    # What was cancelled is brought back only by its own name.
    assert cli.json("jobs", "retry", "--state", "failed", "--since", "2h", "--yes")["changed"] == [1]
    assert cli.json("jobs", "retry", "--retrying", "--yes")["changed"] == [4]
    assert cli.json("jobs", "remove", "--error", "address", "--until", "2h", "--yes")["changed"] == [2]
    assert cli.json("jobs", "retry", "--state", "cancelled", "--yes")["changed"] == [3]
    assert {job["state"] for job in cli.json("jobs")} == {"ready"}


@pytest.mark.slow
def test_show_has_payload_and_error(cli: CommandLine, connection: psycopg.Connection) -> None:
    connection.execute("select tidemill.add_job('a', '{\"deep\": {\"n\": 1}}')")
    _fail(connection, 1)
    shown = cli.ok("jobs", "show", "1")
    assert '"n": 1' in shown
    assert "no such address" in shown
    assert cli.json("jobs", "show", "1")["payload"] == {"deep": {"n": 1}}
    assert "There is no job 7" in cli.refused("jobs", "show", "7")
    # All its attempts are spent: how many it had, nobody has kept.
    assert not any(line.startswith("attempts") and "/" in line for line in shown.splitlines())
    connection.execute(
        "select tidemill._declare_keeps('{a}', '{2}', '{true}'),"
        " tidemill.reschedule_jobs('{1}', attempts => 3)"
    )
    _fail(connection, 1)
    [line] = [line for line in cli.ok("jobs", "show", "1").splitlines() if line.startswith("attempts ")]
    assert line.endswith(" 3/25")


@pytest.mark.slow
def test_retry_cancel_and_reschedule(cli: CommandLine, connection: psycopg.Connection) -> None:
    for _ in range(3):
        connection.execute("select tidemill.add_job('a')")
    _fail(connection, 1, 2)
    retried = cli.json("jobs", "retry", "--state", "failed", "--yes")
    assert retried == {"changed": [1, 2], "passed_over": [], "bulk_act": 1, "state": "done"}
    assert {job["state"] for job in cli.json("jobs")} == {"ready"}

    assert cli.json("jobs", "cancel", "3", "--reason", "by hand")["changed"] == [3]
    cancelled = cli.json("jobs", "show", "3")
    assert (cancelled["state"], cancelled["last_error"]) == ("cancelled", "Cancelled: by hand")

    assert cli.json("jobs", "reschedule", "1", "--in", "1d", "--priority", "7")["changed"] == [1]
    changed = cli.json("jobs", "show", "1")
    assert (changed["state"], changed["priority"]) == ("scheduled", 7)


@pytest.mark.slow
def test_changes_pass_over_what_is_not_there(cli: CommandLine) -> None:
    assert "Passed over" in cli.refused("jobs", "retry", "41")
    assert "say what to change" in cli.refused("jobs", "reschedule", "41")
    assert "give the ids of jobs, or a filter" in cli.refused("jobs", "cancel")


@pytest.mark.parametrize("option", ["error", "task", "queue", "since", "until"])
def test_an_empty_value_does_not_widen_the_choice(cli: CommandLine, option: str) -> None:
    """Such as that of a variable that is not set: `--error "$TEXT"`."""
    cli.ok("add", "x")
    assert f"--{option} is empty" in cli.refused("jobs", "remove", "--state", "ready", f"--{option}", "")
    assert [job["id"] for job in cli.json("jobs")] == [1]


@pytest.mark.parametrize("option", ["--in", "--run-at"])
def test_an_empty_time_is_refused(cli: CommandLine, option: str) -> None:
    assert "''" in cli.refused("add", "x", option, "")
    assert cli.json("jobs") == []
