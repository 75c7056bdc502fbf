"""Makes characters visible that a terminal would obey or hide."""

from __future__ import annotations

import re

# Controls, line separators, changes of the writing direction, and halves of surrogate pairs.
_REST = r"\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
_HIDDEN = rf"[\x00-\x1f{_REST}]"
_HIDDEN_BUT_NEWLINE = rf"[\x00-\x09\x0b-\x1f{_REST}]"
_HIDDEN_IN_JSON = f"[{_REST}]"


def visible(text: str, *, lines: bool = False) -> str:
    r"""A text with its control characters written as `\x1b` or `\u202e`; `lines` keeps newlines."""
    # Most texts are printable, and a printable one hides nothing.
    if text.isprintable():
        return text
    return re.sub(_HIDDEN_BUT_NEWLINE if lines else _HIDDEN, _escape, text)


def visible_json(text: str) -> str:
    """Does the same to JSON without changing its meaning."""
    # In strings of JSON control characters are escaped already; between tokens they are just spaces.
    if text.isprintable():
        return text
    return re.sub(_HIDDEN_IN_JSON, lambda match: f"\\u{ord(match[0]):04x}", text).translate({9: " ", 13: " "})


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
