"""Work that no way of cancelling its caller can tear."""

from __future__ import annotations

import asyncio
import contextvars
import gc
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from tests.support import turns

from aioruns._aio.tasks import OwnedTasks, insist, until_done

pytestmark = pytest.mark.asyncio

SECRET: contextvars.ContextVar[str] = contextvars.ContextVar("SECRET")


class Verb:
    """A verb that answers when it is told to; a cancelled call may or may not have happened."""

    def __init__(self) -> None:
        self.calls = 0
        self.answers = asyncio.Event()

    async def __call__(self) -> str:
        self.calls += 1
        await self.answers.wait()
        return "answer"


async def test_insist_gives_the_answer_and_no_cancellation_when_there_was_none() -> None:
    verb = Verb()
    verb.answers.set()
    assert await insist(verb) == ("answer", None)
    assert verb.calls == 1


async def test_N1_insist_goes_on_until_there_is_an_answer_and_hands_the_cancellation_over() -> None:
    verb = Verb()
    task = asyncio.create_task(insist(verb))
    for number in range(3):
        await turns(2)
        task.cancel(f"no {number}")
    await turns(2)
    assert not task.done()
    verb.answers.set()
    answer, cancellation = await task
    assert answer == "answer"
    assert isinstance(cancellation, asyncio.CancelledError)


async def test_insist_lets_every_other_error_through() -> None:
    async def fail() -> None:
        raise OSError("away")

    with pytest.raises(OSError, match="away"):
        await insist(fail)


async def test_N1_insist_gets_its_answer_inside_a_cancelled_scope_of_anyio() -> None:
    """Such a scope cancels at every turn of the loop, not once."""

    calls = 0

    async def answer() -> str:
        nonlocal calls
        calls += 1
        assert calls < 10, "called anew at every turn"
        await turns(5)
        return "answer"

    with anyio.CancelScope() as scope:
        scope.cancel()
        assert (await insist(answer))[0] == "answer"


async def test_owned_tasks_are_not_cancelled_with_those_who_wait_for_them() -> None:
    tasks, verb = OwnedTasks(), Verb()
    task = tasks.create(verb())
    waiters = [asyncio.create_task(each) for each in (until_done(task), asyncio.wait((task,)))]
    await turns(2)
    for waiter in waiters:
        waiter.cancel()
    await asyncio.wait(waiters)
    assert not task.done()
    verb.answers.set()
    assert await task == "answer"
    await turns(1)
    assert len(tasks) == 0


async def test_N4_owned_tasks_outlive_garbage_collection() -> None:
    tasks, done = OwnedTasks(), asyncio.Event()
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def wait(future: asyncio.Future[None]) -> None:
        await future
        done.set()

    tasks.create(wait(future))
    await turns(2)
    gc.collect()
    future.set_result(None)
    await done.wait()


async def test_G9_owned_tasks_see_nothing_of_the_context_in_which_they_were_made() -> None:
    SECRET.set("whose request it was")
    tasks = OwnedTasks()

    async def look() -> str | None:
        return SECRET.get(None)

    assert await tasks.create(look()) is None


@pytest.mark.parametrize("error", [ValueError("nobody looks"), None], ids=["failed", "cancelled"])
async def test_R1_a_task_that_failed_is_forgotten_in_silence(error: Exception | None) -> None:
    tasks = OwnedTasks()
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))

    async def end() -> None:
        raise error or asyncio.CancelledError

    tasks.create(end())
    await turns(3)
    gc.collect()
    assert len(tasks) == 0
    assert complaints == []


async def test_the_exception_of_an_owned_task_is_there_for_whoever_looks() -> None:
    async def fail() -> None:
        raise ValueError("mine")

    make: Callable[[], Awaitable[None]] = fail
    task = OwnedTasks().create(make())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="mine"):
        await task


# until_done


def callbacks(future: asyncio.Future[Any]) -> int:
    return len(getattr(future, "_callbacks", None) or ())


async def test_until_done_ends_with_the_future_and_leaves_nothing_on_it() -> None:
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    waiting = asyncio.create_task(until_done(future))
    await turns(3)
    assert not waiting.done()
    future.set_result(3)
    await waiting
    assert callbacks(future) == 0


async def test_until_done_of_what_is_done_does_not_wait() -> None:
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    future.set_result(3)
    with pytest.raises(StopIteration):
        until_done(future).send(None)


@pytest.mark.parametrize("early", [True, False], ids=["done before", "done later"])
async def test_until_done_keeps_to_itself_what_came_of_the_future(early: bool) -> None:
    failed: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    cancelled: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    waiting: list[asyncio.Task[None]] = []
    if not early:
        waiting = [asyncio.create_task(until_done(future)) for future in (failed, cancelled)]
        await turns(3)
    failed.set_exception(ValueError("whoever looks at it"))
    cancelled.cancel()
    await asyncio.gather(*waiting, until_done(failed), until_done(cancelled))
    with pytest.raises(ValueError, match="whoever looks"):
        failed.result()
    assert cancelled.cancelled()


@pytest.mark.parametrize("number", range(4))
async def test_N1_until_done_that_is_cancelled_leaves_the_future_alone_and_nothing_on_it(number: int) -> None:
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    waiting, other = (asyncio.create_task(until_done(future)) for _ in range(2))
    await turns(number)
    waiting.cancel()
    await asyncio.wait((waiting,))
    assert waiting.cancelled()
    assert not future.done()
    await turns(3)
    assert callbacks(future) == 1, "that of the other"
    future.set_result(3)
    await other


@pytest.mark.parametrize("number", range(2))
async def test_N1_until_done_that_is_cancelled_when_the_future_is_done_is_cancelled(number: int) -> None:
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    waiting = asyncio.create_task(until_done(future))
    await turns(2)
    future.set_result(3)
    await turns(number)
    waiting.cancel()
    await asyncio.wait((waiting,))
    assert waiting.cancelled()
    assert future.result() == 3
    assert complaints == []


async def test_until_done_of_a_task_that_is_cancelled_does_not_cancel_who_waits() -> None:
    task = asyncio.create_task(Verb()())
    waiting = asyncio.create_task(until_done(task))
    await turns(2)
    task.cancel()
    await waiting
    assert task.cancelled()
