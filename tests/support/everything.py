"""A tour of all that Tidemill does in a database, which may be a hostile place."""

from __future__ import annotations

import asyncio
import json
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from tests.support.commands import CommandLine
from tests.support.everything_hypertables import call_hypertables, rows
from tests.support.running import eventually, run_all, running
from tidemill import App, Cancel, JobContext, JobSpec
from tidemill.cli import _paragraph, command_line
from tidemill.database.migrate import drop_dialect, migrate
from tidemill.jobs import PauseKind

# Written so that no settings and no search path change what it does.
_ROUTINES = """
create procedure app.say(integer, pg_catalog.jsonb) language plpgsql set search_path = pg_catalog as $$
begin
  raise notice 'it says %', $2 operator(pg_catalog.->>) 'word';
end
$$;
create procedure app.fail(integer, pg_catalog.jsonb) language plpgsql as $$
begin
  raise exception 'the shop is closed';
end
$$;
create procedure app.in_steps(integer, pg_catalog.jsonb) language plpgsql as $$
begin
  commit;
end
$$;
create function app.count(integer, pg_catalog.jsonb) returns integer language sql as 'select 1';
create function app.check(pg_catalog.jsonb) returns void language plpgsql as 'begin return; end';
"""


class Commands(CommandLine):
    """The command line inside this process, which saves a second for each command."""

    def run(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        done = CliRunner().invoke(
            command_line(arguments), arguments, input=stdin, env={"DATABASE_URL": self.database}
        )
        told = _paragraph(done.exception) if isinstance(done.exception, Exception) else ""
        return subprocess.CompletedProcess(arguments, done.exit_code, done.stdout, done.stderr + told)


def lay(conninfo: str, cli: CommandLine) -> None:
    """The installer."""
    assert migrate(conninfo).dialects_laid == ["graphile_worker", "timescaledb"]
    assert drop_dialect(conninfo, "timescaledb")
    assert migrate(conninfo, dialects=["timescaledb"]).dialects_laid == ["timescaledb"]
    assert "up to date" in cli.ok("migrate")
    assert "functions" not in cli.ok("migrate", "--dry-run")
    assert "is dropped" in cli.ok("dialect", "drop", "graphile_worker")
    assert cli.json("dialect", "list") == {"graphile_worker": False, "timescaledb": True}
    assert "is laid" in cli.ok("dialect", "add", "graphile_worker")
    rows(conninfo, _ROUTINES)


async def run_jobs(conninfo: str, lane: str) -> None:
    """The client, and workers: one that listens, one that runs what is ready."""
    ran: list[str] = []
    async with App(conninfo) as app:

        @app.task
        async def note(payload: Any, job: JobContext) -> None:
            ran.append(payload)

        @app.task
        def plain(payload: Any) -> None:
            ran.append(payload)

        @app.task(retry=lambda attempts: 0.0)
        async def fails(payload: Any, job: JobContext) -> None:
            if job.attempt == 1:
                raise ValueError("\N{SNOWMAN} {null}")
            async with job.connection() as connection:
                await job.add_job("note", "by a task", connection=connection)

        @app.task
        async def gives_up(payload: Any) -> Cancel:
            return Cancel("no more")

        @app.task
        async def batch(payload: Any) -> list[Any]:
            return [ValueError("not this one") if part == 2 else None for part in payload]

        @app.task
        async def hangs(payload: Any) -> None:
            ran.append("hangs")
            await asyncio.Event().wait()

        @app.task(every=timedelta(hours=1), timezone="Europe/Berlin", queue="declared", priority=3)
        async def declared() -> None:
            ran.append("declared")

        async with running(app, lane=lane, heartbeat_interval=0.5):
            await app.add_job("note", "one")
            await app.add_job("plain", "queued", queue_name="a queue", priority=-5, flags=["x", "y"])
            await app.add_jobs([JobSpec("note", f"many {n}", queue_name=f"queue {n}") for n in range(3)])
            await app.add_jobs([JobSpec("note", "keyed", job_key="k"), JobSpec("note", "two")])
            await app.add_job("fails")
            hanging = await app.add_job("hangs")
            await eventually(lambda: "by a task" in ran and "hangs" in ran, "the jobs to run")
            # The row is locked until the job has a lease.
            await eventually(lambda: app.sync.cancel_jobs([hanging.id], "enough"), "the job to be cancelled")
            await eventually(
                lambda: (
                    "running" not in [job["state"] for job in rows(conninfo, "select * from tidemill.jobs")]
                ),
                "the end",
            )
        given_up = await app.add_job("gives_up")
        parts = await app.add_job("batch", [1, 2], job_key="batch")
        await run_all(app, lane=lane)
        assert await app.get_job(parts.id) is not None
        found = await app.get_job(given_up.id)
        assert found is not None
        assert (found.state, found.last_error) == ("cancelled", "no more")
        found = await app.get_job(key="batch")
        assert found is not None
        assert (found.state, found.payload) == ("scheduled", [2])
        later = datetime.now(UTC).replace(microsecond=123456) + timedelta(days=40)
        [moved] = await app.reschedule_jobs([parts.id], run_at=later, attempts=0, priority=7)
        assert (moved.run_at, moved.attempts, moved.priority) == (later, 0, 7)
        [moved] = await app.reschedule_jobs([parts.id], run_at=timedelta(days=1))
        assert moved.run_at < later
        added = await app.add_job("note", "x", job_key="batch", job_key_mode="preserve_run_at", run_at=later)
        assert added.run_at == moved.run_at
        await app.add_job("note", "x", job_key="batch", job_key_mode="unsafe_dedupe")
        removed = await app.remove_job("batch")
        assert removed is not None
        [failed] = await app.permanently_fail_jobs([(await app.add_job("note")).id], "by hand")
        assert failed.last_error == "by hand"
        assert [job.id for job in await app.complete_jobs([failed.id, given_up.id, hanging.id])]
        await app.force_unlock_workers(["nobody"])
        pauses: list[tuple[PauseKind, str | None]] = [("task", "note"), ("queue", "a queue"), ("all", None)]
        for kind, name in pauses:
            assert await app.pause(kind, name, "\N{SNOWMAN} '{}'")
        assert (await app.why_waiting((await app.add_job("note", "one")).id)).reason == "paused"
        for kind, name in pauses:
            assert app.sync.resume(kind, name)
        assert (await app.why_waiting(0)).reason == "gone"
        app.sync.add_jobs([JobSpec("note", "sync", run_at=timedelta(seconds=0))])
        await run_all(app, lane=lane)
    assert sorted(set(ran)) == sorted(
        {"one", "queued", "many 0", "many 1", "many 2", "keyed", "two", "by a task", "hangs", "sync"}
        | {"declared"} & set(ran)
    )
    assert rows(conninfo, "select id from tidemill.jobs") == []


def command_jobs(cli: CommandLine) -> None:
    """The commands about jobs."""
    cli.ok("add", "late", '{"a": null}', "--in", "10m", "--key", "late", "--priority", "3", "--flag", "f")
    specs = [{"identifier": "late", "payload": {"n": n}, "flags": ["a", "b"]} for n in range(2)]
    cli.ok("add", "--from", "-", stdin="\n".join(map(json.dumps, specs)))
    cli.ok("add", "late", "--queue", "slow", "--run-at", "2100-01-02T03:04:05.678Z", "--max-attempts", "2")
    [job] = cli.json("jobs", "list", "--queue", "slow", "--state", "scheduled", "--task", "late")
    assert datetime.fromisoformat(job["run_at"]) == datetime.fromisoformat("2100-01-02T03:04:05.678+00:00")
    [keyed] = cli.json("jobs", "--key", "late")
    assert cli.json("jobs", "show", str(keyed["id"]))["payload"] == {"a": None}
    assert cli.json("jobs", "cancel", "--queue", "slow", "--yes", "--reason", "why")["changed"] == [job["id"]]
    assert cli.json("jobs", "retry", "--state", "cancelled", "--yes")["changed"] == [job["id"]]
    cli.ok("jobs", "reschedule", str(job["id"]), "--in", "1h", "--priority", "1", "--attempts", "1")
    assert [row["queue"] for row in cli.json("queues")["queues"]] == ["slow"]
    assert [row["task"] for row in cli.json("tasks")["tasks"] if row["scheduled"]] == ["late"]
    assert cli.json("jobs", "reschedule", "--queue", "slow", "--in", "1h", "--yes")["changed"] == [job["id"]]
    removed = cli.json("jobs", "remove", "--task", "late", "--since", "1h", "--yes")
    assert len(removed["changed"]) == 4
    assert cli.json("jobs") == []
    assert cli.json("bulk")[0]["id"] == removed["bulk_act"]
    assert "had ended before" in cli.ok("bulk", "abort", str(removed["bulk_act"]))
    assert cli.json("bulk", "run", str(removed["bulk_act"]))["changed"] == []
    assert cli.json("cleanup", "--failed-after", "0s", "--yes")["queues"] > 0
    cli.ok("workers")
    assert cli.json("doctor", *_ignored())["not_checked"] == []


def _ignored() -> list[str]:
    """What is so here."""
    return [word for code in ("pooler", "no_worker", "failing_actions") for word in ("--ignore", code)]


def command_actions(cli: CommandLine) -> None:
    """The commands about actions; leaves some for a worker."""
    cli.ok("actions", "on-failure", "broken")
    word = json.dumps({"word": "{null}"})
    cli.ok(
        "actions",
        "add",
        "app.say",
        "--every",
        "1h",
        "--name",
        "say",
        "--config",
        word,
        "--check",
        "app.check",
    )
    cli.ok(
        "actions",
        "add",
        "app.fail(integer, pg_catalog.jsonb)",
        "--every",
        "90s",
        "--drifting",
        "--name",
        "fail",
    )
    cli.ok(
        "actions", "add", "app.in_steps", "--every", "1 day", "--timezone", "Asia/Tokyo", "--name", "steps"
    )
    cli.ok("actions", "add", "app.count", "--every", "1h", "--name", "count", "--max-runtime", "1h")
    cli.ok("actions", "add", "--task", "note", "--cron", "30 4 * * 1", "--name", "cron", "--missed", "skip")
    cli.ok("actions", "add", "app.say", "--every", "1h", "--name", "say", "--if-not-exists")
    cli.ok("actions", "alter", "cron", "--job-options", '{"queue_name": "q"}', "--config-merge", '{"a": 1}')
    cli.ok("actions", "alter", "say", "--max-retries", "3", "--retry-period", "1m", "--name", "speak")
    cli.ok("actions", "alter", "speak", "--config", word)
    cli.ok("actions", "alter", "speak", "--initial-start", "2026-01-02T03:04:05Z", "--every", "2h")
    cli.ok("actions", "pause", "speak", "steps")
    cli.ok("actions", "resume", "speak", "steps")
    [speak] = [action for action in cli.json("actions") if action["name"] == "speak"]
    assert speak["schedule_interval"] == "2 hours"
    assert datetime.fromisoformat(speak["initial_start"]) == datetime.fromisoformat(
        "2026-01-02T03:04:05+00:00"
    )
    assert len(cli.json("actions", "next", "cron")) > 1
    cli.ok("actions", "next", "--cron", "0 3 * * *", "--timezone", "America/New_York")
    for name in ("speak", "steps", "count", "cron"):
        assert cli.json("actions", "run", name)["outcome"] == "success"
    cli.refused("actions", "run", "fail")
    assert [run["message"] for run in cli.json("actions", "errors")] == ["the shop is closed"]
    cli.ok("actions", "show", "speak")
    cli.ok("actions", "run", "3")
    assert [run["output"] for run in cli.json("actions", "history", "speak", "--since", "1h")] == [None]


async def run_actions(conninfo: str, cli: CommandLine, owner: str) -> None:
    """A worker that starts all actions, one of them as another role."""
    cli.ok(
        "actions", "add", "app.say", "--every", "1h", "--name", "other", "--config", '{"word": "as other"}'
    )
    rows(conninfo, "select tidemill.grant_actions(%s::pg_catalog.regrole)", owner)
    rows(conninfo, f"grant usage on schema app to {owner}")
    cli.ok("actions", "alter", "other", "--owner", owner)
    for name in ("speak", "fail", "steps", "count", "cron"):
        cli.ok("actions", "alter", name, "--next-start", "2026-01-02T00:00:00Z")
    cli.ok("actions", "alter", "3", "--next-start", "2026-01-02T00:00:00Z")
    ran: list[Any] = []
    async with App(conninfo) as app:

        @app.task
        async def note(payload: Any) -> None:
            ran.append("note")

        @app.task
        async def broken(payload: Any) -> None:
            ran.append(payload["message"])

        # Behind a pooler, in transactions that are serializable, a worker with `once` may give up.
        for _ in range(20):
            await run_all(app)
            found = {
                (run["name"], run["outcome"]): run["output"]
                for run in rows(conninfo, "select * from tidemill.action_history")
                if not run["by_hand"]
            }
            if {"note", "the shop is closed"} <= set(ran) and len(found) >= 7:
                break
    assert {"note", "the shop is closed"} <= set(ran)
    assert {name for name, outcome in found if outcome not in ("success", "skipped")} == {"fail"}
    assert found["speak", "success"] == "NOTICE:  it says {null}"
    assert found["other", "success"] == "NOTICE:  it says as other"
    assert found.keys() >= {("fail", "failure"), ("steps", "success"), ("count", "success")}
    cli.ok("actions", "list")
    cli.ok("actions", "errors")
    cli.ok("actions", "history")
    cli.ok("actions", "delete", "fail", "cron", "count", "other")


def call_faces(conninfo: str) -> None:
    """The functions and views that SQL calls directly, natively and by the dialects' names."""
    for schema in ("tidemill", "graphile_worker"):
        [job] = rows(
            conninfo, f"select * from {schema}.add_job('t', '[1]', job_key => 'k', flags => '{{a,b}}')"
        )
        rows(conninfo, f"select * from {schema}.add_job('t', '[2]', job_key => 'k', run_at => '2100-01-01Z')")
        rows(
            conninfo,
            f"select * from {schema}.add_jobs(array[row('t', '{{}}', null, null, null, 'l', null, null)]"
            f"::{schema}.job_spec[])",
        )
        assert [
            r["id"] for r in rows(conninfo, f"select id from {schema}.reschedule_jobs(array[{job['id']}])")
        ]
        rows(conninfo, f"select * from {schema}.permanently_fail_jobs(array[{job['id']}], 'x')")
        rows(conninfo, f"select * from {schema}.remove_job('l')")
        assert len(rows(conninfo, f"select * from {schema}.jobs")) == 1
        assert rows(conninfo, f"select id from {schema}.complete_jobs(array[{job['id']}])") == [
            {"id": job["id"]}
        ]
        rows(conninfo, f"select {schema}.force_unlock_workers('{{a}}')")
    rows(conninfo, "select * from tidemill.cancel_jobs('{1}', 'x')")
    for name in (
        "tidemill.actions",
        "tidemill.action_stats",
        "tidemill.action_history",
        "tidemill.action_errors",
    ):
        rows(conninfo, f"select * from {name}")
    for name in ("jobs", "job_stats", "job_history", "job_errors"):
        rows(conninfo, f"select * from timescaledb_information.{name}")
    rows(conninfo, "select * from tidemill.workers")
    rows(conninfo, "select tidemill.next_start('1 day', '2026-01-01Z', 'Europe/Berlin', '2026-02-01Z')")
    rows(conninfo, "select tidemill.next_runs(3, 5)")
    config = '{"word": "dialect", "work_mem": "5MB"}'
    [native] = rows(conninfo, f"select tidemill.add_action('app.say', '1h', '{config}') as id")
    rows(conninfo, f"select tidemill.alter_action({native['id']}, config_merge => '{{\"a\": null}}')")
    rows(conninfo, f"call tidemill.run_action({native['id']})")
    rows(conninfo, f"select tidemill.delete_action({native['id']})")
    [job] = rows(
        conninfo, f"select public.add_job('app.say', '1h', '{config}', check_config => 'app.check') as id"
    )
    rows(
        conninfo,
        f"select * from public.alter_job({job['id']}, next_start => '2100-01-01Z', config => '{{}}')",
    )
    rows(conninfo, f"call public.run_job({job['id']})")
    rows(conninfo, f"select public.delete_job({job['id']})")
    rows(conninfo, "select tidemill.set_on_failure(null)")


async def everything(conninfo: str, directory: Path, owner: str) -> None:
    """All of it; `owner` is a role that may log in."""
    cli = Commands(directory, conninfo)
    await asyncio.to_thread(lay, conninfo, cli)
    for lane in ("lease", "express"):
        await run_jobs(conninfo, lane)
    await asyncio.to_thread(command_jobs, cli)
    await asyncio.to_thread(command_actions, cli)
    await run_actions(conninfo, cli, owner)
    await asyncio.to_thread(call_faces, conninfo)
    # Its commands handle signals, which takes a process.
    real = CommandLine(directory, conninfo)
    await asyncio.to_thread(call_hypertables, conninfo, owner, real)
    await asyncio.to_thread(cli.ok, "uninstall", "--yes")
