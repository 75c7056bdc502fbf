"""A primary with an asynchronous standby."""

from __future__ import annotations

from typing import Self

from chaos.servers import ChaosServer


class FailoverServer(ChaosServer):
    """Clients name both servers (`switchable`), and connect to the one that takes writes."""

    def __enter__(self) -> Self:
        super().__enter__()
        self._standby = self.standby()
        return self

    def fail_over(self) -> None:
        """Kills the primary and promotes the standby."""
        self.kill()
        self._standby.promote()
