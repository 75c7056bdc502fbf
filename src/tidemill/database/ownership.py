"""Whose the objects under our names are: the installer lays nothing among those of another role."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg

from tidemill.database import sql as files
from tidemill.errors import MissingRightsError

_SHOWN = 10


@dataclass(frozen=True)
class Foreign:
    """An object under our names that belongs to another role, or a right of one to make some there."""

    may_create: bool
    what: str
    owner: str
    trusted: bool
    """It may call what the other lays: a superuser, the database's owner, or a role it is a member of."""
    remedy: str
    """The statement of an administrator that removes the obstacle."""
    role: str
    """The role that has asked."""

    @property
    def described(self) -> str:
        """Whose it is, in words."""
        if self.may_create:
            return f'the role "{self.owner}" may create objects in the {self.what}'
        return f'the {self.what} belongs to the role "{self.owner}"'


def find_foreign(connection: psycopg.Connection, schemas: Sequence[str] = ("tidemill",)) -> list[Foreign]:
    """What stands in these schemas, or fires on it, and is not this role's."""
    with connection.transaction():
        # A search path may lead to the functions and operators of those whom this asks about.
        connection.execute("set local search_path = pg_catalog, pg_temp")
        found = connection.execute(files.query("install/foreign"), {"schemas": list(schemas)}).fetchall()
    return [Foreign(*row) for row in found]


def refuse_foreign(connection: psycopg.Connection) -> None:
    """Raises MissingRightsError if anything under our names is another role's.

    Its owner could replace it, and so would run code of its own with the rights of those who call ours.
    """
    found = find_foreign(connection)
    if not found:
        return
    first = found[0]
    what = first.described
    if first.what == "schema tidemill" and not first.may_create:
        way = (
            "connect as that one. If that role should not have Tidemill, let an administrator make room, "
            f"which deletes all in the schema: {first.remedy}"
        )
    else:
        way = "let an administrator look at it, and then run: "
        way += " ".join(each.remedy for each in found[:_SHOWN])
        if len(found) > _SHOWN:
            way += f" and so on for {len(found) - _SHOWN} more"
    raise MissingRightsError(
        f'All of Tidemill must belong to the role that lays it, here "{first.role}", and nothing was '
        f"changed: {what}: {way}"
    )
