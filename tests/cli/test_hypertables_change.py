"""tidemill hypertables compress, decompress and backfill: what they do, and how they stop."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.cli.hypertables import add_event_data, loose, packed
from tests.hypertables.packed import images
from tests.support.commands import PROGRAM, CommandLine
from tests.support.waiting import wait_until
from tidemill.cli.hypertables_change import _Done, _measure


def test_compress_and_back(cli: CommandLine, connection: psycopg.Connection) -> None:
    names = add_event_data(connection)
    before = images(connection)
    told = cli.ok("hypertables", "compress", "event_data", "--older-than", "2026-01-03T00:00Z")
    assert told.startswith("Compressed 2 of 2 chunks of app.event_data: 1,440 rows in ")
    assert ", ratio " in told
    assert packed(connection) == [720, 720, 0, 0, 0, 0]
    done = cli.json("hypertables", "compress", "event_data")
    assert (done["chunks"], done["rows"], done["left"]) == (names[2:4], 1440, 0)
    assert done["ratio"] == round(done["bytes_before"] / done["bytes_after"], 2) > 1
    assert images(connection) == before
    assert "Nothing to do" in cli.ok("hypertables", "compress", "event_data")
    told = cli.ok("hypertables", "decompress", "event_data", "--newer-than", "2026-01-02T00:00Z")
    assert told.startswith("Decompressed 3 of 3 chunks of app.event_data: 2,160 rows in ")
    assert packed(connection) == [720, 0, 0, 0, 0, 0]
    assert images(connection) == before


def test_what_came_later_is_packed_beside_or_anew(cli: CommandLine, connection: psycopg.Connection) -> None:
    names = add_event_data(connection, compressed=2)
    connection.execute("insert into event_data values ('2026-01-02 00:00:07+00', 1, 1)")
    done = cli.json("hypertables", "compress", "event_data", "--older-than", "2026-01-03T00:00Z")
    assert (done["chunks"], done["rows"]) == ([names[1]], 1)
    done = cli.json(
        "hypertables", "compress", "event_data", "--recompress", "--older-than", "2026-01-03T00:00Z"
    )
    assert (done["chunks"], done["rows"]) == (names[:2], 1441)
    again = cli.run(
        "hypertables", "compress", "event_data", "--recompress", "--older-than", "2026-01-02T00:00Z"
    )
    assert again.stdout.startswith("Recompressed 1 of 1 chunks of app.event_data: 720 rows")
    assert "The size has the space of the old segments, too" in again.stderr
    assert packed(connection)[:2] == [720, 721]


def _stats(connection: psycopg.Connection, names: Sequence[str]) -> tuple[int, int]:
    """What these chunks took before they were compressed, and what they take now."""
    [(before, after)] = connection.execute(
        "select sum(before_compression_total_bytes)::bigint, sum(after_compression_total_bytes)::bigint"
        " from tidemill.chunk_compression_stats('event_data')"
        " where chunk_schema || '.' || chunk_name = any(%s)",
        [list(names)],
    ).fetchall()
    return before, after


@pytest.mark.parametrize("recompress", [[], ["--recompress"]])
def test_bytes_are_those_of_the_statistics(
    cli: CommandLine, connection: psycopg.Connection, recompress: list[str]
) -> None:
    """Also where rows were packed beside others, and where others were brought back."""
    names = add_event_data(connection, compressed=2)
    shown = cli.json("hypertables", "event_data")
    assert shown["packed_bytes"] == _stats(connection, names)[1]
    connection.execute("delete from event_data where device_id = 1 and time = '2026-01-02 00:10:00+00'")
    [beside] = [chunk["rows"] for chunk in cli.json("hypertables", "event_data")["chunk_list"][1:2]]
    assert 0 < beside < 719
    done = cli.json(
        "hypertables",
        "compress",
        "event_data",
        *recompress,
        "--newer-than",
        "2026-01-02T00:00Z",
        "--older-than",
        "2026-01-03T00:00Z",
    )
    assert (done["chunks"], done["rows"]) == ([names[1]], 719 if recompress else beside)
    assert (done["bytes_before"], done["bytes_after"]) == _stats(connection, [names[1]])
    assert done["ratio"] == round(done["bytes_before"] / done["bytes_after"], 2) > 1


def test_what_is_locked_is_not_measured(database: str, connection: psycopg.Connection) -> None:
    add_event_data(connection, compressed=1)
    [(segments, number)] = connection.execute(
        "select h.segments::text, c.number from tidemill._hypertables h"
        " join tidemill._chunks c on c.hypertable_id = h.id and c.is_compressed"
    ).fetchall()
    locked, free = _Done(numbers=[number]), _Done(numbers=[number])
    with psycopg.connect(database, autocommit=True) as own:
        with psycopg.connect(database) as other:
            other.execute(f"lock table {segments} in access exclusive mode".encode())
            _measure(own, 1, locked)
        _measure(own, 1, free)
    assert (locked.bytes_before, locked.bytes_after) == (0, 0)
    assert free.bytes_before > free.bytes_after > 0


def test_a_dry_run_changes_nothing(cli: CommandLine, connection: psycopg.Connection) -> None:
    add_event_data(connection, compressed=1)
    _, *lines = cli.ok("hypertables", "compress", "event_data", "--dry-run").splitlines()
    assert [line.split("\t")[3:5] for line in lines] == [["plain", "720"]] * 3
    assert [chunk["rows"] for chunk in cli.json("hypertables", "compress", "event_data", "--dry-run")] == [
        720
    ] * 3
    [chunk] = cli.json("hypertables", "decompress", "event_data", "--dry-run")
    assert chunk["packed_rows"] == 720
    assert packed(connection) == [720, 0, 0, 0, 0, 0]


def test_limits_are_of_the_kind_of_the_time(cli: CommandLine, connection: psycopg.Connection) -> None:
    connection.execute("create table counted (n integer primary key)")
    connection.execute("select tidemill.create_hypertable('counted', 'n', chunk_time_interval => 10)")
    connection.execute("insert into counted select generate_series(0, 29)")
    connection.execute("select tidemill.make_chunks('counted'), tidemill.enable_compression('counted')")
    done = cli.json("hypertables", "compress", "counted", "--older-than", "20", "--newer-than", "10")
    assert (len(done["chunks"]), packed(connection)) == (1, [0, 10, 0])
    assert "'7d' is no whole number" in cli.refused(
        "hypertables", "compress", "counted", "--older-than", "7d"
    )

    connection.execute("create table local (at timestamp not null)")
    connection.execute(
        "select tidemill.create_hypertable('local', 'at', chunk_time_interval => interval '1 day')"
    )
    connection.execute("insert into local values ('2026-01-01 12:00'), (localtimestamp)")
    connection.execute("select tidemill.make_chunks('local'), tidemill.enable_compression('local')")
    shown = [
        len(cli.json("hypertables", "compress", "local", "--dry-run", *limits))
        for limits in (
            [],
            ["--older-than", "2026-01-02"],
            ["--older-than", "2026-01-01T23:59"],
            ["--newer-than", "7d"],
            ["--older-than", "7d", "--newer-than", "2025-12-31"],
        )
    ]
    assert shown == [2, 1, 0, 1, 1]
    assert "neither a duration nor a time" in cli.refused(
        "hypertables", "compress", "local", "--older-than", "x"
    )
    bare = cli.run("hypertables", "compress", "local", "--older-than", "5")
    assert bare.returncode == 2
    assert "'5' has no unit; write 5d or 5s." in bare.stderr


def test_what_cannot_be_compressed_says_what_to_do(cli: CommandLine, connection: psycopg.Connection) -> None:
    connection.execute("create table plain (at timestamptz not null)")
    connection.execute("select tidemill.create_hypertable('plain', 'at')")
    connection.execute("insert into plain values (now())")
    for options in ([], ["--dry-run"], ["--older-than", "7d"]):
        said = cli.refused("hypertables", "compress", "plain", *options)
        assert "Compression is not enabled on app.plain. First: " in said
        assert "SELECT tidemill.enable_compression('app.plain', segmentby => 'COLUMNS')" in said
    assert "Nothing to do" in cli.ok("hypertables", "decompress", "plain")


@contextmanager
def waiting(
    cli: CommandLine,
    database: str,
    connection: psycopg.Connection,
    table: str,
    *words: str,
    program: Sequence[str] = PROGRAM,
) -> Iterator[tuple[psycopg.Connection, subprocess.Popen[str]]]:
    """A command that waits for a table, which the given connection holds until it rolls back."""
    with psycopg.connect(database) as holder:
        holder.execute(f"lock table {table} in share row exclusive mode".encode())
        process = subprocess.Popen(
            [*program, "hypertables", *words],
            cwd=cli.directory,
            env=cli.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        wait_until(
            lambda: (
                connection.execute(
                    "select from pg_locks where not granted and relation = %s::text::regclass", [table]
                ).fetchone()
                is not None
            ),
            "the command to wait",
        )
        yield holder, process


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_after_the_chunk_in_work(
    cli: CommandLine, database: str, connection: psycopg.Connection, sent: signal.Signals
) -> None:
    names = add_event_data(connection)
    with waiting(cli, database, connection, names[1], "compress", "event_data") as (holder, process):
        process.send_signal(sent)
        assert process.stderr is not None
        assert process.stderr.readline().startswith("Stopping after the chunk in work")
        holder.rollback()
        told, remarks = process.communicate(timeout=30)
    assert process.returncode == 1
    assert told.startswith("Compressed 2 of 4 chunks of app.event_data: 1,440 rows")
    assert "Stopped with 2 chunks left, each as it was; the same command goes on." in remarks
    assert packed(connection) == [720, 720, 0, 0, 0, 0]
    assert cli.json("hypertables", "compress", "event_data")["chunks"] == names[2:4]


# Signals count as one for a second, otherwise.
AT_ONCE = (*PROGRAM[:-1], "from tidemill.cli import main, stops; stops.SAME_SIGNAL_SECONDS = 0; main()")


def test_a_second_signal_takes_the_chunk_back(
    cli: CommandLine, database: str, connection: psycopg.Connection
) -> None:
    names = add_event_data(connection)
    compress = ("compress", "event_data")
    with waiting(cli, database, connection, names[1], *compress, program=AT_ONCE) as (_, process):
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert process.stderr.readline().startswith("Stopping after the chunk in work")
        process.send_signal(signal.SIGINT)
        told, remarks = process.communicate(timeout=30)
    assert process.returncode == 1
    assert told.startswith("Compressed 1 of 4 chunks of app.event_data: 720 rows")
    assert "Stopped with 3 chunks left, each as it was" in remarks
    assert packed(connection) == [720, 0, 0, 0, 0, 0]
    assert loose(connection, names[1]) == 720


def test_a_locked_chunk_is_passed_over(
    cli: CommandLine, database: str, connection: psycopg.Connection
) -> None:
    names = add_event_data(connection)
    with waiting(cli, database, connection, names[1], "compress", "event_data") as (_, process):
        told, remarks = process.communicate(timeout=30)
    assert process.returncode == 1
    assert f"{names[1]} is locked, and left as it is." in remarks
    assert told.startswith("Compressed 3 of 4 chunks")
    assert packed(connection) == [720, 0, 720, 720, 0, 0]


def _stage(connection: psycopg.Connection) -> None:
    connection.execute("create table late (like app_rows.event_data)")
    connection.execute(
        "insert into late values ('2026-01-01 00:00:30+00', 1, 100), ('2026-01-02 00:10:00+00', 1, 100),"
        " ('2026-01-02 00:10:30+00', 1, 100)"
    )


def _value(connection: psycopg.Connection) -> float:
    [(value,)] = connection.execute(
        "select value from event_data where device_id = 1 and time = '2026-01-02 00:10:00+00'"
    ).fetchall()
    return float(value)


def test_backfill_shows_each_range(cli: CommandLine, connection: psycopg.Connection) -> None:
    add_event_data(connection, compressed=3)
    _stage(connection)
    first, second, told = cli.ok("hypertables", "backfill", "late", "event_data").splitlines()
    assert first == "1 rows moved in range 2026-01-01 00:00:00+00 to 2026-01-02 00:00:00+00"
    assert second.startswith("2 rows moved in range 2026-01-02 ")
    assert told.startswith("Moved 3 rows into 2 chunks of app.event_data in ")
    assert (loose(connection, "late"), len(images(connection)), _value(connection)) == (0, 4 * 720 + 2, 1.5)
    assert "Nothing to do" in cli.ok("hypertables", "backfill", "late", "event_data")


def test_backfill_changes_rows_and_keeps_the_staged(cli: CommandLine, connection: psycopg.Connection) -> None:
    add_event_data(connection, compressed=3)
    _stage(connection)
    update = ["--on-conflict", "update", "--update-columns", "value, note", "--target", "(device_id, time)"]
    done = cli.json("hypertables", "backfill", "late", "event_data", "--keep-staging", *update)
    assert (done["hypertable"], done["chunks"], done["rows"]) == ("app.event_data", 2, 3)
    assert (loose(connection, "late"), _value(connection)) == (3, 100)
    said = cli.refused("hypertables", "backfill", "late", "event_data", "--on-conflict", "restrict")
    assert "duplicate key value violates unique constraint" in said
    assert "needs --update-columns and --target" in cli.refused(
        "hypertables", "backfill", "late", "event_data", "--on-conflict", "update"
    )
    assert "go with --on-conflict update" in cli.refused(
        "hypertables", "backfill", "late", "event_data", "--target", "(time)"
    )


def test_the_staging_table_may_stand_beside_the_hypertable(
    cli: CommandLine, database: str, connection: psycopg.Connection
) -> None:
    add_event_data(connection)
    _stage(connection)
    connection.execute('create table app_rows."Late 2" (like late)')
    connection.execute("insert into app_rows.\"Late 2\" values ('2026-01-01 00:00:31+00', 1, 100)")
    elsewhere = CommandLine(cli.directory, make_conninfo(database, options="-c search_path=pg_catalog"))
    done = elsewhere.run("hypertables", "backfill", "late", "event_data")
    assert "Moved 3 rows into 2 chunks of app.event_data" in done.stdout
    assert "late is not on the search path: taking app.late." in done.stderr
    assert "Moved 1 rows" in elsewhere.ok("hypertables", "backfill", '"Late 2"', "event_data")
    assert (loose(connection, "late"), loose(connection, 'app_rows."Late 2"')) == (0, 0)
    assert (
        "There is no table 'nothing' on the search path, nor in schema app or app_rows; name its schema"
        in cli.refused("hypertables", "backfill", "nothing", "event_data")
    )
    assert "There is no table 'no.thing'; name its schema" in cli.refused(
        "hypertables", "backfill", "no.thing", "event_data"
    )


def test_a_backfill_that_is_stopped_goes_on(
    cli: CommandLine, database: str, connection: psycopg.Connection
) -> None:
    names = add_event_data(connection, compressed=3)
    _stage(connection)
    with waiting(cli, database, connection, names[1], "backfill", "late", "event_data") as (_, process):
        process.send_signal(signal.SIGTERM)
        told, remarks = process.communicate(timeout=30)
    assert process.returncode == 1
    assert told.startswith("1 rows moved in range 2026-01-01 ")
    assert "the one in work was taken back. What is left stands in the staging table" in remarks
    assert (loose(connection, "late"), len(images(connection))) == (2, 4 * 720 + 1)
    cli.ok("hypertables", "backfill", "late", "event_data")
    assert (loose(connection, "late"), len(images(connection))) == (0, 4 * 720 + 2)


def test_the_roles_level_of_isolation_does_not_matter(
    cli: CommandLine, database: str, connection: psycopg.Connection
) -> None:
    add_event_data(connection)
    _stage(connection)
    strict = CommandLine(
        cli.directory, make_conninfo(database, options="-c default_transaction_isolation=serializable")
    )
    assert len(strict.json("hypertables", "compress", "event_data")["chunks"]) == 4
    assert strict.json("hypertables", "backfill", "late", "event_data")["rows"] == 3
    assert len(strict.json("hypertables", "decompress", "event_data")["chunks"]) == 4
    assert len(images(connection)) == 4 * 720 + 2
