"""`tidemill grant`, `revoke` and `grants`: which role may do what."""

from __future__ import annotations

from typing import Annotated, Literal, LiteralString

import psycopg
import typer

from tidemill.cli.lists import print_list, read_rows
from tidemill.cli.options import DatabaseOption, JsonOption
from tidemill.cli.output import open_database, print_json, say
from tidemill.database.connect import connect
from tidemill.errors import TidemillError

Role = Literal["reader", "producer", "operator", "worker", "actions"]

RoleArgument = Annotated[
    Role, typer.Argument(metavar="ROLE", help="reader, producer, operator, worker or actions.")
]
GranteeArgument = Annotated[str, typer.Argument(metavar="NAME", help="A role of PostgreSQL.")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command("grant", epilog="Example: `tidemill grant reader TO ann`")(grant)
    app.command("revoke", epilog="Example: `tidemill revoke reader FROM ann`")(revoke)
    app.command("grants", epilog="Example: `tidemill grants --json`")(grants)


def grant(
    role: RoleArgument,
    to: Annotated[str, typer.Argument(metavar="TO", help="The word TO.", show_default=False)],
    name: GranteeArgument,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give a role of PostgreSQL a role of Tidemill: tidemill grant ROLE TO NAME."""
    _expect(to, "TO", f"tidemill grant {role} TO {name}")
    _call(
        database, "select tidemill.grant_role(%s, pg_catalog.quote_ident(%s)::pg_catalog.regrole)", role, name
    )
    if as_json:
        print_json({"role": role, "name": name})
        return
    article = "an" if role == "operator" else "a"
    say(f"{name} is {article} {role} now." if role != "actions" else f"{name} may add and run actions now.")


def revoke(
    role: RoleArgument,
    word: Annotated[str, typer.Argument(metavar="FROM", help="The word FROM.", show_default=False)],
    name: GranteeArgument,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a role back: tidemill revoke ROLE FROM NAME."""
    _expect(word, "FROM", f"tidemill revoke {role} FROM {name}")
    _call(
        database,
        "select tidemill.revoke_role(%s, pg_catalog.quote_ident(%s)::pg_catalog.regrole)",
        role,
        name,
    )
    if as_json:
        print_json({"role": role, "name": name})
        return
    say(f"{name} does not have the role {role} any more.")


def grants(database: DatabaseOption = None, as_json: JsonOption = False) -> None:
    """List which roles have which roles of Tidemill."""
    rows = read_rows(open_database(database).conninfo, "list_grants")
    empty = "No role was granted; the owner of the schema may do all."
    print_list(rows, ("role", "name"), as_json=as_json, empty=empty)


def _expect(word: str, wanted: str, example: str) -> None:
    if word.upper() != wanted:
        raise typer.BadParameter(f"write {wanted} instead of {word!r}: {example}")


def _call(database: str | None, statement: LiteralString, role: str, name: str) -> None:
    with connect(open_database(database).conninfo) as connection:
        try:
            connection.execute(statement, [role, name])
        except psycopg.errors.UndefinedObject as error:
            if not (error.diag.context or "").startswith("PL/pgSQL function tidemill."):
                raise
            raise TidemillError(f"{error.diag.message_primary}; see them with: tidemill grants") from error
