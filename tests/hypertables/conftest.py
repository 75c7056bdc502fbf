"""Hypertables that several files try."""

from __future__ import annotations

import psycopg
import pytest

from tests.hypertables.packed import DEVICES, compress


@pytest.fixture
def devices(connection: psycopg.Connection) -> psycopg.Connection:
    """With a hypertable of five devices; see DEVICES."""
    connection.execute(DEVICES)
    return connection


@pytest.fixture
def packed(devices: psycopg.Connection) -> psycopg.Connection:
    """Its first three days are packed."""
    devices.execute("select tidemill.enable_compression('event_data', 'device_id')")
    assert len(compress(devices, before="2026-01-04 00:00+00")) == 3
    return devices
