"""How wide the columns of a table are, so that names stay whole on a narrow terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

_GAP = 2
_LEAST = 10
_LONGEST_WORD = 30
# These say which row it is: they are never cut, but folded where nothing else is left to give way.
_NAMES = {
    "task", "queue", "queue_name", "identifier", "name", "action", "routine", "runs", "worker", "worker_id",
    "role", "hypertable", "chunk",
}  # fmt: skip
# Texts and lists, which go on in a further line.
_TEXTS = {
    "tasks", "subjects", "message", "error", "last_error", "reason", "note", "filter", "output", "schedule",
    "what", "progress",
}  # fmt: skip
# Where a line is too long for the terminal these go, the first ones first.
_LESS = (
    "heartbeat_at", "pid", "hostname", "acts_as", "tablespace", "created_at", "asked_by", "by_hand",
    "last_start", "concurrency", "started_at", "priority", "oldest_ready", "cancelled", "retrying",
    "scheduled", "queue_name", "in_hand", "last_outcome", "failed", "running",
)  # fmt: skip


def fit(texts: Mapping[str, Sequence[str]], width: int) -> tuple[dict[str, int | None], list[str]]:
    """The widths of the columns that fit, None for those that share what is left; and the columns left out.

    texts  of each column its cells, with the header
    """
    wanted = {name: max(map(len, cells)) for name, cells in texts.items()}
    least = {
        name: min(size, max(_LEAST, len(texts[name][0]), _longest_word(texts[name])))
        if name in _TEXTS
        else size
        for name, size in wanted.items()
    }
    left_out = list[str]()
    for name in _LESS:
        if _total(least) <= width:
            break
        if name in least:
            del least[name]
            left_out.append(name)
    too_much = _total(least) - width
    for name in sorted(_NAMES & least.keys(), key=least.__getitem__, reverse=True):
        if too_much > 0:
            narrower = max(_LEAST, least[name] - too_much)
            too_much -= max(0, least[name] - narrower)
            least[name] = min(least[name], narrower)
    return {name: None if name in _TEXTS else size for name, size in least.items()}, left_out


def _longest_word(cells: Sequence[str]) -> int:
    return min(_LONGEST_WORD, max(len(word) for cell in cells for word in [*cell.split(), ""]))


def _total(widths: Mapping[str, int]) -> int:
    return sum(widths.values()) + _GAP * (len(widths) - 1)
