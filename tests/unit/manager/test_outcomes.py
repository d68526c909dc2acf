"""Whatever leaves a function is its outcome: results, errors, and exceptions that end programs elsewhere."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.support import Puppet, eventually, rows, statuses, turns

import aioruns
from aioruns import (
    RunCancelled,
    RunError,
    RunFailed,
    RunHandle,
    RunInterrupted,
    RunManager,
    current_run,
    job,
)

pytestmark = pytest.mark.asyncio

Open = Callable[..., Any]


async def failure_of(handle: RunHandle[Any]) -> RunFailed:
    with pytest.raises(RunFailed) as failure:
        await handle
    return failure.value


# Results


@dataclass
class Point:
    x: int
    y: int


@job
async def make_point(x: int, y: int) -> Point:
    return Point(x, y)


@job
async def make_tuple() -> tuple[int, set[str]]:
    return 3, {"a"}


@pytest.mark.parametrize("value", [None, 0, "", [], {"a": [1, None, 2.5]}, "ü\x00", 2**63], ids=repr)
async def test_a_result_is_stored(manager: RunManager, database: Path, value: Any) -> None:
    puppet = Puppet()
    puppet.end(1, value)
    handle = await manager.start_run(puppet.job(1))
    assert await handle == value
    run = await handle.wait()
    assert (run.status, run.result, run.error, run.traceback) == ("completed", value, None, None)
    assert rows(database)[0]["result"] == run.result_json


async def test_await_gives_the_object_that_was_returned(manager: RunManager) -> None:
    handle = await manager.start_run(make_point(1, 2))
    point = await handle
    assert await handle is point
    assert isinstance(point, Point)


async def test_elsewhere_await_gives_the_result_decoded_by_the_jobs_hints(open_manager: Open) -> None:
    manager, other = await open_manager(), await open_manager()
    for call, value in ((make_point(1, 2), Point(1, 2)), (make_tuple(), (3, {"a"}))):
        handle = await manager.start_run(call, idempotency_key=call.job.name)
        await handle.wait()
        found = await other.start_run(call, idempotency_key=call.job.name)
        assert found.id == handle.id
        assert await found == value
    assert await other.get_handle(1) == {"x": 1, "y": 2}, "without the job, as plain values"


async def test_a_result_lives_as_long_as_its_handle_and_no_longer(manager: RunManager) -> None:
    handle = await manager.start_run(make_point(1, 2))
    gone = weakref.ref(await handle)
    gc.collect()
    assert gone() == Point(1, 2)
    del handle
    await turns(3)
    gc.collect()
    assert gone() is None


async def test_a_result_outlives_the_manager(open_manager: Open) -> None:
    manager = await open_manager()
    handle = await manager.start_run(make_point(1, 2))
    await handle
    await manager.aclose()
    assert await handle == Point(1, 2)
    assert (await handle.wait()).status == "completed"


class Unstorable:
    """A result whose JSON form cannot be had."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __fspath__(self) -> str:
        raise self._error


@pytest.mark.parametrize(
    "value",
    [
        object(),
        "x" * 1_048_600,
        Unstorable(ValueError("no path")),
        Unstorable(SystemExit(3)),
        Unstorable(KeyboardInterrupt()),
        Unstorable(asyncio.CancelledError()),
    ],
    ids=["object", "large", "raising", "exiting", "interrupting", "cancelling"],
)
async def test_a_result_that_cannot_be_stored_fails_the_run_which_is_not_run_again(
    manager: RunManager, value: Any
) -> None:
    puppet = Puppet()
    puppet.end(1, value)
    handle = await manager.start_run(puppet.job(1))
    run = (await failure_of(handle)).run
    assert run.error is not None
    assert f"the result of run {handle.id}" in run.error
    assert run.result is None
    assert puppet.entered == [1]


# Errors


async def test_E2_a_failed_run_keeps_the_frames_that_raised(manager: RunManager) -> None:
    def deep() -> None:
        raise LookupError("no such thing")

    @job
    async def fails() -> None:
        deep()

    @job
    def fails_in_a_thread() -> None:
        deep()

    for call in (fails(), fails_in_a_thread()):
        failure = await failure_of(await manager.start_run(call))
        assert failure.run.error == "LookupError: no such thing"
        trace = failure.run.traceback or ""
        assert [name for name in (call.job.name, "deep", "raise LookupError") if name not in trace] == []
        assert str(Path(aioruns.__file__).parent) not in trace, "our own frames help nobody"


async def test_the_cause_of_a_failure_is_the_exception_itself(open_manager: Open) -> None:
    manager, other, puppet = await open_manager(), await open_manager(), Puppet()
    error = LookupError("no such thing")
    handle = await manager.start_run(puppet.job(1))
    puppet.fail(1, error)
    failure = await failure_of(handle)
    assert failure.__cause__ is error
    assert str(failure) == "run 1 (puppet) failed: LookupError: no such thing"
    assert (await failure_of(other.get_handle(handle.id))).__cause__ is None


async def test_each_end_is_an_error_of_its_own(open_manager: Open) -> None:
    manager, puppet = await open_manager(), Puppet()
    handles = [await manager.start_run(puppet.job(part)) for part in range(3)]
    await puppet.enters(2)
    puppet.fail(0, ValueError())
    await handles[1].cancel()
    await handles[1].wait()
    await manager.aclose()
    for handle, kind in zip(handles, (RunFailed, RunCancelled, RunInterrupted), strict=True):
        with pytest.raises(RunError) as end:
            await handle
        assert type(end.value) is kind
        assert end.value.run == await handle.wait()


class Own(BaseException):
    """No ``Exception``."""


ENDERS = [
    SystemExit(3),
    KeyboardInterrupt(),
    GeneratorExit(),
    Own("mine"),
    BaseExceptionGroup("both", [Own(), OSError()]),
]


@pytest.mark.parametrize("error", ENDERS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("kind", ["async", "thread", "bare"])
async def test_E5_an_exception_that_ends_programs_fails_the_run_and_nothing_else(
    manager: RunManager, database: Path, error: BaseException, kind: str
) -> None:
    @job
    async def raises() -> None:
        await turns(2)
        raise error

    @job
    def raises_in_a_thread() -> None:
        raise error

    call = {"async": raises, "thread": raises_in_a_thread, "bare": raises.function}[kind]()
    other = await manager.start_run(Puppet().job(1))
    handle = await manager.start_run(call, key="k")
    run = (await failure_of(handle)).run
    assert type(error).__name__ in (run.error or "")
    assert statuses(database) == {other.id: "running", handle.id: "failed"}
    assert manager.current_run_id("k") is None


@pytest.mark.parametrize("kind", ["async", "thread"])
async def test_E5_stop_iteration_fails_the_run(manager: RunManager, kind: str) -> None:
    @job
    async def stops() -> None:
        raise StopIteration(3)

    @job
    def stops_in_a_thread() -> None:
        raise StopIteration(3)

    run = (await failure_of(await manager.start_run(stops() if kind == "async" else stops_in_a_thread()))).run
    assert "StopIteration" in (run.error or "")


async def test_E5_an_exit_from_inside_a_clean_up_fails_the_run(manager: RunManager) -> None:
    @job
    async def exits_late() -> None:
        try:
            raise ValueError("first")
        finally:
            raise SystemExit(3)

    run = (await failure_of(await manager.start_run(exits_late()))).run
    assert run.error == "SystemExit: 3"


class Speechless(Exception):
    """An exception whose own code raises."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __str__(self) -> str:
        raise self._error


@pytest.mark.parametrize("error", [ValueError(), SystemExit(), asyncio.CancelledError()], ids=repr)
async def test_E3_an_exception_that_cannot_be_shown_fails_the_run(manager: RunManager, error: BaseException) -> None:
    puppet = Puppet()
    puppet.fail(1, Speechless(error))
    run = (await failure_of(await manager.start_run(puppet.job(1)))).run
    assert (run.error or "").startswith("Speechless")


@pytest.mark.parametrize(
    "error",
    [ValueError(), SystemExit(), KeyboardInterrupt()],
    ids=repr,
)
async def test_E1_a_redact_that_raises_does_not_keep_a_run_from_ending(
    open_manager: Open, error: BaseException
) -> None:
    def redact(text: str) -> str:
        raise error

    manager, puppet = await open_manager(redact=redact), Puppet()
    puppet.fail(1, LookupError("password=hunter2"))
    run = (await failure_of(await manager.start_run(puppet.job(1)))).run
    assert "LookupError" in (run.error or "")
    assert "hunter2" not in (run.error or "")


async def test_E1_a_function_that_cannot_even_begin_fails_its_run(
    manager: RunManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("aioruns._running.runners.start_thread", fail)
    handle = await manager.start_run(Puppet().threaded(1), key="k")
    run = (await failure_of(handle)).run
    assert run.error == "RuntimeError: can't start new thread"
    assert manager.current_run_id("k") is None


async def test_E4_a_callback_of_the_function_that_raises_never_affects_the_run(manager: RunManager) -> None:
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))

    @job
    async def schedules() -> str:
        asyncio.get_running_loop().call_soon(lambda: 1 / 0)
        child = asyncio.create_task(asyncio.sleep(0))
        child.add_done_callback(lambda _: {}[0])
        await turns(3)
        return "done"

    assert await (await manager.start_run(schedules())) == "done"
    assert [type(complaint["exception"]) for complaint in complaints] == [ZeroDivisionError, KeyError]


async def test_E4_a_subscriber_that_raises_never_affects_the_run(manager: RunManager) -> None:
    puppet = Puppet()
    handle = await manager.start_run(puppet.job(1))

    async def breaks() -> None:
        async for _ in handle.events():
            raise LookupError("the subscriber's own fault")

    with pytest.raises(LookupError):
        await breaks()
    puppet.end(1, "done")
    assert await handle == "done"


async def test_a_nested_run_is_a_run_of_its_own(manager: RunManager) -> None:
    @job
    async def inner() -> tuple[int, str | None]:
        return current_run().id, current_run().key

    @job
    async def outer() -> tuple[int, tuple[int, str | None]]:
        handle = await manager.start_run(inner(), key="inner")
        return current_run().id, await handle

    assert await (await manager.start_run(outer(), key="outer")) == (1, (2, "inner"))


async def test_an_error_of_a_child_task_is_the_functions_own_affair(manager: RunManager) -> None:
    @job
    async def group() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(asyncio.sleep(0))
            tasks.create_task(fails())

    async def fails() -> None:
        raise ValueError("inside")

    failure = await failure_of(await manager.start_run(group()))
    assert isinstance(failure.__cause__, ExceptionGroup)
    assert "ValueError: inside" in (failure.run.traceback or "")
    await eventually(lambda: manager.current_run_id() is None)


class Untouchable(Exception):
    """Raises when anything at all is asked of it."""

    def __getattribute__(self, name: str) -> Any:
        raise SystemExit(name)


async def test_E5_an_exception_that_raises_when_it_is_looked_at_fails_its_run(manager: RunManager) -> None:
    async def work() -> None:
        raise Untouchable

    handle = await manager.start_run(work(), key="k")
    failure = await failure_of(handle)
    assert failure.run.error == (
        "RuntimeError: the function ended with a value or an exception that cannot be looked at"
    )
    assert manager.current_run_id("k") is None
