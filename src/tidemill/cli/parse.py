"""Values that people type: times, durations, JSON."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import typer

from tidemill.errors import InvalidJobError
from tidemill.retry import in_seconds

# Counted back from now it is still a time of PostgreSQL.
_LONGEST = timedelta(days=6000 * 365)


def duration(text: str) -> timedelta:
    """`90s`, `10m`, `1h30m`, `2d`; a number alone has no unit. Raises typer.BadParameter."""
    try:
        return timedelta(seconds=in_seconds(text, needs_unit=True))
    except ValueError as error:
        raise typer.BadParameter(f"{error}.") from None
    except OverflowError:
        raise typer.BadParameter(f"{text!r} is longer than any date.") from None


def age(text: str) -> timedelta:
    """A duration that is counted back from now. Raises typer.BadParameter."""
    given = duration(text)
    if given > _LONGEST:
        raise typer.BadParameter(f"{text!r} is longer ago than any date.")
    return given


def check_unit(option: str, text: str) -> None:
    """Refuses an interval of PostgreSQL that is a number alone. Raises typer.BadParameter."""
    with suppress(ValueError):
        if float(text):
            raise typer.BadParameter(f"{option}: {text!r} has no unit; write {text}d or {text}s.")


def moment(text: str) -> datetime:
    """An ISO 8601 time; without a zone it is local. Raises typer.BadParameter."""
    try:
        parsed = datetime.fromisoformat(text)
        return parsed.astimezone(UTC)
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            f"{text!r} is not a time; use for instance 2027-01-31T09:00:00+01:00, or --in 10m."
        ) from None


def start(run_at: str | None, wait: str | None) -> datetime | timedelta | None:
    """The options --run-at and --in; None for neither. Raises typer.BadParameter."""
    if run_at is not None and wait is not None:
        raise typer.BadParameter("give --run-at or --in, not both.")
    if run_at is not None:
        return moment(run_at)
    return None if wait is None else duration(wait)


def since(text: str) -> dict[str, datetime | timedelta]:
    """Either {"within": duration}, to be counted back on the database's clock, or {"since": time}.

    Raises typer.BadParameter.
    """
    with suppress(typer.BadParameter):
        return {"since": moment(text)}
    try:
        return {"within": age(text)}
    except typer.BadParameter:
        if text.strip().replace(".", "", 1).isdigit():
            raise
    raise typer.BadParameter(
        f"{text!r} is neither a duration nor a time; use for instance 2h, 7d or 2027-01-31T09:00."
    )


def zoned(text: str) -> datetime:
    """An ISO 8601 time of a file, which must have a zone. Raises InvalidJobError."""
    example = "2030-01-31T09:00:00Z or 2030-01-31T09:00:00+01:00"
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidJobError(f"run_at {text!r} is not a time; write for instance {example}.") from None
    if len(text) <= len("2030-01-31"):
        raise InvalidJobError(f"run_at {text!r} is a date without a time; write for instance {example}.")
    if parsed.tzinfo is None:
        raise InvalidJobError(f"run_at {text!r} has no time zone; write for instance {example}.")
    return parsed


def payload(text: str | None) -> Any:
    """JSON, kept as it is written. Raises typer.BadParameter; the message has the place of the mistake."""
    given = json_text(text, "the payload")
    return None if given is None else msgspec.Raw(given.encode())


def json_text(text: str | None, what: str) -> str | None:
    """Checks that a text is JSON; `what` names it in the error. Raises typer.BadParameter."""
    if text is None:
        return None
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise typer.BadParameter(
            f"{what} is not JSON ({error}); quote it for the shell, "
            """as in '{"to": "ann@example.com"}'."""
        ) from None
    except RecursionError:
        raise typer.BadParameter(f"{what} is nested too deep.") from None
    return text
