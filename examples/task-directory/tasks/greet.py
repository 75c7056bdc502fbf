"""A plain function: it runs in a thread, and may block."""

from typing import Any


def task(payload: dict[str, Any]) -> None:
    print("Hello,", payload["name"], flush=True)
