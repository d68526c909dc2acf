"""Jobs and calls: what may be declared, and what becomes of arguments."""

from __future__ import annotations

import asyncio
import functools
import inspect
import math
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest

from aioruns import ConfigurationError, Job, JobCall, RunManager, job
from aioruns._jobs.job import jobs_by_name
from aioruns._jobs.work import work_of
from aioruns._values.checks import check_seconds


@job
async def build(project_id: int, scope: str = "full") -> str:
    """Build something."""
    return f"{project_id} {scope}"


def refused(error: BaseException) -> str:
    """Read why a class body was refused; before Python 3.12 the error comes wrapped."""
    return str(error if isinstance(error, ConfigurationError) else error.__cause__)


# Declaring


def test_a_job_looks_like_its_function() -> None:
    assert isinstance(build, Job)
    assert (build.name, build.__name__, build.__doc__) == ("build", "build", "Build something.")  # pyright: ignore[reportAttributeAccessIssue]
    assert inspect.signature(build) == inspect.signature(build.function)
    assert (build.is_async, build.timeout, build.cancel_grace) == (True, None, 0.0)
    assert repr(build) == "<Job 'build'>"


def test_a_job_may_be_declared_with_options() -> None:
    @job(name="other", timeout=5, cancel_grace=1)
    def named() -> None: ...

    assert (named.name, named.is_async, named.timeout, named.cancel_grace) == ("other", False, 5.0, 1.0)
    assert isinstance(named.timeout, float)


@pytest.mark.parametrize(
    "options",
    [
        {"name": ""}, {"name": 3}, {"name": "a\nb"}, {"name": "x" * 513}, {"timeout": 0}, {"timeout": -1},
        {"timeout": math.nan}, {"timeout": "1"}, {"timeout": True}, {"cancel_grace": -1}, {"cancel_grace": math.nan},
    ],
    ids=repr,
)  # fmt: skip
def test_options_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        job(**options)(lambda: None)


def test_a_method_is_refused_where_it_is_declared() -> None:
    with pytest.raises((ConfigurationError, RuntimeError)) as refusal:

        class Service:
            @job
            async def work(self) -> None: ...

    assert "@job on the method Service.work: self cannot be stored" in refused(refusal.value)


def test_staticmethod_goes_over_job_and_not_under_it() -> None:
    class Service:
        @staticmethod
        @job
        async def work(number: int) -> int:
            return number

    assert isinstance(Service.work(3), JobCall)
    assert Service.work.name == "work"
    for wrong in (staticmethod, classmethod):
        with pytest.raises(ConfigurationError, match="write @staticmethod above @job"):
            job(wrong(lambda: None))  # type: ignore[call-overload]


def generates() -> Iterator[int]:
    yield 1


async def generates_async() -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize("function", [generates, generates_async])
def test_a_generator_is_refused(function: Any) -> None:
    with pytest.raises(ConfigurationError, match="a generator cannot be a job"):
        job(function)


@pytest.mark.parametrize("what", [3, "name", object()])
def test_what_cannot_be_called_is_refused(what: Any) -> None:
    with pytest.raises(ConfigurationError, match="@job goes on a plain function"):
        job(what)


def test_a_partial_function_needs_a_name() -> None:
    with pytest.raises(ConfigurationError, match="the name of a job must not be empty"):
        job(functools.partial(build.function, 3))
    partial = job(name="build 3")(functools.partial(build.function, 3))
    assert partial.is_async


@pytest.mark.asyncio
async def test_an_object_with_an_async_call_is_an_async_job() -> None:
    class Work:
        async def __call__(self) -> int:
            return 3

    assert job(name="work")(Work()).is_async  # type: ignore[call-overload]


def test_two_jobs_of_one_name_are_refused() -> None:
    other = job(name="build")(lambda: None)
    assert jobs_by_name([build, build]) == {"build": build}
    with pytest.raises(ConfigurationError, match="two jobs are called 'build'"):
        jobs_by_name([build, other])
    with pytest.raises(ConfigurationError, match="jobs must be functions declared with @job"):
        jobs_by_name([build.function])  # type: ignore[list-item]


@pytest.mark.asyncio
async def test_the_name_of_a_managers_job_belongs_to_it(database: Path) -> None:
    other = job(name="build")(lambda: "other")
    async with RunManager(database, jobs=[build]) as manager:
        with pytest.raises(ConfigurationError, match="the name 'build' belongs to another job"):
            await manager.start_run(other())
        assert await (await manager.start_run(build(3))) == "3 full"
    async with RunManager(database) as manager:
        assert await (await manager.start_run(other())) == "other", "a job need not be in jobs= to be started"


# Calling


def test_a_call_runs_nothing_and_checks_its_arguments() -> None:
    call = build(3, scope="part")
    assert (call.job, call.bound.args, repr(call)) == (build, (3, "part"), "<JobCall of 'build'>")
    for arguments in ((), (1, 2, 3)):
        with pytest.raises(TypeError):
            build(*arguments)  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError):
        build(project=3)  # type: ignore[call-arg]


@pytest.mark.asyncio
async def test_a_call_may_be_awaited_more_than_once() -> None:
    call = build(3)
    assert [await call, await call] == ["3 full"] * 2


@pytest.mark.asyncio
@pytest.mark.parametrize("error", [ValueError("no"), asyncio.CancelledError()], ids=repr)
async def test_a_call_that_is_awaited_raises_what_its_function_raises(error: BaseException) -> None:
    @job
    async def raises() -> None:
        raise error

    @job
    def raises_in_a_thread() -> None:
        raise error

    for call in (raises(), raises_in_a_thread()):
        with pytest.raises(type(error)) as raised:
            await call
        assert raised.value is error


# What becomes of arguments


@dataclass
class Options:
    depth: int
    names: list[str] = field(default_factory=list)


class Limits(msgspec.Struct):
    top: int


@job
async def take(
    first: Options,
    second: datetime,
    /,
    third: Path,
    *rest: tuple[int, ...],
    fourth: Literal["a", "b"] = "a",
    **more: set[int],
) -> Any:
    return [first, second, third, rest, fourth, more]


@job
async def take_anything(value, *values, **named):  # type: ignore[no-untyped-def]
    return [value, values, named]


NOW = datetime(2024, 2, 29, 12, tzinfo=UTC)


@pytest.mark.asyncio
async def test_arguments_arrive_as_their_hints_say_and_are_copies() -> None:
    options = Options(3, ["x"])
    work = work_of(take(options, NOW, Path("a/b"), (1, 2), (3,), fourth="b", fifth={5}))
    options.names.append("changed since")
    assert await work.begin() == [Options(3, ["x"]), NOW, Path("a/b"), ((1, 2), (3,)), "b", {"fifth": {5}}]
    assert msgspec.json.decode(work.arguments_json or "") == {
        "first": {"depth": 3, "names": ["x"]},
        "second": "2024-02-29T12:00:00Z",
        "third": "a/b",
        "rest": [[1, 2], [3]],
        "fourth": "b",
        "more": {"fifth": [5]},
    }


@pytest.mark.asyncio
async def test_arguments_without_hints_arrive_as_plain_values() -> None:
    work = work_of(take_anything(Options(3), (1, 2), key=Limits(top=4)))
    assert await work.begin() == [{"depth": 3, "names": []}, ([1, 2],), {"key": {"top": 4}}]


async def plain(first, second=2, *, third=3):  # type: ignore[no-untyped-def]
    return [first, second, third]


async def positional(first, second=2, /, third=3):  # type: ignore[no-untyped-def]
    return [first, second, third]


async def starred(first, *rest, last=9):  # type: ignore[no-untyped-def]
    return [first, rest, last]


async def named(first=1, **more):  # type: ignore[no-untyped-def]
    return [first, more]


async def shadowing(self, func=2, job=3, arguments=4):  # type: ignore[no-untyped-def]
    return [self, func, job, arguments]


CALLS: list[tuple[Any, tuple[Any, ...], dict[str, Any]]] = [
    *[(plain, args, options) for args in [(5,), (5, 6)] for options in [{}, {"third": 7}]],
    (plain, (), {"third": 7, "second": 6, "first": 5}),
    *[(positional, args, {}) for args in [(5,), (5, 6), (5, 6, 7)]],
    (positional, (5,), {"third": 7}),
    *[(starred, args, options) for args in [(5,), (5, 6), (5, 6, 7)] for options in [{}, {"last": 8}]],
    (starred, (), {"first": 5}),
    *[(named, args, options) for args in [(), (5,)] for options in [{}, {"function": 6, "func": 7}]],
    *[(shadowing, args, {}) for args in [(5,), (5, 6, 7, 8)]],
    (shadowing, (5,), {"arguments": 8, "func": 6}),
]


@pytest.mark.asyncio
@pytest.mark.parametrize(("function", "args", "options"), CALLS)
async def test_a_stored_call_is_the_call_of_the_function(
    function: Any, args: tuple[Any, ...], options: dict[str, Any]
) -> None:
    call = job(function)(*args, **options)
    assert await work_of(call).begin() == await call == await function(*args, **options)


@pytest.mark.asyncio
async def test_a_parameter_may_be_named_self() -> None:
    call = job(named)(5, self=6)
    assert await work_of(call).begin() == await call == [5, {"self": 6}]


def logged(function: Any) -> Any:
    @functools.wraps(function)
    async def wrapper(*args: Any) -> Any:
        return await function(*args)

    return wrapper


def first_named_otherwise(function: Any) -> Any:
    @functools.wraps(function)
    async def wrapper(subject: Any, **options: Any) -> Any:
        return await function(subject, **options)

    return wrapper


@pytest.mark.asyncio
@pytest.mark.parametrize("decorate", [logged, first_named_otherwise])
async def test_arguments_reach_a_function_behind_a_wrapper_with_parameters_of_its_own(decorate: Any) -> None:
    @job
    @decorate
    async def double(number: int) -> int:
        return 2 * number

    assert await work_of(double(3)).begin() == 6


@pytest.mark.asyncio
async def test_two_runs_of_one_call_share_no_argument() -> None:
    @job
    async def changes(values: list[int]) -> list[int]:
        values.append(len(values))
        return values

    call = changes([7])
    first, second = work_of(call), work_of(call)
    assert await first.begin() == await second.begin() == [7, 1]
    assert call.bound.arguments["values"] == [7]


@pytest.mark.parametrize(
    ("arguments", "which"),
    [(("no options", NOW, Path()), "first"), ((Options(3), "yesterday", Path()), "second")],
)
def test_an_argument_that_does_not_fit_its_hint_is_named(arguments: Any, which: str) -> None:
    with pytest.raises(ConfigurationError, match=f"argument '{which}' does not survive being stored"):
        work_of(take(*arguments))


@pytest.mark.parametrize("hint", ["Missing", "int | Missing", object, asyncio.Lock])
def test_a_hint_that_cannot_be_used_is_a_configuration_error(hint: Any) -> None:
    async def function(value: Any) -> None: ...

    function.__annotations__["value"] = hint
    with pytest.raises(ConfigurationError, match="'value'"):
        work_of(job(function)(3))


def test_a_result_is_read_back_as_its_hint_says() -> None:
    @job
    async def make() -> Options: ...

    @job
    async def badly_hinted() -> Missing: ...  # type: ignore[name-defined]  # noqa: F821

    assert work_of(make()).decode_result('{"depth": 3}') == Options(3)
    assert work_of(badly_hinted()).decode_result('{"depth": 3}') == {"depth": 3}
    assert work_of(take_anything(1)).decode_result("[1]") == [1]


def test_a_bare_coroutine_is_named_after_its_function_and_closed_when_discarded() -> None:
    coroutine = build.function(3)
    work = work_of(coroutine)
    assert (work.name, work.arguments_json, work.timeout, work.is_async) == ("build", None, None, True)
    work.discard()
    work.discard()
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED


@pytest.mark.parametrize("seconds", [None, 0.5, 3, math.inf])
def test_a_duration_is_float_seconds(seconds: float | None) -> None:
    checked = check_seconds(seconds, what="it")
    assert checked == seconds
    assert checked is None or type(checked) is float


def test_zero_seconds_make_sense_only_where_said() -> None:
    assert check_seconds(0, what="it", zero=True) == 0.0
    with pytest.raises(ConfigurationError, match="it must be more than zero seconds, not 0"):
        check_seconds(0, what="it")
