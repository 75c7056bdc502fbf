"""Tablespaces for tests, on the server that they share: they stay until it is released."""

from __future__ import annotations

import psycopg
from psycopg import sql

from tests.support.servers import OWNER, Server

ODD, COLD = "odd place", "cold"
"""Where the owner of the tests may create tables."""
CLOSED = "closed"
"""Where only superusers may."""


def make_tablespaces(server: Server) -> None:
    with server.superuser() as superuser:
        there = {name for (name,) in superuser.execute("select spcname from pg_tablespace").fetchall()}
        # In the server's own folder, which needs none that its account can reach.
        superuser.execute("set allow_in_place_tablespaces = on")
        for name in {ODD, COLD, CLOSED} - there:
            place = sql.Identifier(name)
            superuser.execute(sql.SQL("create tablespace {} location ''").format(place))
            if name != CLOSED:
                superuser.execute(
                    sql.SQL("grant create on tablespace {} to {}").format(place, sql.Identifier(OWNER))
                )


def place_of(connection: psycopg.Connection, relation: str) -> str | None:
    """The tablespace of a table or index; None is the database's."""
    [(name,)] = connection.execute(
        "select s.spcname from pg_class c left join pg_tablespace s on s.oid = c.reltablespace"
        " where c.oid = %s::text::regclass",
        [relation],
    ).fetchall()
    return None if name is None else str(name)
