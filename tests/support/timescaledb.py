"""A server that has the extension TimescaleDB, and one that only looks so."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from tests.support.servers import OWNER, available, reachable_directory
from tidemill.database import embedded

# The directory of the programs of a server that has the extension.
_VARIABLE = "TIDEMILL_TEST_TIMESCALEDB"
_SETTINGS = {
    "shared_preload_libraries": "timescaledb",
    "timescaledb.telemetry_level": "off",
    "fsync": "off",
    "timezone": "UTC",
}


def _has_extension(bin_dir: Path) -> bool:
    asked = subprocess.run([bin_dir / "pg_config", "--sharedir"], capture_output=True, text=True, check=False)
    return (Path(asked.stdout.strip()) / "extension" / "timescaledb.control").exists()


@contextmanager
def timescaledb() -> Iterator[str]:
    """The conninfo of the owner of a database with the extension; the test is skipped where there is none."""
    named = os.environ.get(_VARIABLE)
    places = [Path(named)] if named else list(available().values())
    found = next((place for place in places if _has_extension(place)), None)
    if found is None:
        pytest.skip(
            f"no PostgreSQL here has the extension timescaledb; {_VARIABLE} names the programs of one"
        )
    shown = subprocess.run([found / "postgres", "--version"], capture_output=True, text=True, check=True)
    version = int(shown.stdout.split()[2].split(".")[0])
    with reachable_directory("timescaledb") as place:
        server = embedded.start(place / "server", version=version, bin_dir=found, settings=_SETTINGS)
        try:
            with psycopg.connect(server.conninfo(), autocommit=True) as superuser:
                superuser.execute(f"create role {OWNER} login".encode())
                superuser.execute(f"create database beside owner {OWNER}".encode())
            with psycopg.connect(server.conninfo("beside"), autocommit=True) as superuser:
                superuser.execute("create extension timescaledb")
                superuser.execute(f"grant create on schema public to {OWNER}".encode())
            yield server.conninfo("beside", OWNER)
        finally:
            server.release()


def pretend(superuser: psycopg.Connection, table: str, chunk: str, functions: Iterable[str]) -> None:
    """Makes a database look as if the extension had made a hypertable of a table in `app`.

    It is plpgsql's extension under another name, with the catalogue that ours reads.
    """
    for name in functions:
        superuser.execute(f"create function public.{name}() returns int language sql as 'select 1'".encode())
    superuser.execute(
        f"""
        create schema _timescaledb_catalog;
        grant usage on schema _timescaledb_catalog to public;
        create table _timescaledb_catalog.hypertable (schema_name name, table_name name);
        grant select on _timescaledb_catalog.hypertable to public;
        insert into _timescaledb_catalog.hypertable values ('app', '{table}');
        create table app.{table} (at timestamptz not null, n int);
        create table app.{chunk} () inherits (app.{table});
        alter table app.{table} owner to {OWNER};
        alter table app.{chunk} owner to {OWNER};
        set allow_system_table_mods = on;
        update pg_extension set extname = 'timescaledb', extnamespace = 'public'::regnamespace
          where extname = 'plpgsql';
        alter extension timescaledb add table _timescaledb_catalog.hypertable;
        """.encode()
    )
