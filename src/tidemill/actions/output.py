"""What a run says: its messages and its error, both bounded."""

from __future__ import annotations

from psycopg.errors import Diagnostic

_LONGEST_OUTPUT = 64 * 1024


class Output:
    """The messages of a run's statements (NOTICE, WARNING, ...), up to 64 KiB of them."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._left = _LONGEST_OUTPUT
        self._dropped = 0

    def hear(self, diagnostic: Diagnostic) -> None:
        """Keeps a message, as psql shows it."""
        severity = diagnostic.severity_nonlocalized or diagnostic.severity or "NOTICE"
        line = f"{severity}:  {diagnostic.message_primary or ''}"
        for label, more in (("DETAIL", diagnostic.message_detail), ("HINT", diagnostic.message_hint)):
            if more:
                line += f"\n{label}:  {more}"
        if len(line) > self._left:
            self._dropped += 1
            return
        self._left -= len(line) + 1
        self._lines.append(line)

    def text(self) -> str | None:
        """All messages as one text; None if there are none."""
        lines = self._lines
        if self._dropped:
            lines = [*lines, f"... and {self._dropped} messages more, which were not kept"]
        return "\n".join(lines) or None


def bounded(text: str | None) -> str | None:
    """The text, or its first 64 Ki characters and how many more there were."""
    if text is None or len(text) <= _LONGEST_OUTPUT:
        return text
    return f"{text[:_LONGEST_OUTPUT]} ... ({len(text) - _LONGEST_OUTPUT} characters more)"
