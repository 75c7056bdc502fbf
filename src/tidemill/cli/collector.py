"""Keeps the garbage collector out of the way while modules are imported and rows are read."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_ROWS_OF_A_CLAIM = 10_000


def suit_batches() -> None:
    """Makes collections rarer: a claim makes thousands of rows at once, which are gone in milliseconds."""
    gc.set_threshold(_ROWS_OF_A_CLAIM, *gc.get_threshold()[1:])


@contextmanager
def paused() -> Iterator[None]:
    """Pauses collections: while modules are imported they find nothing, and cost a tenth of the time.

    Later collections leave out all objects that exist at the end: modules live as long as the process.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
