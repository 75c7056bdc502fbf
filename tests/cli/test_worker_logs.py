"""The worker's own log lines, whatever an app does to logging."""

from __future__ import annotations

import json

import pytest

from tests.support.commands import CommandLine

pytestmark = [pytest.mark.slow, pytest.mark.versions(18)]

APP = """
import logging.config
from tidemill import App

{disable}
app = App()

@app.task
async def works(payload): ...
"""
FOR_ROOT = """
logging.config.dictConfig({
    "version": 1,
    "formatters": {"own": {"format": "OWN %(levelname)s %(message)s"}},
    "handlers": {"own": {"class": "logging.StreamHandler", "formatter": "own"}},
    "root": {"level": "INFO", "handlers": ["own"]},
})
"""
DISABLES = {
    "alone": ("logging.config.dictConfig({'version': 1})", ""),
    "with a handler of its own": (FOR_ROOT, "OWN INFO "),
    "by hand": ("logging.getLogger('tidemill').disabled = True", ""),
}


@pytest.mark.parametrize("how", DISABLES)
def test_an_apps_configuration_does_not_silence_the_worker(cli: CommandLine, how: str) -> None:
    disable, prefix = DISABLES[how]
    (cli.directory / "shop.py").write_text(APP.format(disable=disable))
    cli.ok("add", "works")
    done = cli.run("worker", "--app", "shop", "--once")
    assert done.returncode == 0
    assert f"{prefix}job 1 (works) done in" in done.stderr


def test_what_an_app_says_about_our_logger_counts(cli: CommandLine) -> None:
    quiet = (
        "logging.config.dictConfig({'version': 1, 'disable_existing_loggers': False, "
        "'loggers': {'tidemill': {'level': 'ERROR'}}})"
    )
    (cli.directory / "shop.py").write_text(APP.format(disable=quiet))
    cli.ok("add", "works")
    done = cli.run("worker", "--app", "shop", "--once")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_long_error_is_bounded_in_each_format(cli: CommandLine) -> None:
    (cli.directory / "tasks").mkdir()
    (cli.directory / "tasks" / "breaks.py").write_text(
        "def task(payload):\n    raise ValueError('head' + 'x' * 5_000_000 + 'tail')\n"
    )
    for log_format in ("text", "json"):
        cli.ok("add", "breaks", "--max-attempts", "1")
        done = cli.run("worker", "--once", "--log-format", log_format)
        assert done.returncode == 0
        assert len(done.stderr) < 60_000
        assert "headxxx" in done.stderr
        assert "xxxtail" in done.stderr
    logged = [json.loads(line) for line in done.stderr.splitlines()]
    assert any(
        line["message"].startswith("job 2 (breaks) failed for good: ValueError: head") for line in logged
    )
