"""Jobs, files and surroundings that want to break the command line."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from pathlib import Path

import psycopg
import pytest

from tests.support.commands import CommandLine
from tests.support.terminal import Terminal
from tidemill.cli import logs
from tidemill.cli.visible import visible, visible_json

_DEEP = "[" * 3000 + "]" * 3000
_LONG = '{"n": ' + "9" * 5000 + "}"
_HALF = r'{"a":"\ud800"}'
_RAW = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_EVIL = "a\x1b[31m\u202eb\x9bc\rd"
_SEEN = r"a\x1b[31m\u202eb\x9bc\x0dd"


@pytest.mark.slow
@pytest.mark.parametrize("payload", [_DEEP, _LONG, _HALF], ids=["deep", "long number", "half a character"])
def test_any_payload_can_be_shown_and_changed(
    cli: CommandLine, connection: psycopg.Connection, payload: str
) -> None:
    connection.execute("select tidemill.add_job('a', %s::text::json)", [payload])
    assert cli.ok("jobs").splitlines()[1].split("\t")[:3] == ["1", "ready", "a"]
    for command in (("jobs", "--json"), ("jobs", "show", "1"), ("jobs", "show", "1", "--json")):
        assert payload.replace(" ", "") in re.sub(r"\s", "", cli.ok(*command))
    assert cli.json("jobs", "cancel", "1")["changed"] == [1]
    assert cli.json("jobs", "retry", "1")["changed"] == [1]
    assert cli.json("jobs", "reschedule", "1", "--in", "1h")["changed"] == [1]
    assert cli.json("jobs", "remove", "1")["changed"] == [1]


@pytest.mark.slow
@pytest.mark.parametrize(("run_at", "year"), [("infinity", "9999"), ("-infinity", "0001")])
def test_jobs_outside_of_time(
    cli: CommandLine, connection: psycopg.Connection, run_at: str, year: str
) -> None:
    connection.execute("select tidemill.add_job('a', run_at => %s)", [run_at])
    assert cli.ok("jobs").splitlines()[1].split("\t")[5].startswith(year)
    assert cli.json("jobs", "show", "1")["run_at"].startswith(year)
    assert cli.json("jobs", "cancel", "1")["changed"] == [1]
    assert cli.json("jobs", "retry", "1")["changed"] == [1]


@pytest.mark.slow
def test_a_wait_beyond_the_calendar(cli: CommandLine, connection: psycopg.Connection) -> None:
    assert cli.ok("add", "x", "--in", "999999w") == "Added job 1 (x), scheduled.\n"
    assert "out of range" in cli.refused("add", "x", "--in", "99999999w")
    assert connection.execute("select count(*) from tidemill.jobs").fetchone() == (1,)


def test_the_list_does_not_read_payloads(cli: CommandLine, connection: psycopg.Connection) -> None:
    connection.execute("select tidemill.add_job('a', json_build_object('a', repeat('x', 1000000)))")
    code = (
        "import sys; from tidemill.cli.jobs_find import job_rows; "
        "rows = lambda p: job_rows(sys.argv[1], payloads=p, limit=9); "
        "print([len(bytes(rows(p)[0]['payload'])) > 9 for p in (False, True)])"
    )
    done = cli.shell(f'{sys.executable} -c {json.dumps(code)} "$DATABASE_URL"')
    assert done.stdout == "[False, True]\n", done.stderr


@pytest.mark.slow
def test_controls_reach_neither_pipe_nor_terminal(cli: CommandLine, connection: psycopg.Connection) -> None:
    connection.execute(
        "select tidemill.add_job(%(e)s, json_build_object('k', %(e)s::text), %(e)s, job_key => %(e)s)",
        {"e": _EVIL},
    )
    connection.execute("select tidemill.add_job(%s)", ["two\nlines\tand a tab"])
    connection.execute("select tidemill.permanently_fail_jobs(array[1], %s)", [_EVIL + "\nsecond"])
    for command in (["jobs"], ["jobs", "--json"], ["jobs", "show", "1"], ["jobs", "show", "1", "--json"]):
        done = cli.run(*command)
        # The pipe's own tabs part columns.
        assert not _RAW.search((done.stdout + done.stderr).replace("\t", "")), command
        assert "\\x1b[31m\\u202e" in done.stdout or "\\u001b[31m\\u202e" in done.stdout
    assert cli.json("jobs", "show", "1")["identifier"] == _EVIL
    assert len(cli.ok("jobs").splitlines()) == 3
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    shown = Terminal(cli.directory, {**cli.environment(), "PATH": programs}).run("tidemill jobs")
    assert _SEEN in shown


@pytest.mark.slow
def test_controls_in_arguments_are_told_visibly(cli: CommandLine) -> None:
    done = cli.run("add", _EVIL)
    assert done.stdout == f"Added job 1 ({_SEEN}), ready.\n"
    assert done.stderr == f"Waiting: no worker that runs knows {_SEEN}.\n"
    cli.ok("jobs", "cancel", "1", "--reason", _EVIL)
    assert f"Cancelled: {_SEEN}" in cli.ok("jobs")
    message = cli.run("add", "x", "--key", _EVIL * 600).stderr
    assert not _RAW.search(message)


@pytest.mark.slow
def test_what_looks_like_markup_is_text(cli: CommandLine, connection: psycopg.Connection) -> None:
    assert cli.ok("add", "[/]") == "Added job 1 ([/]), ready.\n"
    connection.execute("select tidemill.permanently_fail_jobs(array[1], '[/nope] :smile: [red]x')")
    assert "[/nope] :smile: [red]x" in cli.ok("jobs")
    assert "[/nope] :smile: [red]x" in cli.ok("jobs", "show", "1")
    folder = cli.directory / "tasks"
    folder.mkdir()
    (folder / "hello.py").write_text("def task(payload): ...\n")
    (folder / "bad.py").write_text("raise ValueError('[/nope]')\n")
    done = cli.run("worker", "--once")
    assert done.returncode == 0, done.stderr
    assert "bad.py does not import: ValueError: [/nope]" in done.stderr
    (cli.directory / "shop.py").write_text("raise ValueError('[/nope]')\n")
    assert "ValueError: [/nope]" in cli.refused("worker", "--app", "shop")


def test_no_message_forges_a_line_of_the_log() -> None:
    record = logging.makeLogRecord(
        {"msg": "one\n12:00:00 INFO    two \x1b[2J\udcff", "levelname": "INFO", "created": 0.0}
    )
    first, second = logs._Text().format(record).split("\n")
    assert first.endswith("INFO    one")
    assert second == r"    12:00:00 INFO    two \x1b[2J\udcff"
    written = logs._Json().format(record)
    assert not _RAW.search(written)
    assert json.loads(written)["message"].startswith("one\n12:00:00 INFO    two \x1b[2J")


@pytest.mark.parametrize(
    ("hidden", "seen", "seen_in_json"),
    [
        ("\xad", r"\xad", r"\u00ad"),
        *((chr(code), rf"\u{code:04x}", rf"\u{code:04x}") for code in (0x180E, 0x200B, 0x2060, 0x206F)),
        *((chr(code), rf"\u{code:04x}", rf"\u{code:04x}") for code in (0xFEFF, 0xFFF9, 0xFFFB)),
        ("\U000e0000", r"\U000e0000", r"\udb40\udc00"),
        ("\U000e007f", r"\U000e007f", r"\udb40\udc7f"),
    ],
)
def test_what_has_no_width_is_seen(hidden: str, seen: str, seen_in_json: str) -> None:
    assert visible(f"pay{hidden}roll") == f"pay{seen}roll"
    text = json.dumps({f"a{hidden}b": hidden}, ensure_ascii=False)
    assert visible_json(text) == f'{{"a{seen_in_json}b": "{seen_in_json}"}}'
    assert json.loads(visible_json(text)) == json.loads(text)


@pytest.mark.parametrize("needed", ["\u200c", "\u200d", "\U0001f600", "\xe9", "\U000e0100"])
def test_what_scripts_need_stays(needed: str) -> None:
    assert visible(f"a{needed}b") == f"a{needed}b"
    assert visible_json(f'"a{needed}b"') == f'"a{needed}b"'


def test_escaped_json_means_the_same() -> None:
    text = '{"a":\t"\x85\u202e\x7f",\r"b": 1}'
    assert not _RAW.search(visible_json(text))
    assert json.loads(visible_json(text)) == json.loads(text)
    assert visible("a\nb") == r"a\x0ab"
    assert visible("a\nb\u2028", lines=True) == "a\nb\\u2028"


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ('"$@" jobs >/dev/full', "No space left on device"),
        ('"$@" jobs --json >/dev/full', "No space left on device"),
        ('"$@" add x >/dev/full', "No space left on device"),
        ('"$@" jobs >&-', "Standard output is closed"),
        ('"$@" add --from .', "cannot be read: Is a directory"),
        ('mkdir gone && cd gone && rmdir ../gone && DATABASE_URL= "$@" jobs', "working directory is gone"),
        ('"$@" add $\'\\xff\'', "surrogates not allowed"),
        ('"$@" jobs retry --yes --task $\'\\xff\'', "is not UTF-8"),
        ('"$@" add x "$(printf %100000s | tr " " "[")"', "the payload is nested too deep"),
        ('printf \'{"identifier":"x"}\\n{"identifier":"x","payload":%s}\' "$(printf %99999s | tr " " "[")" | '
         '"$@" add --from -', "Line 2: its JSON is nested too deep"),
    ],
)  # fmt: skip
def test_troubles_of_the_system_are_one_paragraph(cli: CommandLine, script: str, words: str) -> None:
    done = cli.shell(script)
    assert done.returncode in (1, 2), done.stdout
    told = " ".join(done.stderr.replace("\N{BOX DRAWINGS LIGHT VERTICAL}", " ").split())
    assert words in told
    assert "Traceback" not in told
    assert "Exception ignored" not in told


def test_debug_shows_the_traceback_of_them(cli: CommandLine) -> None:
    assert "Traceback" in cli.shell('"$@" jobs --debug >/dev/full').stderr


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"identifier": "x", "priority": 99999}', "priority 99999 of job 'x' is out of range"),
        ('{"identifier": "x", "run_at": "2030-01-01T09:00:00"}', "has no time zone; write for instance"),
        ('{"identifier": "x", "run_at": "2030-01-01"}', "is a date without a time; write for instance"),
        ('{"identifier": "x", "run_at": "soon"}', "run_at 'soon' is not a time"),
        ('{"identifier": "' + "x" * 129 + '"}', "identifier has 129 characters"),
        ('{"identifier": "x", "job_key": ""}', "job_key has 0 characters"),
        (r'{"identifier": "x", "queue_name": "\u0000"}', "unsupported Unicode escape sequence"),
        ('{"identifier": 1}', "it is not a job"),
    ],
)
def test_the_line_of_a_file_is_named(
    cli: CommandLine, connection: psycopg.Connection, line: str, words: str
) -> None:
    message = cli.refused("add", "--from", "-", stdin=f'{{"identifier": "a"}}\n\n{line}\n')
    assert message.startswith("Error: Line 3: ")
    assert words in message
    assert "(spec" not in message
    assert message.endswith("Nothing was added.")
    assert connection.execute("select count(*) from tidemill.jobs").fetchone() == (0,)


@pytest.mark.parametrize("bad", ["9223372036854775808", "-1", "0", "abc"])
@pytest.mark.parametrize("command", ["retry", "cancel", "remove", "show"])
def test_ids_are_checked_before_anything_changes(
    cli: CommandLine, connection: psycopg.Connection, command: str, bad: str
) -> None:
    connection.execute("select tidemill.add_job('a')")
    before = connection.execute("select attempts, revision, updated_at from tidemill.jobs").fetchall()
    ids = [bad] if command == "show" else ["1", bad]
    assert cli.run("jobs", command, *ids).returncode == 2
    assert connection.execute("select attempts, revision, updated_at from tidemill.jobs").fetchall() == before


@pytest.mark.slow
def test_jobs_that_are_passed_over_say_why(cli: CommandLine, connection: psycopg.Connection) -> None:
    connection.execute("select tidemill.add_job('a')")
    connection.execute("select tidemill.add_job('a')")
    connection.execute("select tidemill.permanently_fail_jobs(array[1])")
    done = cli.run("jobs", "cancel", "1", "2", "3")
    assert done.stdout == "Cancelling: 1 of 3 jobs changed.\n"
    assert done.stderr.splitlines() == [
        "Passed over, as it has failed already: 1",
        "Passed over, as there is no such job: 3",
    ]
    connection.execute("select tidemill.add_job('a')")
    assert "as it has failed already: 1" in cli.refused("jobs", "cancel", "1")
    assert "as it is cancelled already: 2" in cli.refused("jobs", "cancel", "2")


@pytest.mark.slow
@pytest.mark.parametrize(("count", "is_shown"), [(3, False), (2500, True)])
def test_a_progress_bar_for_more_than_a_batch(
    cli: CommandLine, connection: psycopg.Connection, count: int, is_shown: bool
) -> None:
    (cli.directory / "jobs.jsonl").write_text('{"identifier": "a"}\n' * count)
    for arguments in ("add --from jobs.jsonl", "jobs retry --task a --yes"):
        assert ("\u2501" in _on_a_terminal(cli, arguments)) is is_shown
    assert connection.execute("select count(*) from tidemill.jobs").fetchone() == (count,)


def _on_a_terminal(cli: CommandLine, arguments: str) -> str:
    """All that is sent to a terminal, and not only what is left on it."""
    code = (
        "import os, pty, sys\n"
        f"pty.spawn([sys.executable, '-c', 'from tidemill.cli import main; main()', *{arguments.split()!r}])"
    )
    (cli.directory / "spawn.py").write_text(code)
    done = cli.shell(f"TERM=xterm COLUMNS=100 {sys.executable} spawn.py")
    assert done.returncode == 0, done.stderr
    return done.stdout
