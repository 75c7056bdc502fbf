"""How the command line logs: lines for people, or JSON for collectors."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from tidemill.cli.visible import visible, visible_json
from tidemill.texts import bounded

LogFormat = Literal["text", "json"]
# Of a record: our own are shorter, and others write here, too.
_LONGEST = 200_000
_STANDARD = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class _Json(logging.Formatter):
    """One JSON object a line: time, level, logger, message, the process, the job's fields, traceback."""

    def __init__(self, process: int | None = None) -> None:
        super().__init__()
        self._process = {} if process is None else {"process": process}

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _whole(bounded(record.getMessage(), _LONGEST)),
            **self._process,
        }
        fields |= {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if record.exc_info:
            fields["traceback"] = _whole(bounded(self.formatException(record.exc_info), _LONGEST))
        return visible_json(msgspec.json.encode(fields, enc_hook=str).decode())


def _whole(text: str) -> str:
    """Escapes halves of surrogate pairs, which UTF-8 cannot hold."""
    return text.encode(errors="backslashreplace").decode()


class _Text(logging.Formatter):
    def __init__(self, process: int | None = None) -> None:
        number = "" if process is None else f"[{process}] "
        super().__init__(f"%(asctime)s %(levelname)-7s {number}%(message)s", "%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        # Indent further lines, so that no message can forge a line of the log.
        return visible(bounded(super().format(record), _LONGEST), lines=True).replace("\n", "\n    ")


def set_up(log_format: LogFormat, level: str, process: int | None = None) -> None:
    """Sends all logging to stderr in the chosen format; `process` is the number of one of several."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json(process) if log_format == "json" else _Text(process))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # Of what its warnings tell, we log what matters ourselves.
    logging.getLogger("psycopg").setLevel(logging.ERROR)
