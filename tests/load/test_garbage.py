"""A run that has ended needs no cycle collector: what it held goes with it, and the event loop makes no pauses."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections import Counter
from collections.abc import Callable, Generator
from weakref import ref

import pytest
from tests.support import eventually

from aioruns import RunConflict, RunManager, current_run, job

pytestmark = [pytest.mark.asyncio, pytest.mark.proof]

RUNS = 300


@pytest.fixture
def uncollected(manager: RunManager) -> Generator[RunManager]:
    """A manager that is open, and no collector."""
    gc.collect()
    gc.disable()
    yield manager
    gc.enable()


@pytest.fixture
def contexts() -> list[ref[object]]:
    """The contexts of the runs that have begun."""
    return []


def returns() -> None:
    pass


def logs() -> None:
    current_run().log("info", "a line", number=1)
    current_run().logger.info("another")
    logging.getLogger("app").warning("a third")


def emits() -> None:
    current_run().emit("own", 1)


def makes_progress() -> None:
    for _ in current_run().track(range(3), step="one"):
        pass


def fails() -> None:
    raise ValueError("no luck")


async def run_one(manager: RunManager, work: Callable[[], None], contexts: list[ref[object]]) -> None:
    async def begin() -> None:
        contexts.append(ref(current_run()))
        await asyncio.sleep(0)
        work()
        await current_run().flush()

    await (await manager.start_run(begin())).wait()


def garbage_of_runs() -> dict[str, int]:
    """Collect the garbage that there is; return how much there was of each type that runs may have left.

    What there is less of than runs was left by others: pytest lets go of the frames of earlier tests when it likes.
    """
    gc.set_debug(gc.DEBUG_SAVEALL)
    gc.collect()
    gc.set_debug(0)
    kinds = Counter(f"{type(one).__module__}.{type(one).__qualname__}" for one in gc.garbage)
    gc.garbage.clear()
    return {kind: count for kind, count in kinds.items() if count > RUNS // 2}


async def check_gone(contexts: list[ref[object]]) -> None:
    """Check that nothing is left of any run: neither alive, nor as garbage that only the collector finds."""
    assert len(contexts) == RUNS
    await eventually(lambda: not any(context() is not None for context in contexts), timeout=60)
    assert garbage_of_runs() == {}


async def test_G10_a_run_in_a_thread_leaves_no_garbage(uncollected: RunManager, contexts: list[ref[object]]) -> None:
    @job
    def work() -> None:
        contexts.append(ref(current_run()))
        current_run().log("info", "from a thread")

    for _ in range(RUNS):
        await (await uncollected.start_run(work())).wait()
    await check_gone(contexts)


async def test_G10_a_run_that_was_watched_leaves_no_garbage(
    uncollected: RunManager, contexts: list[ref[object]]
) -> None:
    async def work() -> None:
        contexts.append(ref(current_run()))
        current_run().log("info", "a line")

    async def watch_one() -> None:
        handle = await uncollected.start_run(work())
        assert [event.kind async for event in handle.events()] == ["status", "log", "status"]

    for _ in range(RUNS):
        await watch_one()
    await check_gone(contexts)


async def test_G10_starts_that_were_refused_leave_no_garbage(uncollected: RunManager) -> None:
    async def refuse_one() -> None:
        with pytest.raises(RunConflict):
            await uncollected.start_run(asyncio.sleep(0), key="taken")

    end = asyncio.Event()
    holder = await uncollected.start_run(end.wait(), key="taken")
    for _ in range(RUNS):
        await refuse_one()
    garbage = garbage_of_runs()
    end.set()
    await holder
    assert garbage == {}


@pytest.mark.parametrize("work", [returns, logs, emits, makes_progress, fails], ids=lambda work: work.__name__)
async def test_G10_a_run_that_has_ended_leaves_no_garbage(
    uncollected: RunManager, contexts: list[ref[object]], work: Callable[[], None]
) -> None:
    for _ in range(RUNS):
        await run_one(uncollected, work, contexts)
    await check_gone(contexts)


async def test_G10_a_cancelled_run_leaves_no_garbage(uncollected: RunManager, contexts: list[ref[object]]) -> None:
    async def wait() -> None:
        contexts.append(ref(current_run()))
        await asyncio.Event().wait()

    async def cancel_one() -> None:
        begun = len(contexts)
        handle = await uncollected.start_run(wait())
        await eventually(lambda: len(contexts) > begun)
        await handle.cancel()
        assert (await handle.wait()).status == "cancelled"

    for _ in range(RUNS):
        await cancel_one()
    await check_gone(contexts)
