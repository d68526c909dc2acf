"""Every call of the store ends: with its answer, or with the news that there is none."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import inspect
import threading
import time
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.bounds import patch_bounds
from tests.support import turns

from aioruns import LeaseLost, StoreUnavailable
from aioruns._running.bounded import BoundedStore
from aioruns.abc import Store

pytestmark = pytest.mark.asyncio


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    patch_bounds(monkeypatch, shortest_store_timeout=0.05)


class Scripted:
    """Stands for a store whose reads do what a test says."""

    def __init__(self) -> None:
        self.answers: dict[int, Callable[[], Awaitable[Any]]] = {}
        self.closed = False

    async def get_run(self, run_id: int) -> Any:
        return await self.answers[run_id]()

    async def aclose(self) -> None:
        self.closed = True


async def never() -> None:
    await asyncio.Event().wait()


@pytest.fixture
def scripted() -> Scripted:
    return Scripted()


async def test_a_call_that_is_answered_gives_its_answer(scripted: Scripted) -> None:
    async def answer() -> str:
        await turns(3)
        return "a run"

    scripted.answers[1] = answer
    assert await BoundedStore(scripted, patience=0).get_run(1) == "a run"  # pyright: ignore[reportArgumentType]


async def test_F3_a_call_that_is_never_answered_ends_as_unavailable(scripted: Scripted) -> None:
    scripted.answers[1] = never
    task = asyncio.current_task()
    assert task is not None
    with pytest.raises(StoreUnavailable, match=r"has not answered within 0\.05 s"):
        await BoundedStore(scripted, patience=0).get_run(1)  # pyright: ignore[reportArgumentType]
    assert task.cancelling() == 0


async def test_F3_of_several_calls_each_ends_in_its_own_time(scripted: Scripted) -> None:
    store = BoundedStore(scripted, patience=0)  # pyright: ignore[reportArgumentType]
    loop = asyncio.get_running_loop()
    scripted.answers[1] = never
    ended: list[float] = []

    async def ask() -> None:
        began = loop.time()
        with pytest.raises(StoreUnavailable):
            await store.get_run(1)
        ended.append(loop.time() - began)

    calls: list[asyncio.Task[None]] = []
    for _ in range(3):
        calls.append(asyncio.create_task(ask()))
        await asyncio.sleep(0.02)
    await asyncio.gather(*calls)
    assert min(ended) >= 0.05 - 0.01
    assert len(ended) == 3


async def test_a_call_that_is_cancelled_is_cancelled(scripted: Scripted) -> None:
    scripted.answers[1] = never
    call = asyncio.create_task(BoundedStore(scripted, patience=60).get_run(1))  # pyright: ignore[reportArgumentType]
    await turns(3)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


async def test_a_call_that_is_cancelled_when_its_time_is_over_stays_cancelled(scripted: Scripted) -> None:
    """Whoever cancelled the task must not be told that the store is away."""

    async def cancelled_late() -> None:
        try:
            await never()
        except asyncio.CancelledError:
            call.cancel()
            await turns(1)

    scripted.answers[1] = cancelled_late
    call = asyncio.create_task(BoundedStore(scripted, patience=0).get_run(1))  # pyright: ignore[reportArgumentType]
    await asyncio.wait((call,))
    assert call.cancelled()


async def test_an_answer_that_comes_in_spite_of_the_late_cancellation_counts(scripted: Scripted) -> None:
    async def late() -> str:
        try:
            await never()
        except asyncio.CancelledError:
            return "late"
        raise AssertionError("it was not cancelled")

    scripted.answers[1] = late
    task = asyncio.current_task()
    assert task is not None
    assert await BoundedStore(scripted, patience=0).get_run(1) == "late"  # pyright: ignore[reportArgumentType]
    assert task.cancelling() == 0
    await turns(3)


async def test_R1_the_bound_keeps_nothing_of_who_called(scripted: Scripted) -> None:
    class Of:
        """What a context variable of a run holds."""

    async def answer() -> None:
        await turns(1)

    variable: contextvars.ContextVar[Of] = contextvars.ContextVar("variable")
    store = BoundedStore(scripted, patience=3600)  # pyright: ignore[reportArgumentType]
    scripted.answers[1] = answer

    async def call() -> weakref.ref[Of]:
        value = Of()
        variable.set(value)
        await store.get_run(1)
        return weakref.ref(value)

    kept = await asyncio.create_task(call())
    await turns(2)
    gc.collect()
    assert kept() is None
    await store.aclose()
    assert scripted.closed


async def test_F1_an_unknown_error_of_the_store_means_that_it_is_away(
    scripted: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail() -> None:
        raise ValueError("who knows?")

    scripted.answers[1] = fail
    with pytest.raises(StoreUnavailable, match="the store failed: ValueError: who knows") as away:
        await BoundedStore(scripted, patience=0).get_run(1)  # pyright: ignore[reportArgumentType]
    assert isinstance(away.value.__cause__, ValueError)
    [record] = caplog.records
    assert record.exc_info is not None


async def test_errors_of_ours_are_what_the_store_says_they_are(
    scripted: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    async def lose() -> None:
        raise LeaseLost(1)

    scripted.answers[1] = lose
    with pytest.raises(LeaseLost):
        await BoundedStore(scripted, patience=0).get_run(1)  # pyright: ignore[reportArgumentType]
    assert caplog.records == []


async def test_G8_what_is_under_way_when_the_store_closes_ends(scripted: Scripted) -> None:
    scripted.answers[1] = never
    store = BoundedStore(scripted, patience=3600)  # pyright: ignore[reportArgumentType]
    call = asyncio.create_task(store.get_run(1))
    await turns(2)
    await store.aclose()
    with pytest.raises(StoreUnavailable, match="closed before it answered"):
        await call


async def test_F1_time_in_which_the_event_loop_stands_still_is_not_the_stores(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer has come meanwhile, and waits in the loop's line, behind the timer."""
    patch_bounds(monkeypatch, late=0.1)
    loop, executor_has_answered = asyncio.get_running_loop(), threading.Event()
    future: asyncio.Future[str] = loop.create_future()

    def answer_in_thread() -> None:
        loop.call_soon_threadsafe(future.set_result, "a run")
        executor_has_answered.set()

    async def answer() -> str:
        threading.Thread(target=answer_in_thread).start()
        told = await future
        await turns(5)  # from the database's thread to whoever asked, an answer passes through several hands
        return told

    scripted.answers[1] = answer
    call = asyncio.create_task(BoundedStore(scripted, patience=0).get_run(1))  # pyright: ignore[reportArgumentType]
    await turns(2)
    executor_has_answered.wait(60)
    time.sleep(0.3)  # a job that blocks
    assert await call == "a run"


def parameters(verb: Any) -> list[tuple[Any, ...]]:
    return [(one.name, one.kind, one.default) for one in inspect.signature(verb).parameters.values()]


async def test_every_verb_of_a_store_is_bounded_and_has_its_signature() -> None:
    verbs = {name for name in vars(Store) if not name.startswith("_")}
    assert verbs <= vars(BoundedStore).keys()
    for verb in verbs:
        assert parameters(getattr(BoundedStore, verb)) == parameters(getattr(Store, verb)), verb
