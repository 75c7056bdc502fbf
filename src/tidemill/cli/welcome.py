"""What `tidemill up` says when everything is up: how to add a job, look, and stop."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tidemill.schemas import payload_schema

if TYPE_CHECKING:
    from tidemill.app import App

_BY_TYPE = {"string": "you", "integer": 1, "number": 1, "boolean": True, "array": [], "object": {}}
_BY_FORMAT = {
    "date": "2030-01-31",
    "date-time": "2030-01-31T09:00:00Z",
    "time": "09:00:00Z",
    "duration": "PT90S",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def program() -> str:
    """The command to type here: `tidemill` if the shell finds it, else its path as in `make demo`."""
    return "tidemill" if shutil.which("tidemill") else os.path.relpath(sys.argv[0])


def example(shape: Any) -> Any:
    """A payload with the keys that a task requires; an empty one where its type does not tell them."""
    try:
        schema = payload_schema(shape)
        given = _example(schema, schema.get("$defs", {}))
    except Exception:
        # It has code of the user's types.
        return {}
    return {} if given is None else given


def _example(schema: Mapping[str, Any], described: Mapping[str, Any]) -> Any:
    if "$ref" in schema:
        return _example(described[schema["$ref"].removeprefix("#/$defs/")], described)
    for key in ("default", "const"):
        if key in schema:
            return schema[key]
    for key in ("enum", "anyOf", "oneOf", "allOf", "prefixItems"):
        if schema.get(key):
            some = schema[key] if key == "prefixItems" else schema[key][:1]
            given = list(some) if key == "enum" else [_example(each, described) for each in some]
            return given if key == "prefixItems" else given[0]
    kind = schema.get("type")
    if kind == "object" or "properties" in schema:
        parts = schema.get("properties", {})
        return {name: _example(parts.get(name, {}), described) for name in schema.get("required", ())}
    return schema.get("minimum", _BY_FORMAT.get(schema.get("format", ""), _BY_TYPE.get(kind or "")))


def welcome(app: App, *, named: bool) -> str:
    """The lines for an app whose worker runs; `named`: its database was named by --database."""
    database = app.database()
    task = next(iter(sorted(app.tasks)), "hello")
    payload = shlex.quote(json.dumps(example(app.tasks[task]._shape) if task in app.tasks else {}))
    how = program()
    with_it = " --database URL" if named else ""
    lines = [
        "Up: the schema, a worker for jobs, and the scheduler of actions. In another terminal:",
        f"  {how} add {shlex.quote(task)} {payload}{with_it}",
        f"  {how} jobs{with_it}; {how} actions{with_it}; {how} doctor{with_it}",
        f"  {how} psql{with_it}",
    ]
    if database.server is not None:
        lines += [
            f'Other programs connect by: "{database.server.conninfo()}"',
            f"The data stays in {database.server.directory}/ when this ends, by Ctrl-C.",
        ]
    else:
        lines += ["It ends by Ctrl-C."]
    return "\n".join(lines)
