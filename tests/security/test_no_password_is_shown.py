"""A password in a connection string, well written or not, is shown nowhere."""

from __future__ import annotations

import sys
import traceback

import pytest

from tests.database.test_connect import closed_port
from tests.database.test_find import MALFORMED, SECRET
from tidemill import App
from tidemill.cli import main
from tidemill.errors import TidemillError

__all__ = ["closed_port"]

COMMANDS = (
    ["migrate"],
    ["uninstall", "--yes"],
    ["dialect", "list"],
    ["dialect", "drop", "graphile_worker"],
    ["psql", "-c", "select 1"],
    ["add", "hello"],
    ["jobs"],
    ["jobs", "show", "1"],
    ["workers"],
    ["actions"],
    ["demo"],
    ["worker", "--once"],
)
WELL_WRITTEN = (
    f"postgresql+asyncpg://ann:{SECRET}@127.0.0.1:{{port}}/db?ssl=prefer",
    f"postgresql://ann@127.0.0.1:{{port}}/db?password={SECRET}&sslpassword={SECRET}",
    f"postgresql://ann:pa?{SECRET}=b@127.0.0.1:{{port}}/db",
    f"postgresql://ann:{SECRET}%20@host.invalid/db",
    f"host=127.0.0.1 port={{port}} user=ann password='{SECRET} {SECRET}'",
)


def outcome(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> tuple[object, str]:
    """How a command ends, and all that it shows."""
    monkeypatch.setattr(sys, "argv", ["tidemill", *words])
    shown = ""
    try:
        main()
        code: object = 0
    except SystemExit as ended:
        code = ended.code
    except Exception as error:
        shown = "".join(traceback.format_exception(error))
        code = type(error)
    told = capfd.readouterr()
    return code, told.out + told.err + shown


@pytest.fixture
def urls(closed_port: int) -> list[str]:
    # A null character or half a surrogate cannot be given to a process.
    given = [url for url in MALFORMED if url.isprintable()]
    return [*given, *(url.format(port=closed_port) for url in WELL_WRITTEN)]


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
def test_by_a_command(
    words: list[str],
    urls: list[str],
    logging_as_before: None,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("empty"))
    monkeypatch.delenv("TIDEMILL_TEST_DATABASE", raising=False)
    for url in urls:
        for options in ([*words, "--database", url], [*words, "--database", url, "--debug"], words):
            monkeypatch.setenv("DATABASE_URL", url)
            code, shown = outcome(options, monkeypatch, capfd)
            assert code, (options, shown)
            assert SECRET not in shown, url
            if url in MALFORMED and "--debug" not in options:
                origin = "--database" if options is not words else "DATABASE_URL"
                if words[0] != "worker" or options is not words:
                    assert f"{origin} is not a PostgreSQL connection string" in " ".join(shown.split()), shown


@pytest.mark.parametrize("url", MALFORMED)
async def test_by_an_app(url: str) -> None:
    app = App(url)
    assert SECRET not in repr(app)
    for act in (app.migrate, lambda: app.add_job("hello"), app.run_until_empty):
        with pytest.raises(TidemillError) as caught:
            await act()
        shown = "".join(traceback.format_exception(caught.value))
        assert "App(database=...) is not a PostgreSQL connection string" in shown
        assert SECRET not in shown


async def test_of_a_server_that_is_not_there(closed_port: int) -> None:
    for url in WELL_WRITTEN:
        app = App(url.format(port=closed_port))
        with pytest.raises(TidemillError) as caught:
            await app.add_job("hello")
        assert SECRET not in "".join(traceback.format_exception(caught.value))
        assert SECRET not in repr(app.database())
