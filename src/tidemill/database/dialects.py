"""Dialects: other systems' SQL names, each in the schema of its name."""

from __future__ import annotations

from psycopg import sql
from psycopg.errors import InsufficientPrivilege

from tidemill.database import sql as files
from tidemill.database.installer import Installer
from tidemill.errors import SchemaError

# By its beginning a schema is known as ours, in queries/install/dialect_schema*.sql.
_MARK = "Laid by Tidemill: thin wrappers over the functions of the schema tidemill."


class DialectSkippedError(Exception):
    """A dialect cannot be laid; the message is the reason and the remedy."""


def text_of(name: str) -> str:
    """The SQL of a dialect. Raises SchemaError for one that does not exist."""
    known = files.dialects()
    if name not in known:
        raise SchemaError(f'There is no dialect "{name}". Known are: {", ".join(known)}.')
    return known[name]


def fingerprint(text: str) -> str:
    """What decides whether a dialect of this text is laid again."""
    # A migration that drops one of our functions or views takes the wrappers along.
    return files.functions() + text


def dropped_on_request(name: str) -> str:
    """Why a dialect is left out that the user dropped."""
    return f"dropped on request; `tidemill dialect add {name}` lays it again"


def lay(installer: Installer, name: str, *, asked: bool) -> bool:
    """Lays a dialect if that is due; returns whether it did. `asked`: the user named it.

    Raises:
        DialectSkippedError: It cannot be laid, or the user dropped it.
    """
    text = text_of(name)
    part = installer.part(f"dialect {name}", fingerprint(text))
    if part.known and not part.laid and not asked:
        raise DialectSkippedError(dropped_on_request(name))
    [(found, ours, in_use)] = installer.rows("dialect_schema", name=name)
    if part.laid and not part.due and (ours or not asked):
        return False
    if in_use and not ours:
        raise DialectSkippedError(
            f'the schema "{name}" already exists and is not Tidemill\'s. Rename or drop it, '
            f"then run `tidemill dialect add {name}`"
        )
    schema = sql.Identifier(name)
    try:
        with installer.attempt():
            if not found:
                installer.run(sql.SQL("create schema {};").format(schema))
            if not ours:
                installer.run(sql.SQL("comment on schema {} is {};").format(schema, _MARK))
            installer.run(text)
            installer.record_part(f"dialect {name}", fingerprint(text))
    except InsufficientPrivilege as error:
        raise DialectSkippedError(
            f"the role may not lay it ({error.diag.message_primary}). Have an administrator create the "
            f'schema "{name}" with this role as its owner, then run `tidemill dialect add {name}`'
        ) from error
    return True


def drop(installer: Installer, name: str) -> bool:
    """Drops a dialect and remembers that; returns whether it was there.

    Raises:
        SchemaError: There is no such dialect, or the user's objects are built on it.
    """
    text_of(name)
    [(_, ours, _)] = installer.rows("dialect_schema", name=name)
    if ours:
        installer.drop_schemas([name])
    installer.record_part(f"dialect {name}", None)
    return bool(ours)
