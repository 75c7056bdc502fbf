"""The docs run on one version of PostgreSQL, the newest: they are slow, and other tests run on all."""

from __future__ import annotations

from pathlib import Path

import pytest

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    versions = {item: version for item in items if (version := _version(item)) is not None}
    newest = max(versions.values(), default=0)
    older = {item for item, version in versions.items() if version != newest}
    items[:] = [item for item in items if item not in older]
    config.hook.pytest_deselected(items=list(older))


def _version(item: pytest.Item) -> int | None:
    if _HERE not in item.path.parents or not isinstance(item, pytest.Function):
        return None
    match getattr(item, "callspec", None) and item.callspec.params.get("server"):
        case (int(version), Path()):
            return version
        case (_, None):
            # It is not there, and will be skipped: others may do better.
            return 0
    return None
