"""The event that asks a function to end: an asyncio event to its loop, a threading event to threads, and small."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable
from typing import Any

import anyio.to_thread
import pytest
from tests.support import eventually, turns

from aioruns import ConfigurationError
from aioruns._aio.events import CancelEvent

pytestmark = pytest.mark.asyncio


def waiters(event: CancelEvent, count: int) -> list[asyncio.Task[bool]]:
    return [asyncio.create_task(event.wait()) for _ in range(count)]


async def test_it_is_an_asyncio_event_and_says_whether_it_is_set() -> None:
    event = CancelEvent()
    assert isinstance(event, asyncio.Event)
    assert (event.is_set(), repr(event)) == (False, "<CancelEvent unset>")
    event.set()
    assert (event.is_set(), repr(event)) == (True, "<CancelEvent set>")


async def test_all_who_wait_are_woken_once_it_is_set_and_later_ones_do_not_wait() -> None:
    event = CancelEvent()
    waiting = waiters(event, 3)
    await turns(5)
    assert not any(task.done() for task in waiting)
    event.set()
    event.set()
    assert await asyncio.gather(*waiting) == [True] * 3
    with pytest.raises(StopIteration) as ended:
        event.wait().send(None)
    assert ended.value.value is True


async def test_whoever_was_woken_stays_so_when_it_is_cleared_and_later_ones_wait() -> None:
    event = CancelEvent()
    waiting = waiters(event, 2)
    await turns(2)
    event.set()
    event.clear()
    assert not event.is_set()
    assert await asyncio.gather(*waiting) == [True] * 2
    (later,) = waiters(event, 1)
    await turns(5)
    assert not later.done()
    event.set()
    assert await later


@pytest.mark.parametrize("number", range(4))
async def test_a_waiter_that_is_cancelled_is_forgotten_and_the_others_are_woken(number: int) -> None:
    event = CancelEvent()
    waiting = waiters(event, 3)
    await turns(number)
    waiting[1].cancel()
    await asyncio.wait((waiting[1],))
    assert waiting[1].cancelled()
    event.set()
    assert await waiting[0]
    assert await waiting[2]
    assert event._waiting == ()


async def test_a_waiter_that_is_cancelled_when_it_was_just_woken_is_cancelled() -> None:
    event = CancelEvent()
    waiting = waiters(event, 2)
    await turns(2)
    event.set()
    waiting[0].cancel()
    await asyncio.wait(waiting)
    assert (waiting[0].cancelled(), waiting[1].result()) == (True, True)
    assert event._waiting == ()


async def test_a_wait_that_is_given_up_by_a_timeout_is_forgotten() -> None:
    event = CancelEvent()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001):
            await event.wait()
    assert event._waiting == ()


# Threads


def in_thread(function: Callable[..., Any], *args: Any) -> asyncio.Task[Any]:
    async def call() -> Any:
        return await anyio.to_thread.run_sync(function, *args)

    return asyncio.create_task(call())


async def test_threads_are_woken_and_give_up_in_time() -> None:
    event = CancelEvent()
    assert await in_thread(event.wait_in_thread, 0.001) is False
    began: list[int] = []

    def wait() -> bool:
        began.append(threading.get_ident())
        return event.wait_in_thread(20)

    threads = [in_thread(wait) for _ in range(3)]
    await eventually(lambda: len(began) == 3)
    event.set()
    assert await asyncio.gather(*threads) == [True] * 3
    assert await in_thread(event.wait_in_thread, None) is True


async def test_a_thread_that_comes_when_it_is_set_does_not_wait() -> None:
    event = CancelEvent()
    event.set()
    assert await in_thread(event.wait_in_thread, 20) is True


@pytest.mark.proof
async def test_threads_that_begin_to_wait_at_the_very_moment_are_woken(scale: Callable[..., int]) -> None:
    for _ in range(scale(quick=100, full=2000, soak=100_000)):
        event, start = CancelEvent(), threading.Barrier(3)

        def wait(event: CancelEvent = event, start: threading.Barrier = start) -> bool:
            start.wait()
            return event.wait_in_thread(20)

        threads = [in_thread(wait) for _ in range(2)]
        await eventually(lambda start=start: start.n_waiting == 2)
        start.wait()
        event.set()
        assert await asyncio.gather(*threads) == [True, True]


async def test_C5_it_is_awaited_on_its_own_event_loop_only() -> None:
    event = CancelEvent()

    def awaited_in_a_thread() -> None:
        _ = event.wait()

    async def on_another_loop() -> None:
        assert event.wait_in_thread(0) is False, "blocks no loop of ours"
        _ = event.wait()

    for function in (awaited_in_a_thread, lambda: asyncio.run(on_another_loop())):
        with pytest.raises(ConfigurationError, match=r"use ctx\.wait_cancelled\(timeout\)"):
            await in_thread(function)


async def test_G11_its_own_event_loop_is_not_blocked() -> None:
    with pytest.raises(ConfigurationError, match="would block the event loop"):
        CancelEvent().wait_in_thread(20)


async def test_G10_an_event_that_nobody_waits_for_is_a_single_small_object() -> None:
    event = CancelEvent()
    gc.collect()
    before = len(gc.get_objects())
    events = [CancelEvent() for _ in range(100)]
    assert len(gc.get_objects()) - before <= 2 * len(events) + 5, "itself and its attributes"
    assert event._waiting == ()
    assert events[0]._threads is None
