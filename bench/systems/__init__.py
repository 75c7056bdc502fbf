"""The measured systems."""

from __future__ import annotations

from bench.systems.base import System
from bench.systems.graphile_worker import GraphileWorker
from bench.systems.pg_boss import PgBoss
from bench.systems.python_peers import Awa, Chancy, Oban, PgQueuer, Procrastinate
from bench.systems.tidemill_system import Tidemill

SYSTEMS: dict[str, System] = {
    system.name: system
    for system in (
        Tidemill(),
        GraphileWorker(),
        PgQueuer(),
        Oban(),
        Awa(),
        Procrastinate(),
        Chancy(),
        PgBoss(),
    )
}
PEERS = [name for name in SYSTEMS if name != Tidemill.name]
