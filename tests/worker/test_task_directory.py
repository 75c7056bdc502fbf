"""Task directories: what is loaded from them, and under which name."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.running import run_all
from tidemill import App
from tidemill.errors import TaskLoadError
from tidemill.task_directory import load_directory

SIMPLE = "async def task(payload):\n    pass\n"
PROGRAM = "#!/bin/sh\nexit 0\n"


@pytest.fixture
def lay(tmp_path: Path) -> Path:
    return tmp_path


def write(path: Path, text: str, mode: int = 0o644) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def names(directory: Path) -> list[str]:
    tasks, problems = load_directory(directory)
    assert problems == []
    return sorted(task.identifier for task in tasks)


def test_names_follow_paths(lay: Path) -> None:
    write(lay / "hello.py", SIMPLE)
    write(lay / "send_email.py", "def send_email(payload, job):\n    pass\n")
    write(lay / "send-letter.py", "def send_letter(payload):\n    pass\n")
    write(lay / "users/emails/verify.py", SIMPLE)
    write(lay / "users/archive.sh", PROGRAM, 0o755)
    write(lay / "report", PROGRAM, 0o755)
    assert names(lay) == [
        "hello",
        "report",
        "send-letter",
        "send_email",
        "users/archive",
        "users/emails/verify",
    ]


def test_what_is_passed_over(lay: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "tidemill")
    write(lay / "hello.py", SIMPLE)
    write(lay / "_helpers.py", "raise SystemExit")
    write(lay / ".hidden.py", "raise SystemExit")
    write(lay / "__pycache__/hello.cpython-311.pyc", "")
    write(lay / "my task.py", SIMPLE)
    write(lay / "bad dir/inner.py", SIMPLE)
    write(lay / "README.md", "about")
    write(lay / "hello.sh", PROGRAM, 0o755)
    (lay / "dangling.py").symlink_to(lay / "nowhere.py")
    assert names(lay) == ["hello"]
    for said in (
        "my task.py is passed over: not a task's name",
        "README.md is passed over: neither a Python file nor executable",
        "hello.sh is passed over: the task hello is already loaded",
        "dangling.py is passed over",
    ):
        assert said in caplog.text


def test_links_to_files_are_followed_and_links_to_directories_are_not(lay: Path) -> None:
    write(lay / "real/inner.py", SIMPLE)
    (lay / "alias.py").symlink_to(lay / "real/inner.py")
    (lay / "loop").symlink_to(lay)
    program = write(lay / "real/tool", PROGRAM, 0o755)
    (lay / "tool_alias").symlink_to(program)
    assert names(lay) == ["alias", "real/inner", "real/tool", "tool_alias"]


def test_a_decorated_task_keeps_its_options_and_takes_the_files_name(lay: Path) -> None:
    write(
        lay / "users/verify.py",
        "from tidemill import task\n\n"
        "@task('another', max_attempts=3, timeout=5)\n"
        "async def verify(payload):\n    return verify\n",
    )
    [verify], problems = load_directory(lay)
    assert problems == []
    assert (verify.identifier, verify.max_attempts, verify.timeout) == ("users/verify", 3, 5)
    # The same object that the file's own code calls.
    assert verify.function.__globals__["verify"] is verify


def test_a_file_that_does_not_load_is_named_and_the_others_load(lay: Path) -> None:
    write(lay / "good.py", SIMPLE)
    write(lay / "broken.py", "import no_such_module_anywhere\n")
    write(lay / "syntax.py", "def task(:\n")
    write(lay / "leaves.py", "raise SystemExit(3)\n")
    write(lay / "empty.py", "")
    write(lay / "imports_the_decorator.py", "from tidemill import task\n")
    write(lay / "generator.py", "def task(payload):\n    yield payload\n")
    write(lay / "untyped.py", "def task(payload: 'Nowhere'):\n    pass\n")
    tasks, problems = load_directory(lay)
    assert [task.identifier for task in tasks] == ["good"]
    said = "\n".join(map(str, problems))
    for part in (
        "broken.py does not import: ModuleNotFoundError: No module named 'no_such_module_anywhere'",
        "syntax.py does not import: SyntaxError",
        "leaves.py does not import: SystemExit: 3",
        "empty.py has no function called `task` or `empty`",
        "imports_the_decorator.py has no function",
        "generator",
        "Nowhere",
    ):
        assert part in said
    assert len(problems) == 7


def test_a_directory_that_is_not_there(lay: Path) -> None:
    with pytest.raises(TaskLoadError, match="does not exist"):
        load_directory(lay / "nowhere")


@pytest.fixture
def give_away(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Makes a file somebody else's, from where this process stands."""

    def give(path: Path) -> None:
        if os.geteuid() == 0:
            os.chown(path, 54321, -1)
        else:
            # All files of this test are ours; so be somebody else.
            monkeypatch.setattr(os, "geteuid", lambda: 54321)

    return give


@pytest.mark.parametrize("name", ["good.py", "program", "users/verify.py", "link.py"])
def test_a_file_that_everybody_can_write_does_not_load(lay: Path, name: str) -> None:
    write(lay / "good.py", SIMPLE)
    write(lay / "program", PROGRAM, 0o755)
    write(lay / "users/verify.py", SIMPLE)
    write(lay / ".kept/target.txt", SIMPLE)
    (lay / "link.py").symlink_to(lay / ".kept/target.txt")
    (lay / name).chmod(0o777)
    tasks, [problem] = load_directory(lay)
    assert len(tasks) == 3
    assert f"{lay / name} can be written by every user" in str(problem)
    assert f"chmod o-w {lay / name}" in str(problem)


@pytest.mark.parametrize("name", [".", "users", "_helpers.py"])
def test_a_directory_that_everybody_can_write_is_refused(lay: Path, name: str) -> None:
    write(lay / "users/verify.py", SIMPLE)
    write(lay / "_helpers.py", "")
    (lay / name).chmod(0o777)
    with pytest.raises(TaskLoadError, match="can be written by every user"):
        load_directory(lay)


def test_a_directory_above_that_everybody_can_write(lay: Path) -> None:
    shared = lay / "shared"
    write(shared / "tasks/good.py", SIMPLE)
    write(lay / "tasks/good.py", SIMPLE)
    (lay / "tasks/link.py").symlink_to(shared / "tasks/good.py")
    (lay / "link").symlink_to(shared / "tasks")
    shared.chmod(0o777)
    said = f"is in {shared}, where every user of this machine can exchange it, .* chmod o-w {shared}"
    for directory in (shared / "tasks", lay / "link"):
        with pytest.raises(TaskLoadError, match=said):
            load_directory(directory)
    [task], [problem] = load_directory(lay / "tasks")
    assert task.identifier == "good"
    assert re.search(said, str(problem))
    # As in /tmp, only the owners of entries can exchange them.
    shared.chmod(0o1777)
    assert names(lay / "tasks") == ["good", "link"]
    assert names(lay / "link") == ["good"]


def test_a_group_may_write(lay: Path) -> None:
    write(lay / "good.py", SIMPLE, 0o664)
    lay.chmod(0o775)
    assert names(lay) == ["good"]


def test_somebody_elses_directory_must_be_named(lay: Path, give_away: Callable[[Path], None]) -> None:
    write(lay / "good.py", SIMPLE)
    give_away(lay)
    give_away(lay / "good.py")
    with pytest.raises(TaskLoadError, match=rf"belongs to the user .* or name it .*: --tasks {lay}"):
        load_directory(lay, trust_owner=False)
    # Its owner could put any file there, and is trusted with it.
    assert names(lay) == ["good"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_file_of_somebody_else_does_not_load(lay: Path) -> None:
    write(lay / "good.py", SIMPLE)
    os.chown(write(lay / "theirs.py", SIMPLE), 54321, -1)
    [task], [problem] = load_directory(lay)
    assert task.identifier == "good"
    assert "theirs.py belongs to the user 54321, who could run code as this worker, root" in str(problem)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give links away")
def test_a_link_of_somebody_else(lay: Path) -> None:
    write(lay / "real/good.py", SIMPLE)
    (lay / "tasks").symlink_to(lay / "real")
    os.lchown(lay / "tasks", 54321, -1)
    with pytest.raises(TaskLoadError, match="tasks belongs to the user 54321"):
        load_directory(lay / "tasks", trust_owner=False)
    (lay / "real/link.py").symlink_to(lay / "real/good.py")
    os.lchown(lay / "real/link.py", 54321, -1)
    [task], [problem] = load_directory(lay / "real")
    assert task.identifier == "good"
    assert "link.py belongs to the user 54321" in str(problem)


@pytest.mark.parametrize(
    "place", ["__pycache__/good.cpython-311.pyc", "_lib/help.py", "users/_lib/help.py", "_c.so"]
)
@pytest.mark.parametrize("what", ["file", "directory"])
def test_what_tasks_import_is_looked_at(lay: Path, place: str, what: str) -> None:
    write(lay / "good.py", SIMPLE)
    open_to_all = write(lay / place, "", 0o644)
    if what == "directory" and open_to_all.parent != lay:
        open_to_all = open_to_all.parent
    assert names(lay) == ["good"]
    open_to_all.chmod(0o777)
    with pytest.raises(TaskLoadError, match=f"{open_to_all} can be written by every user"):
        load_directory(lay)


async def test_dataclasses_of_a_task_file_work(app: App, lay: Path) -> None:
    write(
        lay / "visit.py",
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n\n"
        "@dataclass\nclass Address:\n    street: str\n\n"
        "async def visit(payload: Address) -> None:\n"
        "    assert payload == Address('Elm')\n",
    )
    tasks, _ = load_directory(lay)
    for task in tasks:
        app.register(task)
    job = await app.add_job("visit", {"street": "Elm"})
    await run_all(app)
    assert await app.get_job(job.id) is None
