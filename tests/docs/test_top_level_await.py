"""Pages whose Python has `await` outside of a function say how it is run."""

from __future__ import annotations

import ast

from tests.support.documents import ROOT


def _waits(code: str) -> bool:
    try:
        compile(code, "block", "exec")
    except SyntaxError:
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        try:
            compile(code, "block", "exec", flags=flags)
        except SyntaxError:
            return False
        return True
    return False


def _blocks(text: str) -> list[str]:
    return [part.split("\n```")[0] for part in text.split("```python\n")[1:]]


def test_they_say_how() -> None:
    pages = {page.name: page.read_text() for page in (ROOT / "docs/how-to").glob("*.md")}
    waiting = {name for name, text in pages.items() if any(map(_waits, _blocks(text)))}
    assert {"job-history.md", "watch-tasks.md", "middleware.md", "opentelemetry.md"} <= waiting
    assert {name for name in waiting if "`python -m asyncio`" not in pages[name]} == set()
