"""tidemill hypertables: the list, one with its chunks, and the plan."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from rich.console import Console

from tests.cli.hypertables import add_event_data
from tests.support.commands import CommandLine
from tidemill.cli.hypertables import list_hypertables
from tidemill.cli.hypertables_find import bar, count, displayed_chunk, find_chunks, share, size


@contextmanager
def held(database: str, table: str, mode: str = "access exclusive") -> Iterator[None]:
    """Another session that locks a table."""
    with psycopg.connect(database) as other:
        other.execute(f"lock table {table} in {mode} mode".encode())
        yield


def test_the_list_has_what_its_chunks_hold(cli: CommandLine, connection: psycopg.Connection) -> None:
    assert cli.json("hypertables") == []
    add_event_data(connection, compressed=2)
    connection.execute("create table counted (n integer primary key)")
    connection.execute("select tidemill.create_hypertable('counted', 'n', chunk_time_interval => 10)")
    connection.execute("insert into counted values (1), (2)")
    [counted, events] = cli.json("hypertables")
    assert (events["chunks"], events["compressed_chunks"], events["chunk_width"]) == (6, 2, "1 day")
    assert (events["rows"], events["packed_rows"], events["note"]) == (2 * 720, 2 * 720, "")
    assert events["states"] == ["packed", "packed", "plain", "plain", "empty", "empty"]
    assert 0 < events["packed_bytes"] < events["bytes"]
    # A row without a chunk.
    assert (counted["chunks"], counted["rows"], counted["states"]) == (0, 2, ["waiting"])
    header, first, second = cli.ok("hypertables").splitlines()
    assert header.split("\t")[:5] == ["hypertable", "owner", "chunks", "chunks_packed", "rows"]
    assert first.split("\t")[-2] == "!"
    assert second.split("\t")[2:5] == ["6", "2", "2880"]
    assert second.split("\t")[6:8] == ["50 %", "██░░··"]


def test_rows_beside_are_seen(cli: CommandLine, connection: psycopg.Connection) -> None:
    add_event_data(connection, compressed=2)
    connection.execute("insert into event_data values ('2026-01-02 00:00:07+00', 1, 1)")
    shown = cli.json("hypertables", "event_data")
    assert [chunk["state"] for chunk in shown["chunk_list"] if chunk["has_rows"]] == ["partial"] + [
        "plain"
    ] * 2
    row = next(line for line in cli.ok("hypertables", "event_data").splitlines() if "\tpartial\t" in line)
    assert row.split("\t")[1:6] == ["2026-01-02 00:00:00", "2026-01-03 00:00:00", "partial", "721", "1"]


@pytest.mark.parametrize("name", ["event_data", "app.event_data", '"app"."event_data"'])
def test_one_is_shown_with_its_policies(cli: CommandLine, connection: psycopg.Connection, name: str) -> None:
    add_event_data(connection)
    connection.execute("select tidemill.add_compression_policy('event_data', interval '7 days')")
    shown = cli.json("hypertables", name)
    assert shown["name"] == "app.event_data"
    assert [chunk["range_start"] for chunk in shown["chunk_list"]][:2] == [
        "2026-01-01 00:00:00",
        "2026-01-02 00:00:00",
    ]
    assert [policy["name"] for policy in shown["policies"]] == [
        "Chunks Policy of app.event_data",
        "Compression Policy of app.event_data",
    ]
    told = cli.ok("hypertables", name)
    assert "time (timestamp with time zone), in chunks of 1 day" in told
    assert "\tCompression Policy of app.event_data\tscheduled\t" in told


def test_the_newest_chunks_are_shown(cli: CommandLine, connection: psycopg.Connection) -> None:
    names = add_event_data(connection)
    done = cli.run("hypertables", "event_data", "--limit", "2")
    shown = [line.split("\t")[0] for line in done.stdout.splitlines() if line.startswith("_hyper")]
    assert shown == [name.partition(".")[2] for name in names[-2:]]
    assert "There are more than these 2" in done.stderr


def test_what_is_meant_must_be_known(cli: CommandLine, connection: psycopg.Connection) -> None:
    add_event_data(connection)
    assert "There is no hypertable 'nothing'; see them with" in cli.refused("hypertables", "nothing")
    connection.execute("create schema other")
    connection.execute("create table other.event_data (time timestamptz not null)")
    connection.execute("select tidemill.create_hypertable('other.event_data', 'time')")
    said = cli.refused("hypertables", "event_data")
    assert "2 hypertables have the name 'event_data': give one of app.event_data, other.event_data" in said
    assert cli.json("hypertables", "other.event_data")["name"] == "other.event_data"


def test_the_name_of_the_table_of_rows_will_do(cli: CommandLine, connection: psycopg.Connection) -> None:
    add_event_data(connection)
    assert cli.json("hypertables", "app_rows.event_data")["name"] == "app.event_data"
    # One of the other's name is another one.
    connection.execute("create table app_rows.other (time timestamptz not null)")
    connection.execute("select tidemill.create_hypertable('app_rows.other', 'time')")
    assert cli.json("hypertables", "app_rows.other")["name"] == "app_rows.other"


def test_a_mistyped_command_is_told(cli: CommandLine, connection: psycopg.Connection) -> None:
    said = cli.refused("hypertables", "lst")
    assert "There is no hypertable 'lst'; see them with: tidemill hypertables" in said
    assert "and the commands with: tidemill hypertables --help (did you mean list?)" in said
    assert "did you mean" not in cli.refused("hypertables", "event_data")
    assert "--help" not in cli.refused("hypertables", "compress", "lst")


def test_estimates_look_like_estimates(
    cli: CommandLine, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_event_data(connection)
    connection.execute(
        "insert into event_data select time, 9, 1 from generate_series(timestamptz '2026-01-01 00:00+00',"
        " '2026-01-01 23:59:59+00', '7 seconds') time"
    )
    connection.execute("analyze app_rows.event_data")
    shown = cli.json("hypertables", "event_data")
    assert shown["rows_estimated"]
    assert [chunk["rows_estimated"] for chunk in shown["chunk_list"]] == [True] + [False] * 6
    # In a pipe they are numbers.
    [_, line] = cli.ok("hypertables").splitlines()
    assert line.split("\t")[4] == str(shown["rows"])
    estimated, exact = shown["chunk_list"][:2]
    assert displayed_chunk(estimated)["rows"] == 12343 + 720
    monkeypatch.setattr("tidemill.cli.hypertables_find.console", Console(force_terminal=True))
    assert [displayed_chunk(chunk)["rows"] for chunk in (estimated, exact)] == ["~13,100", "720"]
    assert [count(rows, True) for rows in (58_731, 1_234_567, 24)] == ["~58,700", "~1,230,000", "~24"]
    assert [count(58_731, False), count(None, True)] == ["58,731", None]


def test_a_locked_chunk_is_a_note(cli: CommandLine, database: str, connection: psycopg.Connection) -> None:
    names = add_event_data(connection, compressed=1)
    with held(database, names[1]):
        [row] = cli.json("hypertables")
        assert (row["rows"], row["packed_rows"], row["note"]) == (None, 720, "1 of its tables: locked")
        assert row["states"][:3] == ["packed", "not known", "plain"]
        line = cli.ok("hypertables").splitlines()[1].split("\t")
        assert (line[4], line[-1]) == ("", "1 of its tables: locked")
        told = cli.ok("hypertables", "event_data")
    assert "\tnot known\t" in told


def test_locked_segments_are_a_note(cli: CommandLine, database: str, connection: psycopg.Connection) -> None:
    add_event_data(connection, compressed=1)
    [(segments,)] = connection.execute("select segments::text from tidemill._hypertables").fetchall()
    with held(database, segments):
        [row] = cli.json("hypertables")
    assert (row["packed_rows"], row["note"]) == (None, "7 of its tables: segments are locked")


def test_a_lock_on_the_whole_is_a_note(
    cli: CommandLine, database: str, connection: psycopg.Connection
) -> None:
    add_event_data(connection)
    with held(database, "event_data"):
        assert "locked" in cli.json("hypertables", "event_data")["note"]


def test_a_chunk_that_was_dropped_is_a_note(cli: CommandLine, connection: psycopg.Connection) -> None:
    names = add_event_data(connection)
    connection.execute(f"drop table {names[1]}".encode())
    [row] = cli.json("hypertables")
    assert row["note"] == "1 of its tables: dropped just now"
    assert cli.ok("hypertables", "event_data")


def test_a_hypertable_that_vanishes_is_a_note(
    database: str, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """Between the look at the catalogs and the look at its chunks."""
    add_event_data(connection)

    def find_late(opened: psycopg.Connection[Any], hypertable_id: int) -> Any:
        connection.execute("drop table app_rows.event_data cascade")
        connection.execute("delete from tidemill._hypertables")
        return find_chunks(opened, hypertable_id)

    monkeypatch.setattr("tidemill.cli.hypertables.find_chunks", find_late)
    list_hypertables(database=database)
    [_, line] = capsys.readouterr().out.splitlines()
    assert line.split("\t")[0] == "app.event_data"
    assert line.split("\t")[-1] == "dropped just now"


def test_chunks_share_cells_where_there_are_more() -> None:
    states = ["packed"] * 10 + ["plain"] * 9 + ["waiting"]
    assert bar(states, 60).plain == "█" * 10 + "░" * 9 + "!"
    assert bar(states, 4).plain == "██░!"
    assert bar(states, 3).plain == "█░!"
    assert bar([], 9).plain == ""


def test_numbers_are_not_rounded_away() -> None:
    assert [share(1, 9999), share(9999, 1), share(5, 0), share(0, 5), share(0, 0)] == [
        "1 %",
        "99 %",
        "100 %",
        "0 %",
        None,
    ]
    assert [size(9999), size(10_240), size(5_000_000_000)] == ["9999 B", "10 kB", "4.7 GB"]


def test_the_plan_ends_with_the_whole(cli: CommandLine, connection: psycopg.Connection) -> None:
    add_event_data(connection)
    columns = cli.json("hypertables", "plan", "event_data")
    assert [row["column_name"] for row in columns[:-1]] == ["time", "device_id", "value", "note"]
    assert [row["encoding"] for row in columns][:2] == ["step", "key"]
    header, *lines = [line.split("\t") for line in cli.ok("hypertables", "plan", "event_data").splitlines()]
    assert header == ["column", "type", "encoding", "before", "after", "ratio"]
    assert [line[0] for line in lines] == [
        *(row["column_name"] for row in columns[:-1]),
        "(all, with indexes)",
    ]
    before, after = columns[-1]["bytes_before"], columns[-1]["bytes_after"]
    assert lines[-1] == ["(all, with indexes)", "", "", str(before), str(after), f"{before / after:.1f}"]


def test_a_plan_of_other_columns(cli: CommandLine, connection: psycopg.Connection) -> None:
    add_event_data(connection)
    tried = cli.json("hypertables", "plan", "event_data", "--segmentby", "note,device_id")
    assert [row["column_name"] for row in tried if row["encoding"] == "key"] == ["device_id", "note"]
    # What is in force is not what is tried.
    tried = cli.json(
        "hypertables", "plan", "event_data", "--segmentby", "", "--orderby", "device_id, time desc"
    )
    assert "key" not in [row["encoding"] for row in tried]
    for option in ("segmentby", "orderby"):
        assert f'column "nothing" of {option} does not exist' in cli.refused(
            "hypertables", "plan", "event_data", f"--{option}", "nothing"
        )
