"""Reads a user's connection string; what it says of a mistake never shows a password."""

from __future__ import annotations

import re

import psycopg
from psycopg.conninfo import conninfo_to_dict

from tidemill.errors import DatabaseUnavailableError

# SQLAlchemy names its driver in the scheme.
_SCHEME = r"(postgres(?:ql)?)(?:\+\w+)?://"
# libpq cuts a URL with a bare @ or / in its password at the wrong place: a part becomes the host or the port.
_HOST = r"(\[[^\]]*\]|[^][:,/@?]*)(:\d*)?"
_URL = rf"(?s)postgres(ql)?://([^@/]*@)?{_HOST}(,{_HOST})*(/[^@?]*)?(\?.*)?"
# libpq's messages end with a quotation of the conninfo.
_QUOTATION = r'(?s)( after|:) ".*'
_QUERY = r"(?s)(postgres(?:ql)?://(?:[^@/]*@)?[^?]*)\?(.*)"
_NOT_POSTGRES = r"(?s)([a-z][\w.+-]*)://.*"

# Options of asyncpg, SQLAlchemy, node-postgres and others that mean one of libpq's.
_SAME = {"database": "dbname", "timeout": "connect_timeout", "charset": "client_encoding"}
_SSL_MODES = {
    **dict.fromkeys(("true", "1", "on", "yes", "no-verify", "require"), "require"),
    **dict.fromkeys(("false", "0", "off", "no", "disable"), "disable"),
    **{mode: mode for mode in ("allow", "prefer", "verify-ca", "verify-full")},
}
# They settle how their driver works, and say nothing of the database.
_OF_DRIVERS_ALONE = {
    "async_fallback",
    "command_timeout",
    "prepared_statement_cache_size",
    "prepared_statement_name_func",
    "statement_cache_size",
}


def read(conninfo: str, origin: str) -> str:
    """The connection string as libpq reads it.

    Of a URL for another driver, the driver's name is left out and its options are translated.
    `origin` says in the error where the string came from.

    Raises DatabaseUnavailableError if it is malformed.
    """
    known = _for_libpq(conninfo.strip())
    problem = malformed(known)
    if problem is not None:
        raise DatabaseUnavailableError(
            f"{origin} is not a PostgreSQL connection string: {problem}. "
            "Use postgresql://USER:PASSWORD@HOST:PORT/DBNAME or host=... dbname=..."
        )
    return known


def malformed(conninfo: str) -> str | None:
    """Describes the mistake in a connection string, without any part of a password; None if it is right."""
    if "\0" in conninfo:
        # libpq would read what is before it.
        return "it has a null character"
    other = re.fullmatch(_NOT_POSTGRES, conninfo)
    if other and not re.match(_SCHEME, conninfo):
        return f'its scheme is "{other[1]}" instead of postgresql'
    try:
        conninfo_to_dict(conninfo)
    except psycopg.ProgrammingError as error:
        return _in_words(str(error).strip(), conninfo)
    except (UnicodeError, ValueError):
        # The error of a decoder quotes all of it.
        return "it has bytes that are no text"
    if re.match(_SCHEME, conninfo) and not re.fullmatch(_URL, conninfo):
        return "an @ or / in a user name or password must be written as %40 or %2F, and a port is a number"
    return None


def _in_words(said: str, conninfo: str) -> str:
    """The words of libpq, without what may be a part of a password."""
    unknown = re.fullmatch(r'invalid (connection option|URI query parameter):? "(\w+)"', said)
    if unknown is None:
        shown = re.sub(_QUOTATION, "", said)
        # It may quote a part that was cut at the wrong place.
        return shown if '"' not in shown else "a part of it cannot be read"
    # A sign that is not quoted ends a password early, and what follows looks like an option.
    options = conninfo.partition("?")[2] if "://" in conninfo else conninfo
    if (
        "pass" in options
        or "@" in options
        or (re.match(_SCHEME, conninfo) and not re.fullmatch(_URL, conninfo))
    ):
        return "an unknown option, or a password with signs that are not quoted"
    return f"{said}. PostgreSQL has no such option: leave it out, or write the one that it has for this"


def _for_libpq(conninfo: str) -> str:
    """A URL without another driver's name, and with libpq's names of its options."""
    match = re.match(_SCHEME, conninfo)
    if match is None:
        return conninfo
    url = f"{match[1]}://{conninfo[match.end() :]}"
    parts = re.fullmatch(_QUERY, url)
    if parts is None:
        return url
    options = [_option(*option.partition("=")) for option in parts[2].split("&")]
    query = "&".join(option for option in options if option)
    return f"{parts[1]}?{query}" if query else parts[1]


def _option(name: str, equals: str, value: str) -> str:
    """One option of a URL as libpq knows it; empty if it says nothing of the database."""
    if name in _OF_DRIVERS_ALONE:
        return ""
    if name in ("ssl", "sslmode") and value.lower() in _SSL_MODES:
        return f"sslmode={_SSL_MODES[value.lower()]}"
    return f"{_SAME.get(name, name)}{equals}{value}"
