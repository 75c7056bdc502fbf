"""Makes characters visible that a terminal would obey or hide."""

from __future__ import annotations

import re

# Controls, line separators, changes of the writing direction, halves of surrogate pairs, what has no width.
# U+200C and U+200D stay: some scripts are not written without them.
_REST = (
    r"\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    r"\ud800-\udfff\U000e0000-\U000e007f"
)
_HIDDEN = rf"[\x00-\x1f{_REST}]"
_HIDDEN_BUT_NEWLINE = rf"[\x00-\x09\x0b-\x1f{_REST}]"
_HIDDEN_IN_JSON = f"[{_REST}]"


def visible(text: str, *, lines: bool = False) -> str:
    r"""A text with its controls and what has no width as `\x1b` or `\u202e`; `lines` keeps newlines."""
    # Most texts are printable, and a printable one hides nothing.
    if text.isprintable():
        return text
    return re.sub(_HIDDEN_BUT_NEWLINE if lines else _HIDDEN, _escape, text)


def visible_json(text: str) -> str:
    """Does the same to JSON without changing its meaning."""
    # In strings of JSON control characters are escaped already; between tokens they are just spaces.
    if text.isprintable():
        return text
    return re.sub(_HIDDEN_IN_JSON, _escape_in_json, text).translate({9: " ", 13: " "})


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code > 0xFFFF:
        return f"\\U{code:08x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def _escape_in_json(match: re.Match[str]) -> str:
    # JSON's escapes name units of UTF-16.
    units = match[0].encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[i : i + 4]}" for i in range(0, len(units), 4))
