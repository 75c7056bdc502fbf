"""What a task's function takes: the payload, the job, or keywords. And which functions are refused."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import msgspec
import pydantic
import pytest

from tidemill import JobContext, Task
from tidemill.context import SyncJobContext
from tidemill.errors import InvalidJobError, PayloadError, TaskLoadError

if TYPE_CHECKING:
    # At runtime these names are missing.
    class Nowhere: ...

    class Later: ...


class Model(pydantic.BaseModel):
    number: int


class Logs(Protocol):
    logger: Any


class Incomplete(pydantic.BaseModel):
    field: Later


@dataclass
class Half:
    field: Later


class Custom: ...


Whole = int

# The functions return what they got, so that a test can compare it.


def payload_only(anything: int) -> Any:
    return (anything,)


def with_job(order: Any, job: Any) -> Any:
    return order, job


def annotated(order: int, context: Annotated[JobContext | None, "the job"]) -> Any:
    return order, context


def annotated_text(order: int, context: JobContext | None) -> Any:
    return order, context


def unresolved(order: int, job: Nowhere) -> Any:
    return order, job


def protocol(order: int, job: Logs) -> Any:
    return order, job


def job_first(job: JobContext, order: int) -> Any:
    return order, job


def job_by_keyword(order: int, /, *, job: JobContext) -> Any:
    return order, job


def positional(order: int, job: JobContext, /) -> Any:
    return order, job


def default(order: int | None = None) -> Any:
    return (order,)


class Instance:
    def __call__(self, order: Whole) -> Any:
        return (order,)

    def method(self, order: Whole) -> Any:
        return (order,)


def of_this_module(order: Whole) -> Any:
    return (order,)


WITH_JOB: list[Callable[..., Any]] = [
    *(with_job, annotated, annotated_text, unresolved, protocol, job_first, job_by_keyword, positional)
]


@pytest.mark.parametrize(
    "function",
    [
        *WITH_JOB,
        payload_only,
        default,
        functools.partial(payload_only),
        functools.partial(of_this_module),
        Instance(),
        Instance().method,
    ],
)
def test_one_parameter_beside_the_job_is_the_payload(function: Callable[..., Any]) -> None:
    task: Task[Any] = Task(function, "t")
    payload, job = task.decode("5"), object()
    assert not task.has_keywords
    assert task.call(payload, *[job] * task.takes_job) == (5, job)[: 1 + task.takes_job]
    assert task.takes_job == (function in WITH_JOB)


def two(order_id: int, email: str) -> Any:
    return order_id, email


def two_and_job(order_id: int, email: str, *, job: JobContext) -> Any:
    assert job is not None
    return order_id, email


def job_between(order_id: int, job: Any, email: str) -> Any:
    assert job is not None
    return order_id, email


def job_in_front(context: JobContext, order_id: int, email: str) -> Any:
    assert context is not None
    return order_id, email


def optional(order_id: int, email: str = "nobody", *, copies: int = 1) -> Any:
    assert copies == 1
    return order_id, email


def others(order_id: int, **rest: str) -> Any:
    return order_id, rest["email"]


def only_others(**rest: Any) -> Any:
    return rest["order_id"], rest["email"]


@functools.wraps(two)
def wrapped(*args: Any, **kwargs: Any) -> Any:
    return two(*args, **kwargs)


@pytest.mark.parametrize(
    "function", [two, two_and_job, job_between, job_in_front, optional, others, only_others, wrapped]
)
def test_several_are_keywords(function: Callable[..., Any]) -> None:
    task: Task[Any] = Task(function, "t")
    assert task.has_keywords
    given = task.decode('{"order_id": 5, "email": "ann"}')
    assert task.call(given, *[object()] * task.takes_job) == (5, "ann")
    assert task.spec(order_id=5, email="ann").payload == {"order_id": 5, "email": "ann"}
    assert task.spec({"order_id": 5, "email": "ann"}, priority=3).priority == 3


def test_defaults_are_the_functions_own() -> None:
    marker: Any = Custom()

    def collect(a: int = 1, b: list[int] = marker, *, c: str = "c") -> Any:
        return a, b, c

    task: Task[Any] = Task(collect, "t")
    assert task.call(task.decode("{}")) == (1, marker, "c")
    assert task.call(task.decode('{"c": "d"}')) == (1, marker, "d")


def test_a_task_may_take_nothing() -> None:
    for function in (lambda: "ran", lambda job: "ran"):
        task: Task[Any] = Task(function, "t")
        assert task.call(task.decode("{}"), *[object()] * task.takes_job) == "ran"
        assert task.spec().payload == {}
        with pytest.raises(PayloadError, match=r"x is unknown\. The task takes no payload"):
            task.decode('{"x": 1}')


def test_what_a_crontab_adds_to_a_payload_is_no_keyword() -> None:
    task: Task[Any] = Task(two, "t")
    text = '{"order_id": 5, "email": "ann", "_cron": {"ts": "2030-01-01T00:00:00Z", "backfilled": false}}'
    assert task.call(task.decode(text)) == (5, "ann")


def test_the_blocking_job_goes_where_it_is_annotated() -> None:
    def plain(order: int, context: SyncJobContext) -> Any:
        return context

    context = type("Context", (), {"sync": "the blocking face"})()
    assert Task[Any](plain, "t").call(5, context) == "the blocking face"


def test_types_are_read_with_their_rules() -> None:
    def checked(age: Annotated[int, msgspec.Meta(ge=18)], models: list[Model]) -> None: ...

    task: Task[Any] = Task(checked, "t")
    assert task.decode('{"age": 18, "models": [{"number": 1}]}')["models"] == [Model(number=1)]
    for text, words in (
        ('{"age": 17, "models": []}', r"Expected `int` >= 18 - at `\$.age`"),
        ('{"age": 18, "models": [{}]}', "number"),
    ):
        with pytest.raises(PayloadError, match=words):
            task.decode(text)

    def alone(age: Annotated[int, msgspec.Meta(ge=18)]) -> None: ...

    with pytest.raises(PayloadError, match=">= 18"):
        Task[Any](alone, "t").decode("17")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"order_id": 1}', "email is missing"),
        ('{"order_id": 1, "emial": "x"}', "email is missing, emial is unknown"),
        ('{"order_id": "1", "email": "x"}', "Expected `int`, got `str` - at `$.order_id`"),
        ("[1, 2]", "Expected `object`, got `array`"),
        ("null", "Expected `object`, got `null`"),
        ('{"order_id": 1e400, "email": "x"}', "The payload cannot be read: it has a number"),
        ('{"order_id": 1, "email": "\\ud800"}', "half of a surrogate pair"),
        ('{"order_id": 1, "email": ' + "[" * 5000 + "]" * 5000 + "}", "nested too deep"),
    ],
)
def test_keywords_that_do_not_fit(text: str, words: str) -> None:
    with pytest.raises(PayloadError) as refused:
        Task[Any](two, "t").decode(text)
    assert words in str(refused.value)
    if "cannot be read" not in str(refused.value):
        assert "a key for each parameter: order_id, email." in str(refused.value)


def test_an_object_for_a_single_parameter_is_explained() -> None:
    with pytest.raises(PayloadError, match="leave out the key 'anything' and give its value alone"):
        Task[Any](payload_only, "t").decode('{"anything": 5}')


@pytest.mark.parametrize(
    ("function", "arguments", "keywords", "words"),
    [
        (two, (), {"order_id": 5}, "Task 't': The payload does not fit its task: email is missing"),
        (two, (), {"order_id": "5", "email": "x"}, "Expected `int`, got `str`"),
        (two, (), {"order_id": 5, "email": "x", "priorty": 1}, "priorty is unknown"),
        (two, ({"order_id": 5},), {}, "email is missing"),
        (two, ({"order_id": 5},), {"email": "x"}, "either a payload or keywords; 'email' is a keyword"),
        (two, ([1],), {}, "Expected `object`, got `array`"),
        (payload_only, (), {"anything": 5}, "has one parameter, which takes the whole payload"),
        (payload_only, (5,), {"priorty": 5}, "'priorty' is no option of a job"),
        (payload_only, (), {}, "call add(payload)"),
    ],
)
def test_a_wrong_call_is_refused_where_it_is_made(
    function: Any, arguments: tuple[Any, ...], keywords: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidJobError) as refused:
        Task[Any](function, "t").spec(*arguments, **keywords)
    assert words in str(refused.value)


def generator(payload: Any) -> Any:
    yield payload


async def asynchronous_generator(payload: Any) -> Any:
    yield payload


def unknown(payload: Nowhere) -> None: ...
def unknown_keyword(a: int, b: Nowhere) -> None: ...
def half(payload: Half) -> None: ...
def incomplete(payload: Incomplete) -> None: ...
def custom(payload: Custom) -> None: ...
def custom_inside(a: int, b: dict[str, Custom | None]) -> None: ...
def function_type(payload: Callable[[int], int]) -> None: ...
def starred(*args: Any) -> None: ...
def starred_more(payload: Any, *args: Any, **kwargs: Any) -> None: ...
def other_job(payload: Any, context: Any) -> None: ...
def job_of_a_person(name: str, job: str) -> None: ...
def two_jobs(payload: Any, job: JobContext, context: JobContext) -> None: ...
def method(self: Any, order: int) -> None: ...
def positional_keywords(a: int, b: int, /) -> None: ...


def broken_type(payload: Any) -> None: ...


broken_type.__annotations__["payload"] = "1 / 0"


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (generator, "is a generator"),
        (asynchronous_generator, "is a generator"),
        (unknown, "The type of parameter 'payload' of task 't' cannot be read: name 'Nowhere'"),
        (unknown_keyword, "The type of parameter 'b' of task 't' cannot be read"),
        (broken_type, "cannot be read: division by zero"),
        (half, "The type of parameter 'payload' of task 't' is not supported: name 'Later' is not defined"),
        (incomplete, "is not complete: name 'Later' is not defined"),
        (custom, "Custom'> cannot be read from JSON"),
        (custom_inside, "The type of parameter 'b' of task 't' is not supported"),
        (function_type, "cannot be read from JSON"),
        (starred, "takes *args, so Tidemill cannot tell how to call it"),
        (starred_more, "functools.wraps"),
        (other_job, "if the other parameter is for the job, call it `job` or annotate it with JobContext"),
        (job_of_a_person, "The parameter job of task 't' is annotated str"),
        (two_jobs, "takes the job twice: as 'job' and as 'context'"),
        (method, "a task is a plain function"),
        (positional_keywords, "a is positional-only: leave out the `/`"),
    ],
)
def test_functions_that_cannot_be_tasks(function: Callable[..., Any], words: str) -> None:
    with pytest.raises(TaskLoadError) as refused:
        Task[Any](function, "t")
    assert words in str(refused.value)
    assert "'t'" in str(refused.value)


@pytest.mark.parametrize(
    "name",
    [
        *("queue_name", "run_at", "max_attempts", "job_key", "priority", "flags", "job_key_mode"),
        *("connection", "queue"),
    ],
)
def test_a_keyword_named_like_an_option_is_refused(name: str) -> None:
    names: dict[str, Any] = {}
    exec(f"def function(order_id, {name}): ...", names)
    with pytest.raises(TaskLoadError, match=f"{name} is an option of jobs.* rename the parameter"):
        Task[Any](names["function"], "t")
    # Alone it is the payload.
    exec(f"def function({name}): ...", names)
    assert Task[Any](names["function"], "t").spec(5).payload == 5


def with_a_default(count: int = 5) -> Any:
    return (count,)


@pytest.mark.parametrize(
    ("function", "advice"),
    [
        (two, "Give its parameters defaults."),
        (payload_only, "Its only parameter takes the whole payload, also if it has a default: "),
        (with_a_default, "Its only parameter takes the whole payload, also if it has a default: "),
    ],
)
def test_a_schedule_needs_a_task_that_takes_an_empty_payload(function: Any, advice: str) -> None:
    with pytest.raises(TaskLoadError) as refused:
        Task[Any](function, "t", every="1h")
    assert "has a schedule, whose jobs have the payload {}. " in str(refused.value)
    assert advice in str(refused.value)


def test_a_schedule_takes_tasks_that_an_empty_payload_fits() -> None:
    def defaults(a: int = 1, b: int = 2) -> None: ...

    for function in (lambda order: order, lambda: None, defaults):
        assert Task[Any](function, "t", every="1h").schedule is not None
