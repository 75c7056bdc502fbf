"""Acts of the functions for hypertables: who called them by hand, and nobody else."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.hypertables.calls import run, value
from tests.hypertables.packed import DEVICES, compress, count
from tests.support.running import eventually, running
from tests.support.servers import Server
from tests.support.tablespaces import COLD, make_tablespaces
from tidemill import App

pytestmark = pytest.mark.versions(18, 16)

FIRST = "app_chunks._hyper_1_3_chunk"
SECOND = "app_chunks._hyper_1_4_chunk"
TABLE = "app.event_data"


@pytest.fixture
def devices(server: Server, connection: psycopg.Connection) -> psycopg.Connection:
    make_tablespaces(server)
    connection.execute(DEVICES)
    connection.execute("create index by_time on event_data (time)")
    connection.execute("truncate tidemill._acts")
    return connection


def acts(connection: psycopg.Connection) -> list[tuple[Any, ...]]:
    return run(connection, "select what, subjects, before, after from tidemill.acts order by id")


def test_a_table_that_becomes_a_hypertable(connection: psycopg.Connection) -> None:
    connection.execute(DEVICES)
    made, added, chunks = acts(connection)
    assert made == (
        "create_hypertable",
        [TABLE],
        None,
        {"time_column": "time", "chunk_time_interval": "1 day"},
    )
    assert added[0] == "add_action"
    assert chunks == ("make_chunks", [TABLE], None, {"made": 4})
    # There is nothing to make, and it is a hypertable.
    connection.execute("select tidemill.make_chunks('event_data')")
    connection.execute("select tidemill.create_hypertable('event_data', 'time', if_not_exists => true)")
    connection.execute(
        "create table parts (at timestamptz not null) partition by range (at);"
        "create table part partition of parts for values from ('2026-01-01') to ('2026-01-02')"
    )
    connection.execute("select tidemill.adopt_hypertable('parts')")
    assert [what for what, *_ in acts(connection)][3:] == ["adopt_hypertable", "add_action"]


PACKING = {"orderby": [], "updatable": False, "segmentby": ["device_id"], "transparent": True}
CHUNK = {"hypertable": TABLE}


@pytest.mark.parametrize(
    ("before", "call", "act"),
    [
        ([], "enable_compression('event_data', 'device_id')", ("enable_compression", [TABLE], None, PACKING)),
        (["enable"], "disable_compression('event_data')", ("disable_compression", [TABLE], PACKING, None)),
        (
            ["enable"],
            "set_transparent('event_data', false)",
            ("set_transparent", ["app.event_data"], None, {"transparent": False}),
        ),
        (
            ["enable"],
            "set_updatable('event_data', true)",
            ("set_updatable", [TABLE], None, {"updatable": True}),
        ),
        (["enable"], f"compress_chunk('{FIRST}')", ("compress_chunk", [FIRST], None, CHUNK)),
        (
            ["enable", f"select tidemill.compress_chunk('{FIRST}')"],
            f"decompress_chunk('{FIRST}')",
            ("decompress_chunk", [FIRST], None, CHUNK),
        ),
        (
            [],
            f"move_chunk('{FIRST}', '{COLD}')",
            ("move_chunk", [FIRST], None, {"tablespace": COLD, "index_tablespace": COLD} | CHUNK),
        ),
        (
            [],
            f"reorder_chunk('{FIRST}', 'by_time')",
            ("reorder_chunk", [FIRST], None, {"index": f"{FIRST}_time_idx1"} | CHUNK),
        ),
        (
            [],
            "set_chunk_time_interval('event_data', interval '2 hours')",
            (
                "set_chunk_time_interval",
                [TABLE],
                {"chunk_time_interval": "1 day"},
                {"chunk_time_interval": "02:00:00"},
            ),
        ),
        (
            [],
            f"attach_tablespace('{COLD}', 'event_data')",
            ("attach_tablespace", [TABLE], None, {"tablespaces": [COLD]}),
        ),
        (
            [f"select tidemill.attach_tablespace('{COLD}', 'event_data')"],
            f"detach_tablespace('{COLD}')",
            ("detach_tablespace", [TABLE], {"tablespaces": [COLD]}, {"tablespaces": []}),
        ),
        (
            [f"select tidemill.attach_tablespace('{COLD}', 'event_data')"],
            "detach_tablespaces('event_data')",
            ("detach_tablespaces", [TABLE], {"tablespaces": [COLD]}, None),
        ),
        (
            [],
            "add_column('event_data', 'colour', 'text')",
            ("add_column", [TABLE], None, {"column": "colour", "type": "text"}),
        ),
    ],
    ids=lambda given: given.partition("(")[0] if isinstance(given, str) else "",
)
def test_a_call_by_hand(
    devices: psycopg.Connection, before: list[str], call: str, act: tuple[Any, ...]
) -> None:
    for statement in before:
        devices.execute(
            b"select tidemill.enable_compression('event_data', 'device_id')"
            if statement == "enable"
            else statement.encode()
        )
    devices.execute(f"select tidemill.{call}".encode())
    assert acts(devices)[len(before) :] == [act]
    assert run(devices, "select distinct who from tidemill.acts") == [("tidemill_owner",)]


def test_chunks_that_are_dropped_are_one_act(devices: psycopg.Connection) -> None:
    devices.execute("select tidemill.drop_chunks('event_data', '2026-01-03 00:00+00'::timestamptz)")
    # There is none left.
    devices.execute("select tidemill.drop_chunks('event_data', '2026-01-03 00:00+00'::timestamptz)")
    assert acts(devices) == [("drop_chunks", [FIRST, SECOND], CHUNK, None)]


@pytest.mark.parametrize(
    "call",
    [
        "decompress_chunk('app_chunks._hyper_1_3_chunk')",
        "set_chunk_time_interval('event_data', interval '1 day')",
        "detach_tablespaces('event_data')",
        "disable_compression('event_data')",
        "show_chunks('event_data')",
        "hypertable_size('event_data')",
    ],
)
def test_what_changes_nothing_is_none(devices: psycopg.Connection, call: str) -> None:
    devices.execute(f"select tidemill.{call}".encode())
    assert acts(devices) == []


def test_what_is_packed_already_is_none(devices: psycopg.Connection) -> None:
    devices.execute("select tidemill.enable_compression('event_data', 'device_id')")
    compress(devices)
    before = len(acts(devices))
    compress(devices)
    assert len(acts(devices)) == before == 7


def test_a_view_that_was_dropped_by_hand_is_in_nobodys_way(devices: psycopg.Connection) -> None:
    devices.execute("select tidemill.enable_compression('event_data', 'device_id')")
    devices.execute("drop view event_data")
    devices.execute(f"select tidemill.compress_chunk('{FIRST}')".encode())
    assert acts(devices)[-1] == ("compress_chunk", [FIRST], None, {"hypertable": "app_rows.event_data"})


def test_a_backfill_has_an_act_for_each_chunk(devices: psycopg.Connection) -> None:
    devices.execute(
        "create table staged (like event_data);"
        "insert into staged (time, device_id) select t, 9 from generate_series("
        " timestamptz '2026-01-01 00:05+00', '2026-01-02 12:00+00', '1 hour') t;"
        "insert into staged (time, device_id) values ('2026-01-01 00:00+00', 1)"
    )
    devices.execute("call tidemill.decompress_backfill('staged', 'event_data')")
    assert acts(devices) == [
        ("decompress_backfill", [FIRST], None, {"rows": 25, "added": 24} | CHUNK),
        ("decompress_backfill", [SECOND], None, {"rows": 12, "added": 12} | CHUNK),
    ]


def test_policies_are_actions(devices: psycopg.Connection) -> None:
    policy = value(devices, "select tidemill.add_retention_policy('event_data', interval '100 years')")
    devices.execute("select tidemill.remove_retention_policy('event_data')")
    assert [(what, subjects) for what, subjects, *_ in acts(devices)] == [
        ("add_action", [str(policy)]),
        ("delete_action", [str(policy)]),
    ]


async def test_what_policies_do_is_in_the_history_alone(database: str, devices: psycopg.Connection) -> None:
    devices.execute("select tidemill.enable_compression('event_data', 'device_id')")
    age = "now() - timestamptz '2026-01-03 12:00+00'"
    policies = [
        value(devices, f"select tidemill.add_compression_policy('event_data', {age} - interval '1 day')"),
        value(devices, f"select tidemill.add_retention_policy('event_data', {age} + interval '1 day')"),
        value(devices, f"select tidemill.add_tiering_policy('event_data', {age}, '{COLD}')"),
    ]
    noted = len(acts(devices))
    ended = "select from tidemill.action_history where action_id = any(%s) and outcome = 'success'"
    async with App(database) as app, running(app):
        await eventually(lambda: devices.execute(ended, [policies]).rowcount == 3, "the policies to run")
    assert count(devices, "select count(*) from tidemill._chunks where is_compressed") > 0
    assert value(devices, f"select to_regclass('{FIRST}')") is None
    assert len(acts(devices)) == noted
    # Of a run by hand somebody is the cause.
    devices.execute(
        'update tidemill._actions set config = config || \'{"drop_after": "1 day"}\' where id = %s',
        [policies[1]],
    )
    devices.execute("call tidemill.run_action(%s)", [policies[1]])
    assert [what for what, *_ in acts(devices)][noted:] == ["run_action", "drop_chunks"]


def test_who_asks_is_the_caller_and_owns_the_table(
    server: Server, devices: psycopg.Connection, database: str
) -> None:
    with server.role() as name:
        run(devices, f"select tidemill.grant_hypertables('{name}')")
        assert acts(devices) == [("grant_hypertables", [name], None, None)]
        with psycopg.connect(make_conninfo(database, user=name), autocommit=True) as stranger:
            for statement, words in (
                (
                    "(h, verb, what) select h, 'note', 'drop_chunks' from tidemill._hypertables h",
                    "must be owner",
                ),
                ("(verb, what) values ('note', 'drop_chunks')", "an act is that of a function"),
                ("(who, verb) values ('tidemill_owner', 'note')", "permission denied"),
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege, match=words):
                    run(stranger, f"insert into tidemill._hypertable_requests {statement}")
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="an act is that of a function"):
        run(
            devices,
            "insert into tidemill._hypertable_requests (h, verb, what)"
            " select h, 'note', 'grant_role' from tidemill._hypertables h",
        )


def test_no_function_that_changes_something_is_forgotten(connection: psycopg.Connection) -> None:
    """One that is new notes its act, or is named here."""
    sources = files("tidemill").joinpath("sql", "functions", "hypertables")
    texts = {source.name.removesuffix(".sql"): source.read_text("utf-8") for source in sources.iterdir()}
    noted = {
        name for text in texts.values() for name in re.findall(r"_note_hypertable_act\(\s*h, '(\w+)'", text)
    }
    reads = {
        *("approximate_row_count", "by_hash", "by_range", "chunk_compression_stats", "chunks_detailed_size"),
        *("compression_plan", "hypertable_compression_stats", "hypertable_detailed_size"),
        *("hypertable_index_size", "hypertable_size", "show_chunks", "show_tablespaces"),
    }
    # These add and delete actions, or are such.
    by_actions = {name for name in texts if re.match(r"(add|remove)_\w+_policy|policy_", name)}
    [(public,)] = run(
        connection,
        "select array_agg(f) from unnest(tidemill._functions_for_hypertables()) f where f not like '\\_%'",
    )
    assert set(public) - reads - by_actions == noted
