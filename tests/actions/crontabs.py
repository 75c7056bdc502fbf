"""Crontabs on one day, and what their SQL functions made of them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import psycopg

from tidemill.actions.crontab import CrontabItem, parse_crontab
from tidemill.actions.crontab_clock import Due
from tidemill.database.sql import query


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-07-01T{text}").replace(tzinfo=UTC)


def run(connection: psycopg.Connection, *due: Due) -> list[tuple[str, datetime]]:
    """Calls _run_crontab as the clock does; returns what was added."""
    given: dict[str, Any] = {
        "identifiers": [one.item.identifier for one in due],
        "minutes": [one.minute for one in due],
        "tasks": [one.item.task for one in due],
        "payloads": [one.payload() for one in due],
        "queue_names": [one.item.queue_name for one in due],
        "max_attempts": [one.item.max_attempts for one in due],
        "job_keys": [one.item.job_key for one in due],
        "job_key_modes": [one.item.job_key_mode for one in due],
        "priorities": [one.item.priority for one in due],
    }
    return [(name, minute) for name, minute, _ in connection.execute(query("run_crontab"), given).fetchall()]


def jobs(connection: psycopg.Connection) -> list[tuple[Any, ...]]:
    return connection.execute("select identifier, run_at from tidemill.jobs order by id").fetchall()


def known(connection: psycopg.Connection) -> list[tuple[Any, ...]]:
    return connection.execute(
        "select identifier, known_since, last_execution from tidemill._known_crontabs order by 1"
    ).fetchall()


def item(line: str) -> CrontabItem:
    [found] = parse_crontab(line)
    return found
