"""PostgreSQL servers of the harness's own, with the faults that they can be put under."""

from __future__ import annotations

from chaos.servers.chaos_server import ChaosServer, Standby
from chaos.servers.pooler import pgbouncer
from chaos.servers.programs import Unavailable

__all__ = ["ChaosServer", "Standby", "Unavailable", "pgbouncer"]
