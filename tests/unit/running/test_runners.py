"""The runners: a coroutine in the task of its run, and a plain function in a thread of its own."""

from __future__ import annotations

import asyncio
import contextvars
import re
import threading
import types
from collections.abc import Generator
from typing import Any

import pytest
from tests.streams import within
from tests.support import eventually, turns

from aioruns import job
from aioruns._aio.events import CancelEvent
from aioruns._jobs.work import work_of
from aioruns._running.runners import CoroutineRunner, Outlasted, ThreadRunner

pytestmark = pytest.mark.asyncio


# Coroutines


async def run_in_task(call: Any, made: list[CoroutineRunner]) -> Any:
    task = asyncio.current_task()
    assert task is not None
    made.append(runner := CoroutineRunner(task))
    return await runner.run(work_of(call))


async def test_a_coroutine_executes_in_the_task_of_its_run_and_gives_its_result() -> None:
    async def whose() -> asyncio.Task[Any] | None:
        return asyncio.current_task()

    made: list[CoroutineRunner] = []
    task = asyncio.create_task(run_in_task(whose(), made))
    assert await task is task
    assert made[0].thread is None


async def test_what_a_coroutine_raises_its_runner_raises() -> None:
    async def fail() -> None:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        await run_in_task(fail(), [])


async def test_C6_cancelling_a_coroutine_cancels_its_task_each_time() -> None:
    swallowed = 0

    async def stubborn() -> str:
        nonlocal swallowed
        while swallowed < 2:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                swallowed += 1
        return "went on"

    made: list[CoroutineRunner] = []
    task = asyncio.create_task(run_in_task(stubborn(), made))
    for _ in range(2):
        await turns(2)
        made[0].cancel()
    assert await task == "went on"
    assert swallowed == 2


async def inner(gate: asyncio.Event) -> None:
    await gate.wait()


@types.coroutine
def generator(gate: asyncio.Event) -> Generator[Any, None, None]:
    yield from inner(gate)  # type: ignore[misc]


async def outer(gate: asyncio.Event, by: str) -> None:
    await (inner(gate) if by == "coroutine" else generator(gate))


@pytest.mark.parametrize(
    ("by", "functions"),
    [("coroutine", ["outer", "inner", "wait"]), ("generator", ["outer", "generator", "inner", "wait"])],
)
async def test_the_stack_of_a_coroutine_goes_down_to_where_it_stands(by: str, functions: list[str]) -> None:
    gate = asyncio.Event()
    made: list[CoroutineRunner] = []
    task = asyncio.create_task(run_in_task(outer(gate, by), made))
    await turns(3)
    stack = made[0].stack()
    assert re.findall(r" in (\w+)\n", stack) == ["run_in_task", *functions]
    assert "await gate.wait()" in stack
    gate.set()
    await task


async def test_the_stack_of_a_coroutine_that_has_ended_is_empty() -> None:
    made: list[CoroutineRunner] = []
    await asyncio.create_task(run_in_task(asyncio.sleep(0), made))
    assert made[0].stack() == ""


# Threads


class InThread:
    """A function that executes in a thread until it is told to end, and its runner.

    Attributes:
        task: Awaits the runner, as the task of a run does.
    """

    def __init__(self) -> None:
        self.end = threading.Event()
        self.cancel_event = CancelEvent()
        self.given_up: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.runner = ThreadRunner("its name", cancel_event=self.cancel_event, given_up=self.given_up)

        @job
        def stays() -> str:
            assert self.end.wait(60)
            return "done"

        self.task = asyncio.create_task(self.runner.run(work_of(stays())))

    async def begun(self) -> None:
        await eventually(lambda: self.runner.thread is not None)


def thread_runner() -> ThreadRunner:
    return ThreadRunner("its name", cancel_event=CancelEvent(), given_up=asyncio.get_running_loop().create_future())


async def test_a_function_executes_in_a_thread_of_its_own_and_gives_its_result() -> None:
    @job
    def whose() -> tuple[str, bool]:
        return threading.current_thread().name, threading.current_thread().daemon

    assert await thread_runner().run(work_of(whose())) == ("its name", True)


@pytest.mark.parametrize("error", [ValueError("mine"), SystemExit(3)], ids=repr)
async def test_what_a_thread_raises_its_runner_raises(error: BaseException) -> None:
    @job
    def fails() -> None:
        raise error

    with pytest.raises(type(error)) as raised:
        await thread_runner().run(work_of(fails()))
    assert raised.value is error


async def test_G9_a_thread_sees_the_context_of_the_task_of_its_run() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")

    @job
    def look() -> str:
        return variable.get()

    async def execute() -> str:
        variable.set("of the run")
        return await thread_runner().run(work_of(look()))

    assert await asyncio.create_task(execute()) == "of the run"


async def test_a_thread_cannot_be_cancelled_and_is_waited_for() -> None:
    fake = InThread()
    await fake.begun()
    fake.runner.cancel()
    await turns(5)
    assert not fake.task.done()
    assert not fake.cancel_event.is_set(), "whoever asks it to end sets the event"
    fake.end.set()
    assert await fake.task == "done"


async def test_G8_a_thread_whose_task_is_torn_is_asked_to_end_and_waited_for_all_the_same() -> None:
    fake = InThread()
    await fake.begun()
    for _ in range(3):
        fake.task.cancel()
        await turns(3)
    assert fake.cancel_event.is_set()
    assert not fake.task.done()
    fake.end.set()
    assert await fake.task == "done"


@pytest.mark.parametrize("torn_first", [True, False])
async def test_G8_a_thread_that_is_torn_and_given_up_outlasts_the_event_loop(*, torn_first: bool) -> None:
    fake = InThread()
    await fake.begun()
    steps = [fake.task.cancel, lambda: fake.given_up.set_result(None)]
    for step in steps if torn_first else steps[::-1]:
        assert not fake.task.done()
        step()
        await turns(3)
    with pytest.raises(Outlasted):
        await fake.task
    assert fake.runner.thread is not None
    assert not fake.runner.thread.ended.done()
    fake.end.set()
    await within(60, fake.runner.thread.ended)


async def test_giving_up_does_not_leave_a_thread_whose_task_nobody_tears() -> None:
    fake = InThread()
    await fake.begun()
    fake.given_up.set_result(None)
    await turns(5)
    assert not fake.task.done()
    fake.end.set()
    assert await fake.task == "done"


async def test_a_thread_that_has_ended_when_it_is_torn_and_given_up_has_its_result() -> None:
    fake = InThread()
    await fake.begun()
    assert fake.runner.thread is not None
    fake.end.set()
    fake.runner.thread.join(60)  # the event loop has not heard of it yet
    fake.task.cancel()
    await turns(1)
    fake.given_up.set_result(None)
    assert await fake.task == "done"


async def test_the_stack_of_a_thread_is_that_of_its_function() -> None:
    fake = InThread()
    assert fake.runner.stack() == "", "it has no thread yet"
    await eventually(lambda: "self.end.wait(60)" in fake.runner.stack())
    assert "in stays" in fake.runner.stack()
    fake.end.set()
    await fake.task
    await eventually(lambda: fake.runner.stack() == "")


async def test_a_thread_that_cannot_be_started_raises_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    fake = InThread()
    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        await fake.task
