"""Names of time zones: which are known, and which one is meant by a text that is none."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg import errors

from tests.actions.definitions import add, alter, refused
from tidemill import App
from tidemill.actions.declared import declare_schedules
from tidemill.errors import TaskLoadError

pytestmark = pytest.mark.versions(18, 16)

OPPOSITE = "For 2 hours ahead of UTC all year use Etc/GMT-2;"
MEANT = {
    "UTC+2": OPPOSITE,
    "UTC+02:00": OPPOSITE,
    "utc +2": OPPOSITE,
    "UTC2": OPPOSITE,
    "GMT+2": OPPOSITE,
    "+02:00": OPPOSITE,
    "+0200": OPPOSITE,
    "+2": OPPOSITE,
    "GMT-3": "For 3 hours behind UTC all year use Etc/GMT+3;",
    "-03": "For 3 hours behind UTC all year use Etc/GMT+3;",
    "UTC\N{MINUS SIGN}3": "For 3 hours behind UTC all year use Etc/GMT+3;",
    "UTC+14": "use Etc/GMT-14;",
    "UTC+0": "Use UTC.",
    "00:00": "Use UTC.",
    "+5:30": "Is Asia/Calcutta meant?",
    "UTC+05:45": "Is Asia/Kathmandu meant?",
    "CET6": "Is CET meant?",
    "CET-1CEST,M3.5.0,M10.5.0/3": "Is CET meant?",
    "EST5": "Is EST meant?",
    "Europe/Berln": "Is Europe/Berlin meant?",
    "Europe/Berlin1": "Is Europe/Berlin meant?",
    "Europe/Berlin -1": "Is Europe/Berlin meant?",
    "Europe Berlin": "Is Europe/Berlin meant?",
    " Europe/Berlin ": "Is Europe/Berlin meant?",
    "Berlin": "Is Europe/Berlin meant?",
    "New York": "Is America/New_York meant?",
    "America/Bueno_Aires": "Buenos_Aires meant?",
    "Mars/Olympus": "Use the name of a place, such as Europe/Berlin, or UTC.",
    "<x>3": "such as Europe/Berlin, or UTC.",
    "UTC+20": "such as Europe/Berlin, or UTC.",
    "Etc/GMT+15": "Is Etc/GMT+1",
    "": "such as Europe/Berlin, or UTC.",
    " ": "such as Europe/Berlin, or UTC.",
}


@pytest.mark.parametrize(
    "known",
    [
        "Europe/Berlin",
        "europe/berlin",
        "UTC",
        "Etc/GMT+5",
        "Etc/GMT-14",
        "GMT+0",
        "EST5EDT",
        "CEST",
        "America/Bahia_Banderas",
    ],
)
def test_time_zones_that_are_known(connection: psycopg.Connection, known: str) -> None:
    connection.execute("select tidemill._check_timezone(%s)", (known,))


def test_all_of_the_servers_are_known(connection: psycopg.Connection) -> None:
    connection.execute("select tidemill._check_timezone(name) from pg_timezone_names")


@pytest.mark.parametrize("unknown", MEANT)
def test_time_zones_that_are_not(connection: psycopg.Connection, unknown: str) -> None:
    with pytest.raises(errors.InvalidParameterValue) as caught:
        connection.execute("select tidemill._check_timezone(%s)", (unknown,))
    assert caught.value.diag.message_primary == f'time zone "{unknown}" not recognized'
    assert MEANT[unknown] in (caught.value.diag.message_hint or "")


@pytest.mark.parametrize(
    ("posix", "read"),
    [
        ("UTC+2", "2:00 behind UTC"),
        ("-05:30", "5:30 ahead of UTC"),
        ("CET-1CEST,M3.5.0,M10.5.0/3", "1:00 ahead of UTC"),
    ],
)
def test_what_postgresql_would_make_of_it(connection: psycopg.Connection, posix: str, read: str) -> None:
    with refused("22023", f"as POSIX does, and show times that are {read}"):
        connection.execute("select tidemill._check_timezone(%s)", (posix,))


@pytest.mark.usefixtures("work")
@pytest.mark.parametrize("given", [{"schedule": "0 5 * * *"}, {"schedule_interval": "1 day"}])
def test_everywhere_in_sql(connection: psycopg.Connection, given: dict[str, Any]) -> None:
    with refused("22023", 'time zone "UTC+2" not recognized', OPPOSITE):
        add(connection, timezone="UTC+2", **given)
    number = add(connection, **given)
    with refused("22023", 'time zone "UTC+2" not recognized', OPPOSITE):
        alter(connection, number, timezone="UTC+2")
    with refused("22023", 'time zone "UTC+2" not recognized', OPPOSITE):
        connection.execute("select tidemill.next_start('1 day', now(), 'UTC+2', now())")


@pytest.mark.parametrize("schedule", [{"every": "1d"}, {"cron": "0 5 * * *"}])
def test_in_a_decorator(connection: psycopg.Connection, schedule: dict[str, Any]) -> None:
    app = App()
    app.task("t", timezone="UTC+2", **schedule)(lambda payload: None)
    with pytest.raises(TaskLoadError, match=r'time zone "UTC\+2" not recognized\. .* use Etc/GMT-2;'):
        declare_schedules(connection, dict(app.tasks))


@pytest.mark.usefixtures("work")
def test_what_an_earlier_version_took_goes_on(connection: psycopg.Connection) -> None:
    for given in ({"schedule_interval": "1 day"}, {"schedule": "0 5 * * *"}):
        number = add(connection, initial_start="2030-01-01 00:00Z", **given)
        connection.execute("update tidemill._actions set timezone = 'UTC+2' where id = %s", [number])
        alter(connection, number, max_retries=3)
        assert connection.execute("select tidemill.next_runs(%s, 3)", [number]).rowcount == 3
