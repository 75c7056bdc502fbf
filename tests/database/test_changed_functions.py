"""Functions that a migration made anew with a parameter more: who may call them, what is built on them."""

from __future__ import annotations

from typing import LiteralString

import psycopg
import pytest

from tests.database.test_upgrade import lay
from tests.support.servers import Server
from tidemill.database.migrate import migrate

# As they were before limits, in short.
OLD: LiteralString = """
create function tidemill.add_job(
  identifier text, payload json default null, queue_name text default null, run_at timestamptz default null,
  max_attempts integer default null, job_key text default null, priority integer default null,
  flags text[] default null, job_key_mode text default 'replace'
) returns tidemill.job language sql as 'select null::tidemill.job';
create function tidemill.add_jobs(
  specs tidemill.job_spec[], job_key_preserve_run_at boolean default false, job_key_mode text default null
) returns setof tidemill.job language sql as 'select null::tidemill.job';
"""


def test_rights_stay_and_what_is_built_on_them_is_named(server: Server, empty_database: str) -> None:
    with server.role() as role, psycopg.connect(empty_database, autocommit=True) as connection:
        lay(connection, 11)
        connection.execute(OLD)
        connection.execute(f"grant execute on function tidemill.add_job to {role} with grant option".encode())
        connection.execute(f"grant execute on function tidemill.add_jobs to {role}".encode())
        connection.execute("create schema mine")
        connection.execute(
            "create function mine.greet() returns bigint language sql begin atomic"
            " select (tidemill.add_job('greet')).id; end;"
            " create function mine.by_name() returns bigint language sql as"
            " $$ select (tidemill.add_job('greet')).id $$"
        )
        with pytest.raises(
            psycopg.errors.DependentObjectsStillExist, match=r"function mine\.greet\(\)"
        ) as caught:
            migrate(empty_database)
        assert "make them again" in str(caught.value.diag.message_hint)
        connection.execute("drop function mine.greet()")
        migrate(empty_database)
        may = connection.execute(
            "select p.proname::text, g.is_grantable from pg_proc p, aclexplode(p.proacl) g"
            " where p.pronamespace = 'tidemill'::regnamespace and g.grantee = %s::regrole order by 1",
            [role],
        ).fetchall()
        assert may == [("add_job", True), ("add_jobs", False)]
        assert connection.execute("select mine.by_name()").fetchone() == (1,)
