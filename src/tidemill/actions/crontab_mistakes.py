"""What is wrong with a line of a crontab file that cannot be read."""

from __future__ import annotations

import re

FIELDS = ("minute", "hour", "date", "month", "day of week")

_NICKNAMES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
# The names of each field, and the number of the first.
_NAMES = {"month": (_MONTHS, 1), "day of week": (_DAYS, 0)}
_TIME = re.compile(r"[0-9*/,-]+")
_TASK = re.compile(r"[_a-zA-Z][_a-zA-Z0-9:/-]*")
_WORD = re.compile(r"[a-zA-Z]+")
_SETTING = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)\s*=")
_ACTIONS = "actions know them: tidemill actions add --task TASK --cron LINE"


def mistake_in_line(line: str) -> str:
    """What is wrong with a line that does not begin with five times and a task."""
    words = line.split()
    if words[0].startswith("@"):
        times = _NICKNAMES.get(words[0].lower())
        return f"nicknames are unknown here; write {times or '0 0 * * *'!r} instead of {words[0]!r}"
    if setting := _SETTING.match(line):
        return (
            f"settings such as {setting[1]}= are unknown here; times are in UTC, and for another time zone "
            "use tidemill actions add --task TASK --cron LINE --timezone ZONE"
        )
    for name, word in zip(FIELDS, words, strict=False):
        if not _TIME.fullmatch(word):
            return _mistake_in_time(name, word)
    if len(words) < len(FIELDS):
        return f"it has {len(words)} of five times: the {FIELDS[len(words)]} is missing, and the task"
    return "the task is missing after the five times"


def _mistake_in_time(name: str, word: str) -> str:
    names, first = _NAMES.get(name, ((), 0))
    parts = _WORD.findall(word.lower())
    if parts and all(part[:3] in names for part in parts):
        numbers = _WORD.sub(lambda part: str(names.index(part[0].lower()[:3]) + first), word)
        return f"{name} {word!r}: names are unknown here; write {numbers}"
    if re.fullmatch(r"\?|L|LW|[0-9A-Za-z]+(#[0-9]|L)", word):
        return f"{name} {word!r}: ?, L, W and # are unknown here; {_ACTIONS}"
    number = FIELDS.index(name)
    if _TASK.fullmatch(word):
        return (
            f"it has {number} of five times before {word!r}: the {name} is missing; a line is minute, hour, "
            "date, month, day of week and then the task"
        )
    return f"{name} {word!r}: a time has digits, '*', '/', '-' and ',' alone"


def mistake_in_command(command: str) -> str:
    """What is wrong with what stands after the five times."""
    task, *more = command.split(None, 1)
    rest = "".join(more)
    if _TIME.fullmatch(task):
        return f"{task!r} is a sixth time, and a line has five: there are no seconds"
    if not _TASK.fullmatch(task):
        return (
            f"the task {task!r} is no name that a crontab can hold: a letter or '_', then letters, digits, "
            "'_', ':', '/' and '-'"
        )
    if rest.startswith("?"):
        options, *more = rest.split(None, 1)
        if options == "?":
            return "there are no options after '?'"
        rest = "".join(more)
    if rest.startswith("["):
        return "the payload must be an object, {...}"
    return f"{rest!r} is neither options, ?..., nor a payload, {{...}}"
