"""Options that several commands take, one by one and in bundles."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import wraps
from typing import Annotated, Any

import typer

DatabaseOption = Annotated[
    str | None,
    typer.Option(
        "--database",
        "-d",
        metavar="URL",
        help="postgresql:// URL or libpq conninfo [default: DATABASE_URL, else an embedded PostgreSQL].",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
LimitOption = Annotated[int, typer.Option(min=1, max=2**31 - 1, help="Show at most this many.")]


def spread(command: Callable[..., None]) -> Callable[..., None]:
    """Lets a command take bundles: a parameter whose type is a dataclass becomes an option per field.

        @dataclass
        class Filter:
            task: Annotated[str | None, typer.Option(help="Only jobs of this task.")] = None

        @group.command("list")
        @spread
        def list_jobs(jobs: Filter, as_json: JsonOption = False) -> None: ...

    Typer reads the options `--task` and `--json`; `list_jobs` gets `jobs=Filter(task=...)`.
    """
    own = inspect.signature(command, eval_str=True)
    bundles: dict[str, Any] = {}
    shown: list[inspect.Parameter] = []
    for parameter in own.parameters.values():
        if is_dataclass(parameter.annotation):
            bundles[parameter.name] = parameter.annotation
            shown += inspect.signature(bundles[parameter.name], eval_str=True).parameters.values()
        else:
            shown.append(parameter)

    @wraps(command)
    def called(**options: Any) -> None:
        for name, bundle in bundles.items():
            options[name] = bundle(**{field.name: options.pop(field.name) for field in fields(bundle)})
        command(**options)

    by_name = [parameter.replace(kind=parameter.KEYWORD_ONLY) for parameter in shown]
    # `inspect.signature`, which Typer calls, returns this attribute.
    vars(called)["__signature__"] = own.replace(parameters=by_name)
    return called
