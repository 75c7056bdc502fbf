"""The reference names everything that there is, and nothing else."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
import typer

import tidemill
from tests.support.documents import ROOT, Page
from tidemill import errors, retry
from tidemill.cli import command_line
from tidemill.sync import SyncApp
from tidemill.task_options import TaskOptions

SQL = Page(ROOT / "docs/reference/sql.md")
CLI = Page(ROOT / "docs/reference/cli.md")
PYTHON = Page(ROOT / "docs/reference/python.md")

_CODE = re.compile(r"`([^`]+)`")


def _headings(page: Page, beginning: str) -> set[str]:
    return {
        heading.strip("`").partition("(")[0]
        for heading in page.headings()
        if heading.startswith(f"`{beginning}")
    }


def _plain(cell: str) -> str:
    return cell.strip().strip("`")


# SQL


def test_every_public_function_is_described(connection: psycopg.Connection) -> None:
    functions = connection.execute(
        """
        select 'tidemill.' || p.proname, p.proargnames[:p.pronargs], p.oid::regprocedure::text,
               array(select format_type(t, null) from unnest(p.proargtypes::oid[]) with ordinality a(t, n)
                     order by n),
               array(select pg_get_function_arg_default(p.oid, n) from generate_series(1, p.pronargs) n)
        from pg_proc p
        where p.pronamespace = 'tidemill'::regnamespace and p.proname !~ '^_'
        """
    ).fetchall()
    counts = Counter(name for name, *_ in functions)
    for name, parameters, _, types, defaults in functions:
        tables = SQL.section(name).tables()
        if counts[name] > 1 and len(tables) == 1:
            continue
        # Few overloads have a table of their own, each.
        described = next(table for table in tables[: counts[name]] if len(table) == len(parameters))
        assert [_plain(row[0]) for row in described] == parameters, name
        assert [_plain(row[1]) for row in described] == types, name
        for row, default in zip(described, defaults, strict=True):
            assert (row[2] == "required") == (default is None), (name, row)
            # null stands for a default that the text names; others are written as they are.
            value = (default or "NULL").partition("::")[0].strip("'")
            assert value == "NULL" or _plain(row[2]) == value, (name, row)


def test_every_overloaded_function_is_described(connection: psycopg.Connection) -> None:
    """One table for all overloads has each parameter with all its types."""
    names = connection.execute(
        """
        select 'tidemill.' || p.proname, p.proname from pg_proc p
        where p.pronamespace = 'tidemill'::regnamespace and p.proname !~ '^_'
        group by p.proname having count(*) > 1
        """
    ).fetchall()
    for title, name in names:
        [described, *more] = SQL.section(title).tables()
        if more:
            continue
        overloads = connection.execute(
            """
            select p.proargnames, array(select format_type(t, null)
                   from unnest(p.proargtypes::oid[]) with ordinality a(t, n) order by n), p.pronargdefaults
            from pg_proc p where p.pronamespace = 'tidemill'::regnamespace and p.proname = %s
            """,
            [name],
        ).fetchall()
        known: dict[str, set[str]] = {_plain(row[0]): set() for row in described}
        for parameters, types, _ in overloads:
            assert [each for each in known if each in parameters] == parameters, name
            for parameter, each in zip(parameters, types, strict=True):
                known[parameter].add(each)
        required = [set(parameters[: len(parameters) - defaults]) for parameters, _, defaults in overloads]
        for row in described:
            assert set(_CODE.findall(row[1])) == known[_plain(row[0])], (name, row)
            assert (row[2] == "required") == all(_plain(row[0]) in each for each in required), (name, row)


def test_every_public_view_and_type_is_described(connection: psycopg.Connection) -> None:
    relations = connection.execute(
        """
        select 'tidemill.' || c.relname, array_agg(a.attname::text order by a.attnum),
               array_agg(format_type(a.atttypid, a.atttypmod) order by a.attnum)
        from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
        where c.relnamespace = 'tidemill'::regnamespace and c.relkind in ('r', 'v', 'c') and c.relname !~ '^_'
        group by c.relname
        """
    ).fetchall()
    for name, columns, types in relations:
        [described] = SQL.section(name).tables()
        assert [_plain(row[0]) for row in described] == columns, name
        assert [_plain(row[1]) for row in described] == types, name


def test_nothing_else_is_described(connection: psycopg.Connection) -> None:
    known = connection.execute(
        """
        select 'tidemill.' || proname from pg_proc where pronamespace = 'tidemill'::regnamespace
        union
        select 'tidemill.' || relname from pg_class where relnamespace = 'tidemill'::regnamespace
        """
    ).fetchall()
    assert _headings(SQL, "tidemill.") <= {name for (name,) in known}


def test_every_name_of_the_dialect_is_told(connection: psycopg.Connection) -> None:
    page = Page(ROOT / "docs/how-to/coming-from-graphile-worker.md")
    names = connection.execute(
        """
        select proname from pg_proc where pronamespace = 'graphile_worker'::regnamespace and proname !~ '^_'
        union
        select relname from pg_class
        where relnamespace = 'graphile_worker'::regnamespace and relkind in ('r', 'v', 'c')
        """
    ).fetchall()
    assert {name for (name,) in names} <= page.whole().code()


# The command line


def _commands(group: Any, path: str) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


COMMANDS = dict(_commands(typer.main.get_command(command_line()), "tidemill"))


def _options(rows: list[list[str]]) -> set[str]:
    return {
        option
        for row in rows
        for code in _CODE.findall(row[0])
        for option in re.findall(r"(?<!\S)--?[a-z][a-z-]*", code)
    }


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_described(name: str) -> None:
    everywhere = _options(CLI.whole().tables()[0])
    own = _options([row for table in CLI.section(name).tables() for row in table])
    actual = {
        option
        for parameter in COMMANDS[name].params
        if parameter.param_type_name == "option"
        for option in parameter.opts
    }
    assert own == actual - everywhere
    assert actual - own <= everywhere


def test_no_other_command_is_described() -> None:
    assert _headings(CLI, "tidemill ") == set(COMMANDS)


def test_defaults_of_the_worker_are_right() -> None:
    defaults = {parameter.opts[0]: parameter.default for parameter in COMMANDS["tidemill worker"].params}
    for row in CLI.section("tidemill worker").tables()[0]:
        [option, *_] = _CODE.findall(row[0])
        default = defaults[option.split()[0]]
        if isinstance(default, int | float) and not isinstance(default, bool):
            assert float(row[2]) == default, option
        elif isinstance(default, str):
            assert _plain(row[2]) == default, option


# Python


def _words(name: str) -> set[str]:
    """The names that a section mentions as code, parameters of calls included."""
    return {word for code in PYTHON.section(name).code() for word in re.findall(r"\w+", code)}


def _public(members: Any) -> set[str]:
    return {name for name in members if not name.startswith("_")}


@pytest.mark.parametrize("name", tidemill.__all__)
def test_every_public_name_is_described(name: str) -> None:
    described = _words(name)
    thing: Any = getattr(tidemill, name)
    if dataclasses.is_dataclass(thing):
        assert _public(field.name for field in dataclasses.fields(thing)) <= described
    if inspect.isclass(thing) and not issubclass(thing, Exception):
        assert _public(vars(thing)) <= described
    # A Task is made by its decorator, and the errors' base class is never raised.
    if not dataclasses.is_dataclass(thing) and name not in ("Task", "TidemillError"):
        taken = set(inspect.signature(thing).parameters) - {"first"}
        if thing is tidemill.task:
            taken = taken - {"options"} | TaskOptions.__annotations__.keys()
        assert taken <= described


def test_no_other_name_is_described() -> None:
    assert _headings(PYTHON, "") <= set(tidemill.__all__)


def test_parameters_of_methods_are_described() -> None:
    described = _words("App") | _words("JobSpec")
    for name, method in inspect.getmembers(tidemill.App, inspect.isfunction):
        if not name.startswith("_") and name != "task":
            assert set(inspect.signature(method).parameters) - {"self"} <= described, name


def test_the_blocking_face_has_the_same_methods() -> None:
    face, whole = _public(vars(SyncApp)), _public(vars(tidemill.App))
    assert whole - face <= {"database", "database_url", "is_open", "register", "run_worker", "task"}
    assert not face - whole


def test_every_error_and_strategy_is_described() -> None:
    described = PYTHON.whole().code()
    for name, thing in inspect.getmembers(errors, inspect.isclass):
        if thing.__module__ == errors.__name__:
            assert name in described
    for name, function in inspect.getmembers(retry, inspect.isfunction):
        if function.__module__ == retry.__name__ and name not in ("seconds", "in_seconds") and name[0] != "_":
            signatures = [code for code in described if code.startswith(f"{name}(")]
            assert signatures, name
            shown = inspect.signature(function)
            names = set(re.findall(r"(\w+)(?==|,|\)|$)", signatures[0].partition("(")[2]))
            assert set(shown.parameters) <= names, name
