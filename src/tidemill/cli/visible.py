"""Makes what terminals would obey, or hide, visible as text."""

from __future__ import annotations

import re

# Controls, line separators, what turns the direction of writing, and halves of surrogate pairs.
_REST = r"\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
_HIDDEN = rf"[\x00-\x1f{_REST}]"
_HIDDEN_BUT_NEWLINE = rf"[\x00-\x09\x0b-\x1f{_REST}]"
_HIDDEN_IN_JSON = f"[{_REST}]"


def visible(text: str, *, lines: bool = False) -> str:
    r"""A text with its control characters written as `\x1b` or `\u202e`; `lines` keeps newlines."""
    # Most are printable, and then nothing is hidden in them.
    if text.isprintable():
        return text
    return re.sub(_HIDDEN_BUT_NEWLINE if lines else _HIDDEN, _escape, text)


def visible_json(text: str) -> str:
    """The same for JSON, which means the same afterwards."""
    # Control characters are escaped in its strings already; between tokens they are but spaces.
    if text.isprintable():
        return text
    return re.sub(_HIDDEN_IN_JSON, lambda match: f"\\u{ord(match[0]):04x}", text).translate({9: " ", 13: " "})


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
