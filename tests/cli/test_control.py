"""Pauses, acts, roles and the stop of a worker on the command line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.support.everything import Commands
from tests.support.servers import Server


@pytest.fixture
def cli(database: str, tmp_path: Path) -> Commands:
    return Commands(tmp_path, database)


@pytest.fixture
def role(server: Server) -> Iterator[str]:
    with server.role() as name:
        yield name


def test_pause_resume_and_what_waits(cli: Commands, connection: psycopg.Connection) -> None:
    connection.execute("select tidemill.add_job('send_mail'), tidemill.add_job('x', queue_name => 'q')")
    assert "The task send_mail is paused; " in cli.ok("pause", "task", "send_mail", "--reason", "it is down")
    assert "paused already" in cli.ok("pause", "task", "send_mail")
    assert "Everything is paused" in cli.ok("pause", "all")
    [everything, task] = cli.json("pauses")
    assert (everything["kind"], everything["name"]) == ("all", None)
    assert (task["name"], task["reason"]) == ("send_mail", "it is down")
    waits = " ".join(cli.run("jobs", "--task", "send_mail").stderr.split())
    assert "Waiting: everything is paused since" in waits
    assert f"Waiting: send_mail is paused since now by {task['paused_by']}: it is down" in waits
    assert "The queue q is paused" in cli.ok("pause", "queue", "q")
    shown = cli.run("jobs", "show", "1")
    assert 'Waiting: The task "send_mail" is paused since' in " ".join(shown.stderr.split())
    assert "select tidemill.resume('task', 'send_mail')" in " ".join(shown.stderr.split())
    assert cli.json("jobs", "show", "1")["waiting"]["reason"] == "paused"
    for words in (["all"], ["queue", "q"], ["task", "send_mail"]):
        assert "resumed" in cli.ok("resume", *words)
    assert "is not paused" in cli.ok("resume", "task", "send_mail")
    assert cli.json("pauses") == []


def test_a_limited_job_waits(cli: Commands, connection: psycopg.Connection) -> None:
    connection.execute("select tidemill.set_limit('l', 2)")
    connection.execute("select tidemill.add_job('t', limit_name => 'l') from generate_series(1, 3)")
    connection.execute("select * from tidemill._claim_limited_jobs('w', '{t}', 2, null)")
    shown = " ".join(cli.run("jobs", "show", "3").stderr.split())
    assert shown.startswith('Waiting: Its limit "l" lets 2 jobs run at once, and 2 do: jobs 1, 2.')


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["pause", "task", "sendmail"], 'no task has the name "sendmail". Is "send_mail" meant?'),
        (["pause", "task"], "the name of the task is missing"),
        (["pause", "all", "send_mail"], "kind all takes no name"),
        (["pause", "tasks", "send_mail"], "'tasks' is not one of"),
        (["workers", "stop", "worker-1"], 'there is no worker "worker-1"'),
        (["grant", "reader", "ann"], "Missing argument"),
        (["grant", "reader", "for", "ann"], "write TO instead of 'for': tidemill grant reader TO ann"),
        (["grant", "reader", "TO", "no such role"], 'role "no such role" does not exist'),
        (["revoke", "reader", "FROM", "tidemill_owner"], "owns the schema tidemill"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    cli: Commands, connection: psycopg.Connection, words: list[str], told: str
) -> None:
    connection.execute("select tidemill.add_job('send_mail')")
    assert told in cli.refused(*words)


def test_acts_are_listed_and_filtered(cli: Commands, connection: psycopg.Connection) -> None:
    connection.execute("select tidemill.add_job('t') from generate_series(1, 7)")
    cli.ok("jobs", "cancel", "--task", "t", "--yes", "--reason", "no more")
    cli.ok("jobs", "remove", "7")
    cli.ok("pause", "task", "t")
    newest = ["pause", "complete_jobs", "cancel_jobs", "begin_bulk_act"]
    assert [act["what"] for act in cli.json("acts")] == newest
    [act] = cli.json("acts", "--what", "cancel_jobs", "--since", "1h")
    assert (act["subject_count"], act["reason"], act["after"][0]["state"]) == (7, "no more", "cancelled")
    assert [act["what"] for act in cli.json("acts", "--subject", "7")] == ["complete_jobs", "cancel_jobs"]
    assert cli.json("acts", "--who", "nobody") == []
    listed = cli.ok("acts", "--what", "cancel_jobs").split("\n")[1].split("\t")
    assert listed[5] == "1, 2, 3, 4, 5 and 2 more"


def test_grant_and_revoke(cli: Commands, role: str) -> None:
    assert f"{role} is a reader now." in cli.ok("grant", "reader", "to", role)
    assert "may add and run actions" in cli.ok("grant", "actions", "TO", role)
    assert cli.json("grants") == [{"role": "actions", "name": role}, {"role": "reader", "name": role}]
    assert "does not have the role reader any more" in cli.ok("revoke", "reader", "from", role)
    assert "does not have the role reader" in cli.refused("revoke", "reader", "FROM", role)
    cli.ok("revoke", "actions", "FROM", role)
    assert [act["what"] for act in cli.json("acts")] == [
        "revoke_role",
        "revoke_role",
        "grant_role",
        "grant_role",
    ]
