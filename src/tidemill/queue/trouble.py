"""Trouble with the database: how long the engine waits after it, and what it tells."""

from __future__ import annotations

import logging
import random

import psycopg

from tidemill.complaints import Complaints
from tidemill.database.words import in_short

logger = logging.getLogger("tidemill")

_LONGEST_AFTER_LOSS = 5.0
_FIRST_AFTER_LOCK, _LONGEST_AFTER_LOCK = 0.05, 1.0


class Trouble:
    """Counts what went wrong since the last turn that went well."""

    def __init__(self) -> None:
        self.losses = 0
        """How often the connection was lost, or could not be opened."""
        self._locks = 0
        self._complaints = Complaints(logger)
        self._is_told = False

    def lost(self, problem: psycopg.Error) -> float:
        """The connection was lost; returns in how many seconds to open another one."""
        self.losses += 1
        wait = min(_LONGEST_AFTER_LOSS, 0.05 * 2.0 ** min(self.losses, 10)) * random.uniform(0.5, 1.0)
        self._is_told |= self._complaints.warn(
            "database",
            "the database did not answer a claim or completion (%s); next try in %.1f s, nothing is lost",
            in_short(problem),
            wait,
        )
        return wait

    def locked(self) -> float:
        """Another session kept a statement from a table; returns in how many seconds to try again."""
        self._locks += 1
        self._complaints.warn(
            "lock",
            "another session holds a lock on Tidemill's tables, or waits for one (DDL, VACUUM FULL, LOCK "
            "TABLE): no job is claimed or settled until it has ended; nothing is lost",
        )
        return min(_LONGEST_AFTER_LOCK, _FIRST_AFTER_LOCK * 2.0 ** min(self._locks - 1, 10))

    def connected(self) -> None:
        """A connection was opened."""
        if self._is_told:
            logger.info("the database is back")
            self._is_told = False

    def over(self) -> None:
        """A turn went well."""
        self.losses = self._locks = 0
