"""G10: however much a run says, from however many threads, its memory is bounded and its order kept."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.bounds import MAX_EVENTS
from tests.support import rows, turns

from aioruns import (
    LeaseLost,
    RunContext,
    RunManager,
    StoreUnavailable,
    current_run,
    job,
)

pytestmark = pytest.mark.asyncio


async def said(manager: RunManager, run_id: int, kind: str = "log") -> list[Any]:
    return [event.data async for event in manager.stream_events(run_id) if event.kind == kind]


async def say_in_run(manager: RunManager, say: Callable[[RunContext], object]) -> int:
    """Run a function of its context; return the run's id."""

    async def work() -> None:
        say(current_run())

    handle = await manager.start_run(work())
    await handle
    return handle.id


# Order and amount


async def test_order_of_every_thread_is_kept(manager: RunManager) -> None:
    async def work() -> None:
        def say(name: str) -> None:
            for number in range(500):
                current_run().emit("own", [name, number])

        await asyncio.gather(*(asyncio.to_thread(say, name) for name in "abcd"))

    handle = await manager.start_run(work())
    await handle
    events = await said(manager, handle.id, "own")
    assert len(events) == 2000
    for name in "abcd":
        assert [number for who, number in events if who == name] == list(range(500))


async def test_G10_logs_of_a_job_that_never_awaits_are_dropped_and_counted(manager: RunManager) -> None:
    def say(context: RunContext) -> None:
        for number in range(MAX_EVENTS + 50):
            context.log("info", str(number))

    *lines, last = await said(manager, await say_in_run(manager, say))
    assert [int(line["message"]) for line in lines] == list(range(MAX_EVENTS))
    assert last == {"level": "warning", "message": "50 events were dropped: the outbox was full"}


async def test_G10_emit_of_a_job_that_never_awaits_raises_and_serves_again_after_flush(manager: RunManager) -> None:
    async def work() -> None:
        context = current_run()
        for number in range(MAX_EVENTS):
            context.emit("own", number)
        with pytest.raises(StoreUnavailable, match=r"await ctx\.flush\(\) now and then"):
            context.emit("own", "refused")
        await context.flush()
        context.emit("own", MAX_EVENTS)

    handle = await manager.start_run(work())
    await handle
    assert await said(manager, handle.id, "own") == list(range(MAX_EVENTS + 1))


async def test_G10_thread_waits_for_the_store_and_loses_nothing(manager: RunManager) -> None:
    @job
    def work() -> None:
        for number in range(3 * MAX_EVENTS):
            current_run().log("info", str(number))

    handle = await manager.start_run(work())
    await handle
    lines = await said(manager, handle.id)
    assert [int(line["message"]) for line in lines] == list(range(3 * MAX_EVENTS))


# Flush


async def test_flush_returns_when_all_is_stored(manager: RunManager, database: Path) -> None:
    async def work() -> int:
        context = current_run()
        for number in range(1000):
            context.emit("own", number)
        context.log("info", "a")
        context.set_progress(1)
        await context.flush()
        return len(rows(database, "SELECT 1 FROM events WHERE kind IN ('own', 'log', 'progress')"))

    assert await (await manager.start_run(work())) == 1002


async def test_flush_that_is_cancelled_loses_nothing(manager: RunManager) -> None:
    async def work() -> None:
        context = current_run()
        for number in range(20):
            context.emit("own", number)
            flush = asyncio.create_task(context.flush())
            await turns(number % 4)
            flush.cancel()
            await asyncio.wait((flush,))

    handle = await manager.start_run(work())
    await handle
    assert await said(manager, handle.id, "own") == list(range(20))


async def test_G7_flush_of_a_run_that_was_lost_says_so(manager: RunManager, database: Path) -> None:
    outcomes: list[str] = []

    async def work() -> None:
        rescuer = sqlite3.connect(database, isolation_level=None)
        rescuer.execute("UPDATE runs SET status = 'interrupted', finished_at = 9, error = 'gone'")
        rescuer.close()
        for _ in range(2):
            current_run().log("info", "too late")
            try:
                async with asyncio.timeout(60):
                    await current_run().flush()
            except (LeaseLost, TimeoutError, asyncio.CancelledError) as error:
                outcomes.append(type(error).__name__)

    handle = await manager.start_run(work())
    run = await handle.wait()
    assert (run.status, run.error) == ("interrupted", "gone")
    assert await said(manager, handle.id) == []
    assert outcomes == ["LeaseLost", "LeaseLost"]
