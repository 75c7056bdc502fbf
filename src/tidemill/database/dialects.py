"""Dialects: other systems' SQL names, in their own schemas and as routines in `public`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import LiteralString

import psycopg
from psycopg import sql
from psycopg.errors import InsufficientPrivilege, InvalidFunctionDefinition, InvalidTableDefinition

from tidemill.database import sql as files
from tidemill.database.installer import Installer, rows
from tidemill.database.ownership import find_foreign
from tidemill.errors import SchemaError

# queries/install/dialect_*.sql recognize our schemas and routines by the beginning of this comment.
_MARK = "Laid by Tidemill: thin wrappers over the functions of the schema tidemill."


class DialectSkippedError(Exception):
    """A dialect cannot be laid; the message gives the reason and the remedy."""


@dataclass(frozen=True)
class Dialect:
    """The parts of a dialect, as the comments at the head of its file name them."""

    name: str
    text: LiteralString
    schemas: tuple[str, ...]
    """Schemas that belong to it alone; by default one of its name."""
    routines: tuple[str, ...]
    """Routines that it puts into `public`, as `name(types)`."""

    @property
    def part(self) -> str:
        """Its name in the table of installed parts."""
        return f"dialect {self.name}"

    @property
    def fingerprint(self) -> str:
        """A text; the dialect is laid again when this changes."""
        # When a migration drops one of our functions or views, the wrappers go too.
        return files.functions() + self.text


@dataclass(frozen=True)
class _Object:
    """A schema or routine of a dialect, or an object that has taken its name."""

    kind: str
    name: str
    found: bool
    ours: bool
    obstacle: str | None
    extension: str | None
    role: str
    owner: str | None


def find(name: str) -> Dialect:
    """The dialect of this name. Raises SchemaError if there is none."""
    known = files.dialects()
    if name not in known:
        raise SchemaError(f'There is no dialect "{name}". Known are: {", ".join(known)}.')
    text = known[name]
    head = dict.fromkeys(("schemas", "public"), "")
    for key, value in re.findall(r"^-- (schemas|public): (.+)$", text, re.MULTILINE):
        head[key] += f"{value}\n"
    schemas = tuple(head["schemas"].replace(",", " ").split()) or (name,)
    return Dialect(name, text, schemas, tuple(head["public"].splitlines()))


def dropped_on_request(name: str) -> str:
    """The reason for leaving out a dialect that the user has dropped."""
    return f"dropped on request; `tidemill dialect add {name}` lays it again"


def obstacle(connection: psycopg.Connection, name: str) -> str | None:
    """Why a dialect cannot be laid, with the remedy; None if it can."""
    dialect = find(name)
    with connection.transaction():
        connection.execute("set local search_path = pg_catalog, pg_temp")
        return _obstacle(connection, dialect)


def extension(connection: psycopg.Connection, name: str) -> str | None:
    """The extension that has names of a dialect; None if there is none."""
    with connection.transaction():
        connection.execute("set local search_path = pg_catalog, pg_temp")
        found = _objects(connection, find(name))
    return next((one.extension for one in found if one.extension is not None), None)


def _obstacle(connection: psycopg.Connection, dialect: Dialect) -> str | None:
    reason = _reason(dialect, _objects(connection, dialect))
    if reason is not None:
        return reason
    foreign = find_foreign(connection, dialect.schemas)
    if not foreign:
        return None
    remedies = " ".join(found.remedy for found in foreign)
    return (
        f"{foreign[0].described}. Have an administrator look at it and run: {remedies} "
        f"Then run `tidemill dialect add {dialect.name}`"
    )


def lay(installer: Installer, name: str, *, asked: bool) -> bool:
    """Lays a dialect if that is due; returns whether it did. `asked`: the user has named it.

    Raises:
        DialectSkippedError: It cannot be laid, or the user dropped it.
    """
    dialect = find(name)
    part = installer.part(dialect.part, dialect.fingerprint)
    if part.known and not part.laid and not asked:
        raise DialectSkippedError(dropped_on_request(name))
    objects = _objects(installer.connection, dialect)
    if part.laid and not part.due and (not asked or all(found.ours for found in objects)):
        return False
    _skip_if_blocked(installer, dialect)
    try:
        with installer.attempt():
            try:
                with installer.attempt():
                    _create(installer, dialect)
            except (InvalidFunctionDefinition, InvalidTableDefinition):
                # `create or replace` cannot change result types and columns, so drop first.
                _remove(installer, dialect)
                _create(installer, dialect)
            # Another role may have made what we have just replaced: then it is still that role's.
            _skip_if_blocked(installer, dialect)
            installer.record_part(dialect.part, dialect.fingerprint)
    except InsufficientPrivilege as error:
        raise DialectSkippedError(
            f"the role may not lay it ({error.diag.message_primary}). Have an administrator grant it that, "
            f"then run `tidemill dialect add {name}`"
        ) from error
    except SchemaError as error:
        raise DialectSkippedError(
            f"it changed, and must be dropped to be laid anew. {str(error).removesuffix('.')}, "
            f"then run `tidemill dialect add {name}`"
        ) from error
    return True


def _skip_if_blocked(installer: Installer, dialect: Dialect) -> None:
    reason = _obstacle(installer.connection, dialect)
    if reason is not None:
        raise DialectSkippedError(reason)


def drop(installer: Installer, name: str) -> bool:
    """Drops a dialect and records that the user wants so; returns whether it was there.

    Raises:
        SchemaError: There is no such dialect, or the user's objects depend on it.
    """
    dialect = find(name)
    was_there = _remove(installer, dialect)
    installer.record_part(dialect.part, None)
    return was_there


def everything(installer: Installer) -> tuple[list[str], dict[int, str]]:
    """The schemas of all laid dialects, and their routines in `public` by oid."""
    schemas = [name for (name,) in installer.rows("dialect_schemas")]
    routines = installer.rows("dialect_routines", names=None, routines=[])
    return schemas, {number: signature for number, signature, _ in routines}


def _objects(connection: psycopg.Connection, dialect: Dialect) -> list[_Object]:
    schemas, routines = list(dialect.schemas), list(dialect.routines)
    found = rows(connection, "dialect_objects", schemas=schemas, routines=routines)
    return [_Object(*row) for row in found]


def _reason(dialect: Dialect, objects: list[_Object]) -> str | None:
    """Why a dialect cannot be laid, with the remedy; None if it can."""
    again = f"then run `tidemill dialect add {dialect.name}`"
    blocked = [found for found in objects if found.obstacle is not None]
    if not blocked:
        return None
    # A taken name is the more important reason: no right would help.
    [first, *_] = sorted(blocked, key=lambda found: found.obstacle != "taken")
    what = f'{first.kind} "{first.name}"' if first.kind == "schema" else f"{first.kind} {first.name}"
    if first.extension is not None:
        return (
            f"the extension {first.extension} is installed here, and has the {what}. Tidemill's own names, "
            "in the schema tidemill, are there all the same, and leave what belongs to the extension alone. "
            f"To use Tidemill's instead, drop the extension, {again}"
        )
    if first.obstacle == "taken":
        return f"the {what} already exists and is not Tidemill's. Rename or drop it, {again}"
    role = sql.Identifier(first.role).as_string()
    if first.obstacle == "foreign":
        return (
            f'the {what} belongs to the role "{first.owner}", which could replace what {role} lays there. '
            f"Drop it, or have an administrator run `alter {what} owner to {role}`, {again}"
        )
    if first.kind == "schema":
        return (
            f"the role {role} may not lay it. Have an administrator create the {what} "
            f"with this role as its owner, {again}"
        )
    return (
        f"the role {role} may not create functions in the schema public. Have an administrator run "
        f"`grant create on schema public to {role}`, {again}"
    )


def _create(installer: Installer, dialect: Dialect) -> None:
    """Creates or replaces the dialect's schemas and routines."""
    before = installer.objects(dialect.schemas)
    for found in _objects(installer.connection, dialect):
        if found.kind == "schema" and not found.ours:
            schema = sql.Identifier(found.name)
            if not found.found:
                installer.run(sql.SQL("create schema {};").format(schema))
            installer.run(sql.SQL("comment on schema {} is {};").format(schema, _MARK))
    installer.run(dialect.text)
    installer.close_new(before, dialect.text, dialect.schemas)
    installer.run("select tidemill._grant_dialects();")
    # Drop routines of an older version, which would make calls ambiguous.
    installer.drop([], {number: name for number, name, current in _laid(installer, dialect) if not current})


def _remove(installer: Installer, dialect: Dialect) -> bool:
    """Drops all schemas and routines of a dialect; returns whether there were any."""
    objects = _objects(installer.connection, dialect)
    schemas = [found.name for found in objects if found.kind == "schema" and found.ours]
    routines = {number: signature for number, signature, _ in _laid(installer, dialect)}
    installer.drop(schemas, routines)
    return bool(schemas or routines)


def _laid(installer: Installer, dialect: Dialect) -> list[tuple[int, str, bool]]:
    """Our routines in `public` with the dialect's names, and whether each is of this version."""
    names = [signature.partition("(")[0] for signature in dialect.routines]
    found = installer.rows("dialect_routines", names=names, routines=list(dialect.routines))
    return [(number, signature, current) for number, signature, current in found]
