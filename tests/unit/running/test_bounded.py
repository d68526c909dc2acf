"""Every call of the store ends: with its answer, or with the news that there is none."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import inspect
import threading
import time
import warnings
import weakref
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

import pytest
from tests.bounds import patch_bounds
from tests.support import turns

from aioruns import LeaseLost, StoreUnavailable
from aioruns._running.bounded import BoundedStore
from aioruns.abc import Store


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


def bounded(store: Scripted, *, patience: float) -> BoundedStore:
    return BoundedStore(cast("Store", store), patience=patience)


async def never() -> None:
    await asyncio.Event().wait()


@pytest.fixture
def scripted() -> Scripted:
    return Scripted()


@pytest.mark.asyncio
async def test_a_call_that_is_answered_gives_its_answer(scripted: Scripted) -> None:
    async def answer() -> str:
        await turns(3)
        return "a run"

    scripted.answers[1] = answer
    assert await bounded(scripted, patience=0).get_run(1) == "a run"


@pytest.mark.asyncio
async def test_F3_a_call_that_is_never_answered_ends_as_unavailable(scripted: Scripted) -> None:
    scripted.answers[1] = never
    task = asyncio.current_task()
    assert task is not None
    with pytest.raises(StoreUnavailable, match=r"has not answered within 0\.05 s"):
        await bounded(scripted, patience=0).get_run(1)
    assert task.cancelling() == 0


@pytest.mark.asyncio
async def test_F3_of_several_calls_each_ends_in_its_own_time(scripted: Scripted) -> None:
    store = bounded(scripted, patience=0)
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


@pytest.mark.asyncio
async def test_a_call_that_is_cancelled_is_cancelled(scripted: Scripted) -> None:
    scripted.answers[1] = never
    call = asyncio.create_task(bounded(scripted, patience=60).get_run(1))
    await turns(3)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


@pytest.mark.asyncio
async def test_a_call_that_is_cancelled_when_its_time_is_over_stays_cancelled(scripted: Scripted) -> None:
    """Whoever cancelled the task must not be told that the store is away."""

    async def cancelled_late() -> None:
        try:
            await never()
        except asyncio.CancelledError:
            call.cancel()
            await turns(1)

    scripted.answers[1] = cancelled_late
    call = asyncio.create_task(bounded(scripted, patience=0).get_run(1))
    await asyncio.wait((call,))
    assert call.cancelled()


@pytest.mark.asyncio
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
    assert await bounded(scripted, patience=0).get_run(1) == "late"
    assert task.cancelling() == 0
    await turns(3)


@pytest.mark.asyncio
async def test_R1_the_bound_keeps_nothing_of_who_called(scripted: Scripted) -> None:
    class Of:
        """What a context variable of a run holds."""

    async def answer() -> None:
        await turns(1)

    variable: contextvars.ContextVar[Of] = contextvars.ContextVar("variable")
    store = bounded(scripted, patience=3600)
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


@pytest.mark.asyncio
async def test_F1_an_unknown_error_of_the_store_means_that_it_is_away(
    scripted: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail() -> None:
        raise ValueError("who knows?")

    scripted.answers[1] = fail
    with pytest.raises(StoreUnavailable, match="the store failed: ValueError: who knows") as away:
        await bounded(scripted, patience=0).get_run(1)
    assert isinstance(away.value.__cause__, ValueError)
    [record] = caplog.records
    assert record.exc_info is not None


@pytest.mark.asyncio
async def test_errors_of_ours_are_what_the_store_says_they_are(
    scripted: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    async def lose() -> None:
        raise LeaseLost(1)

    scripted.answers[1] = lose
    with pytest.raises(LeaseLost):
        await bounded(scripted, patience=0).get_run(1)
    assert caplog.records == []


@pytest.mark.asyncio
async def test_G8_what_is_under_way_when_the_store_closes_ends(scripted: Scripted) -> None:
    scripted.answers[1] = never
    store = bounded(scripted, patience=3600)
    call = asyncio.create_task(store.get_run(1))
    await turns(2)
    await store.aclose()
    with pytest.raises(StoreUnavailable, match="closed before it answered"):
        await call


@pytest.mark.asyncio
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
    call = asyncio.create_task(bounded(scripted, patience=0).get_run(1))
    await turns(2)
    executor_has_answered.wait(60)
    time.sleep(0.3)  # a job that blocks
    assert await call == "a run"


@pytest.mark.asyncio
async def test_F1_a_store_that_fails_before_it_gives_anything_to_await_is_away_too(scripted: Scripted) -> None:
    def fail(_: int) -> Any:
        raise ValueError("who knows?")

    cast("Any", scripted).get_run = fail
    with pytest.raises(StoreUnavailable, match="the store failed: ValueError: who knows"):
        await bounded(scripted, patience=0).get_run(1)


@pytest.mark.asyncio
async def test_N1_a_call_that_is_cancelled_before_it_begins_asks_the_store_nothing(scripted: Scripted) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call = asyncio.ensure_future(bounded(scripted, patience=60).get_run(1))
        call.cancel()
        await asyncio.wait((call,))
        assert call.cancelled()
        del call
        gc.collect()
    assert [str(each.message) for each in caught] == [], "no coroutine of the store's is left behind"


@pytest.mark.asyncio
async def test_R1_nothing_is_kept_of_a_call_that_has_ended(scripted: Scripted) -> None:
    store = bounded(scripted, patience=0)
    scripted.answers[1] = never
    with pytest.raises(StoreUnavailable):
        await store.get_run(1)
    assert store.leftovers() == {"calls": 0, "calls given up": 0}


# The verbs

UNBOUNDED: Final = {"open", "aclose", "abandon_lease"}
VERBS: Final = sorted(name for name, verb in vars(Store).items() if inspect.isfunction(verb) and name[0] != "_")


class Recorder:
    """A store that notes how it was called and answers with the name of the verb."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            self.calls.append((name, args, options))
            return answer() if inspect.iscoroutinefunction(getattr(Store, name)) else None

        async def answer() -> str:
            return name

        return call


def parameters(verb: Any) -> list[tuple[str, Any, Any]]:
    return [(each.name, each.kind, each.default) for each in inspect.signature(verb).parameters.values()]


def test_the_bounded_store_has_every_verb_of_a_store_with_its_signature_and_no_others() -> None:
    own = {name for name, verb in vars(BoundedStore).items() if inspect.isfunction(verb) and name[0] != "_"}
    assert own - {"leftovers"} == set(VERBS)
    for name in VERBS:
        assert parameters(getattr(BoundedStore, name)) == parameters(getattr(Store, name)), name


@pytest.mark.asyncio
@pytest.mark.parametrize("name", VERBS)
async def test_each_verb_asks_the_same_of_the_store_and_gives_its_answer(name: str) -> None:
    recorder = Recorder()
    store = BoundedStore(cast("Store", recorder), patience=60)
    (_, *given) = inspect.signature(getattr(Store, name)).parameters.values()
    args = [object() for each in given if each.kind is not each.KEYWORD_ONLY]
    options = {each.name: object() for each in given if each.kind is each.KEYWORD_ONLY}
    answer = getattr(store, name)(*args, **options)
    if inspect.isawaitable(answer):
        answer = await answer
    expected = name if inspect.iscoroutinefunction(getattr(Store, name)) and name not in UNBOUNDED else None
    assert answer == expected
    assert recorder.calls == [(name, tuple(args), options)]


@pytest.mark.asyncio
@pytest.mark.parametrize("name", sorted(set(VERBS) - UNBOUNDED))
async def test_F3_each_verb_ends_although_the_store_never_answers(name: str) -> None:
    class Silent:
        def __getattr__(self, name: str) -> Any:
            return lambda *_, **__: never()

    given = [each for each in inspect.signature(getattr(Store, name)).parameters.values() if each.name != "self"]
    args = [object() for each in given if each.kind is not each.KEYWORD_ONLY]
    options = {each.name: object() for each in given if each.kind is each.KEYWORD_ONLY}
    with pytest.raises(StoreUnavailable, match="has not answered"):
        await getattr(BoundedStore(cast("Store", Silent()), patience=0), name)(*args, **options)
