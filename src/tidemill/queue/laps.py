"""Laps: searches that are made in parts, around and around, so that none of them takes long."""

from __future__ import annotations

from typing import Generic, TypeVar

P = TypeVar("P")


class Lap(Generic[P]):
    """A search that goes on where its last part ended, and begins again at `start` after its end."""

    def __init__(self, start: P) -> None:
        self.start = start
        self.place = start
        self._ends = 1

    @property
    def is_over(self) -> bool:
        """Whether everything was searched since `ask`."""
        return self._ends == 0

    @property
    def begins_again(self) -> bool:
        """Whether the last part came to the end, and the search has to go around once more."""
        return self.place == self.start and not self.is_over

    def ask(self) -> None:
        """Asks for a whole lap: something may be anywhere."""
        # A lap that is under way has passed places where something may be now.
        self._ends = 1 if self.place == self.start else 2

    def restart(self) -> None:
        """Begins again at the start."""
        self.place = self.start
        self.ask()

    def went(self, place: P) -> None:
        """A part of the search ended at this place; `start`: it came to the end."""
        self.place = place
        if place == self.start and self._ends:
            self._ends -= 1
