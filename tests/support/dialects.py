"""Databases in which the dialect that puts names into `public` can be laid."""

from __future__ import annotations

from psycopg.conninfo import conninfo_to_dict

from tests.support.servers import OWNER, Server
from tidemill.database.migrate import migrate


def open_public(server: Server, conninfo: str) -> None:
    """Lets the owner create in `public`, which the template databases do not."""
    with server.superuser(str(conninfo_to_dict(conninfo)["dbname"])) as superuser:
        superuser.execute(f"grant create on schema public to {OWNER}".encode())


def lay_timescaledb(server: Server, conninfo: str) -> None:
    """Lays TimescaleDB's names in a migrated database."""
    open_public(server, conninfo)
    assert migrate(conninfo, dialects=["timescaledb"]).dialects_laid == ["timescaledb"]
