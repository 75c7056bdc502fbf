"""The disk is full in the middle of packing or backfilling: nothing has changed, and later it works."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import pytest
from psycopg import errors

from tests.hypertables.packed import count, images
from tests.support.servers import OWNER, TEMPLATE, Server

pytestmark = [pytest.mark.slow, pytest.mark.versions(18, 16)]

_BLOCK = 1 << 16
# Nothing here can be made smaller.
_ROWS = """
    select '2026-01-01 00:00+00'::timestamptz + n * interval '1 second', n % 2,
      (select string_agg(md5(n::text || i), '') from generate_series(1, 20) i)
    from generate_series({}, {}) n
"""


@contextmanager
def _small_disk(place: Path, like: Path) -> Iterator[Path]:
    """A file system of some megabytes, in memory; whoever owns another directory owns it."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("a small disk can be mounted by root alone")
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tidemill-test", place],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip(f"no small disk: {mounted.stderr.strip()}")
    try:
        owner = like.stat()
        os.chown(place, owner.st_uid, owner.st_gid)
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


@contextmanager
def _filled(disk: Path) -> Iterator[None]:
    ballast = disk / "ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(_BLOCK))
    yield
    ballast.unlink()


def test_a_full_disk(own_server: Server, directory: Path) -> None:
    with own_server.superuser() as superuser:
        [(data,)] = superuser.execute("show data_directory").fetchall()
        # What is freed is not used again, so that there is no room.
        superuser.execute("alter system set autovacuum = off")
        superuser.execute("select pg_reload_conf()")
    with _small_disk(directory / "small", Path(data)) as disk:
        with own_server.superuser() as superuser:
            superuser.execute(f"create tablespace small owner {OWNER} location '{disk}'".encode())
        with psycopg.connect(own_server.conninfo(own_server.clone(TEMPLATE)), autocommit=True) as connection:
            _fill_and_free(connection, disk)
        # Its files are on the disk that goes.
        own_server.stop("immediate")


def _fill_and_free(connection: psycopg.Connection, disk: Path) -> None:
    connection.execute(
        "create table staged (at timestamptz not null, device integer, value text);"
        "set default_tablespace = small;"
        "create table m (like staged); alter table m add primary key (device, at);"
        "select tidemill.create_hypertable('m', 'at', chunk_time_interval => interval '1 day');"
        "select tidemill.enable_compression('m', 'device');"
        "reset default_tablespace;"
    )
    connection.execute(f"insert into m {_ROWS.format(1, 3000)}".encode())
    with _filled(disk), pytest.raises(errors.DiskFull):
        connection.execute("insert into m select at + interval '1 day', device, value from m")
    before = images(connection, "m")
    for call in ("make_chunks('m')", "compress_chunk(c)", "decompress_chunk(c)", "compress_chunk(c)"):
        statement = f"select tidemill.{call}" + (
            " from tidemill.show_chunks('m', older_than => timestamptz '2026-02-01 00:00+00') c"
            if "(c)" in call
            else ""
        )
        with _filled(disk), pytest.raises(errors.DiskFull):
            connection.execute(statement.encode())
        assert images(connection, "m") == before, call
        connection.execute(statement.encode())
        assert images(connection, "m") == before, call
        assert (count(connection, "select count(*) from app_rows.m") == 0) == call.startswith("compress")
    connection.execute(f"insert into staged {_ROWS.format(2001, 4000)}".encode())
    with _filled(disk), pytest.raises(errors.DiskFull):
        connection.execute("call tidemill.decompress_backfill('staged', 'm')")
    assert images(connection, "m") == before
    assert count(connection, "select count(*) from staged") == 2000
    connection.execute("call tidemill.decompress_backfill('staged', 'm')")
    assert count(connection, "select count(*) from m") == 4000
    assert count(connection, "select count(*) from staged") == 0
    assert count(connection, "select count(*) from app_rows.m") == 0
