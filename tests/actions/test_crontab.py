"""Reading crontabs: Graphile Worker's syntax and error texts, and which minutes match."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.actions.crontab import CrontabItem, parse_crontab, read_crontab
from tidemill.errors import CrontabError


def item(line: str) -> CrontabItem:
    [found] = parse_crontab(line)
    return found


def refusal(text: str) -> str:
    with pytest.raises(CrontabError) as caught:
        parse_crontab(text)
    return str(caught.value)


# The whole of a file


def test_a_whole_file() -> None:
    items = parse_crontab(
        "# At 4:30 on Mondays\r\n"
        "30 4 * * 1 mail/weekly\r\n"
        "\n"
        "   \t0 */4 * * *   rollup:all   ?fill=4h&max=3   {depth: 2, note: '# not a comment'}  \n"
        "  # */5 * * * * off\n"
    )
    assert [found.task for found in items] == ["mail/weekly", "rollup:all"]
    weekly, rollup = items
    assert (weekly.identifier, weekly.payload, weekly.backfill) == ("mail/weekly", {}, timedelta(0))
    assert (weekly.max_attempts, weekly.queue_name, weekly.job_key, weekly.priority) == (None,) * 4
    assert [set(found) for found in (weekly.minutes, weekly.hours, weekly.days_of_week)] == [{30}, {4}, {1}]
    assert (len(weekly.dates), len(weekly.months)) == (31, 12)
    assert (rollup.backfill, rollup.max_attempts) == (timedelta(hours=4), 3)
    assert rollup.payload == {"depth": 2, "note": "# not a comment"}


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n", "   \n  # still nothing"])
def test_nothing_is_fine(text: str) -> None:
    assert parse_crontab(text) == []


def test_every_option() -> None:
    found = item(
        "* * * * * t ?id=my-id_1&fill=1w2d3h4m5s&max=7&queue=a-b_c:d&jobKey=k%20%26+%C3%BC"
        "&jobKeyMode=preserve_run_at&priority=-3"
    )
    assert found.identifier == "my-id_1"
    assert found.backfill == timedelta(weeks=1, days=2, hours=3, minutes=4, seconds=5)
    assert (found.max_attempts, found.queue_name, found.priority) == (7, "a-b_c:d", -3)
    assert (found.job_key, found.job_key_mode) == ("k & ü", "preserve_run_at")


def test_defaults_of_options() -> None:
    assert item("* * * * * t ?jobKey=k").job_key_mode == "replace"
    assert item("* * * * * t ?fill=1m1m").backfill == timedelta(minutes=2)


# Fields


@pytest.mark.parametrize(
    ("field", "minutes"),
    [
        ("0", {0}),
        ("007", {7}),
        ("59", {59}),
        ("1,5,3", {1, 3, 5}),
        ("10-12", {10, 11, 12}),
        ("0-1,58-59,7", {0, 1, 7, 58, 59}),
        ("*", set(range(60))),
        ("*/1", set(range(60))),
        ("*/20", {0, 20, 40}),
        ("*/25", {0, 25, 50}),
        ("*/99", {0}),
        ("*/30,5", {0, 5, 30}),
    ],
)
def test_minutes(field: str, minutes: set[int]) -> None:
    assert item(f"{field} * * * * t").minutes == minutes


def test_stars_with_a_step_begin_at_the_least_value() -> None:
    found = item("*/20 */7 */10 */5 */3 t")
    assert found.hours == {0, 7, 14, 21}
    assert found.dates == {1, 11, 21, 31}
    assert found.months == {1, 6, 11}
    assert found.days_of_week == {0, 3, 6}


@pytest.mark.parametrize(
    ("field", "days"),
    [
        ("0", {0}),
        ("7", {0}),
        ("5-7", {0, 5, 6}),
        ("0-7", {0, 1, 2, 3, 4, 5, 6}),
        ("1-5", {1, 2, 3, 4, 5}),
        ("*/2", {0, 2, 4, 6}),
    ],
)
def test_sunday_has_two_numbers(field: str, days: set[int]) -> None:
    assert item(f"* * * * {field} t").days_of_week == days


# Error texts


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("nonsense", "Could not process line '1' of crontab: 'nonsense'; "),
        ("* * * * * 1st", "Invalid command specification in line 1 of crontab: "),
        ("* * * * * t {} ?id=x", "Failed to parse JSON5 payload on line 1 of crontab: "),
        (
            "60 * * * * t",
            "Too large value '60' in minutes range in line 1 of crontab: expected values in the range 0-59.",
        ),
        (
            "# first\n0 24 * * * t",
            "Too large value '24' in hours range in line 2 of crontab: expected values in the range 0-23.",
        ),
        ("0 0 1-32 * * t", "Too large value '32' in dates range in line 1 of crontab: "),
        ("0 0 0 * * t", "Too small value '0' in dates range in line 1 of crontab: "),
        ("0 0 * 13 * t", "Too large value '13' in months range in line 1 of crontab: "),
        ("0 0 * * 8 t", "Too large value '8' in days of week range in line 1 of crontab: "),
        (f"{'9' * 5000} * * * * t", "Too large value '999"),
        (
            "*/0 * * * * t",
            "Invalid wildcard expression '*/0' in minutes range in line 1 of crontab: divisor '0' expected "
            "to be greater than zero",
        ),
        ("5-5 * * * * t", "Invalid range '5-5' in minutes range in line 1 of crontab: "),
        ("0 9-6 * * * t", "Invalid range '9-6' in hours range in line 1 of crontab: "),
        ("1-9/2 * * * * t", "Unsupported expression '1-9/2' in minutes range in line 1 of crontab: "),
        ("1, * * * * t", "Unsupported expression '' in minutes range in line 1 of crontab: "),
        ("** * * * * t", "Unsupported expression '**' in minutes range in line 1 of crontab: "),
        (
            "* * * * * t ?unknown=3",
            "Options on line 1 of crontab contains unsupported key 'unknown'; supported keys are: 'id', "
            "'fill', 'max', 'queue', 'jobKey', 'jobKeyMode', 'priority'.",
        ),
        ("* * * * * t ?max=1&max=2", "Options on line 1 of crontab contains key 'max' more than once."),
        ("* * * * * t {a: }", "Failed to parse JSON5 payload on line 1 of crontab: "),
        ("* * * * * t {a: 1", "Failed to parse JSON5 payload on line 1 of crontab: "),
        ("* * * * * t {a: 1} b", "Failed to parse JSON5 payload on line 1 of crontab: "),
        ("* * * * * t {a: NaN}", "Failed to parse JSON5 payload on line 1 of crontab: "),
        ('* * * * * t {"a": 1e999}', "Failed to parse JSON5 payload on line 1 of crontab: "),
        (f"* * * * * {'t' * 129}", "The task name on line 1 of crontab has more than 128 characters."),
        (
            "0 1 * * * t\n\n0 2 * * * t",
            "Lines 1 and 3 of crontab have the same identifier 't'; give one of them another with '?id='.",
        ),
        ("0 1 * * * t\n0 2 * * * u ?id=t", "Lines 1 and 2 of crontab have the same identifier 't'; "),
    ],
)
def test_refusals(line: str, text: str) -> None:
    told = refusal(line)
    # Those that end in a colon are followed by a reason.
    assert told.startswith(text) if text[-1] in " 9;" else told == text


NEEDS_FIVE = "a line is minute, hour, date, month, day of week and then the task"
NO_OPTIONS = "is neither options, ?..., nor a payload, {...}"


@pytest.mark.parametrize(
    ("line", "mistake"),
    [
        ("nonsense", f"it has 0 of five times before 'nonsense': the minute is missing; {NEEDS_FIVE}"),
        ("* * * * t", f"it has 4 of five times before 't': the day of week is missing; {NEEDS_FIVE}"),
        ("* * *", "it has 3 of five times: the month is missing, and the task"),
        ("* * * * *", "the task is missing after the five times"),
        ("  @daily t  ", "nicknames are unknown here; write '0 0 * * *' instead of '@daily'"),
        ("@Weekly t", "nicknames are unknown here; write '0 0 * * 0' instead of '@Weekly'"),
        ("@reboot t", "nicknames are unknown here; write '0 0 * * *' instead of '@reboot'"),
        (
            "CRON_TZ=Europe/Berlin",
            "settings such as CRON_TZ= are unknown here; times are in UTC, and for another time zone use "
            "tidemill actions add --task TASK --cron LINE --timezone ZONE",
        ),
        ("0 4 * * MON t", "day of week 'MON': names are unknown here; write 1"),
        ("0 4 * * Sun,tue-Friday t", "day of week 'Sun,tue-Friday': names are unknown here; write 0,2-5"),
        ("0 4 * jan,DEC * t", "month 'jan,DEC': names are unknown here; write 1,12"),
        (
            "0 4 L * * t",
            "date 'L': ?, L, W and # are unknown here; actions know them: tidemill actions add --task TASK "
            "--cron LINE",
        ),
        (
            "0 4 ? * 5#2 t",
            "date '?': ?, L, W and # are unknown here; actions know them: tidemill actions add "
            "--task TASK --cron LINE",
        ),
        ("0 4.5 * * * t", "hour '4.5': a time has digits, '*', '/', '-' and ',' alone"),
        ("* * * * * * t", "'*' is a sixth time, and a line has five: there are no seconds"),
        (
            "* * * * * 1st",
            "the task '1st' is no name that a crontab can hold: a letter or '_', then letters, digits, '_', "
            "':', '/' and '-'",
        ),
        ("* * * * * two words", f"'words' {NO_OPTIONS}"),
        ("* * * * * t ?id=x more {}", f"'more {{}}' {NO_OPTIONS}"),
        ("* * * * * t [1]", "the payload must be an object, {...}"),
        ("* * * * * t ?", "there are no options after '?'"),
    ],
)
def test_what_is_wrong_with_a_line(line: str, mistake: str) -> None:
    assert re.split(r" of crontab: (?:'[^;]*'; )?", refusal(line), maxsplit=1)[1] == f"{mistake}."


@pytest.mark.parametrize(
    "option",
    [
        "id=1st", "id=", "id=a:b", "fill=", "fill=1", "fill=1y", "fill=h", "fill=1h,2m", "fill=-1h",
        f"fill={'9' * 40}w", "max=", "max=0", "max=-1", "max=32768", "max=1.5", "max=%D9%A3", "queue=",
        "queue=a/b", f"queue={'q' * 129}", "jobKey=", f"jobKey={'k' * 513}", "jobKey=a%00b",
        "jobKeyMode=unsafe_dedupe", "jobKeyMode=", "priority=", "priority=x", "priority=32768",
        "priority=-32769",
    ],
)  # fmt: skip
def test_values_that_a_job_could_not_have(option: str) -> None:
    key = option.partition("=")[0]
    told = refusal(f"* * * * * t ?{option}")
    assert re.match(
        rf"Options on line 1 of crontab contains invalid value '.*' for key '{key}'; expected ", told
    )


def test_options_that_are_no_text() -> None:
    assert refusal("* * * * * t ?jobKey=%FF").startswith("Options on line 1 of crontab cannot be read: ")


def test_the_same_task_may_stand_twice() -> None:
    assert [found.identifier for found in parse_crontab("1 * * * * t\n2 * * * * t ?id=u")] == ["t", "u"]


# Payloads


@pytest.mark.parametrize(
    ("text", "payload"),
    [
        ("{}", {}),
        ('{"a": [1, null, true, "ü"]}', {"a": [1, None, True, "ü"]}),
        ("{a: 1, 'b': .5, c: 0x10, d: +1, e: [1,],}", {"a": 1, "b": 0.5, "c": 16, "d": 1, "e": [1]}),
        ("{a: 1 /* one */} // more", {"a": 1}),
        ('{"url": "http://x/?a=1#b"}', {"url": "http://x/?a=1#b"}),
        ("{a: '\u2028'}", {"a": "\u2028"}),
    ],
)
def test_payloads(text: str, payload: object) -> None:
    assert item(f"* * * * * t {text}").payload == payload


def test_json5_is_imported_only_when_needed() -> None:
    code = (
        "import sys; from tidemill.actions.crontab import parse_crontab as parse;"
        "parse('* * * * * t {\"a\": 1}'); assert 'json5' not in sys.modules;"
        "parse('* * * * * t {a: 1}'); assert 'json5' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# Files


def test_a_file(tmp_path: Path) -> None:
    file = tmp_path / "crontab"
    file.write_bytes(b"\xef\xbb\xbf0 4 * * * t {a: '\xc3\xbc'}\r\n")
    [found] = read_crontab(file)
    assert found.payload == {"a": "ü"}


def test_a_text() -> None:
    assert [found.task for found in read_crontab("0 4 * * * t")] == ["t"]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(CrontabError, match=r"nowhere' cannot be read: No such file or directory\.$"):
        read_crontab(tmp_path / "nowhere")
    file = tmp_path / "crontab"
    file.write_bytes(b"0 4 * * * t {a: '\xff'}")
    with pytest.raises(CrontabError, match="is not UTF-8"):
        read_crontab(file)
    file.write_text("nonsense")
    with pytest.raises(
        CrontabError, match=r"/crontab: Could not process line '1' of crontab: 'nonsense'; it has"
    ):
        read_crontab(file)


# Which minutes match


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def days_of(line: str, year: int, month: int) -> list[int]:
    """The days of a month on which a line that is due at noon is due."""
    found = item(line)
    start = datetime(year, month, 1, 12, tzinfo=UTC)
    days = [start + timedelta(days=n) for n in range(31)]
    return [day.day for day in days if day.month == month and found.matches(day)]


def test_date_and_day_of_week() -> None:
    # July 2026 begins on a Wednesday.
    assert days_of("0 12 13 * * t", 2026, 7) == [13]
    assert days_of("0 12 * * 5 t", 2026, 7) == [3, 10, 17, 24, 31]
    # Both restricted: either will do.
    assert days_of("0 12 13 * 5 t", 2026, 7) == [3, 10, 13, 17, 24, 31]
    # All of them by other words are no restriction.
    assert days_of("0 12 13 * 0-6 t", 2026, 7) == [13]
    assert days_of("0 12 1-31 * 7 t", 2026, 7) == [5, 12, 19, 26]
    assert days_of("0 12 */10 * * t", 2026, 7) == [1, 11, 21, 31]
    assert days_of("0 12 13 2 5 t", 2026, 7) == []
    assert days_of("0 12 29 2 * t", 2028, 2) == [29]


def test_seconds_do_not_matter() -> None:
    found = item("30 4 * * * t")
    assert found.matches(at("2026-07-01T04:30:00"))
    assert found.matches(at("2026-07-01T04:30:59"))
    assert not found.matches(at("2026-07-01T04:31:00"))
    assert not found.matches(at("2026-07-01T05:30:00"))


def test_fields_are_in_utc() -> None:
    found = item("0 4 * * 3 t")
    ahead = timezone(timedelta(hours=5, minutes=30))
    assert found.matches(datetime(2026, 7, 1, 9, 30, tzinfo=ahead))
    assert not found.matches(datetime(2026, 7, 1, 4, 0, tzinfo=ahead))


@given(
    st.integers(0, 59),
    st.integers(0, 23),
    st.integers(1, 28),
    st.integers(1, 12),
    st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)),
)
def test_numbers_mean_just_these(minute: int, hour: int, date: int, month: int, time: datetime) -> None:
    found = item(f"{minute} {hour} {date} {month} * t")
    expected = (minute, hour, date, month) == (time.minute, time.hour, time.day, time.month)
    assert found.matches(time.replace(tzinfo=UTC)) == expected
    assert found.matches(datetime(time.year, month, date, hour, minute, tzinfo=UTC))


@given(st.text(alphabet="0123456789*/,- t?{}:=&%ab\n'\"", max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    for line in (text, f"* * * * * t {text}"):
        # Anything else would end a worker's start with a traceback.
        with contextlib.suppress(CrontabError):
            assert all(found.minutes and found.identifier for found in parse_crontab(line))
