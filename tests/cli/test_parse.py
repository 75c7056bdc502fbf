"""Durations and times as people type them."""

import contextlib
from datetime import UTC, datetime, timedelta

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from tidemill.cli import parse


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("90s", 90), ("10m", 600), ("10 min", 600), ("1h30m", 5400), ("2d", 172800),
     ("1w", 604800), ("250ms", 0.25)],
)  # fmt: skip
def test_durations(text: str, seconds: float) -> None:
    assert parse.duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "soon", "-5s", "5 parsecs", "10m!", "999999999999w", "\u0661\u0660"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        parse.duration(text)


@given(st.text())
def test_durations_never_break(text: str) -> None:
    with contextlib.suppress(typer.BadParameter):
        assert parse.duration(text) >= timedelta(0)


@pytest.mark.parametrize(("text", "words"), [("30", "write 30d or 30s"), (" 1.5 ", "write 1.5d or 1.5s")])
def test_a_number_alone_has_no_unit(text: str, words: str) -> None:
    for read in (parse.duration, parse.since):
        with pytest.raises(typer.BadParameter, match=words):
            read(text)
    with pytest.raises(typer.BadParameter, match=f"--every: .* has no unit; {words}"):
        parse.check_unit("--every", text.strip())
    parse.check_unit("--max-runtime", "0")


def test_no_age_is_longer_than_time() -> None:
    assert parse.duration("999999w") == timedelta(weeks=999999)
    with pytest.raises(typer.BadParameter, match="longer ago than any date"):
        parse.age("999999w")


def test_a_date_of_digits_is_a_date() -> None:
    assert parse.since("20300131") == parse.since("2030-01-31")


def test_times() -> None:
    assert parse.moment("2030-01-31T09:00:00+01:00") == datetime(2030, 1, 31, 8, tzinfo=UTC)
    local = datetime(2030, 1, 31, 9).astimezone(UTC)
    assert parse.moment("2030-01-31T09:00:00") == local
    with pytest.raises(typer.BadParameter, match="is not a time"):
        parse.moment("tomorrow")


def test_payload_is_kept_as_written() -> None:
    assert bytes(parse.payload('{"a":  1.0}')) == b'{"a":  1.0}'
    assert parse.payload(None) is None
    with pytest.raises(typer.BadParameter, match="not JSON"):
        parse.payload("{bad")
