"""Locks on the jobs' table, as administrators and migrations take them."""

from __future__ import annotations

from chaos.stage import Stage

_TIMES = 3


def lock_table(stage: Stage) -> None:
    """Holds the strongest lock for five seconds."""
    with stage.fault(), stage.admin() as connection, connection.transaction():
        connection.execute("lock table tidemill._jobs in access exclusive mode")
        stage.hold(5)


def vacuum_full(stage: Stage) -> None:
    """Rewrites the table three times."""
    with stage.fault(_TIMES), stage.admin() as connection:
        for _ in range(_TIMES):
            connection.execute("vacuum full tidemill._jobs")
            stage.hold(0.5)


def alter_table(stage: Stage) -> None:
    """Adds columns to the table and drops them, with a second between."""
    with stage.fault(2 * _TIMES), stage.admin() as connection:
        for number in range(_TIMES):
            connection.execute(f"alter table tidemill._jobs add column chaos_{number} integer".encode())
            stage.hold(0.5)
            connection.execute(f"alter table tidemill._jobs drop column chaos_{number}".encode())
            stage.hold(0.5)
