"""Finding a database, opening it, and what a user is told when that fails."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.database.test_find import SECRET, everything_told
from tests.support.servers import Server
from tidemill.database.connect import (
    connect,
    explain,
    explained,
    unsupported,
)
from tidemill.database.find import find_database
from tidemill.database.migrate import migrate
from tidemill.errors import (
    DatabaseUnavailableError,
    InvalidJobError,
    MissingRightsError,
    SchemaError,
    TidemillError,
)

pytestmark = pytest.mark.versions(18)


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that nobody listens on, held so that nobody will."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


class TestConnect:
    def test_nobody_listens(self, closed_port: int) -> None:
        with pytest.raises(DatabaseUnavailableError, match=r"refused.*--database or DATABASE_URL") as caught:
            connect(f"postgresql://ann:{SECRET}@127.0.0.1:{closed_port}/db")
        assert SECRET not in everything_told(caught.value)

    def test_no_such_socket(self, directory: Path) -> None:
        with pytest.raises(DatabaseUnavailableError, match="No such file"):
            connect(make_conninfo(host=str(directory), password=SECRET))

    def test_no_such_host(self) -> None:
        with pytest.raises(DatabaseUnavailableError, match=r"host.invalid") as caught:
            connect(f"postgresql://ann:{SECRET}@host.invalid/db")
        assert SECRET not in everything_told(caught.value)

    def test_no_such_database(self, server: Server) -> None:
        with pytest.raises(
            DatabaseUnavailableError, match=r'refuses.*database "nowhere" does not exist.*create'
        ):
            connect(server.conninfo("nowhere"))

    def test_no_such_role(self, server: Server) -> None:
        with pytest.raises(
            DatabaseUnavailableError, match=r'refuses.*role "nobody_known" does not exist.*Check'
        ):
            connect(server.conninfo("postgres", "nobody_known"))

    @pytest.mark.slow
    @pytest.mark.versions(18)
    def test_a_server_that_asks_for_a_password(self, own_server: Server) -> None:
        with own_server.superuser() as superuser:
            superuser.execute("create role ann login password 'right'")
            rules = own_server.embedded.data_dir / "pg_hba.conf"
            rules.write_text("local all ann scram-sha-256\n" + rules.read_text())
            superuser.execute("select pg_reload_conf()")
            superuser.execute("select count(*) from pg_hba_file_rules")
        right = make_conninfo(own_server.conninfo("postgres", "ann"), password="right")
        with connect(right) as connection:
            assert connection.execute("select current_user").fetchone() == ("ann",)
        with pytest.raises(
            DatabaseUnavailableError,
            match=r"refuses.*password authentication failed.*Check",
        ) as caught:
            connect(make_conninfo(right, password=SECRET))
        assert SECRET not in everything_told(caught.value)

    def test_too_many_connections(self, server: Server, database: str) -> None:
        with server.superuser() as superuser:
            name = conninfo_to_dict(database)["dbname"]
            superuser.execute(f"alter database {name} connection limit 1".encode())
        with (
            connect(database),
            pytest.raises(DatabaseUnavailableError, match=r"refuses.*too many connections.*fewer"),
        ):
            connect(database)

    def test_a_role_that_may_not_log_in(self, server: Server) -> None:
        with (
            server.role("nologin") as role,
            pytest.raises(DatabaseUnavailableError, match=r"refuses.*not permitted to log in.*LOGIN"),
        ):
            connect(server.conninfo("postgres", role))

    def test_a_database_that_takes_no_connections(self, server: Server, database: str) -> None:
        with server.superuser() as superuser:
            superuser.execute(
                f"alter database {conninfo_to_dict(database)['dbname']} allow_connections false".encode()
            )
        with pytest.raises(DatabaseUnavailableError, match=r"refuses.*not currently accepting"):
            connect(database)

    def test_a_server_that_goes_away(self, server: Server, database: str) -> None:
        connection = connect(database)
        with server.superuser() as superuser:
            superuser.execute("select pg_terminate_backend(%s, 10000)", [connection.info.backend_pid])
        with (
            pytest.raises(DatabaseUnavailableError, match=r"server ended.*Try again"),
            explained(),
        ):
            connection.execute("select 1")

    def test_the_second_host_is_tried(self, server: Server, database: str) -> None:
        at = conninfo_to_dict(database)
        both = make_conninfo(database, host=f"/nonexistent,{at['host']}", port=f"1,{at['port']}")
        with connect(find_database(both).conninfo) as connection:
            assert connection.execute("select 1").fetchone() == (1,)

    def test_the_password_is_not_in_the_repr(self) -> None:
        assert SECRET not in repr(find_database(f"postgresql://ann:{SECRET}@host/db"))


@pytest.mark.parametrize(
    ("version", "named"), [(90624, "9.6"), (100023, "10"), (140019, "14"), (149999, "14")]
)
def test_an_old_server_is_refused(version: int, named: str) -> None:
    problem = unsupported(version)
    assert problem is not None
    assert problem.startswith(f"The server is PostgreSQL {named}, and Tidemill needs 15 or newer.")


@pytest.mark.parametrize("version", [150000, 160004, 180001, 190000])
def test_a_newer_server_is_not(version: int) -> None:
    assert unsupported(version) is None


JOB_REFUSALS = {
    "23502": "select tidemill.add_job(null)",
    "23514": "select tidemill.add_job(repeat('x', 129))",
    "22003": "select tidemill.add_job('x', priority => 40000)",
    "22023": "select tidemill.add_job('x', flags => array[null])",
    "GWBKM": "select tidemill.add_job('x', job_key => 'k', job_key_mode => 'nonsense')",
    "22P02": "select tidemill.add_job('x', '{broken')",
    "22P05": "select ('\"\\u0000\"'::json)->>0, tidemill.add_job('x', to_json('\"\\u0000\"'::jsonb))",
    "22007": "select tidemill.add_job('x', run_at => 'yesteryear')",
    "22008": "select tidemill.add_job('x', run_at => '2020-02-31')",
}


class TestExplain:
    @pytest.mark.parametrize("state", JOB_REFUSALS)
    def test_a_refused_job(self, connection: psycopg.Connection, state: str) -> None:
        ours = explanation(connection, JOB_REFUSALS[state])
        assert isinstance(ours, InvalidJobError)
        assert ours.sqlstate == state
        assert "\n" not in str(ours)

    @pytest.mark.parametrize(
        ("state", "statement"),
        [
            ("3F000", "create table tidemill.x ()"),
            ("42P01", "select from tidemill.jobs"),
            ("42883", "select tidemill.add_job('x')"),
            ("42704", "select null::tidemill.job_spec"),
        ],
    )
    def test_no_schema(self, empty_database: str, state: str, statement: str) -> None:
        with connect(empty_database) as connection:
            if state in ("42883", "42704"):
                connection.execute("create schema tidemill")
            with pytest.raises(psycopg.Error) as caught:
                connection.execute(statement.encode())
        # An unknown schema is told by its own state in every statement.
        assert caught.value.sqlstate in (state, "3F000")
        ours = explain(caught.value)
        assert isinstance(ours, SchemaError)
        assert "tidemill migrate" in str(ours)

    def test_a_missing_right(self, server: Server, database: str) -> None:
        with server.role() as role, connect(make_conninfo(database, user=role)) as connection:
            ours = explanation(connection, "select tidemill.add_job('x')")
        assert isinstance(ours, MissingRightsError)
        assert "permission denied for schema tidemill" in str(ours)

    def test_a_read_only_database(self, database: str) -> None:
        with connect(make_conninfo(database, options="-c default_transaction_read_only=on")) as connection:
            ours = explanation(connection, "select tidemill.add_job('x')")
        assert isinstance(ours, DatabaseUnavailableError)
        assert "read-only" in str(ours)

    def test_migrate_explains_too(self, empty_database: str, directory: Path) -> None:
        with pytest.raises(DatabaseUnavailableError, match="read-only"):
            migrate(make_conninfo(empty_database, options="-c default_transaction_read_only=on"))
        with pytest.raises(DatabaseUnavailableError, match="Cannot reach"):
            migrate(make_conninfo(host=str(directory)))

    @pytest.mark.parametrize("statement", ["select 1/0", "select from nowhere", "selekt", "select nothing()"])
    def test_what_is_not_ours_stays_as_it_is(self, connection: psycopg.Connection, statement: str) -> None:
        assert explanation(connection, statement) is None
        with pytest.raises(psycopg.Error), explained():
            connection.execute(statement.encode())

    @pytest.mark.parametrize(
        "kind",
        [
            errors.AdminShutdown,
            errors.CrashShutdown,
            errors.CannotConnectNow,
            errors.TooManyConnections,
            errors.InvalidPassword,
            errors.InvalidAuthorizationSpecification,
            errors.InvalidCatalogName,
        ],
    )
    def test_a_server_that_refuses(self, kind: type[psycopg.Error]) -> None:
        ours = explain(kind("the words\nof the driver"))
        assert isinstance(ours, DatabaseUnavailableError)
        assert re.search(r"server (refuses|ended) the connection: the words of the driver\. \w", str(ours))

    def test_an_unreachable_database(self) -> None:
        ours = explain(psycopg.OperationalError("the words\nof the driver"))
        assert isinstance(ours, DatabaseUnavailableError)
        assert "Cannot reach the database: the words of the driver." in str(ours)

    def test_a_refusal_in_another_language(self) -> None:
        ours = explain(psycopg.OperationalError("connection failed: FATAL:  das geht nicht"))
        assert "refuses the connection" in str(ours)
        assert "Check the user, the password and the database" in str(ours)

    def test_a_cancelled_query_is_not_an_unreachable_database(self, connection: psycopg.Connection) -> None:
        connection.execute("set statement_timeout = 1")
        assert explanation(connection, "select pg_sleep(10)") is None


def explanation(connection: psycopg.Connection, statement: str) -> TidemillError | None:
    with pytest.raises(psycopg.Error) as caught:
        connection.execute(statement.encode())
    return explain(caught.value)


def test_messages_are_one_paragraph(closed_port: int) -> None:
    with pytest.raises(DatabaseUnavailableError) as caught:
        connect(f"host=127.0.0.1 port={closed_port}")
    assert not re.search(r"\n|\?\.|\.\.", str(caught.value).replace("host=...", ""))
