"""Payloads: decoded and checked by the annotation of a task's first parameter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict

import msgspec
import psycopg
import pydantic
import pytest

from tests.support.running import run_all, run_one
from tidemill import App
from tidemill.errors import TaskLoadError

if TYPE_CHECKING:
    from tidemill import JobContext

# What it is about does not depend on the lane.
pytestmark = pytest.mark.lane("express")


@dataclass
class Address:
    street: str
    number: int


class Typed(TypedDict):
    street: str
    number: int


class Packed(msgspec.Struct):
    street: str
    number: int


class Model(pydantic.BaseModel):
    street: str
    number: int


async def takes_dataclass(payload: Address) -> None:
    assert payload == Address("Elm", 3)


async def takes_typed_dict(payload: Typed) -> None:
    assert payload == {"street": "Elm", "number": 3}


async def takes_struct(payload: Packed) -> None:
    assert payload == Packed("Elm", 3)


async def takes_model(payload: Model) -> None:
    assert payload == Model(street="Elm", number=3)


async def takes_models(payload: list[Model] | Model) -> None:
    raise AssertionError("not reached")


async def takes_nested(payload: dict[str, Model]) -> None:
    assert payload == {"home": Model(street="Elm", number=3)}


@pytest.mark.parametrize("function", [takes_dataclass, takes_typed_dict, takes_struct, takes_model])
async def test_a_payload_arrives_as_its_type_or_fails_by_the_fields_name(
    app: App, function: Callable[[Any], Any]
) -> None:
    app.task("visit")(function)
    assert await run_one(app, "visit", {"street": "Elm", "number": 3}) is None

    for payload, named in (({"street": "Elm", "number": "three"}, "number"), ({"number": 3}, "street")):
        job = await run_one(app, "visit", payload)
        assert job is not None
        assert (job.state, job.attempts) == ("failed", 25)
        assert job.last_error is not None
        assert job.last_error.startswith("The payload does not fit ")
        assert named in job.last_error


async def test_models_inside_of_other_types(app: App) -> None:
    app.task("visit")(takes_nested)
    assert await run_one(app, "visit", {"home": {"street": "Elm", "number": 3}}) is None
    job = await run_one(app, "visit", {"home": {"street": "Elm"}})
    assert job is not None
    assert "number" in str(job.last_error)


async def test_a_mismatch_needs_no_traceback(app: App, caplog: pytest.LogCaptureFixture) -> None:
    app.task("visit")(takes_dataclass)
    await run_one(app, "visit", {})
    assert "failed attempt 1 of 25" in caplog.text
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize(
    "text", ['"\\ud800"', "1e999", "null", '{"a": 1, "a": 2}', "[" * 300 + "]" * 300, '"\\u0000"']
)
async def test_json_that_postgresql_takes_harms_nobody(
    app: App, connection: psycopg.Connection, text: str
) -> None:
    done: list[Any] = []

    @app.task
    async def anything(payload: Any) -> None:
        done.append(payload)

    connection.execute("select tidemill.add_job('anything', %s::json)", [text])
    connection.execute("select tidemill.add_job('anything', '1')")
    await run_all(app)
    assert 1 in done
    rest = connection.execute("select last_error from tidemill.jobs").fetchall()
    assert len(done) + len(rest) == 2
    assert all(error.startswith("The payload cannot be read: ") for (error,) in rest)


async def test_a_type_of_the_second_parameter_may_be_for_type_checkers_alone(app: App) -> None:
    @app.task
    async def visit(payload: Address, job: JobContext) -> None:
        assert payload.number == job.attempt

    assert await run_one(app, "visit", {"street": "Elm", "number": 1}) is None


def test_two_tasks_of_one_name_are_refused() -> None:
    app = App("dbname=unused")
    first = app.task("visit")(takes_dataclass)
    assert app.register(first) is first
    with pytest.raises(TaskLoadError, match="Two tasks are named 'visit'"):
        app.task("visit")(takes_struct)


async def test_a_job_due_since_ever_runs_and_one_due_never_can_be_read(
    app: App, connection: psycopg.Connection
) -> None:
    @app.task
    async def visit(payload: Any, job: JobContext) -> None:
        assert job.run_at.year == 1

    connection.execute("select tidemill.add_job('visit', run_at => '-infinity')")
    connection.execute("select tidemill.add_job('visit', run_at => '0044-03-15 BC')")
    connection.execute("select tidemill.add_job('visit', run_at => 'infinity', job_key => 'never')")
    await run_all(app)
    left = await app.get_job(key="never")
    assert left is not None
    assert left.run_at.year == 9999
    assert connection.execute("select count(*) from tidemill.jobs").fetchone() == (1,)
