"""Ends a session at a step of what it does to a hypertable: a statement that writes, a command, a commit."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import psycopg

_STEPS = """
    create sequence steps;
    create table fatal (step bigint, blocks boolean);
    insert into fatal values (0, false);
    create function pass() returns void language plpgsql as $$
    begin
      if nextval('app.steps') = (select f.step from app.fatal f) then
        if (select f.blocks from app.fatal f) then
          perform pg_advisory_xact_lock(1);
        else
          perform pg_terminate_backend(pg_backend_pid());
        end if;
      end if;
    end $$;
    create function pass_row() returns trigger language plpgsql as
      $$ begin perform app.pass(); return coalesce(new, old); end $$;
    create function pass_command() returns event_trigger language plpgsql as
      $$ begin perform app.pass(); end $$;
"""
_WATCHED = """
    create trigger step_1 before insert or delete on {0} for each statement execute function pass_row();
    create trigger step_2 after insert or delete on {0} for each statement execute function pass_row();
"""


def lay(connection: psycopg.Connection, superuser: psycopg.Connection, tables: list[str]) -> None:
    """Counts the steps in writes to these tables, in what is changed in the catalogue, and in commands."""
    connection.execute(_STEPS.encode())
    for name in tables:
        connection.execute(_WATCHED.format(name).encode())
    superuser.execute(
        "set search_path = app; alter function pass() security definer;"
        "create trigger step after update on tidemill._chunks for each row execute function pass_row();"
        "create event trigger step on ddl_command_end execute function pass_command()"
    )


def lay_commits(connection: psycopg.Connection, staging: str) -> None:
    """Counts the commit of a transaction that takes a row from a staging table, too."""
    connection.execute(
        f"create constraint trigger step_3 after delete on {staging} deferrable initially deferred"
        " for each row execute function pass_row()".encode()
    )


def arm(connection: psycopg.Connection, step: int, blocks: bool = False) -> None:
    """The next session that comes to this step ends there, or waits for the advisory lock 1."""
    connection.execute(
        b"select setval('steps', 1, false); "
        + b"update fatal set step = %d, blocks = %s" % (step, str(blocks).lower().encode())
    )


def dies(conninfo: str, statement: str) -> bool:
    """Runs a statement in a session of its own; whether that was ended by it."""
    with psycopg.connect(conninfo, autocommit=True) as own:
        try:
            own.execute(statement.encode())
        except psycopg.OperationalError:
            assert own.closed
            return True
    return False


class Waiting:
    """A statement that runs in a thread, in a session of its own."""

    def __init__(self, conninfo: str, statement: str) -> None:
        self.error: psycopg.Error | None = None
        self.rows: list[tuple[Any, ...]] = []
        self.connection = psycopg.connect(conninfo, autocommit=True)
        self.pid = self.connection.info.backend_pid
        self._thread = threading.Thread(target=self._guarded, args=[statement])
        self._thread.start()

    def _guarded(self, statement: str) -> None:
        try:
            done = self.connection.execute(statement.encode())
            self.rows = done.fetchall() if done.description else []
        except psycopg.Error as error:
            self.error = error

    def waits(self, connection: psycopg.Connection) -> Callable[[], bool]:
        """Whether it waits for a lock, for `wait_until`."""
        return lambda: (
            connection.execute("select from pg_locks where pid = %s and not granted", [self.pid]).rowcount > 0
        )

    def join(self) -> psycopg.Error | None:
        self._thread.join()
        self.connection.close()
        return self.error
