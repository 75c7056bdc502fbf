"""Sessions: which settings ours have, and which ones are left to the code of users."""

from __future__ import annotations

from psycopg.conninfo import make_conninfo

from tests.support.proxy import pooler
from tidemill.database.connect import connect

HOSTILE = "-c search_path=app -c default_transaction_isolation=serializable -c array_nulls=off"
SETTLED = "select current_setting('search_path'), current_setting('default_transaction_isolation')"


def test_one_of_ours_settles_what_it_relies_on(database: str) -> None:
    with connect(make_conninfo(database, options=HOSTILE), autocommit=False) as connection:
        connection.rollback()
        assert connection.execute(SETTLED).fetchone() == ("pg_catalog, pg_temp", "read committed")
        assert connection.execute("select '{null}'::text[]").fetchone() == ([None],)


def test_one_for_users_code_keeps_its_settings(database: str) -> None:
    with connect(make_conninfo(database, options=HOSTILE), runs_users_code=True) as connection:
        assert connection.execute(SETTLED).fetchone() == ("app", "serializable")


def test_behind_a_pooler_nothing_is_left_for_other_clients(database: str) -> None:
    with pooler(database) as pooled, connect(make_conninfo(pooled.conninfo, options=HOSTILE)) as connection:
        assert connection.execute(SETTLED).fetchone() == ("app", "serializable")
