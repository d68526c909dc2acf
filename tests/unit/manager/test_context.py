"""Runs are isolated from who starts them, and find their own context wherever their code goes."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from typing import Any

import anyio.from_thread
import anyio.to_thread
import pytest

from aioruns import ConfigurationError, RunManager, current_run, job

pytestmark = pytest.mark.asyncio

Open = Callable[..., Any]

IDENTITY: contextvars.ContextVar[str] = contextvars.ContextVar("IDENTITY")
TRACE: contextvars.ContextVar[str] = contextvars.ContextVar("TRACE")
UNSET: contextvars.ContextVar[str] = contextvars.ContextVar("UNSET")


def seen() -> list[str | None]:
    return [variable.get(None) for variable in (IDENTITY, TRACE, UNSET)]


@job
async def look() -> list[str | None]:
    return seen()


@job
def look_in_a_thread() -> list[str | None]:
    return seen()


async def look_bare() -> list[str | None]:
    return seen()


KINDS = [look, look_in_a_thread, look_bare]
every_kind = pytest.mark.parametrize("call", KINDS, ids=["async", "thread", "bare"])


@every_kind
async def test_G9_the_starters_identity_never_leaks_into_its_run(manager: RunManager, call: Callable[[], Any]) -> None:
    IDENTITY.set("somebody's request")
    assert await (await manager.start_run(call())) == [None, None, None]


@every_kind
async def test_G9_only_what_is_allowed_is_copied(open_manager: Open, call: Callable[[], Any]) -> None:
    manager = await open_manager(context_vars=[TRACE, UNSET])
    IDENTITY.set("somebody's request")
    TRACE.set("trace 1")
    assert await (await manager.start_run(call())) == [None, "trace 1", None]


async def test_G9_nothing_leaks_from_who_opens_or_who_makes_room(open_manager: Open) -> None:
    IDENTITY.set("who opened the manager")
    manager = await open_manager(max_running=1, context_vars=[TRACE])
    may_end = asyncio.Event()

    @job
    async def makes_room() -> None:
        IDENTITY.set("who made room")
        UNSET.set("who made room")
        await may_end.wait()

    async def start(trace: str) -> Any:
        IDENTITY.set("who started")
        TRACE.set(trace)
        return await manager.start_run(look())

    first = await manager.start_run(makes_room())
    waiting = await asyncio.create_task(start("of the second"))
    TRACE.set("changed since")
    may_end.set()
    await first
    assert await waiting == [None, "of the second", None], "S4: values are those of the start"


async def test_G9_what_a_run_sets_stays_its_own(open_manager: Open) -> None:
    manager = await open_manager(context_vars=[TRACE])
    TRACE.set("mine")

    @job
    async def changes() -> None:
        TRACE.set("the run's")
        IDENTITY.set("the run's")

    await (await manager.start_run(changes()))
    assert seen() == [None, "mine", None]
    assert await (await manager.start_run(look())) == [None, "mine", None]


async def test_G9_a_nested_run_sees_nothing_of_the_outer_one(manager: RunManager) -> None:
    @job
    async def outer() -> list[str | None]:
        IDENTITY.set("outer")
        return await (await manager.start_run(look()))

    assert await (await manager.start_run(outer())) == [None, None, None]


async def test_G9_events_of_others_are_delivered_in_the_readers_own_context(manager: RunManager) -> None:
    IDENTITY.set("the reader")
    handle = await manager.start_run(look())
    async for _ in handle.events():
        assert IDENTITY.get() == "the reader"
    await handle
    assert IDENTITY.get() == "the reader"


# current_run()


def my_id() -> int:
    return current_run().id


async def my_id_async() -> int:
    return current_run().id


async def in_a_task() -> int:
    return await asyncio.create_task(my_id_async())


async def in_a_task_group() -> int:
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(my_id_async())
    return task.result()


async def in_asyncios_thread() -> int:
    return await asyncio.to_thread(my_id)


async def in_anyios_thread() -> int:
    return await anyio.to_thread.run_sync(my_id)


async def back_from_a_thread() -> int:
    return await anyio.to_thread.run_sync(lambda: anyio.from_thread.run(my_id_async))


async def in_a_callback() -> int:
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(lambda: future.set_result(my_id()))
    return await future


async def in_a_copied_context() -> int:
    found: list[int] = []
    context = contextvars.copy_context()
    thread = threading.Thread(target=lambda: found.append(context.run(my_id)))
    thread.start()
    await asyncio.to_thread(thread.join)
    return found[0]


PLACES = [
    my_id_async, in_a_task, in_a_task_group, in_asyncios_thread, in_anyios_thread, back_from_a_thread, in_a_callback,
    in_a_copied_context,
]  # fmt: skip


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
async def test_C2_current_run_is_the_own_run_wherever_its_code_goes(
    manager: RunManager, place: Callable[[], Any]
) -> None:
    @job
    async def ask() -> list[int]:
        return [my_id(), await place(), my_id()]

    handles = await asyncio.gather(*(manager.start_run(ask()) for _ in range(5)))
    for handle in handles:
        assert await handle == [handle.id] * 3
    with pytest.raises(ConfigurationError):
        current_run()


async def test_current_run_outside_any_run_says_what_to_do(manager: RunManager) -> None:
    await (await manager.start_run(look()))
    for ask in (my_id_async, in_a_task, in_asyncios_thread, in_anyios_thread):
        with pytest.raises(ConfigurationError, match="called outside a run"):
            await ask()


async def test_a_thread_without_a_copied_context_is_outside(manager: RunManager) -> None:
    @job
    async def ask() -> str:
        found: list[BaseException | int] = []

        def try_to_ask() -> None:
            try:
                found.append(my_id())
            except ConfigurationError as error:
                found.append(error)

        thread = threading.Thread(target=try_to_ask)
        thread.start()
        await asyncio.to_thread(thread.join)
        return type(found[0]).__name__

    assert await (await manager.start_run(ask())) == "ConfigurationError"


@job
async def tell_id(number: int) -> tuple[int, int]:
    return current_run().id, number


@job
def tell_id_in_a_thread(number: int) -> tuple[int, int]:
    return current_run().id, number


@pytest.mark.parametrize("call", [tell_id, tell_id_in_a_thread], ids=["async", "thread"])
async def test_a_call_awaited_outside_runs_here_and_now_with_id_0(call: Any) -> None:
    assert await call(3) == (0, 3)
    with pytest.raises(ConfigurationError):
        current_run()


@pytest.mark.parametrize("call", [tell_id, tell_id_in_a_thread], ids=["async", "thread"])
async def test_a_call_awaited_inside_a_run_shares_its_context(manager: RunManager, call: Any) -> None:
    @job
    async def outer() -> Any:
        return await call(3)

    await (await manager.start_run(look()))
    assert await (await manager.start_run(outer())) == (2, 3)


async def test_two_detached_calls_share_nothing() -> None:
    @job
    async def tell() -> Any:
        await asyncio.sleep(0)
        return current_run()

    first, second = await asyncio.gather(asyncio.create_task(_await(tell())), asyncio.create_task(_await(tell())))
    assert first is not second
    assert (first.id, second.id, first.cancel_requested) == (0, 0, False)


async def _await(call: Any) -> Any:
    return await call
